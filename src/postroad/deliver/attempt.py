"""One attempt: a message to the recipients of one domain, over the road or into local mailboxes.

Route → connection → transaction, in as many transactions as the host's and the site's limits ask for; what came of it
is an `Outcome` for each recipient, always. Refusals and faults of hosts are outcomes, never exceptions. What an outcome
leads to (another try, a bounce) is deliver/settle.py's to judge; when to try is deliver/worker.py's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from postroad.deliver.fitness import fit, rcpt_for
from postroad.deliver.forwarding import Forwarding
from postroad.deliver.ports import Lease, LocalDelivery, Pool, Router, Sources
from postroad.deliver.tls_wish import as_wished, is_final, not_carried
from postroad.meaning.classify import Kind, Meaning, classify
from postroad.meaning.hearing import MAX_FRESH_STARTS, is_crowded_out, is_stale, is_unwelcome
from postroad.message.return_path import ReturnPaths
from postroad.net.dialogue import Connection
from postroad.road.opening import HostAttempt
from postroad.road.pool import ConnectFailure
from postroad.road.provider import provider_key
from postroad.road.route import Route, RouteFailure
from postroad.smtp.address import Address, NullPath
from postroad.smtp.errors import LocalProtocolError
from postroad.smtp.outcome import Phase, RecipientResult
from postroad.smtp.reply import Reply, reply
from postroad.store.spool import Queued, SpooledMessage

_UNSENDABLE = reply(553, "The address cannot be written as a command", "5.1.3")
_DISCARDED = reply(250, "Discarded, as the configuration says", "2.0.0")
_STORED = classify(Phase.BODY, Reply(250))


@dataclass(frozen=True, slots=True)
class Said:
    """What is remembered of the connection: where it led, how it was secured, and the dialogue, in pieces."""

    address: str
    secured: str
    dialogue: Callable[[], str]
    """The text, made where somebody wants it."""
    source: str = ""
    """The address it was made from, where that was chosen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of an attempt for one recipient."""

    meaning: Meaning
    phase: Phase
    reply: Reply | None
    """The words that decided; ours where `host` is empty."""
    host: str = ""
    """Name of the host that said them, or that could not be reached."""
    detail: str = ""
    """Why there is no reply."""
    is_local: bool = False
    """Into a mailbox here: final delivery."""
    passes_dsn_on: bool = False
    """The next host has taken over what was asked about notifications."""
    passes_deadline_on: bool = False
    """The next host has taken over the time to deliver by (RFC 2852)."""
    said: Said | None = None
    """The connection over which it was tried."""
    is_paced: bool = False
    """Nothing was tried, for our own pace's sake: that is no attempt."""

    @property
    def is_delivered(self) -> bool:
        """Whether responsibility for the message has passed on: only the reply to the body says so."""
        return self.phase is Phase.BODY and self.reply is not None and self.reply.is_positive

    @property
    def is_unknown(self) -> bool:
        """The message was sent and no answer came: it may have been taken (RFC 1047)."""
        return self.phase is Phase.BODY and self.reply is None


Outcomes = dict[int, Outcome]
"""By the row of the recipient (`Queued.id`)."""


@dataclass(frozen=True, slots=True)
class ReturnRoute:
    """Where bounces of mail that leaves are to come, instead of to its sender: what users submitted, and only that."""

    paths: ReturnPaths
    per_recipient: bool = False

    def concerns(self, message: SpooledMessage) -> bool:
        """Whether it leaves with a return address of ours."""
        return message.trace.user is not None and isinstance(message.envelope.reverse_path, Address)

    def address(self, message: SpooledMessage, queued: Queued) -> Address:
        """The return address of the message, or of that recipient's copy."""
        return self.paths.address(message.id, queued.id if self.per_recipient else None)


class Attempter:
    """Makes attempts: `local` takes what is delivered here, the road the rest."""

    def __init__(
        self,
        router: Router,
        pool: Pool,
        *,
        local: LocalDelivery | None = None,
        returns: ReturnRoute | None = None,
        forwarding: Forwarding | None = None,
        sources: Sources | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`wall`: the wall clock, by which the time that is left for a delivery is told to hosts."""
        self._router = router
        self._pool = pool
        self._local = local
        self._returns = returns
        self._forwarding = forwarding
        self._sources = sources
        self._wall = wall

    async def attempt(
        self, message: SpooledMessage, queued: Sequence[Queued], known: Outcomes | None = None
    ) -> Outcomes:
        """Deliver to recipients of one domain; an outcome for each of them.

        They go into `known` as they come, so that what was delivered is known even where the attempt is broken off."""
        outcomes: Outcomes = {} if known is None else known
        domain = queued[0].recipient.address.domain
        if self._local is not None and (not domain or self._local.takes(domain)):
            said = await self._local.deliver(message, queued)
            return {one.id: _local_outcome(each) for one, each in zip(queued, said, strict=True)}
        route = await self._router.route(domain)
        if isinstance(route, RouteFailure):
            return dict.fromkeys((one.id for one in queued), _unrouted(route))
        if route.is_discard:
            outcome = Outcome(meaning=_STORED, phase=Phase.BODY, reply=_DISCARDED, passes_dsn_on=True)
            return dict.fromkeys((one.id for one in queued), outcome)
        if self._sources is None:
            await self._over_the_road(message, queued, route, outcomes)
            return outcomes
        chosen = self._sources.choose(message, queued[0], route)
        if isinstance(chosen, ConnectFailure):
            return dict.fromkeys((one.id for one in queued), _unconnected(chosen))
        try:
            await self._over_the_road(message, queued, chosen, outcomes)
        finally:
            if not any(outcome.is_delivered for outcome in outcomes.values()):
                self._sources.unused(chosen)
        return outcomes

    async def _over_the_road(
        self, message: SpooledMessage, queued: Sequence[Queued], route: Route, outcomes: Outcomes
    ) -> None:
        pending = queued
        fresh_starts = 0
        route = as_wished(message, route)
        is_strict = message.envelope.require_tls
        original = message.envelope.reverse_path
        if self._forwarding is not None and self._forwarding.concerns(message, queued[0]):
            original = await self._forwarding.sender(message)
        while pending:
            lease = await self._connection(route, is_strict=is_strict)
            if is_strict and not isinstance(lease, Outcome) and not lease.connection.capabilities.has("REQUIRETLS"):
                host = lease.connection.endpoint.host
                lease.release(reusable=True)
                route = route.without(host)  # another host may see to it (RFC 8689 §4.2.1)
                if route.hosts:
                    continue
                lease = _refused_here(not_carried(f"{host} does not offer REQUIRETLS"))
            if isinstance(lease, Outcome):
                outcomes.update(dict.fromkeys((one.id for one in pending), lease))
                break
            may_be_stale = lease.connection.transactions > 0 and fresh_starts < MAX_FRESH_STARTS
            limit = _recipients_at_once(route, lease.connection)
            sender = original
            if self._returns is not None and self._returns.concerns(message):
                limit = 1 if self._returns.per_recipient else limit
                sender = self._returns.address(message, pending[0])
            batch, rest = pending[:limit], pending[limit:]
            found = await _transact(message, batch, lease, sender, self._wall(), may_be_stale=may_be_stale)
            if may_be_stale and is_stale(found.values()):
                # The host closed an idle connection while we began to use it: that says nothing of the message.
                fresh_starts += 1
                continue
            again = _to_repeat(batch, found)
            for one in again:
                del found[one.id]
            outcomes.update(found)
            pending = [*again, *rest] if again else rest

    async def _connection(self, route: Route, *, is_strict: bool) -> Lease | Outcome:
        got = self._pool.try_acquire(route) or await self._pool.acquire(route)
        if isinstance(got, RouteFailure):
            return _unrouted(got)
        if isinstance(got, ConnectFailure):
            if is_strict and is_final(got):
                return _refused_here(not_carried(got.last.detail))
            return _unconnected(got)
        return got


def _recipients_at_once(route: Route, connection: Connection) -> int:
    """What the site and the host (LIMITS RCPTMAX, RFC 9422) take in one transaction."""
    limit = route.site.limits.recipients_per_message
    told = connection.capabilities.limits.get("RCPTMAX")
    return max(1, limit if told is None else min(limit, told))


async def _transact(
    message: SpooledMessage,
    batch: Sequence[Queued],
    lease: Lease,
    sender: Address | NullPath,
    now: float,
    *,
    may_be_stale: bool,
) -> Outcomes:
    """One transaction on a leased connection, which is given back whatever happens."""
    connection = lease.connection
    host = connection.endpoint.host
    offered = connection.capabilities
    outcomes: Outcomes = {}
    is_reusable = False
    try:
        fitting = fit(message.envelope, message.body, [one.recipient for one in batch], offered, now)
        if fitting.refused:
            for one, refusal in zip(batch, fitting.refused, strict=True):
                if refusal is not None:
                    outcomes[one.id] = _refused_here(refusal)
            batch = [one for one in batch if one.id not in outcomes]
        if fitting.mail is None or not batch:
            is_reusable = connection.is_open
            return outcomes
        passes_on = (offered.has("DSN"), offered.has("DELIVERBY"))
        rcpts = [rcpt_for(one.recipient, offered) for one in batch]
        result = await connection.transact(replace(fitting.mail, reverse_path=sender), rcpts, message.body)
        is_reusable = connection.is_open
        said = _said(connection)
        for one, decided in zip(batch, result.recipients, strict=True):
            outcomes[one.id] = _outcome(decided, host, passes_on, said)
        if not (may_be_stale and is_stale(outcomes.values())):
            unwelcome = next((one for one in outcomes.values() if is_unwelcome(one, provider_key(host))), None)
            if unwelcome is not None:  # before the lease is given back: else it would count as a success
                lease.trouble(str(unwelcome.reply))
        return outcomes
    except LocalProtocolError:
        outcomes.update(dict.fromkeys((one.id for one in batch), _refused_here(_UNSENDABLE)))
        return outcomes
    finally:
        lease.release(reusable=is_reusable)


def _said(connection: Connection) -> Said:
    tls = connection.tls
    endpoint = connection.endpoint
    return Said(
        endpoint.address,
        "" if tls is None else f"{tls.version} {tls.cipher}",
        connection.transcript.kept(),
        endpoint.source_address or "",
    )


def _outcome(result: RecipientResult, host: str, passes_on: tuple[bool, bool], said: Said) -> Outcome:
    passes_dsn_on, passes_deadline_on = passes_on
    detail = result.detail
    if result.reply is None and result.phase is Phase.BODY:
        detail = f"{detail or 'no reply'}, after the message was sent: it may have been taken"
    return Outcome(
        meaning=classify(result.phase, result.reply, provider_key(host)),
        phase=result.phase,
        reply=result.reply,
        host=host,
        detail=detail,
        passes_dsn_on=passes_dsn_on,
        passes_deadline_on=passes_deadline_on,
        said=said,
    )


def _to_repeat(batch: Sequence[Queued], found: Outcomes) -> list[Queued]:
    """Those turned away because others had filled the transaction: they get one of their own (RFC 5321 §4.5.3.1.10)."""
    if not any(outcome.phase is Phase.RCPT for outcome in found.values()):
        return []
    if not any(outcome.is_delivered for outcome in found.values()):
        return []
    return [one for one in batch if (outcome := found.get(one.id)) is not None and is_crowded_out(outcome)]


def _local_outcome(said: Reply) -> Outcome:
    if said.is_positive:
        return Outcome(meaning=_STORED, phase=Phase.BODY, reply=said, is_local=True)
    return Outcome(meaning=classify(Phase.RCPT, said), phase=Phase.RCPT, reply=said, is_local=True)


def _refused_here(refusal: Reply) -> Outcome:
    return Outcome(meaning=classify(Phase.RCPT, refusal), phase=Phase.RCPT, reply=refusal)


def _unrouted(failure: RouteFailure) -> Outcome:
    return Outcome(
        meaning=classify(Phase.DNS, failure.reply), phase=Phase.DNS, reply=failure.reply, detail=failure.reason
    )


def _unconnected(failure: ConnectFailure) -> Outcome:
    told = failure.last
    meaning = classify(told.phase, told.reply, provider_key(told.host))
    if failure.retry_after_s is not None:
        meaning = replace(meaning, retry_after_s=failure.retry_after_s)
    where = f" ({told.host}[{told.address}])" if told.address else ""
    return Outcome(
        meaning=meaning,
        phase=told.phase,
        reply=told.reply,
        host=told.host,
        detail=f"{told.detail}{where}",
        is_paced=failure.is_ours,
        said=Said(told.address, "", partial(_tried, failure.attempts), told.source_address),
    )


def _tried(attempts: Sequence[HostAttempt]) -> str:
    """What was said by each host that was tried in vain, and why it was left."""
    lines = []
    for one in attempts:
        if one.host:
            lines.append(f"{one.host}[{one.address}], {one.phase}: {one.reply or one.detail}")
            lines += one.dialogue().splitlines()
    return "\n".join(lines)


def failed_inside(detail: str) -> Outcome:
    """The outcome of an attempt that a fault of our own ended: tried again, nobody is blamed."""
    return Outcome(meaning=classify(Phase.CONNECT, None), phase=Phase.CONNECT, reply=None, detail=detail)


def given_back(words: str) -> Outcome:
    """The outcome of a message that an operator gives back to its sender: nobody refused it. `words`: his, or none;
    they are not read as a host's would be."""
    said = "The operator of this server has given the message back"
    plain = reply(554, said, "5.0.0")
    told = reply(554, f"{said}: {words}", "5.0.0") if words else plain
    return Outcome(meaning=classify(Phase.RCPT, plain), phase=Phase.RCPT, reply=told)


def is_odd(outcome: Outcome) -> bool:
    """A positive reply that is no delivery: counts for nothing, either way."""
    return outcome.meaning.kind is Kind.ACCEPTED and not outcome.is_delivered
