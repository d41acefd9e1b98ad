"""How full a Maildir is, without counting it each time: the file `maildirsize` of Maildir++.

Its first line says the quota (`1000000S,1000C`: octets, messages), each further line what came or went (`2048 1`).
Programs that know the form (Courier, Dovecot) write it too when they delete. It is counted anew where it is missing,
damaged, long, for another quota, or where the mailbox seems full and it is not of now: what a program deletes that
knows nothing of the file shows after RECOUNT_AFTER_S. Blocks on the disk.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

RECOUNT_AFTER_S = 900.0
MAX_FILE_OCTETS = 5120
"""A longer file is written anew; also of Maildir++."""
_NAME = "maildirsize"
_LINE = re.compile(rb"[ ]*(-?[0-9]{1,18})[ ]+(-?[0-9]{1,12})[ ]*")
_SIZE = re.compile(r",S=([0-9]{1,18})(?:[,:]|$)")


@dataclass(frozen=True, slots=True)
class Quota:
    """How much a mailbox may hold; 0: as much as comes."""

    octets: int = 0
    messages: int = 0

    @property
    def is_limited(self) -> bool:
        """Whether there is any limit."""
        return bool(self.octets or self.messages)

    def line(self) -> bytes:
        """As the first line of the file has it."""
        parts = [*([f"{self.octets}S"] if self.octets else []), *([f"{self.messages}C"] if self.messages else [])]
        return ",".join(parts).encode()


@dataclass(frozen=True, slots=True)
class Usage:
    """What a mailbox holds."""

    octets: int
    messages: int

    def has_room(self, quota: Quota, octets: int) -> bool:
        """Whether one message more fits."""
        is_within = not quota.octets or self.octets + octets <= quota.octets
        return is_within and (not quota.messages or self.messages + 1 <= quota.messages)

    def told(self, quota: Quota) -> str:
        """In words, with its limits."""
        parts = []
        if quota.octets:
            parts.append(f"{self.octets} of {quota.octets} octets")
        if quota.messages:
            parts.append(f"{self.messages} of {quota.messages} messages")
        return " and ".join(parts)


def usage(mailbox: Path, quota: Quota, octets: int, now: float) -> Usage:
    """What the mailbox holds, before a message of that size. `now`: wall clock. Raises OSError."""
    known = _read(mailbox / _NAME, quota)
    if known is None:
        return recount(mailbox, quota)
    used, written_at = known
    if not used.has_room(quota, octets) and now - written_at > RECOUNT_AFTER_S:
        return recount(mailbox, quota)
    return used


def add(mailbox: Path, octets: int, messages: int = 1) -> None:
    """Note what came; nothing where there is no file. Raises OSError."""
    try:
        descriptor = os.open(mailbox / _NAME, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        os.write(descriptor, b"%d %d\n" % (octets, messages))
    finally:
        os.close(descriptor)


def recount(mailbox: Path, quota: Quota) -> Usage:
    """Count the messages, and write the file anew. Raises OSError."""
    octets = messages = 0
    for size in _sizes(mailbox):
        octets += size
        messages += 1
    temporary = mailbox / "tmp" / f"{_NAME}.{os.getpid()}.{os.urandom(4).hex()}"
    try:
        temporary.write_bytes(b"%s\n%d %d\n" % (quota.line(), octets, messages))
        temporary.chmod(0o600)
        temporary.rename(mailbox / _NAME)
    except FileNotFoundError:
        pass  # there is no mailbox yet
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    return Usage(octets, messages)


def _read(file: Path, quota: Quota) -> tuple[Usage, float] | None:
    """What the file says, and when it was written; None where it is of no use."""
    try:
        with file.open("rb") as opened:
            text = opened.read(MAX_FILE_OCTETS + 1)
            written_at = os.fstat(opened.fileno()).st_mtime
    except FileNotFoundError:
        return None
    lines = text.split(b"\n")
    if len(text) > MAX_FILE_OCTETS or lines[0] != quota.line():
        return None
    octets = messages = 0
    for line in lines[1:]:
        found = _LINE.fullmatch(line)
        if found is not None:
            octets += int(found[1])
            messages += int(found[2])
        elif line.strip():
            return None
    return None if octets < 0 or messages < 0 else (Usage(octets, messages), written_at)


def _sizes(mailbox: Path) -> Iterator[int]:
    """The size of each message, in all folders but the waste basket; names tell most (`,S=1234`)."""
    folders = [mailbox]
    try:
        with os.scandir(mailbox) as entries:
            folders += [
                Path(one.path)
                for one in entries
                if one.name.startswith(".") and one.name != ".Trash" and one.is_dir(follow_symlinks=False)
            ]
    except FileNotFoundError:
        return
    for folder in folders:
        for name in ("new", "cur"):
            yield from _sizes_in(folder / name)


def _sizes_in(directory: Path) -> Iterator[int]:
    try:
        entries = os.scandir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return
    with entries:
        for one in entries:
            _, mark, flags = one.name.rpartition(":2,")
            if one.name.startswith(".") or (mark and "T" in flags):  # T: marked as deleted
                continue
            found = _SIZE.search(one.name)
            if found is not None:
                yield int(found[1])
                continue
            try:
                yield one.stat(follow_symlinks=False).st_size
            except FileNotFoundError:
                continue
