"""Seats at a site that bears fewer connections than there are workers: the processes take turns.

A seat is a locked byte of one file, which the system gives back when the process that holds it ends, however it ends.
"""

from __future__ import annotations

import fcntl
import os
import zlib
from collections import OrderedDict
from pathlib import Path

MAX_SEATS = 64
"""Of one site. More workers than that take no turns beyond it."""
REST_S = 1.5
"""How long a worker that gave a seat back leaves it to the others."""
_MAX_RESTING = 10_000

Place = tuple[str, str]


class Seats:
    """Those of one process. Two sites whose names have one checksum share their seats, and only wait longer for it."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._taken: set[int] = set()
        self._rest: OrderedDict[Place, float] = OrderedDict()

    def take(self, place: Place, most: int, now: float) -> int | None:
        """A seat of the site's `most`, or None while others have them all. `now`: monotonic."""
        if self._rest.get(place, 0.0) > now:
            return None
        first = zlib.crc32("\0".join(place).encode()) * MAX_SEATS
        for seat in range(first, first + min(most, MAX_SEATS)):
            if seat in self._taken:
                continue
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, seat)
            except OSError:
                continue
            self._taken.add(seat)
            return seat
        return None

    def give_back(self, place: Place, seat: int, now: float) -> None:
        """Another may have it now."""
        self._taken.discard(seat)
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, seat)
        self._rest[place] = now + REST_S
        self._rest.move_to_end(place)
        if len(self._rest) > _MAX_RESTING:
            self._rest.popitem(last=False)

    def close(self) -> None:
        """Give all of them back."""
        os.close(self._file)
