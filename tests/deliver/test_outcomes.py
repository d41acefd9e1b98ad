"""What deliveries teach: the word of the recipient's own host on the mailbox, of mail that our users sent."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from deliver.messages import envelope, message, queue
from postroad.deliver.attempt import Outcome
from postroad.deliver.outcomes import suppression, taught
from postroad.deliver.settle import SettlePolicy, judge
from postroad.meaning.classify import classify
from postroad.smtp.outcome import Phase
from postroad.smtp.reply import Reply, reply
from postroad.store.facts import Cause, Delivered, DeliveryOutcome
from postroad.store.spool import Trace

OK = reply(250, "taken", "2.0.0")
GONE = reply(550, "No such user here", "5.1.1")


def learned(
    said: Reply,
    phase: Phase = Phase.RCPT,
    *,
    host: str = "mx.example.net",
    user: str | None = "ann",
    local: bool = False,
) -> list[Delivered]:
    about = message(envelope("Bob@example.net"))
    about = replace(about, trace=Trace(peer="192.0.2.1", helo="c", protocol="ESMTPSA", user=user))
    of = Outcome(meaning=classify(phase, said), phase=phase, reply=said, host=host, is_local=local)
    judgement = judge(about, queue(about), {1: of}, policy=SettlePolicy(hostname="h"), now=1010.0, rng=random.Random(1))
    return list(taught(about, judgement, 1010.0))


def test_a_mailbox_that_its_host_does_not_know_is_remembered_with_the_words() -> None:
    (one,) = learned(GONE)
    assert (one.address, one.outcome, one.at) == ("Bob@example.net", DeliveryOutcome.BOUNCED, 1010.0)
    assert one.said == "mx.example.net said: 550 5.1.1 No such user here"
    entry = suppression(one, lasts_s=None)
    assert entry is not None and (entry.name, entry.cause, entry.expires_at) == ("bob@example.net", Cause.BOUNCED, None)
    ending = suppression(one, lasts_s=90.0)
    assert ending is not None and ending.expires_at == 1100.0


def test_what_was_taken_is_remembered_and_suppresses_nobody() -> None:
    (one,) = learned(OK, Phase.BODY)
    assert one.outcome is DeliveryOutcome.DELIVERED
    assert suppression(one, lasts_s=None) is None


@pytest.mark.parametrize(
    "said",
    [
        reply(550, "Message looks like spam", "5.7.1"),
        reply(554, "Your address 192.0.2.1 is blocked", "5.7.1"),
        reply(552, "Message too large", "5.3.4"),
        reply(452, "Mailbox full", "4.2.2"),
        reply(450, "Greylisted", "4.7.1"),
    ],
)
def test_a_refusal_of_us_or_of_the_message_says_nothing_of_the_address(said: Reply) -> None:
    assert learned(said) == []


def test_relayed_mail_and_local_mailboxes_teach_nothing() -> None:
    assert learned(GONE, user=None) == []
    assert learned(GONE, host="", local=True) == []
    assert learned(OK, Phase.BODY, host="") == []
