"""Mail that comes back to our return addresses: bounces, complaints, and those who unsubscribe by mail.

A local destination before the others. A bounce is read (meaning/bounce.py), counts as the outcome of the message whose
return address it came to, and goes on to the one who sent that message. A return address carries a keyed digest, so a
bounce is believed of the recipients of its own message alone. What is no report (an automatic reply) goes no further.
Reading happens in a thread, since reports are large and anybody may write them.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from postroad.deliver.ports import LocalDelivery
from postroad.events import emit
from postroad.meaning.bounce import BounceReport, ReportedRecipient, ReportKind, read_bounce
from postroad.message.envelope import Envelope, Notify, Recipient, format_queue_id
from postroad.message.headers import headers, unfold
from postroad.message.return_path import Returned, ReturnPaths
from postroad.message.unsubscribe import MAILBOX, Leaving, Unsubscriber
from postroad.smtp.address import NULL, Address, AddressError, NullPath
from postroad.smtp.reply import Reply, reply
from postroad.store.queue_ids import time_of
from postroad.store.spool import Queued, SpooledMessage, Trace

MAX_RECIPIENTS_TOLD = 100
MAX_SAID_CHARS = 500
HISTORY_LATE_S = 60.0
"""After its acceptance a message may be missing in the history for so long."""
_TAKEN = reply(250, "Taken note of", "2.0.0")
_LATER = reply(451, "It cannot be passed on now", "4.3.0")
_NOT_OURS = reply(550, "This return address is not one of ours", "5.1.1")
_NO_COMPLAINT = re.compile(rb"^feedback-type[ \t]*:[ \t]*(?:not-spam|auth-failure)", re.IGNORECASE | re.MULTILINE)
"""Feedback that blames nobody (RFC 6430, RFC 6591)."""


class Happened(StrEnum):
    """What a report that came back says happened to a message."""

    BOUNCED = "bounced"
    DELAYED = "delayed"
    DELIVERED = "delivered"
    COMPLAINED = "complained"


@dataclass(frozen=True, slots=True, kw_only=True)
class Return:
    """What came back about one recipient of one of our messages. `at`: wall clock."""

    message_id: int | None
    """None: the report does not say which."""
    address: str
    happened: Happened
    is_gone: bool
    """The mailbox, or its domain, does not exist: it should not be mailed again."""
    meaning: str
    status: str
    said: str
    """The words of the host that refused, or of the report."""
    sender: str
    """Who sent the message; empty where that is not known."""
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """What is kept of a message that left: enough to believe a bounce, and to pass it on."""

    reverse_path: Address | NullPath
    recipients: Sequence[tuple[int, str]]
    """Row and address of each."""


class Originals(Protocol):
    """Where messages that left are remembered (the ledger)."""

    async def original(self, message_id: int) -> Original | None:
        """The message of that number; None where it is not known any more."""
        ...

    async def by_header(self, message_id_header: str) -> int | None:
        """The number of the message with that Message-ID header."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ReturnSettings:
    """`feedback`: local part that takes complaints, or empty. `lifetime_s`: how long a bounce is tried on its way to
    the sender."""

    hostname: str
    paths: ReturnPaths
    feedback: str = "feedback"
    unsubscriber: Unsubscriber | None = None
    lifetime_s: float = 5 * 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReturnPorts:
    """What a report leads to: `heard` takes what came back, `left` those who unsubscribe, `queue` commits a message."""

    originals: Originals
    heard: Callable[[Return], None]
    left: Callable[[Leaving], Awaitable[None]]
    queue: Callable[[SpooledMessage], Awaitable[None]]
    new_id: Callable[[float], int]
    wall: Callable[[], float]


class ReturnsDelivery:
    """Local delivery that takes what comes to return addresses, and leaves the rest to `others`."""

    def __init__(self, settings: ReturnSettings, ports: ReturnPorts, others: LocalDelivery) -> None:
        self._settings = settings
        self._ports = ports
        self._others = others

    def takes(self, domain: str) -> bool:
        """The return domain, and what the others take."""
        return domain == self._settings.paths.domain or self._others.takes(domain)

    def is_ours(self, address: Address) -> bool:
        """Whether what comes to that address is read here."""
        return is_return_address(address, self._settings)

    async def deliver(self, message: SpooledMessage, queued: Sequence[Queued]) -> Sequence[Reply]:
        """Read what came back; the fate of each recipient in order."""
        said: list[Reply] = []
        theirs = [one for one in queued if not self.is_ours(one.recipient.address)]
        if theirs:
            is_taken = self._others.takes(theirs[0].recipient.address.domain)
            answers = await self._others.deliver(message, theirs) if is_taken else [_NOT_OURS] * len(theirs)
            told = dict(zip([one.id for one in theirs], answers, strict=True))
        else:
            told = {}
        for one in queued:
            answer = told.get(one.id)
            said.append(await self._take(message, one.recipient.address) if answer is None else answer)
        return said

    async def _take(self, message: SpooledMessage, address: Address) -> Reply:
        local = address.local.lower()
        if local == MAILBOX:
            return await self._unsubscribe(message)
        report = await asyncio.get_running_loop().run_in_executor(None, read_bounce, message.body)
        if local == self._settings.feedback.lower():
            await self._complained(message, report)
            return _TAKEN
        returned = self._settings.paths.read(address)
        if returned is None:
            return _NOT_OURS
        return await self._came_back(message, report, returned)

    # Bounces ------------------------------------------------------------------------------------------------------

    async def _came_back(self, message: SpooledMessage, report: BounceReport, returned: Returned) -> Reply:
        queue_id = format_queue_id(returned.message_id)
        if report.kind is ReportKind.FEEDBACK:
            await self._complained(message, report)
            return _TAKEN
        if report.kind not in (ReportKind.BOUNCE, ReportKind.DELAY, ReportKind.DELIVERED):
            emit("return.ignored", queue_id=queue_id, kind=str(report.kind))
            return _TAKEN
        original = await self._ports.originals.original(returned.message_id)
        if original is None:
            # The history is written soon after: a bounce may be faster, at another worker.
            if 0 <= self._ports.wall() - time_of(returned.message_id) < HISTORY_LATE_S:
                return _LATER
            emit("return.unknown", queue_id=queue_id, kind=str(report.kind))
            return _TAKEN
        for one in report.recipients[:MAX_RECIPIENTS_TOLD]:
            address = _which(original, one, returned.row, is_alone=len(report.recipients) == 1)
            if address is not None:
                self._hear(returned.message_id, address, one, report.kind, original)
        if isinstance(original.reverse_path, Address) and original.reverse_path.domain:
            try:
                await self._pass_on(message, original.reverse_path)
            except Exception as error:  # the bounce stays in the queue, and is read again
                emit("spool.failed", queue_id=queue_id, error=str(error))
                return _LATER
        return _TAKEN

    def _hear(
        self, message_id: int, address: str, one: ReportedRecipient, kind: ReportKind, original: Original
    ) -> None:
        happened = {ReportKind.BOUNCE: Happened.BOUNCED, ReportKind.DELAY: Happened.DELAYED}.get(
            kind, Happened.DELIVERED
        )
        returned = Return(
            message_id=message_id,
            address=address,
            happened=happened,
            is_gone=happened is Happened.BOUNCED and one.suppress,
            meaning=str(one.meaning),
            status=one.status or "",
            said=one.diagnostic[:MAX_SAID_CHARS],
            sender=str(original.reverse_path),
            at=self._ports.wall(),
        )
        self._ports.heard(returned)
        told = {"queue_id": format_queue_id(message_id), "recipient": address, "meaning": returned.meaning}
        match happened:
            case Happened.BOUNCED:
                emit("return.bounced", **told, reply=returned.said)
            case Happened.DELAYED:
                emit("return.delayed", **told, reply=returned.said)
            case _:
                emit("return.delivered", **told, reply=returned.said)

    async def _pass_on(self, message: SpooledMessage, sender: Address) -> None:
        """The report as it came, to the one who sent the message: from nobody, and nobody hears if it fails (H-14)."""
        now = self._ports.wall()
        await self._ports.queue(
            SpooledMessage(
                id=self._ports.new_id(now),
                envelope=Envelope(
                    reverse_path=NULL,
                    recipients=(Recipient(sender, frozenset({Notify.NEVER})),),
                    body_type=message.envelope.body_type,
                    smtputf8=message.envelope.smtputf8,
                ),
                body=message.body,
                received_at=now,
                expires_at=now + self._settings.lifetime_s,
                trace=Trace(peer="", helo=self._settings.hostname, protocol="bounce"),
            )
        )

    # Complaints and farewells -------------------------------------------------------------------------------------

    async def _complained(self, message: SpooledMessage, report: BounceReport) -> None:
        if report.kind is not ReportKind.FEEDBACK or _NO_COMPLAINT.search(message.body):
            emit("return.ignored", queue_id=format_queue_id(message.id), kind=str(report.kind))
            return
        number = await self._about(message, report)
        original = None if number is None else await self._ports.originals.original(number)
        if number is None or original is None:
            # Anybody can write a complaint: without a message of ours to be about, nobody is believed.
            emit("return.unknown", queue_id=format_queue_id(message.id), kind="feedback")
            return
        known = {address.lower(): address for _, address in original.recipients}
        named = [
            known[one.address.lower()] for one in report.recipients if one.address and one.address.lower() in known
        ]
        if not named and len(known) == 1:
            named = list(known.values())  # many providers leave the recipient out; the message had one only
        for address in named[:MAX_RECIPIENTS_TOLD]:
            self._ports.heard(
                Return(
                    message_id=number,
                    address=address,
                    happened=Happened.COMPLAINED,
                    is_gone=False,
                    meaning="complaint",
                    status="",
                    said="a complaint",
                    sender=str(original.reverse_path),
                    at=self._ports.wall(),
                )
            )
            emit("return.complained", queue_id=format_queue_id(number), recipient=address)

    async def _about(self, message: SpooledMessage, report: BounceReport) -> int | None:
        """The message of ours that a report is about: by a return address in it, else by its Message-ID."""
        for found in _ADDRESS.finditer(message.body[:_LOOKED_AT]):
            try:
                returned = self._settings.paths.read(Address.parse(found[0].decode("ascii")))
            except (AddressError, UnicodeDecodeError):
                continue
            if returned is not None:
                return returned.message_id
        header = report.original_message_id
        return None if header is None else await self._ports.originals.by_header(header)

    async def _unsubscribe(self, message: SpooledMessage) -> Reply:
        unsubscriber = self._settings.unsubscriber
        subject = next((unfold(value) for name, value in headers(message.body) if name == "subject"), "")
        leaving = None if unsubscriber is None else unsubscriber.read(subject.replace(" ", ""))
        if leaving is None:
            emit("return.ignored", queue_id=format_queue_id(message.id), kind="unsubscribe")
            return _TAKEN
        await self._ports.left(leaving)
        emit("unsubscribe.done", recipient=leaving.address, scope=leaving.scope, by="mail")
        return _TAKEN


_LOOKED_AT = 200_000
_ADDRESS = re.compile(rb"\bb-[0-9a-z.]{13,27}-[0-9a-z]{16}@[A-Za-z0-9.-]{1,255}")


def is_return_address(address: Address, settings: ReturnSettings) -> bool:
    """Whether an address at the return domain is one that we read: one of ours, complaints, unsubscribing."""
    if address.domain != settings.paths.domain:
        return False
    local = address.local.lower()
    if settings.feedback and local == settings.feedback.lower():
        return True
    return (local == MAILBOX and settings.unsubscriber is not None) or settings.paths.read(address) is not None


def _which(original: Original, one: ReportedRecipient, row: int | None, *, is_alone: bool) -> str | None:
    """The recipient of the message that a report names: only its own are believed."""
    if row is not None:
        return dict(original.recipients).get(row)
    by_name = {address.lower(): address for _, address in original.recipients}
    if one.address and one.address.lower() in by_name:
        return by_name[one.address.lower()]
    # A report that names another address (it was forwarded) or none is about the only recipient there is.
    return original.recipients[0][1] if is_alone and len(original.recipients) == 1 else None
