"""Whose mail is forwarded, and under which sender it leaves."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from deliver.messages import NULL, envelope, message, queue
from postroad.deliver.forwarding import Forwarding
from postroad.message.srs import Srs
from postroad.smtp.address import Address, NullPath
from postroad.store.spool import SpooledMessage

SRS = Srs("us.test", b"secret")
STRANGER = Address("ann", "elsewhere.example")
NOW = 1_800_000_000.0


def forwarding(remembered: dict[str, Address] | None = None) -> Forwarding:
    kept = {} if remembered is None else remembered

    async def remember(name: str, sender: Address) -> None:
        kept[name] = sender

    return Forwarding(SRS, {"us.test"}.__contains__, remember, lambda: NOW)


def concerns(of: SpooledMessage) -> bool:
    return forwarding().concerns(of, queue(of)[0])


@pytest.mark.parametrize(
    ("sender", "to", "is_forwarded"),
    [
        (STRANGER, "x@far.test", True),
        (STRANGER, "x@us.test", False),
        (Address("ben", "us.test"), "x@far.test", False),
        (NULL, "x@far.test", False),
    ],
)
def test_mail_of_strangers_that_goes_elsewhere_is_forwarded(
    sender: Address | NullPath, to: str, is_forwarded: bool
) -> None:
    assert concerns(message(envelope(to, sender=sender))) is is_forwarded


def test_what_users_submit_and_what_we_write_ourselves_leaves_as_it_is() -> None:
    of = message(envelope("x@far.test", sender=STRANGER))
    assert not concerns(replace(of, trace=replace(of.trace, user="ann@us.test")))
    for protocol in ("bounce", "report"):
        assert not concerns(replace(of, trace=replace(of.trace, protocol=protocol)))


def test_a_sender_who_is_too_long_is_remembered_before_he_is_said() -> None:
    kept: dict[str, Address] = {}
    short = message(envelope("x@far.test", sender=STRANGER))
    assert asyncio.run(forwarding(kept).sender(short)) == SRS.forward(STRANGER, NOW)
    assert kept == {}
    long = Address("b" * 50, "mailing.elsewhere.example")
    said = asyncio.run(forwarding(kept).sender(message(envelope("x@far.test", sender=long))))
    assert said == SRS.forward(long, NOW)
    (name,) = kept
    assert kept[name] == long and name in said.local
