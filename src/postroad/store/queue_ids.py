"""Queue ids: 63-bit numbers that rise with time and are never given twice, over all shards and restarts.

41 bits of milliseconds since 2020 (enough until 2089), 6 bits of shard, 16 bits of counter. A clock that
is set back does not bring an id back: the milliseconds then stand still and the counter runs on (D-04).
Pure; the spools own one each and hand in the highest time ever used.
"""

from __future__ import annotations

EPOCH = 1_577_836_800
"""2020-01-01T00:00:00Z, in seconds since 1970."""
MAX_SHARDS = 64
RESERVE_MS = 1_000
"""How much time a spool reserves at once, so that it need not note down every id."""
_COUNTER_BITS = 16
_TIME_SHIFT = 22
_MAX_MS = (1 << 41) - 1


class QueueIds:
    """The ids of one shard. `floor`: an id below which everything may have been used before."""

    __slots__ = ("_counter", "_milliseconds", "_shard")

    def __init__(self, shard: int, floor: int = 0) -> None:
        if not 0 <= shard < MAX_SHARDS:
            raise ValueError(f"shard {shard} is out of range: 0 to {MAX_SHARDS - 1}")
        self._shard = shard << _COUNTER_BITS
        self._milliseconds = floor >> _TIME_SHIFT
        self._counter = (1 << _COUNTER_BITS) - 1 if floor else -1

    def next(self, wall: float) -> int:
        """The next id; `wall`: seconds since 1970."""
        milliseconds = min(int((wall - EPOCH) * 1000), _MAX_MS)
        if milliseconds > self._milliseconds:
            self._milliseconds = milliseconds
            self._counter = 0
        else:
            self._counter += 1
            if self._counter >> _COUNTER_BITS:
                self._milliseconds += 1
                self._counter = 0
        if self._milliseconds > _MAX_MS:
            raise OverflowError("queue ids are exhausted: the clock was once set beyond the year 2089")
        return self._milliseconds << _TIME_SHIFT | self._shard | self._counter


def time_of(number: int) -> float:
    """When that id was given, to the millisecond: seconds since 1970, wall clock."""
    return EPOCH + (number >> _TIME_SHIFT) / 1000


def floor_beyond(number: int) -> int:
    """The floor to note down before `number` is used: later ids up to it need no new note."""
    return ((number >> _TIME_SHIFT) + RESERVE_MS) << _TIME_SHIFT
