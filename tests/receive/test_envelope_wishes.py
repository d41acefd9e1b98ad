"""S-30: what MAIL asked for is in the envelope, and the spool gives it back."""

from __future__ import annotations

import asyncio
from pathlib import Path

from postroad.message.envelope import ByMode, DeliverBy, Envelope
from postroad.receive.accept import to_envelope
from postroad.smtp.address import Address
from postroad.smtp.extension import NO_RCPT_PARAMETERS, MailParameters
from postroad.smtp.server_events import MailReceived, MessageReceived, RcptReceived
from postroad.smtp.timing import By
from postroad.store.spool import SpooledMessage, Trace
from postroad.store.sqlite_spool import SqliteSpool

NOW = 1_000_000.0


def enveloped(asked: MailParameters) -> Envelope:
    event = MessageReceived(
        MailReceived(Address("a", "example.org"), asked),
        (RcptReceived(Address("b", "example.net"), NO_RCPT_PARAMETERS),),
        b"Subject: x\r\n\r\nx\r\n",
    )
    return to_envelope(event, "mx.example.org", event.body, NOW)


def test_s30_the_envelope_holds_what_was_asked() -> None:
    """(S-30)"""
    asked = enveloped(MailParameters(hold_for=600, by=By(3600, "R", True), require_tls=True, mt_priority=9))
    assert asked.release_at == NOW + 600
    assert asked.deliver_by == DeliverBy(NOW + 3600, ByMode.RETURN, True)
    assert asked.require_tls
    assert asked.priority == 0  # a claim is not yet a right
    plain = enveloped(MailParameters())
    assert (plain.release_at, plain.deliver_by, plain.require_tls) == (None, None, False)


def test_s30_the_spool_keeps_it_and_its_time(tmp_path: Path) -> None:
    """(S-30)"""

    async def go() -> None:
        asked = enveloped(MailParameters(hold_for=600, by=By(5, "N"), require_tls=True))
        assert asked.release_at is not None
        spool = SqliteSpool.open(tmp_path / "spool.db", shard=0)
        message = SpooledMessage(
            id=spool.new_id(NOW),
            envelope=asked,
            body=b"Subject: x\r\n\r\nx\r\n",
            received_at=NOW,
            expires_at=NOW + 1000,
            trace=Trace(peer="192.0.2.1", helo="c.example.org", protocol="ESMTPSA", user="a"),
        )
        (kept,) = await spool.commit(message, asked.release_at)
        await spool.close()
        again = SqliteSpool.open(tmp_path / "spool.db", shard=0)
        read = await again.load(message.id)
        assert read is not None
        assert read.envelope == asked
        assert kept.due_at == NOW + 600
        assert await again.due(before=NOW + 599, limit=10) == ()
        assert [one.id for one in await again.due(before=NOW + 601, limit=10)] == [kept.id]
        await again.close()

    asyncio.run(go())
