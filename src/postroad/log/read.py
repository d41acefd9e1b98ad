"""Reading a log of JSON lines: its files in order, its end as it grows, and the lines that somebody asks for.

Lines are bounded, and what is no JSON object (the words of another program in the same journal) is passed over.
"""

from __future__ import annotations

import fnmatch
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from postroad.log.file import numbered

MAX_LINE_OCTETS = 65_536
MAX_FILES = 1000
_CHUNK = 1 << 16
_AGE = re.compile(r"([0-9]+(?:\.[0-9]+)?)([smhd])")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which lines. `events`: names, `*` for any part of one; `since`: wall clock, seconds since 1970."""

    events: Sequence[str] = ()
    queue_id: str = ""
    level: str = ""
    """The least."""
    since: float | None = None

    def takes(self, record: Record) -> bool:
        """Whether it is one of them. A message is also asked for by what a notification is about."""
        if self.events and not any(fnmatch.fnmatchcase(str(record.get("event")), one) for one in self.events):
            return False
        if self.queue_id and self.queue_id not in (record.get("queue_id"), record.get("about")):
            return False
        if self.level and _rank(str(record.get("level"))) < _rank(self.level):
            return False
        if self.since is None:
            return True
        at = instant(str(record.get("timestamp", "")))
        return at is not None and at >= self.since


def _rank(level: str) -> int:
    levels = ("debug", "info", "warning", "error")
    return levels.index(level) if level in levels else 0


def record(line: bytes) -> Record | None:
    """The event of a line, or None where it is none."""
    if len(line) > MAX_LINE_OCTETS:
        return None
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("event"), str) else None


def instant(text: str) -> float | None:
    """Seconds since 1970 of an ISO 8601 time; UTC where it names no zone. None where it is none."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()


def moment(text: str, now: float) -> float | None:
    """`2h` ago, or an ISO 8601 time; None where it is neither."""
    age = _AGE.fullmatch(text.strip())
    return now - float(age[1]) * _SECONDS[age[2]] if age else instant(text.strip())


def files(path: Path) -> list[Path]:
    """The files of a log, the oldest first."""
    old = []
    for number in range(1, MAX_FILES):
        if not numbered(path, number).exists():
            break
        old.append(numbered(path, number))
    return [*reversed(old), *([path] if path.exists() else [])]


def lines(file: IO[bytes]) -> Iterator[bytes]:
    """Its lines, each with its newline but perhaps the last. Of one beyond all bounds only the beginning."""
    while line := file.readline(MAX_LINE_OCTETS + 1):
        yield line
        while len(line) > MAX_LINE_OCTETS and not line.endswith(b"\n"):
            line = file.readline(MAX_LINE_OCTETS + 1)


class Tail:
    """The end of a log as it grows, over rotation: `more` gives the whole lines that are new since the last call."""

    def __init__(self, path: Path, *, from_start: bool = False) -> None:
        """Raises OSError, but not where there is no file yet."""
        self._path = path
        self._file: IO[bytes] | None = None
        self._rest = b""
        if path.exists():
            self._file = path.open("rb")
            if not from_start:
                self._file.seek(0, os.SEEK_END)

    def more(self) -> list[bytes]:
        """New whole lines, at most a chunk of them: call again until there are none."""
        found = self._read()
        if not found and not self._is_current():
            found = self._read()  # what came to the old file before it was renamed
            if not found:
                self.close()
                if self._path.exists():
                    self._file = self._path.open("rb")
                    found = self._read()
        return found

    def reads(self, path: Path) -> bool:
        """Whether that is the file now being read, whatever its name."""
        if self._file is None:
            return False
        try:
            return os.path.samestat(os.fstat(self._file.fileno()), os.stat(path))  # noqa: PTH116
        except FileNotFoundError:
            return False

    def close(self) -> None:
        """Read no more."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self._rest = b""

    def _read(self) -> list[bytes]:
        if self._file is None:
            return []
        chunk = self._file.read(_CHUNK)
        *whole, rest = (self._rest + chunk).split(b"\n")
        self._rest = rest[-MAX_LINE_OCTETS - 1 :]
        return [line + b"\n" for line in whole]

    def _is_current(self) -> bool:
        """Whether the name still leads to the file being read, or to none yet."""
        return self._file is not None and (self.reads(self._path) or not self._path.exists())
