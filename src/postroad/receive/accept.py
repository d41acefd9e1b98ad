"""From a message received to a message kept: the only place that may say 250 to the end of data.

Adds the trace header, and at submission what a message must have; follows aliases; then commits to the spool. The 250
leaves only after the commit is durable; the recipients are then handed on for delivery (`on_committed`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

from postroad.clock import Clock
from postroad.events import emit
from postroad.message.envelope import (
    BodyType,
    ByMode,
    DeliverBy,
    Envelope,
    Notify,
    Recipient,
    Return,
    format_queue_id,
)
from postroad.message.headers import fix_submission, received_header
from postroad.receive.caller import Caller
from postroad.receive.checks import Amended
from postroad.receive.priority import Priorities
from postroad.smtp.address import Address, NullPath
from postroad.smtp.reply import Reply, reply
from postroad.smtp.server import OK
from postroad.smtp.server_events import MessageReceived, RcptReceived
from postroad.smtp.timing import release_at
from postroad.store.spool import Queued, Spool, SpooledMessage, SpoolError, Trace

Expand = Callable[[Sequence[Recipient]], "tuple[Recipient, ...] | None"]
"""Recipients → those who get the message, each once; None: too many."""

_TOO_MANY = reply(452, "The aliases of these recipients lead to too many: send to fewer at a time", "4.5.3")
_NO_STORAGE = reply(452, "Insufficient system storage: try again later", "4.3.1")


def _nothing(message: SpooledMessage) -> None:
    """Nobody keeps a record."""


class Acceptor:
    """One for a worker. `lifetime_s`: how long delivery is tried before the message bounces."""

    def __init__(
        self,
        spool: Spool,
        clock: Clock,
        *,
        hostname: str,
        lifetime_s: float,
        on_committed: Callable[[Sequence[Queued]], None],
        on_accepted: Callable[[SpooledMessage], None] = _nothing,
        expand: Expand | None = None,
        priorities: Priorities | None = None,
    ) -> None:
        """`on_committed` gets the recipients to deliver, `on_accepted` the message for the record; both once it is
        durable. `expand`: who gets a message in place of local addresses that stand for others; None: nobody else.
        `priorities`: how urgent a message is."""
        self.hostname = hostname
        self.lifetime_s = lifetime_s
        self._spool = spool
        self._clock = clock
        self._on_committed = on_committed
        self._on_accepted = on_accepted
        self._expand = expand
        self._priorities = priorities or Priorities()

    def accept(
        self, caller: Caller, event: MessageReceived, amended: Amended | None = None
    ) -> Reply | asyncio.Future[Reply | None]:
        """Commit the message; completes with the reply to say."""
        now = self._clock.wall()
        message_id = self._spool.new_id(now)
        queue_id = format_queue_id(message_id)
        if amended is not None and amended.is_discarded:
            emit("message.discarded", queue_id=queue_id, peer=caller.peer, user=caller.user)
            return Reply(250, (f"OK taken as {queue_id}",), OK.enhanced)
        made = self._message(message_id, queue_id, caller, event, now)
        if made is None:
            return _TOO_MANY
        message = made
        if amended is not None:
            message = replace(message, body=amended.above + message.body, held=amended.hold)
        answered: asyncio.Future[Reply | None] = asyncio.get_running_loop().create_future()
        begun = self._clock.monotonic()

        def on_durable(committed: asyncio.Future[tuple[Queued, ...]]) -> None:
            error = committed.exception() if not committed.cancelled() else SpoolError("cancelled")
            if error is None:
                if not message.held:
                    self._on_committed(committed.result())
                self._on_accepted(message)
                emit(
                    "message.accepted",
                    queue_id=queue_id,
                    sender=str(message.envelope.reverse_path),
                    recipients=len(message.envelope.recipients),
                    octets=len(message.body),
                    peer=caller.peer,
                    user=message.trace.user,
                    commit_s=round(self._clock.monotonic() - begun, 6),
                    **({"held": message.held} if message.held else {}),
                )
                said = Reply(250, (f"OK queued as {queue_id}",), OK.enhanced)
            else:
                emit("spool.failed", queue_id=queue_id, error=str(error))
                said = _NO_STORAGE
            if not answered.done():
                answered.set_result(said)

        self._spool.commit(message, message.envelope.release_at or now).add_done_callback(on_durable)
        return answered

    def _message(
        self, message_id: int, queue_id: str, caller: Caller, event: MessageReceived, now: float
    ) -> SpooledMessage | None:
        """The message as it is kept; None: its aliases lead to too many."""
        body = event.body
        if caller.role.is_submission:
            body = fix_submission(body, now=now, message_id=f"{queue_id}@{self.hostname}")
        envelope = to_envelope(event, self.hostname, body, now)
        priority = self._priorities.of(
            user=caller.user, reverse_path=envelope.reverse_path, asked=event.mail.parameters.mt_priority, body=body
        )
        if priority:
            envelope = replace(envelope, priority=priority)
        recipients = envelope.recipients
        if self._expand is not None:
            expanded = self._expand(recipients)
            if expanded is None:
                return None
            if expanded != recipients:
                envelope = replace(envelope, recipients=expanded)
        trace = received_header(
            hello=caller.hello,
            peer=caller.peer,
            by=self.hostname,
            protocol=caller.protocol,
            queue_id=queue_id,
            recipient=recipients[0].address if len(recipients) == 1 else None,
            now=now,
        )
        return SpooledMessage(
            id=message_id,
            envelope=envelope,
            body=trace + body,
            received_at=now,
            expires_at=(envelope.release_at or now) + self.lifetime_s,
            trace=Trace(
                peer=caller.peer,
                helo=caller.hello,
                protocol=caller.protocol,
                user=caller.user,
                listener=caller.role.value,
                secured=caller.secured,
            ),
            stream=caller.user or _domain_of(envelope.reverse_path),
        )


def _domain_of(reverse_path: Address | NullPath) -> str:
    return reverse_path.domain if isinstance(reverse_path, Address) else ""


def to_envelope(event: MessageReceived, hostname: str, body: bytes, now: float = 0.0) -> Envelope:
    """The envelope of a message as a session received it; `<postmaster>` becomes the postmaster of `hostname`.

    `now`: wall clock, from which times that were asked for are counted. What priority the message has is not said here:
    a claim is not yet a right."""
    parameters = event.mail.parameters
    by = parameters.by
    declared = BodyType(parameters.body) if parameters.body else BodyType.SEVEN_BIT
    if declared is BodyType.SEVEN_BIT and not body.isascii():
        declared = BodyType.EIGHT_BIT
    return Envelope(
        reverse_path=event.mail.reverse_path,
        recipients=tuple(_recipient(recipient, hostname) for recipient in event.recipients),
        body_type=declared,
        smtputf8=parameters.smtputf8,
        ret=Return(parameters.ret) if parameters.ret else None,
        envid=parameters.envid,
        deliver_by=None if by is None else DeliverBy(now + by.seconds, ByMode(by.mode), by.is_traced),
        release_at=release_at(parameters, now),
        require_tls=parameters.require_tls,
    )


def _recipient(event: RcptReceived, hostname: str) -> Recipient:
    parameters = event.parameters
    notify = frozenset(Notify(word) for word in parameters.notify) if parameters.notify is not None else None
    return Recipient(_placed(event.forward_path, hostname), notify, parameters.orcpt)


def _placed(address: Address, hostname: str) -> Address:
    return address if address.domain else Address("postmaster", hostname)
