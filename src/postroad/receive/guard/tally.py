"""Counts by key within a sliding time, in a table of fixed size that several processes may share. Pure.

The table is a buffer of 8-slot buckets; a key has its place in one bucket, by a keyed hash that nobody outside can aim.
A bucket that is full gives up what is dead, else the key that is furthest from its limit: whoever has reached his limit
is never pushed out by others, however many come (H-07); where a whole bucket has reached it, a newcomer is not counted.
Processes write without a lock: at worst one count of many is lost. Used for rates, failures and known good networks.
"""

from __future__ import annotations

import hashlib
import struct

SLOTS = 8
"""Slots of a bucket."""
_SLOT = struct.Struct("<QIIIf")
_BUCKET = struct.Struct("<" + "QIIIf" * SLOTS)
SLOT_OCTETS = _SLOT.size
_MOST = 0xFFFFFFFF


def table_octets(keys: int) -> int:
    """The size of a table for so many keys, rounded up to whole buckets."""
    return -(-keys // SLOTS) * _BUCKET.size


class Tally:
    """`window_s`: how long something counts; `buffer`: writable, zero at first; times in seconds of the wall clock.

    What happened in the window before still counts by the share of it that lies within the sliding time.
    """

    def __init__(self, buffer: bytearray | memoryview, *, secret: bytes, window_s: float) -> None:
        self._buffer = memoryview(buffer)
        self._buckets = len(self._buffer) // _BUCKET.size
        if not self._buckets:
            raise ValueError(f"a table needs {_BUCKET.size} octets at least, and this one has {len(self._buffer)}")
        self._secret = secret[:64]
        self.window_s = window_s

    def count(self, key: str, now: float) -> float:
        """How often within the last `window_s`, of what was added."""
        found = self._find(self._hash(key), now)
        return 0.0 if found is None else self._weighed(found[1], now)

    def add(self, key: str, now: float, limit: float, times: int = 1) -> float:
        """Count it so many times more; how often that makes. `limit`: where the key is kept before all others."""
        hashed = self._hash(key)
        found = self._find(hashed, now)
        if found is None:
            place = self._place(hashed, now)
            if place is None:
                return float(times)
            until, current, previous = int(now + self.window_s), 0, 0
        else:
            place, (until, current, previous) = found
        current = min(current + times, _MOST)
        weighed = self._weighed((until, current, previous), now)
        _SLOT.pack_into(self._buffer, place, hashed, until, current, previous, min(weighed / max(limit, 1e-9), 1e9))
        return weighed

    def clear(self, key: str) -> None:
        """Forget the key."""
        found = self._find(self._hash(key), 0.0)
        if found is not None:
            _SLOT.pack_into(self._buffer, found[0], 0, 0, 0, 0, 0.0)

    def _hash(self, key: str) -> int:
        digest = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8, key=self._secret).digest()
        return int.from_bytes(digest, "little") or 1

    def _find(self, hashed: int, now: float) -> tuple[int, tuple[int, int, int]] | None:
        """The place of the key, and its slot brought up to this time: (end of its window, count, count before)."""
        start = (hashed % self._buckets) * _BUCKET.size
        slots = _BUCKET.unpack_from(self._buffer, start)
        keys = slots[::5]
        if hashed not in keys:
            return None
        index = keys.index(hashed)
        until, current, previous = slots[5 * index + 1 : 5 * index + 4]
        if not now:
            return start + index * SLOT_OCTETS, (until, current, previous)
        if until > now + self.window_s + 1 or now >= until + self.window_s:
            until, current, previous = int(now + self.window_s), 0, 0
        elif now >= until:
            until, current, previous = int(until + self.window_s), 0, current
        return start + index * SLOT_OCTETS, (until, current, previous)

    def _weighed(self, slot: tuple[int, int, int], now: float) -> float:
        until, current, previous = slot
        left = min(max((until - now) / self.window_s, 0.0), 1.0)
        return float(current + previous * left)

    def _place(self, hashed: int, now: float) -> int | None:
        """Where a newcomer goes: a slot that is free or dead, else that of the key furthest from its limit."""
        start = (hashed % self._buckets) * _BUCKET.size
        slots = _BUCKET.unpack_from(self._buffer, start)
        lowest, chosen = 1.0, None
        for index in range(SLOTS):
            key, until, _, _, share = slots[5 * index : 5 * index + 5]
            if not key or now >= until + self.window_s or until > now + self.window_s + 1:
                return start + index * SLOT_OCTETS
            if share < lowest:
                lowest, chosen = share, index
        return None if chosen is None else start + chosen * SLOT_OCTETS
