"""What is due, and whose turn it is: a bounded window over the spool's recipients. Pure: time is handed in.

Recipients of one message in one domain make one work item. Urgent mail goes before other mail and that before bulk,
each with a share, so that none waits for ever; within a level, streams (whose mail it is) take turns, and a stream's
domains do. Each domain has a limit of items under way, and so have all together; of both, and of the window, bulk
leaves a part to other mail (docs/decisions/0023-whose-turn-it-is.md).

What finds no room stays in the spool, where it is safe, and `wants_refill` says when reading it again brings something.
All times are monotonic seconds. A recipient held here (waiting, ready or under way) is never taken twice; one that was
settled while a refill was reading the spool is not taken back from what that had read before. Used by deliver/worker.py
alone.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from postroad.deliver.turns import Bunch, Lane, Turns, level_of, of_others
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
    bulk_share: float = 0.2
    """The share of work items that bulk gets while other mail waits."""
    reserved_share: float = 0.25
    """The share of the window that neither bulk nor a stream that holds much of it may take."""

    @property
    def reserved(self) -> int:
        """Recipients that the window keeps room for."""
        return int(self.capacity * self.reserved_share)


_Choice = Callable[[Queued], bool]


@dataclass(slots=True, eq=False)
class WorkItem:
    """One message to the recipients of one domain. Compared by identity."""

    domain: str
    message_id: int
    queued: Sequence[Queued]
    level: int = 1
    is_attempted: bool = False


class Schedule:
    """The window of one spool shard."""

    def __init__(self, limits: ScheduleLimits | None = None) -> None:
        self.limits = limits or ScheduleLimits()
        self.in_flight = 0
        self._lanes: dict[str, Lane] = {}
        self._turns = Turns()
        self._waiting: list[tuple[float, int, Queued]] = []
        self._held: set[int] = set()
        self._by_stream: dict[str, int] = {}
        """Recipients held of each stream, without bulk."""
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

    @property
    def is_full(self) -> bool:
        """Whether there is no room for anybody."""
        return len(self._held) >= self.limits.capacity

    @property
    def is_full_for_bulk(self) -> bool:
        """Whether only other mail has room."""
        return self.limits.capacity - len(self._held) <= self.limits.reserved

    # Into the window ----------------------------------------------------------------------------------------------

    def add(self, queued: Queued, due: float, now: float) -> bool:
        """Hold a recipient until it is due. False: there is no room for it, or it is held already."""
        held = self._held
        number = queued.id
        if number in held:
            return False
        limits = self.limits
        if (due > now and len(self._waiting) >= limits.capacity // 2) or not self._has_room(queued):
            self.missed(due)
            return False
        held.add(number)
        if queued.priority >= 0:
            self._by_stream[queued.stream] = self._by_stream.get(queued.stream, 0) + 1
        if due > now:
            heapq.heappush(self._waiting, (due, number, queued))
            return True
        self._make_ready(queued)
        return True

    def _has_room(self, queued: Queued) -> bool:
        limits = self.limits
        free = limits.capacity - len(self._held)
        reserved = limits.reserved
        if free > reserved:
            return True
        if free <= 0 or queued.priority < 0:
            return False
        # The last part is for what is urgent and for who has little here: what floods the window waits in the spool.
        return queued.priority > 0 or self._by_stream.get(queued.stream, 0) < reserved // 8 + 1

    def _make_ready(self, queued: Queued) -> None:
        domain = queued.recipient.address.domain
        lane = self._lanes.get(domain)
        if lane is None:
            lane = self._lanes[domain] = Lane(domain)
        key = (level_of(queued.priority), queued.stream)
        bunch = lane.bunches.get(key)
        if bunch is None:
            bunch = lane.bunches[key] = Bunch(lane, *key)
            self._turns.append(bunch)
        together = bunch.ready.get(queued.message_id)
        if together is None:
            bunch.ready[queued.message_id] = [queued]
        else:
            together.append(queued)

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
        if self.in_flight >= limits.total:
            return None
        bulk_total, bulk_per_domain = of_others(limits.total), of_others(limits.per_domain)
        while True:
            bunch = self._turns.next(limits.bulk_share, may_bulk=self._turns.bulk_in_flight < bulk_total)
            if bunch is None:
                return None
            if bunch.lane.room(bunch.level, limits.per_domain, bulk_per_domain) > 0:
                return self._begin(bunch)
            bunch.lane.park(bunch)

    def _begin(self, bunch: Bunch) -> WorkItem:
        lane, most = bunch.lane, self.limits.recipients_per_item
        message_id = next(iter(bunch.ready))
        together = bunch.ready[message_id]
        if len(together) > most:
            bunch.ready[message_id] = together[most:]
            together = together[:most]
        else:
            del bunch.ready[message_id]
        if bunch.ready:
            self._turns.append(bunch)
        else:
            del lane.bunches[bunch.level, bunch.stream]
        lane.began(bunch.level)
        self._turns.began(bunch.level)
        self.in_flight += 1
        return WorkItem(lane.domain, message_id, together, bunch.level)

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
        lane.ended(item.level)
        limits = self.limits
        for bunch in lane.unpark(limits.per_domain, of_others(limits.per_domain)):
            self._turns.append(bunch)
        if not lane.bunches and not lane.in_flight:
            del self._lanes[item.domain]

    def done(self, item: WorkItem) -> None:
        """Its recipients are settled (or deferred: then `add` them anew)."""
        self.attempted(item)
        self.in_flight -= 1
        self._turns.ended(item.level)
        for queued in item.queued:
            self._let_out(queued)
            if self._settled_meanwhile is not None:
                self._settled_meanwhile.add(queued.id)

    def _let_out(self, queued: Queued) -> None:
        if queued.id not in self._held:
            return
        self._held.discard(queued.id)
        if queued.priority < 0:
            return
        left = self._by_stream.get(queued.stream, 0) - 1
        if left > 0:
            self._by_stream[queued.stream] = left
        else:
            self._by_stream.pop(queued.stream, None)

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
        gone = [queued for _, _, queued in self._waiting if chosen(queued)]
        if gone:
            self._waiting = [entry for entry in self._waiting if not chosen(entry[2])]
            heapq.heapify(self._waiting)
        for lane in list(self._lanes.values()):
            gone += lane.let_go(chosen)
            if not lane.bunches and not lane.in_flight:
                del self._lanes[lane.domain]
        self._turns.start_anew(bunch for lane in self._lanes.values() for bunch in lane.bunches.values())
        for queued in gone:
            self._let_out(queued)
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
        """Add what a refill read, each with its due time. False: there is no room for more, whoever's it is."""
        settled: Collection[int] = self._settled_meanwhile or ()
        for queued, due in found:
            if queued.id not in settled and queued.id not in self._held:
                self.add(queued, due, now)
        return not self.is_full and len(self._waiting) < self.limits.capacity // 2

    def end_refill(self) -> None:
        """The refill has read as far as it will."""
        self._settled_meanwhile = None

    def next_wakeup(self) -> float | None:
        """When the next recipient becomes due, or the spool should be read; None where nothing is waited for."""
        due = self._waiting[0][0] if self._waiting else None
        if self._missed is not None and self._settled_meanwhile is None:
            return self._missed if due is None else min(due, self._missed)
        return due
