"""`postroad explain`: replies on standard input, what they mean on standard output, one JSON line each."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from typing import BinaryIO

import click

from postroad.meaning.explain import explained, joined, read

MAX_LINE = 65_536
"""Octets of a line that are read; of a longer one the beginning."""


@click.command("explain")
def command() -> None:
    """Tell what replies of mail servers mean: reply lines on standard input, JSON lines on standard output.

    A reply is a line of text (550 5.1.1 User unknown, with or without the codes), the lines of one reply
    (550-... and 550 ...), or a JSON object with text, code, enhanced, phase and provider, each of which may be absent.
    Each reply gets one line of answer, in order, at once.
    """
    try:
        for lines in joined(_lines(sys.stdin.buffer)):
            click.echo(json.dumps(explained(read(lines))))
            sys.stdout.flush()
    except BrokenPipeError:
        # Nobody listens any more; Python would complain when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _lines(source: BinaryIO) -> Iterator[str]:
    while line := source.readline(MAX_LINE):
        rest = line
        while not rest.endswith(b"\n") and (rest := source.readline(MAX_LINE)):
            pass
        yield _decoded(line.rstrip(b"\r\n"))


def _decoded(line: bytes) -> str:
    """UTF-8, or ISO-2022-JP by its escapes, or else Windows-1252, which takes every octet."""
    if b"\x1b$" in line:
        return line.decode("iso2022_jp", "replace")
    try:
        return line.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError:
        return line.decode("cp1252", "replace")
