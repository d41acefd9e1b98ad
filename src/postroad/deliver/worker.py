"""The loop that empties the queue: spool → schedule → attempt → settle → spool.

`enqueue` takes what was committed a moment ago, so that mail on its way through touches the disk only to be kept; the
rest is read from the spool as there is room. One task a work item, bounded by the schedule. An outcome that the disk
refuses to keep is kept here and offered again: nothing is lost, and nothing is sent twice for it.

What happened is told to `emit` once it is durable. Joined by the worker process with receive's acceptance.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace

from postroad.clock import Clock
from postroad.deliver.attempt import Attempter, Outcomes, failed_inside, given_back
from postroad.deliver.schedule import Schedule, ScheduleLimits, WorkItem
from postroad.deliver.settle import Judgement, SettlePolicy, bounce_message, judge
from postroad.meaning.backoff import MAX_HINT_S, Chance
from postroad.message.dsn import Action
from postroad.message.envelope import format_queue_id
from postroad.store.spool import Deferred, GivenBack, Queued, Spool, SpoolClosed, SpooledMessage, SpoolError

_END_OF_TIME = 1e18
_BEFORE_BULK, _BULK = (0, 9), (-9, -1)
REFILL_WINDOWS = 4
"""How many windows of recipients a refill reads at most, for each: of a flood it takes only what has room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DelivererSettings:
    """Bounds and intervals of the loop."""

    limits: ScheduleLimits = field(default_factory=ScheduleLimits)
    poll_s: float = 1.0
    """How often the spool is asked whether an operator changed it."""
    refill_page: int = 5000
    """Recipients read at a time."""
    refill_retry_s: float = 5.0
    """Until a spool that could not be read is read again."""
    settle_retry_s: float = 1.0
    """Until an outcome that could not be kept is offered again; doubled each time."""
    settle_retry_ceiling_s: float = 30.0


def _nothing(message: SpooledMessage, judgement: Judgement, bounces: Sequence[SpooledMessage], at: float) -> None:
    """Nobody keeps a record."""


async def unchanged(message: SpooledMessage) -> SpooledMessage:
    """Nothing is done to a notification before it is queued."""
    return message


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What comes from outside: time, chance, unguessable text for MIME boundaries, and the door for events."""

    clock: Clock
    rng: Chance
    token: Callable[[], str]
    emit: Callable[..., None]
    settled: Callable[[SpooledMessage, Judgement, Sequence[SpooledMessage], float], None] = _nothing
    """Told of each attempt once its outcome is durable: the message, what was judged, the notifications that were
    queued for it, and when (wall clock)."""
    finish: Callable[[SpooledMessage], Awaitable[SpooledMessage]] = unchanged
    """The last change to a notification before it is queued: it is signed. Never raises."""


class Deliverer:
    """One for a spool shard. `run` until `drain`."""

    def __init__(
        self,
        spool: Spool,
        attempter: Attempter,
        policy: SettlePolicy,
        around: Surroundings,
        settings: DelivererSettings | None = None,
    ) -> None:
        self.policy = policy
        self._spool = spool
        self._attempter = attempter
        self._clock = around.clock
        self._rng = around.rng
        self._token = around.token
        self._emit = around.emit
        self._settled = around.settled
        self._finish = around.finish
        self._settings = settings or DelivererSettings()
        self._schedule = Schedule(self._settings.limits)
        self._group: asyncio.TaskGroup | None = None
        self._tasks: dict[asyncio.Task[None], int] = {}
        """What is under way, and of which message."""
        self._has_orders = True
        """There may be something to be given back to its sender."""
        self._is_draining = False
        self._wake = asyncio.Event()
        self._stopped = asyncio.Event()

    @property
    def held(self) -> int:
        """Recipients in memory: ready, under way, or waiting for their time."""
        return len(self._schedule)

    @property
    def in_flight(self) -> int:
        """Work items under way."""
        return self._schedule.in_flight

    def enqueue(self, queued: Sequence[Queued]) -> None:
        """Take recipients that were committed just now. Cheap; what finds no room is read from the spool later."""
        now, wall = self._clock.monotonic(), self._clock.wall()
        for one in queued:
            self._schedule.add(one, now + self._wait(one, wall), now)
        self._pump()

    def use(self, attempter: Attempter, policy: SettlePolicy, limits: ScheduleLimits) -> None:
        """From the next attempt on, take another road, policy and limits: the configuration was reloaded."""
        self._attempter = attempter
        self.policy = policy
        self._schedule.limits = limits

    def retry_now(self, message_id: int) -> int:
        """Try the waiting recipients of a message at once; how many there were in memory."""
        count = self._schedule.retry_now(message_id, self._clock.monotonic())
        self._pump()
        return count

    def remove(self, message_id: int) -> int:
        """Forget a message that was removed from the spool; how many recipients were in memory."""
        return self._schedule.remove(message_id)

    def _wait(self, queued: Queued, wall: float) -> float:
        """Seconds until a recipient is due; never longer than any retry waits, whatever the wall clock did (D-04)."""
        wait = queued.due_at - wall
        return wait if wait <= 0 else min(wait, max(self.policy.schedule.ceiling_s, MAX_HINT_S))

    # The loop -----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Deliver until drained. Ends when the last attempt under way has."""
        self._stopped.clear()
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                next_poll = self._clock.monotonic() + self._settings.poll_s
                while not self._is_draining:
                    now = self._clock.monotonic()
                    if now >= next_poll:
                        next_poll = now + self._settings.poll_s
                        await self._look_for_changes()
                    if self._schedule.wants_refill(now):
                        await self._refill()
                    self._pump()
                    await self._sleep_until(next_poll)
        finally:
            self._group = None
            self._stopped.set()

    async def _sleep_until(self, next_poll: float) -> None:
        due = self._schedule.next_wakeup()
        now = self._clock.monotonic()
        until = next_poll if due is None or due <= now else min(next_poll, due)
        try:
            async with asyncio.timeout(max(until - now, 0.001)):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    async def drain(self, timeout_s: float) -> None:
        """Begin nothing new, let what is under way end within that time, then break it off: it stays in the spool."""
        self._is_draining = True
        self._wake.set()
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=timeout_s)
        for task in self._tasks:
            task.cancel()
        if self._group is not None:
            await self._stopped.wait()

    def _pump(self) -> None:
        """Begin all that may begin now."""
        group = self._group
        if group is None or self._is_draining:
            return
        now = self._clock.monotonic()
        while (item := self._schedule.next_ready(now)) is not None:
            task = group.create_task(self._carry(item))
            self._tasks[task] = item.message_id
            task.add_done_callback(self._tasks.pop)

    async def _look_for_changes(self) -> None:
        try:
            if await self._spool.changed():
                self._schedule.forget()
                self._has_orders = True
            if self._has_orders:
                await self._give_back()
        except SpoolError as error:
            self._emit("spool.failed", error=str(error))
            self._has_orders = False

    async def _refill(self) -> None:
        schedule = self._schedule
        schedule.begin_refill()
        try:
            for priorities in _BEFORE_BULK, _BULK:
                await self._read_spool(priorities)
        except SpoolError as error:
            schedule.missed(self._clock.monotonic() + self._settings.refill_retry_s)
            self._emit("spool.failed", error=str(error))
        finally:
            schedule.end_refill()

    async def _read_spool(self, priorities: tuple[int, int]) -> None:
        """Fill the window with what has those priorities. What its stream has no room for is read over, so far."""
        schedule, limit = self._schedule, self._settings.refill_page
        after: tuple[float, int] | None = None
        for _ in range(REFILL_WINDOWS * (schedule.limits.capacity // limit + 1)):
            page = await self._spool.due(before=_END_OF_TIME, limit=limit, after=after, priorities=priorities)
            now, wall = self._clock.monotonic(), self._clock.wall()
            has_room = schedule.take(((one, now + self._wait(one, wall)) for one in page), now)
            if len(page) < limit:
                return
            after = (page[-1].due_at, page[-1].id)
            if not has_room or (priorities == _BULK and schedule.is_full_for_bulk):
                break
            self._pump()
        schedule.missed(now + self._wait(page[-1], wall))

    # One work item ------------------------------------------------------------------------------------------------

    async def _carry(self, item: WorkItem) -> None:
        try:
            message = await self._spool.load(item.message_id)
        except SpoolError as error:
            self._emit("spool.failed", queue_id=format_queue_id(item.message_id), error=str(error))
            self._put_back(item, self._settings.refill_retry_s)
            return
        if message is None or message.held:  # removed or held in the meantime, or set aside as unreadable
            self._schedule.done(item)
            self._pump()
            return
        wall = self._clock.wall()
        wait = 0.0 if message.envelope.release_at is None else item.queued[0].due_at - wall
        if wait > 0 and wall >= message.received_at:
            # The longest interval has passed, the message's own time has not come (RFC 4865).
            self._put_back(item, min(wait, MAX_HINT_S))
            return
        outcomes: Outcomes = {}
        try:
            await self._attempt(message, item, outcomes)
        except asyncio.CancelledError:
            await self._keep_known(message, item, outcomes)
            raise
        self._schedule.attempted(item)
        now = self._clock.wall()
        try:
            judgement = judge(message, item.queued, outcomes, policy=self.policy, now=now, rng=self._rng)
            bounces = await self._bounces(message, judgement, now) if judgement.notices else []
        except Exception as error:
            # As in `_attempt`: it stays in the spool, and is looked at again when the longest interval has passed.
            self._internal_error(message.id, error)
            self._put_back(item, self.policy.schedule.ceiling_s)
            return
        try:
            queued = await self._settle(judgement, bounces, item)
        except SpoolClosed:
            return
        self._schedule.done(item)
        self._tell(message, judgement, bounces, queued, now)

    def _tell(
        self,
        message: SpooledMessage,
        judgement: Judgement,
        bounces: list[tuple[SpooledMessage, float]],
        queued: tuple[Queued, ...],
        judged_at: float,
    ) -> None:
        """The outcome is durable, with the notifications that it led to."""
        self._after(message, judgement, judged_at)
        tried = judgement.tried()
        if tried.verdicts:
            self._settled(message, tried, [bounce for bounce, _ in bounces], judged_at)
        for bounce, _ in bounces:
            self._emit(
                "dsn.queued",
                queue_id=format_queue_id(bounce.id),
                about=format_queue_id(message.id),
                recipient=str(bounce.envelope.recipients[0].address),
            )
        if queued:
            self.enqueue(queued)
        else:
            self._pump()

    # What an operator gives back ----------------------------------------------------------------------------------

    async def _give_back(self) -> None:
        """Give messages back to their senders, as an operator said: those of which nothing is under way."""
        orders = await self._spool.given_back(self._settings.refill_page)
        self._has_orders = bool(orders)
        by_message: dict[int, list[GivenBack]] = {}
        for one in orders:
            by_message.setdefault(one.queued.message_id, []).append(one)
        for message_id, theirs in by_message.items():
            if message_id in self._tasks.values():
                continue  # looked at again with the next poll
            self._schedule.remove(message_id)
            self._schedule.missed(self._clock.monotonic())  # its other recipients are read again
            message = await self._spool.load(message_id)
            if message is not None:
                await self._give_back_one(message, theirs)

    async def _give_back_one(self, message: SpooledMessage, orders: Sequence[GivenBack]) -> None:
        now = self._clock.wall()
        # It is no attempt, and not counted as one.
        queued = [replace(one.queued, attempts=one.queued.attempts - 1) for one in orders]
        outcomes = {one.queued.id: given_back(one.words) for one in orders}
        try:
            judgement = judge(message, queued, outcomes, policy=self.policy, now=now, rng=self._rng)
            bounces = await self._bounces(message, judgement, now) if judgement.notices else []
        except Exception as error:  # it stays in the queue, and the order with it
            self._internal_error(message.id, error)
            self._has_orders = False
            return
        kept = await self._spool.settle([verdict.kept for verdict in judgement.verdicts], bounces)
        self._tell(message, judgement, bounces, kept, now)

    def _put_back(self, item: WorkItem, wait_s: float) -> None:
        self._schedule.done(item)
        now = self._clock.monotonic()
        for one in item.queued:
            self._schedule.add(one, now + wait_s, now)

    async def _keep_known(self, message: SpooledMessage, item: WorkItem, outcomes: Outcomes) -> None:
        """The attempt was broken off between two transactions: what the first ones delivered is not delivered again."""
        known = [one for one in item.queued if one.id in outcomes and outcomes[one.id].is_delivered]
        if not known:
            return
        now = self._clock.wall()
        judgement = judge(message, known, outcomes, policy=self.policy, now=now, rng=self._rng)
        bounces = await self._bounces(message, judgement, now)
        try:
            await self._settle(judgement, bounces, item)
        except SpoolClosed:
            return
        self._schedule.done(item)
        self._after(message, judgement, now)
        self._settled(message, judgement, [bounce for bounce, _ in bounces], now)

    async def _attempt(self, message: SpooledMessage, item: WorkItem, outcomes: Outcomes) -> None:
        try:
            outcomes.update(await self._attempter.attempt(message, item.queued, outcomes))
        except Exception as error:
            # A fault of ours must neither lose mail nor end the loop that carries everyone else's.
            self._internal_error(message.id, error)
            for one in item.queued:
                outcomes.setdefault(one.id, failed_inside("an internal error of this server"))

    def _internal_error(self, message_id: int, error: Exception) -> None:
        self._emit(
            "internal.error",
            where="delivery",
            queue_id=format_queue_id(message_id),
            error=f"{type(error).__name__}: {error}",
        )

    async def _bounces(
        self, message: SpooledMessage, judgement: Judgement, now: float
    ) -> list[tuple[SpooledMessage, float]]:
        bounces = []
        for action in Action:
            if action in judgement.notices:
                bounce = bounce_message(
                    message,
                    judgement.notices[action],
                    message_id=self._spool.new_id(now),
                    boundary=self._token(),
                    now=now,
                    policy=self.policy,
                )
                bounces.append((await self._finish(bounce), now))
        return bounces

    async def _settle(
        self, judgement: Judgement, bounces: list[tuple[SpooledMessage, float]], item: WorkItem
    ) -> tuple[Queued, ...]:
        """Have it kept, however long the disk takes to come back. Raises SpoolClosed when the spool is given up."""
        kept = [verdict.kept for verdict in judgement.verdicts]
        wait_s = self._settings.settle_retry_s
        while True:
            try:
                return await self._spool.settle(kept, bounces)
            except SpoolClosed:
                raise
            except SpoolError as error:
                self._emit("spool.failed", queue_id=format_queue_id(item.message_id), error=str(error))
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, self._settings.settle_retry_ceiling_s)

    def _after(self, message: SpooledMessage, judgement: Judgement, judged_at: float) -> None:
        """The outcome is durable: let the window know, and say what happened."""
        now = self._clock.monotonic()
        queue_id = format_queue_id(message.id)
        for verdict in judgement.verdicts:
            outcome, kept = verdict.outcome, verdict.kept
            said = str(outcome.reply) if outcome.reply is not None else outcome.detail
            fields: dict[str, object] = {
                "queue_id": queue_id,
                "recipient": str(verdict.queued.recipient.address),
                "host": outcome.host,
                "reply": said,
            }
            if isinstance(kept, Deferred):
                later = replace(
                    kept.queued,
                    due_at=kept.due_at,
                    attempts=kept.queued.attempts + kept.is_attempt,
                    delay_notified=kept.delay_notified,
                )
                self._schedule.add(later, now + (kept.due_at - judged_at), now)
                fields["due_at"] = kept.due_at
            if not outcome.is_delivered:
                fields["phase"] = str(outcome.phase)
                fields["meaning"] = kept.attempt.meaning if isinstance(kept, Deferred) else str(outcome.meaning.kind)
                fields["rule"] = outcome.meaning.rule
            self._emit(f"delivery.{verdict.fate}", **fields)
