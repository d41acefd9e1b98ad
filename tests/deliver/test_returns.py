"""What comes back to return addresses: bounces and complaints of one's own messages are believed, others are not."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from deliver.messages import envelope, message, queue
from postroad.deliver.returns import (
    HISTORY_LATE_S,
    Happened,
    Original,
    Return,
    ReturnPorts,
    ReturnsDelivery,
    ReturnSettings,
)
from postroad.message.return_path import ReturnPaths
from postroad.message.unsubscribe import Leaving, Unsubscriber
from postroad.smtp.address import NULL, Address
from postroad.smtp.reply import Reply, reply
from postroad.store.queue_ids import time_of
from postroad.store.spool import Queued, SpooledMessage

PATHS = ReturnPaths("bounces.example.org", b"k" * 32)
SENDER = Address("news", "example.org")
ABOUT = Original(reverse_path=SENDER, recipients=((4, "Bob@example.net"), (5, "carl@example.net")))
UNSUBSCRIBER = Unsubscriber(b"s" * 32, "https://mail.example.org", PATHS.domain)

BOUNCE = b"""From: MAILER-DAEMON@mx.example.net\r
To: <x@bounces.example.org>\r
Subject: Undelivered\r
MIME-Version: 1.0\r
Content-Type: multipart/report; report-type=delivery-status; boundary=b\r
\r
--b\r
\r
It could not be delivered.\r
--b\r
Content-Type: message/delivery-status\r
\r
Reporting-MTA: dns; mx.example.net\r
\r
Final-Recipient: rfc822; %b\r
Action: %b\r
Status: 5.1.1\r
Diagnostic-Code: smtp; 550 5.1.1 No such user here\r
--b--\r
"""

COMPLAINT = b"""From: feedback@provider.example\r
To: feedback@bounces.example.org\r
MIME-Version: 1.0\r
Content-Type: multipart/report; report-type=feedback-report; boundary=b\r
\r
--b\r
\r
An e-mail abuse report.\r
--b\r
Content-Type: message/feedback-report\r
\r
Feedback-Type: abuse\r
User-Agent: Provider/1.0\r
Version: 1\r
Original-Rcpt-To: bob@example.net\r
--b\r
Content-Type: message/rfc822\r
\r
Return-Path: <%b>\r
From: news@example.org\r
Message-ID: <1@example.org>\r
\r
hello\r
--b--\r
"""


@dataclass
class World:
    """A return domain whose messages 7 are remembered."""

    heard: list[Return] = field(default_factory=list)
    gone: list[Leaving] = field(default_factory=list)
    queued: list[SpooledMessage] = field(default_factory=list)
    inboxes: list[str] = field(default_factory=list)
    now: float = 2000.0

    async def original(self, message_id: int) -> Original | None:
        return ABOUT if message_id == 7 else None

    async def by_header(self, message_id_header: str) -> int | None:
        return 7 if message_id_header == "<1@example.org>" else None

    async def left(self, leaving: Leaving) -> None:
        self.gone.append(leaving)

    async def queue(self, of: SpooledMessage) -> None:
        self.queued.append(of)

    def takes(self, domain: str) -> bool:
        return domain == "here.example"

    async def deliver(self, of: SpooledMessage, queued: Sequence[Queued]) -> Sequence[Reply]:
        self.inboxes += [str(one.recipient.address) for one in queued]
        return [reply(250, "Delivered", "2.0.0") for _ in queued]

    def come(self, body: bytes, *to: Address) -> list[int]:
        """Have a message come to those addresses; the codes of what became of it."""
        ports = ReturnPorts(
            originals=self,
            heard=self.heard.append,
            left=self.left,
            queue=self.queue,
            new_id=lambda wall: 99,
            wall=lambda: self.now,
        )
        delivery = ReturnsDelivery(
            ReturnSettings(hostname="mail.example.org", paths=PATHS, unsubscriber=UNSUBSCRIBER), ports, self
        )
        about = message(envelope(*(str(one) for one in to), sender=NULL), body=body)
        return [said.code for said in asyncio.run(_deliver(delivery, about))]


async def _deliver(delivery: ReturnsDelivery, about: SpooledMessage) -> Sequence[Reply]:
    assert delivery.takes(about.envelope.recipients[0].address.domain)
    return await delivery.deliver(about, queue(about))


def test_a_bounce_counts_as_the_outcome_of_its_message_and_goes_on_to_the_sender() -> None:
    world = World()
    assert world.come(BOUNCE % (b"bob@example.net", b"failed"), PATHS.address(7)) == [250]
    (heard,) = world.heard
    assert (heard.message_id, heard.address, heard.happened) == (7, "Bob@example.net", Happened.BOUNCED)
    assert heard.is_gone and "No such user here" in heard.said and heard.status == "5.1.1"
    (on,) = world.queued
    assert on.envelope.reverse_path is NULL, "nobody hears if it fails (H-14)"
    assert str(on.envelope.recipients[0].address) == "news@example.org"
    assert on.body == BOUNCE % (b"bob@example.net", b"failed")


def test_a_return_address_of_one_recipient_needs_no_name_in_the_bounce() -> None:
    world = World()
    world.come(BOUNCE % (b"forwarded-to@elsewhere.example", b"failed"), PATHS.address(7, 5))
    assert [one.address for one in world.heard] == ["carl@example.net"]


def test_a_bounce_is_believed_of_the_recipients_of_its_message_alone() -> None:
    world = World()
    assert world.come(BOUNCE % (b"victim@example.com", b"failed"), PATHS.address(7)) == [250]
    assert world.heard == []


def test_a_delay_is_no_failure() -> None:
    world = World()
    world.come(BOUNCE % (b"bob@example.net", b"delayed"), PATHS.address(7))
    assert [(one.happened, one.is_gone) for one in world.heard] == [(Happened.DELAYED, False)]


def test_addresses_that_were_made_up_and_messages_that_are_forgotten_teach_nothing() -> None:
    world = World()
    forged = replace(PATHS.address(7), local=PATHS.address(7).local[:-1] + "!")
    assert world.come(BOUNCE % (b"bob@example.net", b"failed"), forged) == [550]
    assert world.come(BOUNCE % (b"bob@example.net", b"failed"), PATHS.address(8)) == [250]
    assert world.heard == [] and world.queued == []


def test_a_bounce_that_is_faster_than_the_history_comes_again_later() -> None:
    world = World(now=time_of(8) + 30)
    assert world.come(BOUNCE % (b"bob@example.net", b"failed"), PATHS.address(8)) == [451]
    world.now += HISTORY_LATE_S
    assert world.come(BOUNCE % (b"bob@example.net", b"failed"), PATHS.address(8)) == [250]
    assert world.heard == [] and world.queued == []


def test_an_automatic_reply_goes_no_further() -> None:
    world = World()
    away = b"From: bob@example.net\r\nSubject: Out of office\r\nAuto-Submitted: auto-replied\r\n\r\nI am away.\r\n"
    assert world.come(away, PATHS.address(7)) == [250]
    assert world.heard == [] and world.queued == []


def test_a_complaint_is_matched_by_the_return_address_or_the_message_id() -> None:
    for mark in (str(PATHS.address(7)).encode(), b"someone@else.example"):
        world = World()
        assert world.come(COMPLAINT % mark, Address("Feedback", PATHS.domain)) == [250]
        assert [(one.address, one.happened) for one in world.heard] == [("Bob@example.net", Happened.COMPLAINED)]


def test_a_complaint_about_no_message_of_ours_blames_nobody() -> None:
    world = World()
    strange = (COMPLAINT % b"someone@else.example").replace(b"<1@example.org>", b"<2@elsewhere.example>")
    world.come(strange, Address("feedback", PATHS.domain))
    world.come(COMPLAINT.replace(b"abuse\r", b"not-spam\r") % b"x@y.example", Address("feedback", PATHS.domain))
    assert world.heard == []


def test_who_unsubscribes_by_mail_leaves_by_his_token_alone() -> None:
    world = World()
    token = UNSUBSCRIBER.token(Leaving("bob@example.net", "list:offers@example.org")).encode()
    to = Address("unsubscribe", PATHS.domain)
    assert world.come(b"From: anyone@example.net\r\nSubject: " + token + b"\r\n\r\n", to) == [250]
    assert world.come(b"From: anyone@example.net\r\nSubject: please\r\n\r\n", to) == [250]
    assert world.gone == [Leaving("bob@example.net", "list:offers@example.org")]


def test_other_mail_for_local_domains_goes_where_it_went() -> None:
    world = World()
    assert world.come(b"Subject: x\r\n\r\nhi\r\n", Address("ann", "here.example")) == [250]
    assert world.inboxes == ["ann@here.example"]
    assert world.come(b"Subject: x\r\n\r\nhi\r\n", Address("ann", PATHS.domain)) == [550]


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=2000), st.booleans())
def test_whatever_comes_is_taken_without_a_fault(body: bytes, is_complaint: bool) -> None:
    to = Address("feedback", PATHS.domain) if is_complaint else PATHS.address(7)
    assert World().come(body, to) == [250]
