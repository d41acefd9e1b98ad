"""Asking one site about a batch of addresses: MAIL, RCPT…, RSET, over the road that deliveries take.

A session holds at most so many recipients as the settings, the site and the host (LIMITS RCPTMAX) allow; never DATA
or BDAT (C-15). A host that was asked too much tells it, and is then left alone for a while by the pool (V-09); what
it says of mailboxes after such a sign is not believed (V-06). What an answer is worth is judge's business. Used by job.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from postroad.meaning.hearing import MAX_FRESH_STARTS, is_crowded_out, is_shifted, is_stale, is_unwelcome
from postroad.net.dialogue import Connection
from postroad.road.pool import ConnectFailure, HostAttempt, Lease, Pool
from postroad.road.route import Route, RouteFailure
from postroad.smtp.address import Address, NullPath
from postroad.smtp.command import Mail, Rcpt
from postroad.smtp.errors import LocalProtocolError
from postroad.smtp.outcome import Phase, RecipientResult
from postroad.verify.judge import Step
from postroad.verify.plan import Item


@dataclass(frozen=True, slots=True)
class Answer:
    """What came up about one address; `decided_by` is one of the steps."""

    steps: tuple[Step, ...]
    decided_by: Step


@dataclass(frozen=True, slots=True)
class Asked:
    """What a batch brought. `again`: items that got no hearing, and may be asked in another session."""

    answers: dict[int, Answer]
    again: tuple[Item, ...] = ()
    distrusted: tuple[Item, ...] = ()
    """Those whose answer came after the site had shown that it does not want us (V-06); it is among the answers."""
    is_unreachable: bool = False
    """No connection could be had: the rest of the domain need not be tried now."""
    pause_s: float | None = None
    """The site is to be left alone for so long, and nobody was asked."""


LEARNT_SITES = 20_000
"""Sites whose shorter sessions are remembered."""


class Prober:
    """Asks by `pool`, as `mail_from`. `session_size`: recipients in one session, over all its transactions.

    `wall`: the wall clock, for evidence.
    """

    def __init__(
        self, pool: Pool, *, mail_from: Address | NullPath, session_size: int, wall: Callable[[], float] = lambda: 0.0
    ) -> None:
        self._pool = pool
        self._mail_from = mail_from
        self._session_size = session_size
        self._wall = wall
        self._used: WeakKeyDictionary[Connection, int] = WeakKeyDictionary()
        """Recipients asked about on each connection still open."""
        self._learnt: dict[str, int] = {}
        """Recipients in a session, of the sites that ended one by 421 before it was full."""

    async def ask(self, route: Route, items: Sequence[Item]) -> Asked:
        """Ask about the items, all of that route's domain, in one session."""
        fresh_starts = 0
        while True:
            count = min(len(items), self._most_in_session(route))
            lease = self._pool.try_acquire(route, count) or await self._pool.acquire(route, count)
            if isinstance(lease, RouteFailure):
                return _nobody_asked(items, route_answer(lease, self._wall()))
            if isinstance(lease, ConnectFailure):
                answer = self._unconnected(lease, route)
                if lease.retry_after_s is not None:
                    return Asked({}, tuple(items), pause_s=lease.retry_after_s)
                return _nobody_asked(items, answer)
            asked, was_stale = await self._use(lease, route, items)
            if not was_stale or fresh_starts >= MAX_FRESH_STARTS:
                return asked
            fresh_starts += 1

    async def _use(self, lease: Lease, route: Route, items: Sequence[Item]) -> tuple[Asked, bool]:
        """One transaction on a lease, or two where some local parts need SMTPUTF8; the lease is given back.

        Also whether it was used before, and had been closed before we asked anything."""
        connection = lease.connection
        was_used = connection.transactions > 0
        session_size = self._most_in_session(route)
        is_reusable = False
        try:
            room = session_size - self._used.get(connection, 0)
            batch = items[: max(1, min(room, _most(connection, route)))]
            again = list(items[len(batch) :])
            answers: dict[int, Answer] = {}
            distrusted: list[Item] = []
            was_stale = False
            has_trouble = has_silence = False
            for group, is_utf8 in _by_need(batch):
                if answers and (has_trouble or not connection.is_open):
                    again.extend(group)  # the first group had its hearing, so this ends
                    continue
                if is_utf8 and not connection.capabilities.has("SMTPUTF8"):
                    detail = "the host does not offer SMTPUTF8"
                    answers.update(_everyone(group, self._step(connection, Phase.EHLO, detail, "smtputf8_needed")))
                    continue
                found, is_in_step = await self._transact(connection, group, is_utf8=is_utf8)
                if not is_in_step:
                    detail = "its replies belong to other questions than those they came for"
                    answers.update(_everyone(group, self._step(connection, Phase.RCPT, detail, "out_of_step")))
                    has_trouble = True
                    continue
                if is_stale(found):
                    if answers:
                        again.extend(group)
                        has_trouble = has_trouble or any(is_unwelcome(result) for result in found)
                        continue
                    was_stale = was_used
                repeated = _unheard(found)
                for index, (item, result) in enumerate(zip(group, found, strict=True)):
                    if index in repeated:
                        again.append(item)
                        continue
                    step = self._step(connection, result.phase, result.detail, result=result)
                    answers[item.id] = Answer((step,), step)
                    if has_trouble and result.phase is Phase.RCPT:
                        distrusted.append(item)
                    has_trouble = has_trouble or is_unwelcome(result)
                has_trouble = has_trouble or any(is_unwelcome(result) for result in found)
                self._learn(route, found, self._used[connection])
                has_silence = has_silence or not any(result.reply for result in found)
            is_welcome = not (has_trouble or has_silence)
            _tell_pool(lease, is_welcome=is_welcome, was_stale=was_stale)
            is_reusable = is_welcome and connection.is_open and self._used.get(connection, 0) < session_size
            return Asked(answers, tuple(again), tuple(distrusted)), was_stale
        finally:
            lease.release(reusable=is_reusable)

    def _most_in_session(self, route: Route) -> int:
        limit = route.site.limits.recipients_per_connection
        known = [self._session_size, limit, self._learnt.get(route.site.key)]
        return min(size for size in known if size is not None)

    def _learn(self, route: Route, found: Sequence[RecipientResult], asked: int) -> None:
        """Where the site ended a session early (421, too many recipients, without a word), the next are shorter."""
        cut_off = sum(_is_cut_off(result) or is_crowded_out(result) for result in found)
        heard = asked - cut_off
        if cut_off and heard:
            most = self._most_in_session(route)
            self._learnt.pop(route.site.key, None)
            self._learnt[route.site.key] = max(1, min(most, max(heard, most // 2)))
            if len(self._learnt) > LEARNT_SITES:
                del self._learnt[next(iter(self._learnt))]

    async def _transact(
        self, connection: Connection, group: Sequence[Item], *, is_utf8: bool
    ) -> tuple[tuple[RecipientResult, ...], bool]:
        """What was heard of each, and whether the replies are those to our questions."""
        self._used[connection] = self._used.get(connection, 0) + len(group)
        mail = Mail(self._mail_from, {"SMTPUTF8": None} if is_utf8 else {})
        try:
            result = await connection.probe(mail, [Rcpt(item.address, {}) for item in group])
        except LocalProtocolError as error:
            detail = f"the address cannot be put into a command: {error}"
            return (RecipientResult(Phase.RCPT, None, detail),) * len(group), True
        asked = [str(item.address) for item in group]
        is_doubtful = connection.is_out_of_step or is_shifted(asked, result.recipients, result.reset)
        return result.recipients, not is_doubtful

    def _step(
        self,
        connection: Connection,
        phase: Phase,
        detail: str,
        reason: str = "",
        result: RecipientResult | None = None,
    ) -> Step:
        endpoint = connection.endpoint
        return Step(
            phase=phase,
            reply=None if result is None else result.reply,
            detail=detail,
            host=endpoint.host,
            address=endpoint.address,
            port=endpoint.port,
            reason=reason,
            at=self._wall(),
        )

    def _unconnected(self, failure: ConnectFailure, route: Route) -> Answer:
        now = self._wall()
        steps = {id(attempt): _attempt_step(attempt, route, now) for attempt in failure.attempts}
        return Answer(tuple(steps.values()), steps[id(failure.last)])


def _tell_pool(lease: Lease, *, is_welcome: bool, was_stale: bool) -> None:
    if is_welcome:
        lease.success()
    elif not was_stale:
        lease.trouble()


def route_answer(failure: RouteFailure, at: float = 0.0) -> Answer:
    """What it means that there is no way to a domain: our own words, so no reply of anybody's."""
    step = Step(phase=Phase.DNS, detail=failure.reply.text, reason=failure.reason, at=at)
    return Answer((step,), step)


def _attempt_step(attempt: HostAttempt, route: Route, at: float) -> Step:
    return Step(
        phase=attempt.phase,
        reply=attempt.reply,
        detail=attempt.detail,
        host=attempt.host,
        address=attempt.address,
        port=route.port if attempt.host else 0,
        at=at,
    )


def _most(connection: Connection, route: Route) -> int:
    """Recipients that one transaction may name."""
    told = connection.capabilities.limits.get("RCPTMAX")
    most = route.site.limits.recipients_per_message
    return most if told is None else min(most, told)


def _nobody_asked(items: Sequence[Item], answer: Answer) -> Asked:
    return Asked(dict.fromkeys((item.id for item in items), answer), is_unreachable=True)


def _everyone(items: Sequence[Item], step: Step) -> dict[int, Answer]:
    return dict.fromkeys((item.id for item in items), Answer((step,), step))


def _by_need(items: Sequence[Item]) -> list[tuple[list[Item], bool]]:
    plain = [item for item in items if item.address.is_ascii]
    utf8 = [item for item in items if not item.address.is_ascii]
    return [(group, is_utf8) for group, is_utf8 in ((plain, False), (utf8, True)) if group]


def _unheard(found: Sequence[RecipientResult]) -> frozenset[int]:
    """Those whose question got no hearing while others' did: so each further session makes some progress."""
    open_ones = {index for index, result in enumerate(found) if is_crowded_out(result) or _is_cut_off(result)}
    return frozenset(open_ones) if len(open_ones) < len(found) else frozenset()


def _is_cut_off(result: RecipientResult) -> bool:
    """The session ended before the answer: by 421, or without a word."""
    if result.phase is not Phase.RCPT or result.detail == "timed out":
        return False
    return result.reply is None or result.reply.code == 421
