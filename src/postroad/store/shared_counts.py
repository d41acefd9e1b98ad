"""A file of the state directory mapped into memory: room for counts that all workers share and that outlive them.

Not a database: what a crash of the machine leaves half written is a wrong count, and a file of another layout or secret
starts anew. Used by worker.py, for receive/guard.
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
from collections.abc import Sequence
from pathlib import Path

from postroad.store.sqlite import explain

_HEAD_OCTETS = 64


class SharedCounts:
    """`sizes`: octets of each region; the regions are zero where the file was made, or made anew. Raises SpoolError."""

    def __init__(self, path: Path, sizes: Sequence[int], *, secret: bytes) -> None:
        total = _HEAD_OCTETS + sum(sizes)
        head = hashlib.blake2b(f"counts 1 {list(sizes)}".encode(), key=secret[:64], digest_size=_HEAD_OCTETS).digest()
        try:
            descriptor = _opened(path, head, total)
            try:
                self._map = mmap.mmap(descriptor, total)
            finally:
                fcntl.flock(descriptor, fcntl.LOCK_UN)  # closing does not let go: the map has a copy of the descriptor
                os.close(descriptor)
        except OSError as error:
            raise explain(error, path) from error
        whole = memoryview(self._map)
        self.regions: tuple[memoryview, ...] = tuple(
            whole[start : start + size] for start, size in zip(_starts(sizes), sizes, strict=True)
        )
        """Writable; whoever else has the file mapped sees what is written."""
        whole.release()


def _opened(path: Path, head: bytes, total: int) -> int:
    """The file, as it was or made anew. Never cut short in place: whoever has it mapped would be killed for it."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # workers that start at once must not each make one
            if not _is_current(descriptor, path):
                os.close(descriptor)
                continue
            size = os.fstat(descriptor).st_size
            if size == total and os.pread(descriptor, _HEAD_OCTETS, 0) == head:
                return descriptor
            if size:
                path.unlink()
                os.close(descriptor)
                continue
            os.posix_fallocate(descriptor, 0, total)  # a page that finds no room later would kill the process
            os.pwrite(descriptor, head, 0)
            return descriptor
        except OSError:
            os.close(descriptor)
            raise


def _is_current(descriptor: int, path: Path) -> bool:
    """Whether the path still leads to the file that was opened."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))  # noqa: PTH116
    except FileNotFoundError:
        return False


def _starts(sizes: Sequence[int]) -> list[int]:
    return [_HEAD_OCTETS + sum(sizes[:index]) for index in range(len(sizes))]
