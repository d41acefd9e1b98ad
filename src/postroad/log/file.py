"""A log file that several processes write at once, and that never grows beyond its size.

Each line leaves in one `write` at the end of the file, so lines stay whole whoever else writes. Whoever finds the file
full renames it (`log` → `log.1` → `log.2` …) under a lock; the others notice that the name leads to another file now,
and follow. A file that something else moved away (logrotate, say) is noticed likewise. What cannot be written raises
OSError, which `events.emit` keeps from everyone. Safe to use from several threads.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

LOOK_S = 1.0
"""How long a file that was renamed may be written on."""
LOOK_OCTETS = 65_536
"""After so much of its own a process looks at the size, too."""


class LogFile:
    """Made anew in each process, or before the fork. Has what `events.configure` asks of a stream."""

    def __init__(
        self, path: Path, *, rotate_octets: int, keep: int, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """`keep`: how many full files stay, `path.1` the newest. Raises OSError."""
        self.path = path
        self._limit = rotate_octets
        self._keep = keep
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._since_look = 0
        self._look_at = monotonic() + LOOK_S
        self._is_torn = False
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._descriptor = self._open()

    def write(self, text: str) -> int:
        """Append a line, with its newline, whole."""
        line = text.encode("utf-8", "backslashreplace")
        with self._lock:
            if self._descriptor < 0:
                raise OSError(f"{self.path} is closed")
            now = self._monotonic()
            if self._since_look >= LOOK_OCTETS or now >= self._look_at:
                self._since_look = 0
                self._look_at = now + LOOK_S
                with contextlib.suppress(OSError):  # not allowed to, for now: the file only grows longer
                    self._look()
            if self._is_torn:
                line = b"\n" + line
            written = os.write(self._descriptor, line)
            self._is_torn = written < len(line)  # the disk is full: what comes next begins a line of its own
            self._since_look += written
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """Write no more."""
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1

    def _open(self) -> int:
        return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def _look(self) -> None:
        """Follow the name where it leads, and begin a new file where this one is full."""
        if not self._is_current():
            self._reopen()
        if os.fstat(self._descriptor).st_size < self._limit:
            return
        guard = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if self._is_current():
                self._shift()
            self._reopen()
        except BlockingIOError:
            pass  # another process is at it
        finally:
            os.close(guard)

    def _is_current(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._descriptor), os.stat(self.path))  # noqa: PTH116
        except FileNotFoundError:
            return False

    def _reopen(self) -> None:
        fresh = self._open()
        os.close(self._descriptor)
        self._descriptor = fresh

    def _shift(self) -> None:
        if not self._keep:
            self.path.unlink(missing_ok=True)
            return
        for number in range(self._keep - 1, 0, -1):
            old = numbered(self.path, number)
            if old.exists():
                old.replace(numbered(self.path, number + 1))
        self.path.replace(numbered(self.path, 1))


def numbered(path: Path, number: int) -> Path:
    """The name of a full file; 1 is the newest."""
    return path.with_name(f"{path.name}.{number}")
