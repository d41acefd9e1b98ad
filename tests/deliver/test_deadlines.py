"""S-30: times to deliver by, priorities and TLS all the way, on to the next hop and back to the sender."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deliver.messages import SENDER, TEXT, envelope, message, queue, recipient
from postroad.deliver.attempt import Outcome
from postroad.deliver.fitness import fit
from postroad.deliver.settle import Fate, Judgement, SettlePolicy, judge
from postroad.meaning.classify import classify
from postroad.message.dsn import Action
from postroad.message.envelope import ByMode, DeliverBy, Envelope, Notify
from postroad.smtp.command import Parameters
from postroad.smtp.extension import Capabilities
from postroad.smtp.outcome import Phase
from postroad.smtp.reply import Reply, reply
from postroad.store.spool import Deferred

POLICY = SettlePolicy(hostname="mail.example.org")
START = 1000.0
RETURN = DeliverBy(START + 600, ByMode.RETURN)
TELL = DeliverBy(START + 600, ByMode.NOTIFY)


def offers(*keywords: str) -> Capabilities:
    return Capabilities.parse(Reply(250, ("mx.example.net", *keywords)))


def said(of: Envelope, now: float, *keywords: str) -> Parameters:
    fitting = fit(of, TEXT, of.recipients, offers(*keywords), now)
    assert fitting.mail is not None
    return fitting.mail.parameters


def plain(by: DeliverBy | None = None, priority: int = 0) -> Envelope:
    return replace(envelope("a@example.net"), deliver_by=by, priority=priority)


def test_s30_the_next_host_is_told_what_is_left() -> None:
    """(S-30)"""
    assert said(plain(RETURN), START + 480, "DELIVERBY") == {"BY": "120;R"}
    assert said(plain(replace(TELL, is_traced=True)), START + 700, "DELIVERBY") == {"BY": "-100;NT"}
    assert said(plain(RETURN), START + 480) == {}


def test_s30_a_host_that_promises_nothing_so_soon_does_not_get_it() -> None:
    """(S-30)"""
    fitting = fit(plain(RETURN), TEXT, plain().recipients, offers("DELIVERBY 240"), START + 480)
    assert fitting.mail is None
    assert [str(one.enhanced) for one in fitting.refused if one] == ["5.4.7"]
    assert said(plain(TELL), START + 480, "DELIVERBY 240") == {"BY": "120;N"}


def test_s30_a_priority_is_told_where_it_is_offered() -> None:
    """(S-30)"""
    assert said(plain(priority=-3), START, "MT-PRIORITY") == {"MT-PRIORITY": "-3"}
    assert said(plain(priority=-3), START) == {}
    assert said(plain(), START, "MT-PRIORITY") == {}


LATER = reply(451, "Later", "4.3.0")
TAKEN = reply(250, "taken", "2.0.0")


def judged(
    by: DeliverBy,
    now: float,
    words: Reply,
    *,
    attempts: int = 0,
    passes_on: bool = False,
    notify: frozenset[Notify] | None = None,
) -> Judgement:
    about = message(replace(envelope(recipient("a@example.net", notify), sender=SENDER), deliver_by=by))
    phase = Phase.BODY if words.is_positive else Phase.RCPT
    outcome = Outcome(
        meaning=classify(phase, words),
        phase=phase,
        reply=words,
        host="mx.example.net",
        passes_dsn_on=passes_on,
        passes_deadline_on=passes_on,
    )
    return judge(about, queue(about, attempts=attempts), {1: outcome}, policy=POLICY, now=now, rng=random.Random(3))


def test_s30_returned_when_its_time_is_over() -> None:
    """(S-30)"""
    judgement = judged(RETURN, START + 600, LATER)
    assert [verdict.fate for verdict in judgement.verdicts] == [Fate.BOUNCED]
    (report,) = judgement.notices[Action.FAILED]
    assert report.status == "5.4.7"


def test_s30_the_last_try_is_made_when_its_time_is_over_and_not_long_after() -> None:
    """(S-30)"""
    for by in (RETURN, TELL):
        (verdict,) = judged(by, START + 500, LATER, attempts=5).verdicts
        assert isinstance(verdict.kept, Deferred)
        assert verdict.kept.due_at == START + 600


def test_s30_the_sender_is_told_of_the_delay_and_it_goes_on() -> None:
    """(S-30)"""
    judgement = judged(TELL, START + 601, LATER)
    assert [verdict.fate for verdict in judgement.verdicts] == [Fate.DEFERRED]
    assert len(judgement.notices[Action.DELAYED]) == 1
    assert not judged(TELL, START + 599, LATER).notices


@pytest.mark.parametrize(
    ("by", "passes_on", "notify", "is_told"),
    [
        (RETURN, True, None, False),
        (RETURN, False, None, True),
        (TELL, False, None, True),
        (replace(RETURN, is_traced=True), True, None, True),
        (replace(RETURN, is_traced=True), True, frozenset({Notify.NEVER}), False),
    ],
)
def test_s30_relayed_is_told_where_it_is_traced_or_its_time_is_forgotten(
    by: DeliverBy, passes_on: bool, notify: frozenset[Notify] | None, is_told: bool
) -> None:
    """(S-30)"""
    notices = judged(by, START + 10, TAKEN, passes_on=passes_on, notify=notify).notices
    assert (list(notices) == [Action.RELAYED]) == is_told


@given(st.floats(0, 2000), st.integers(0, 50), st.sampled_from([RETURN, TELL]))
def test_s30_nothing_is_due_after_its_time_but_what_is_to_go_on(age_s: float, attempts: int, by: DeliverBy) -> None:
    """(S-30)"""
    (verdict,) = judged(by, START + age_s, LATER, attempts=attempts).verdicts
    if by is RETURN and age_s >= 600:
        assert verdict.fate is Fate.BOUNCED
    else:
        assert isinstance(verdict.kept, Deferred)
        assert age_s >= 599 or verdict.kept.due_at <= START + 601


def test_s30_a_clock_that_was_wrong_returns_nothing() -> None:
    """(S-30) A deadline before the message came is no deadline."""
    wrong = DeliverBy(START - 5, ByMode.RETURN)
    assert [verdict.fate for verdict in judged(wrong, START + 1, LATER).verdicts] == [Fate.DEFERRED]
