"""What is due, and whose turn it is: a bounded window over the spool's recipients. Pure: time is handed in.

Recipients of one message in one domain make one work item. Domains take turns; each has a limit of items under way,
and so have all together. What finds no room stays in the spool, where it is safe, and `wants_refill` says when reading
it again brings something. All times are monotonic seconds.

A recipient held here (waiting, ready or under way) is never taken twice; one that was settled while a refill was
reading the spool is not taken back from what that had read before. Used by deliver/worker.py alone.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from postroad.store.spool import Queued


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleLimits:
    """Bounds of the window and of the work under way."""

    capacity: int = 50_000
    """Recipients held; at most half of them may wait for a later time."""
    per_domain: int = 20
    """Work items under way for one domain."""
    total: int = 500
    """Work items under way in all."""
    recipients_per_item: int = 100


_Choice = Callable[[Queued], bool]


@dataclass(slots=True, eq=False)
class WorkItem:
    """One message to the recipients of one domain. Compared by identity."""

    domain: str
    message_id: int
    queued: Sequence[Queued]
    is_attempted: bool = False


class _Lane:
    """The messages ready for one domain, oldest first, and the items under way there."""

    __slots__ = ("domain", "in_flight", "in_turn", "ready")

    def __init__(self, domain: str) -> None:
        self.domain = domain
        self.ready: dict[int, list[Queued]] = {}
        self.in_flight = 0
        self.in_turn = False


class Schedule:
    """The window of one spool shard."""

    def __init__(self, limits: ScheduleLimits | None = None) -> None:
        self.limits = limits or ScheduleLimits()
        self.in_flight = 0
        self._lanes: dict[str, _Lane] = {}
        self._turns: deque[_Lane] = deque()
        self._waiting: list[tuple[float, int, Queued]] = []
        self._held: set[int] = set()
        self._missed: float | None = 0.0
        """The earliest due time of what may be in the spool and is not held; at first all of it."""
        self._settled_meanwhile: set[int] | None = None

    def __len__(self) -> int:
        """Recipients held."""
        return len(self._held)

    @property
    def waiting(self) -> int:
        """Recipients held that are not due yet."""
        return len(self._waiting)

    # Into the window ----------------------------------------------------------------------------------------------

    def add(self, queued: Queued, due: float, now: float) -> bool:
        """Hold a recipient until it is due. False: there is no room, or it is held already."""
        held = self._held
        number = queued.id
        if number in held:
            return False
        limits = self.limits
        if len(held) >= limits.capacity or (due > now and len(self._waiting) >= limits.capacity // 2):
            self.missed(due)
            return False
        held.add(number)
        if due > now:
            heapq.heappush(self._waiting, (due, number, queued))
            return True
        self._make_ready(queued)
        return True

    def _make_ready(self, queued: Queued) -> None:
        domain = queued.recipient.address.domain
        lane = self._lanes.get(domain)
        if lane is None:
            lane = self._lanes[domain] = _Lane(domain)
        together = lane.ready.get(queued.message_id)
        if together is None:
            lane.ready[queued.message_id] = [queued]
        else:
            together.append(queued)
        if not lane.in_turn and lane.in_flight < self.limits.per_domain:
            lane.in_turn = True
            self._turns.append(lane)

    def missed(self, due: float) -> None:
        """Something due then is in the spool and not held here."""
        if self._missed is None or due < self._missed:
            self._missed = due

    # Out of the window --------------------------------------------------------------------------------------------

    def next_ready(self, now: float) -> WorkItem | None:
        """The next work item, or None where nothing is due or the limits are reached.

        It counts as under way until `done`."""
        if self._waiting and self._waiting[0][0] <= now:
            self._ripen(now)
        limits = self.limits
        if not self._turns or self.in_flight >= limits.total:
            return None
        lane = self._turns.popleft()
        message_id = next(iter(lane.ready))
        together = lane.ready[message_id]
        if len(together) > limits.recipients_per_item:
            lane.ready[message_id] = together[limits.recipients_per_item :]
            together = together[: limits.recipients_per_item]
        else:
            del lane.ready[message_id]
        lane.in_flight += 1
        self.in_flight += 1
        if lane.ready and lane.in_flight < limits.per_domain:
            self._turns.append(lane)
        else:
            lane.in_turn = False
        return WorkItem(lane.domain, message_id, together)

    def _ripen(self, now: float) -> None:
        waiting = self._waiting
        while waiting and waiting[0][0] <= now:
            self._make_ready(heapq.heappop(waiting)[2])

    def attempted(self, item: WorkItem) -> None:
        """The attempt is over, and only its outcome has yet to be kept: the domain may have another item."""
        if item.is_attempted:
            return
        item.is_attempted = True
        lane = self._lanes[item.domain]
        lane.in_flight -= 1
        if lane.ready:
            if not lane.in_turn:
                lane.in_turn = True
                self._turns.append(lane)
        elif not lane.in_flight:
            del self._lanes[item.domain]

    def done(self, item: WorkItem) -> None:
        """Its recipients are settled (or deferred: then `add` them anew)."""
        self.attempted(item)
        self.in_flight -= 1
        for queued in item.queued:
            self._held.discard(queued.id)
            if self._settled_meanwhile is not None:
                self._settled_meanwhile.add(queued.id)

    # What operators do --------------------------------------------------------------------------------------------

    def retry_now(self, message_id: int, now: float) -> int:
        """Make the waiting recipients of a message due; how many there were."""
        chosen = [entry for entry in self._waiting if entry[1] in self._held and entry[2].message_id == message_id]
        if chosen:
            self._waiting = [entry for entry in self._waiting if entry[2].message_id != message_id]
            heapq.heapify(self._waiting)
            for _, _, queued in sorted(chosen):
                self._make_ready(queued)
        return len(chosen)

    def remove(self, message_id: int) -> int:
        """Let go of a message's recipients that are not under way; how many there were."""
        return self._let_go(lambda queued: queued.message_id == message_id)

    def forget(self) -> int:
        """Let go of everything not under way, to be read from the spool anew; how much it was."""
        count = self._let_go(lambda queued: True)
        self.missed(0.0)
        return count

    def _let_go(self, chosen: _Choice) -> int:
        gone = [queued.id for _, _, queued in self._waiting if chosen(queued)]
        if gone:
            self._waiting = [entry for entry in self._waiting if not chosen(entry[2])]
            heapq.heapify(self._waiting)
        for lane in list(self._lanes.values()):
            for message_id, together in list(lane.ready.items()):
                if chosen(together[0]):
                    gone += [queued.id for queued in together]
                    del lane.ready[message_id]
            if not lane.ready and not lane.in_flight:
                del self._lanes[lane.domain]
        for lane in self._turns:
            lane.in_turn = bool(lane.ready)
        self._turns = deque(lane for lane in self._turns if lane.ready)
        self._held.difference_update(gone)
        return len(gone)

    # The rest of the spool ----------------------------------------------------------------------------------------

    def wants_refill(self, now: float) -> bool:
        """Whether something in the spool is due that is not held, and there is room for it."""
        if self._missed is None or self._missed > now or self._settled_meanwhile is not None:
            return False
        return len(self._held) - len(self._waiting) <= self.limits.capacity // 4

    def begin_refill(self) -> None:
        """The spool is read from its earliest recipient on; `take` what it has, `missed` where reading stops."""
        self._missed = None
        self._settled_meanwhile = set()

    def take(self, found: Iterable[tuple[Queued, float]], now: float) -> bool:
        """Add what a refill read, each with its due time. False: there is no room for more that is due."""
        settled: Collection[int] = self._settled_meanwhile or ()
        for queued, due in found:
            if queued.id not in settled and queued.id not in self._held:
                self.add(queued, due, now)
        return self._missed is None

    def end_refill(self) -> None:
        """The refill has read as far as it will."""
        self._settled_meanwhile = None

    def next_wakeup(self) -> float | None:
        """When the next recipient becomes due, or the spool should be read; None where nothing is waited for."""
        due = self._waiting[0][0] if self._waiting else None
        if self._missed is not None and self._settled_meanwhile is None:
            return self._missed if due is None else min(due, self._missed)
        return due
