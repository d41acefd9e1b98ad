"""Hooks asked when the message is in the queue already: its sender has his 250, and a slow scanner holds up nobody.

Such a message is kept as held for `PENDING`; here it is loaded, shown to the hooks, and let go, amended, held, thrown
away, or refused. What a crash interrupts is found again by its hold. A message that is refused now was taken before:
its sender is told where he is one of our users; a stranger's stays held, since a bounce would go to whom he named.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from postroad.clock import Clock
from postroad.deliver.attempt import Outcome
from postroad.deliver.settle import Judgement, SettlePolicy, bounce_message, judge
from postroad.events import emit
from postroad.hook.examine import Verdicted, examine
from postroad.hook.scanner import Scanner
from postroad.hook.vocabulary import Arrived, Client, Defer, Discard, Refuse
from postroad.meaning.backoff import Chance
from postroad.meaning.classify import classify
from postroad.message.dsn import Action
from postroad.message.envelope import Recipient, format_queue_id
from postroad.smtp.outcome import Phase
from postroad.smtp.reply import Reply
from postroad.store.spool import Queued, Settled, Spool, SpooledMessage, SpoolError

PENDING = "waits to be examined"
"""The hold of a message that hooks have yet to see."""
LOOK_S = 30.0
PAGE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class ExaminerSettings:
    """`concurrency`: messages examined at a time. A hook that defers is asked again after `retry_s`, doubled each time
    up to the ceiling."""

    hostname: str
    concurrency: int = 20
    retry_s: float = 30.0
    retry_ceiling_s: float = 1800.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ExaminerPorts:
    """What comes from outside. `hand_on`: recipients to deliver; `finish`: the last change before a message leaves
    (signing); `settled`: told of what was refused, as of any outcome."""

    spool: Spool
    clock: Clock
    rng: Chance
    token: Callable[[], str]
    hand_on: Callable[[Sequence[Queued]], None]
    finish: Callable[[SpooledMessage], Awaitable[SpooledMessage]]
    settled: Callable[[SpooledMessage, Judgement, Sequence[SpooledMessage], float], None]


class Examiner:
    """One for a worker. `run` until cancelled."""

    def __init__(
        self, settings: ExaminerSettings, ports: ExaminerPorts, scanners: Sequence[Scanner], policy: SettlePolicy
    ) -> None:
        self.settings = settings
        self.scanners = scanners
        self.policy = policy
        self._ports = ports
        self._waiting: dict[int, float] = {}
        """Message → when it may be asked about (monotonic)."""
        self._tries: dict[int, int] = {}
        self._busy: dict[int, asyncio.Task[None]] = {}
        self._wake = asyncio.Event()

    def take(self, message_id: int) -> None:
        """A message was kept a moment ago that is to be examined."""
        self._waiting.setdefault(message_id, self._ports.clock.monotonic())
        self._wake.set()

    async def run(self) -> None:
        """Examine what waits, and look in the spool for what an earlier run left behind."""
        try:
            look_at = 0.0
            while True:
                now = self._ports.clock.monotonic()
                if now >= look_at:
                    await self._look()
                    look_at = self._ports.clock.monotonic() + LOOK_S
                self._begin()
                await self._sleep(look_at)
        finally:
            for task in self._busy.values():
                task.cancel()
            await asyncio.gather(*self._busy.values(), return_exceptions=True)

    async def _look(self) -> None:
        try:
            for message_id in await self._ports.spool.held_for(PENDING, PAGE):
                self._waiting.setdefault(message_id, 0.0)
        except SpoolError as error:
            emit("spool.failed", error=str(error))

    def _begin(self) -> None:
        now = self._ports.clock.monotonic()
        ready = [one for one, at in self._waiting.items() if at <= now and one not in self._busy]
        for message_id in ready[: max(0, self.settings.concurrency - len(self._busy))]:
            task = asyncio.get_running_loop().create_task(self._examine(message_id))
            self._busy[message_id] = task
            task.add_done_callback(partial(self._ended, message_id))

    def _ended(self, message_id: int, _: object) -> None:
        self._busy.pop(message_id, None)
        self._wake.set()

    async def _sleep(self, until: float) -> None:
        due = [at for one, at in self._waiting.items() if one not in self._busy]
        is_full = len(self._busy) >= self.settings.concurrency
        at = until if is_full or not due else min(until, min(due))
        try:
            async with asyncio.timeout(max(0.01, at - self._ports.clock.monotonic())):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    async def _examine(self, message_id: int) -> None:
        try:
            message = await self._ports.spool.load(message_id)
            if message is None or message.held != PENDING:
                self._forget(message_id)
                return
            found = await examine(self.scanners, _arrived(message, self.settings.hostname))
            await self._conclude(message, found)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # the message stays pending, whatever went wrong
            emit("internal.error", where="examiner", queue_id=format_queue_id(message_id), error=f"{error!r}")
            self._later(message_id)

    async def _conclude(self, message: SpooledMessage, found: Verdicted) -> None:
        queue_id = format_queue_id(message.id)
        match found.ending:
            case Defer(said):
                emit("message.examined", queue_id=queue_id, result="deferred", reply=str(said))
                self._later(message.id)
                return
            case Discard():
                await self._remove(message)
                emit("message.examined", queue_id=queue_id, result="discarded")
            case Refuse(said):
                await self._refuse(message, said)
                emit("message.examined", queue_id=queue_id, result="refused", reply=str(said))
            case None:
                changed = _changed(message, found)
                if not found.hold:
                    changed = await self._ports.finish(changed)
                queued = await self._ports.spool.amend(
                    changed, max(self._ports.clock.wall(), changed.envelope.release_at or 0.0)
                )
                if not found.hold:
                    self._ports.hand_on(queued)
                emit("message.examined", queue_id=queue_id, result="held" if found.hold else "passed", hold=found.hold)
        self._forget(message.id)

    async def _remove(self, message: SpooledMessage) -> None:
        queued = await self._queued(message)
        await self._ports.spool.settle([Settled(queued=one, fate="discarded") for one in queued])

    async def _refuse(self, message: SpooledMessage, said: Reply) -> None:
        if message.trace.user is None:
            await self._ports.spool.amend(replace(message, held=f"refused by a hook: {said}"), 0.0)
            return
        queued = await self._queued(message)
        now = self._ports.clock.wall()
        outcome = Outcome(meaning=classify(Phase.BODY, said), phase=Phase.BODY, reply=said)
        outcomes = dict.fromkeys((one.id for one in queued), outcome)
        judgement = judge(message, queued, outcomes, policy=self.policy, now=now, rng=self._ports.rng)
        bounces = [
            await self._ports.finish(
                bounce_message(
                    message,
                    judgement.notices[action],
                    message_id=self._ports.spool.new_id(now),
                    boundary=self._ports.token(),
                    now=now,
                    policy=self.policy,
                )
            )
            for action in (Action.FAILED,)
            if action in judgement.notices
        ]
        kept = await self._ports.spool.settle(
            [verdict.kept for verdict in judgement.verdicts if isinstance(verdict.kept, Settled)],
            [(one, now) for one in bounces],
        )
        self._ports.settled(message, judgement, bounces, now)
        self._ports.hand_on(kept)

    async def _queued(self, message: SpooledMessage) -> Sequence[Queued]:
        """Its recipients in their rows: an amendment that changes nothing tells them."""
        return await self._ports.spool.amend(message, 0.0)

    def _later(self, message_id: int) -> None:
        tries = self._tries[message_id] = self._tries.get(message_id, 0) + 1
        settings = self.settings
        wait = min(settings.retry_ceiling_s, settings.retry_s * 2.0 ** min(tries - 1, 20))
        self._waiting[message_id] = self._ports.clock.monotonic() + wait

    def _forget(self, message_id: int) -> None:
        self._waiting.pop(message_id, None)
        self._tries.pop(message_id, None)


def _arrived(message: SpooledMessage, hostname: str) -> Arrived:
    trace = message.trace
    client = Client(
        address=trace.peer,
        port=0,
        listener="submission" if trace.user else "mx",
        hello=trace.helo,
        user=trace.user,
        is_tls=trace.protocol.rstrip("A").endswith("S"),
    )
    return Arrived(
        client=client,
        sender=message.envelope.reverse_path,
        recipients=tuple(one.address for one in message.envelope.recipients),
        octets=message.body,
        hostname=hostname,
        queue_id=format_queue_id(message.id),
    )


def _changed(message: SpooledMessage, found: Verdicted) -> SpooledMessage:
    arrived = found.arrived
    if not found.is_changed:
        return replace(message, held=found.hold)
    known = {one.address: one for one in message.envelope.recipients}
    recipients = tuple(known.get(one) or Recipient(one) for one in arrived.recipients) or message.envelope.recipients
    envelope = replace(message.envelope, reverse_path=arrived.sender, recipients=recipients)
    return replace(message, body=arrived.octets, envelope=envelope, held=found.hold)
