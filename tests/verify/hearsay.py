"""What hosts say, as values: replies, steps and answers for tests of what follows from them."""

from __future__ import annotations

from collections.abc import Mapping

from postroad.smtp.address import Address
from postroad.smtp.framing import ReplyReader
from postroad.smtp.outcome import Phase
from postroad.smtp.reply import Reply
from postroad.verify.judge import Step
from postroad.verify.plan import Item
from postroad.verify.probe import Answer

OK = "250 2.1.5 OK"
ABSENT = "550 5.1.1 No such user here"
FULL = "452 4.2.2 Mailbox full"
GREY = "450 4.2.0 Greylisted, try again in 300 seconds"
GREY_NO_HINT = "450 4.2.0 Greylisted"
TROUBLE = "451 4.3.0 Temporary server error"
RATE = "450 4.7.0 Too fast, slow down"
BYE = "421 4.3.2 Closing now"
BLOCK = "550 5.7.1 Your address is blocked"
POLICY = "550 5.7.1 Refused by local policy"


def said(text: str) -> Reply:
    """The reply of that text."""
    reader = ReplyReader()
    reader.receive(text.encode() + b"\r\n")
    reply = reader.next_reply()
    assert reply is not None
    return reply


def step(text: str = "", phase: Phase = Phase.RCPT, *, detail: str = "", reason: str = "") -> Step:
    """What a host said in that phase; without text, nothing."""
    return Step(phase=phase, reply=said(text) if text else None, detail=detail, reason=reason, host="mx.a.test")


def answer(text: str = "", phase: Phase = Phase.RCPT, *, detail: str = "", reason: str = "") -> Answer:
    """The same as an answer about one address."""
    found = step(text, phase, detail=detail, reason=reason)
    return Answer((found,), found)


def answers(by_id: Mapping[int, str]) -> dict[int, Answer]:
    """Id → the reply to its RCPT."""
    return {number: answer(text) for number, text in by_id.items()}


def item(number: int, domain: str = "a.test") -> Item:
    """An address to ask about."""
    return Item(number, Address(f"u{number}", domain))
