"""`postroad bounce`: messages that came back, and what they say, one JSON line each."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import click

from postroad.events import escaped
from postroad.meaning.bounce import read_bounce
from postroad.meaning.bounce_mime import MAX_OCTETS


@click.command("bounce")
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
def command(files: tuple[str, ...]) -> None:
    """Read bounces: of each FILE, a message, one JSON line says whether it is one, for whom, and why.

    - reads a message from standard input. Of a message longer than a megabyte the beginning is read. A file that
    cannot be read is told on standard error; the others are still read, and the exit status is 1.
    """
    is_whole = True
    try:
        for name in files:
            try:
                octets = _octets(name)
            except (OSError, ValueError) as error:
                why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
                click.echo(
                    f"postroad: {escaped(name)} cannot be read: {escaped(why)}; give files that hold one message each",
                    err=True,
                )
                is_whole = False
                continue
            click.echo(json.dumps({"file": name, **read_bounce(octets).to_dict()}))
            sys.stdout.flush()
    except BrokenPipeError:
        # Nobody listens any more; Python would complain when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if not is_whole:
        sys.exit(1)


def _octets(name: str) -> bytes:
    """The beginning of the message. Raises OSError, or ValueError for a name that can be no file's."""
    if name == "-":
        return sys.stdin.buffer.read(MAX_OCTETS)
    with Path(name).open("rb") as file:
        return file.read(MAX_OCTETS)
