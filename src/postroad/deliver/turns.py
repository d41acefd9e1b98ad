"""Taking turns: levels of urgency by share, streams one after another, each stream's domains one after another.

Pure. What is ready for one domain, of one stream and one level, is a `Bunch`. A bunch waits for its turn, or, where its
domain has enough under way, is parked at its domain's lane until something there ends: so finding the next costs the
same however much there is. Used by deliver/schedule.py alone.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable

from postroad.store.spool import Queued

URGENT, NORMAL, BULK = range(3)
URGENT_SHARE = 0.75
"""Of what goes before bulk, while both urgent and normal mail wait."""


def level_of(priority: int) -> int:
    """The level of a priority from -9 to 9."""
    if priority == 0:
        return NORMAL
    return URGENT if priority > 0 else BULK


def of_others(limit: int) -> int:
    """What bulk may have under way of a limit: a tenth is left to other mail."""
    return limit - max(1, limit // 10) if limit > 2 else limit


class Bunch:
    """Messages of one stream, of one level, for one domain: oldest first."""

    __slots__ = ("lane", "level", "ready", "stream")

    def __init__(self, lane: Lane, level: int, stream: str) -> None:
        self.lane = lane
        self.level = level
        self.stream = stream
        self.ready: OrderedDict[int, list[Queued]] = OrderedDict()  # a dict's first is far behind what was deleted


class Lane:
    """What is ready for one domain, and how many items are under way there."""

    __slots__ = ("bulk_in_flight", "bunches", "domain", "in_flight", "parked")

    def __init__(self, domain: str) -> None:
        self.domain = domain
        self.bunches: dict[tuple[int, str], Bunch] = {}
        self.parked: tuple[deque[Bunch], ...] | None = None
        """By level; None while nothing ever was."""
        self.in_flight = 0
        self.bulk_in_flight = 0

    def room(self, level: int, limit: int, bulk_limit: int) -> int:
        """How many more items of that level may be under way."""
        room = limit - self.in_flight
        return min(room, bulk_limit - self.bulk_in_flight) if level == BULK else room

    def park(self, bunch: Bunch) -> None:
        """Its turn came while the domain had enough under way."""
        if self.parked is None:
            self.parked = (deque(), deque(), deque())
        self.parked[bunch.level].append(bunch)

    def unpark(self, limit: int, bulk_limit: int) -> list[Bunch]:
        """Those that may take turns again: of each level as many as there is room for."""
        if self.parked is None:
            return []
        again: list[Bunch] = []
        for level, parked in enumerate(self.parked):
            room = max(0, self.room(level, limit, bulk_limit))
            again += [parked.popleft() for _ in range(min(len(parked), room))]
        return again

    def began(self, level: int) -> None:
        """An item is under way."""
        self.in_flight += 1
        self.bulk_in_flight += level == BULK

    def ended(self, level: int) -> None:
        """It is no more."""
        self.in_flight -= 1
        self.bulk_in_flight -= level == BULK

    def let_go(self, chosen: Callable[[Queued], bool]) -> list[Queued]:
        """Drop the messages chosen (by any of their recipients), and unpark all: what was dropped. Turns start anew."""
        gone: list[Queued] = []
        for key, bunch in list(self.bunches.items()):
            for message_id, together in list(bunch.ready.items()):
                if chosen(together[0]):
                    gone += together
                    del bunch.ready[message_id]
            if not bunch.ready:
                del self.bunches[key]
        self.parked = None
        return gone


class _Share:
    """Two that take turns unevenly: while both want it, the second gets its share, evenly spread."""

    __slots__ = ("_credit",)

    def __init__(self) -> None:
        self._credit = 0.0

    def is_second(self, share: float, is_first_there: bool, is_second_there: bool) -> bool:
        """Whether the second has it this time."""
        if not (is_first_there and is_second_there):
            return is_second_there
        self._credit += share
        if self._credit < 1.0:
            return False
        self._credit -= 1.0
        return True


def _levels() -> tuple[OrderedDict[str, deque[Bunch]], ...]:
    return OrderedDict(), OrderedDict(), OrderedDict()


class Turns:
    """The bunches whose turn may come."""

    def __init__(self) -> None:
        self.bulk_in_flight = 0
        self._levels: tuple[OrderedDict[str, deque[Bunch]], ...] = _levels()
        """By level: streams in their order, each with its bunches in theirs."""
        self._bulk = _Share()
        self._normal = _Share()

    def append(self, bunch: Bunch) -> None:
        """Behind the other bunches of its stream; a stream that had none comes behind the other streams."""
        streams = self._levels[bunch.level]
        bunches = streams.get(bunch.stream)
        if bunches is None:
            streams[bunch.stream] = deque((bunch,))
        else:
            bunches.append(bunch)

    def next(self, bulk_share: float, *, may_bulk: bool) -> Bunch | None:
        """Take the bunch whose turn it is."""
        urgent, normal, bulk = self._levels
        if not urgent and not normal:
            if not (bulk and may_bulk):
                return None
            streams = bulk
        elif self._bulk.is_second(bulk_share, True, bool(bulk) and may_bulk):
            streams = bulk
        else:
            is_normal = self._normal.is_second(1.0 - URGENT_SHARE, bool(urgent), bool(normal))
            streams = normal if is_normal else urgent
        stream = next(iter(streams))
        bunches = streams.pop(stream)
        bunch = bunches.popleft()
        if bunches:
            streams[stream] = bunches
        return bunch

    def began(self, level: int) -> None:
        """An item of that level is under way."""
        self.bulk_in_flight += level == BULK

    def ended(self, level: int) -> None:
        """It is done."""
        self.bulk_in_flight -= level == BULK

    def start_anew(self, bunches: Iterable[Bunch]) -> None:
        """Only these, in that order."""
        self._levels = _levels()
        for bunch in bunches:
            self.append(bunch)
