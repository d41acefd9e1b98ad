"""Messages and recipients to test with."""

from __future__ import annotations

from postroad.message.envelope import BodyType, Envelope, Notify, Recipient, Return
from postroad.smtp.address import NULL, Address, NullPath
from postroad.store.spool import Queued, SpooledMessage, Trace

SENDER = Address("sender", "example.org")
TEXT = b"From: sender@example.org\r\nSubject: hello\r\n\r\nthe body\r\n"


def recipient(text: str, notify: frozenset[Notify] | None = None, original: str | None = None) -> Recipient:
    return Recipient(Address.parse(text, smtputf8=True), notify, original)


def envelope(
    *recipients: str | Recipient,
    sender: Address | NullPath = SENDER,
    body_type: BodyType = BodyType.SEVEN_BIT,
    smtputf8: bool = False,
    ret: Return | None = None,
    envid: str | None = None,
) -> Envelope:
    return Envelope(
        reverse_path=sender,
        recipients=tuple(recipient(one) if isinstance(one, str) else one for one in recipients),
        body_type=body_type,
        smtputf8=smtputf8,
        ret=ret,
        envid=envid,
    )


def message(
    of: Envelope, *, number: int = 7, body: bytes = TEXT, received_at: float = 1000.0, lifetime_s: float = 432_000.0
) -> SpooledMessage:
    return SpooledMessage(
        id=number,
        envelope=of,
        body=body,
        received_at=received_at,
        expires_at=received_at + lifetime_s,
        trace=Trace(peer="192.0.2.1", helo="client", protocol="ESMTP"),
    )


def queue(of: SpooledMessage, *, attempts: int = 0, first: int = 1, delay_notified: bool = False) -> list[Queued]:
    return [
        Queued(
            id=first + index,
            message_id=of.id,
            recipient=one,
            due_at=of.received_at,
            attempts=attempts,
            delay_notified=delay_notified,
        )
        for index, one in enumerate(of.envelope.recipients)
    ]


__all__ = ["NULL", "SENDER", "TEXT", "envelope", "message", "queue", "recipient"]
