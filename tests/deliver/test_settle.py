"""The judge: who is done, who is tried again and when, and who is told what."""

from __future__ import annotations

import email
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deliver.messages import NULL, SENDER, envelope, message, queue, recipient
from postroad.deliver.attempt import Outcome
from postroad.deliver.settle import Fate, Judgement, SettlePolicy, bounce_message, judge
from postroad.meaning.backoff import RetrySchedule
from postroad.meaning.classify import classify
from postroad.message.dsn import Action
from postroad.message.envelope import Notify
from postroad.smtp.address import Address, NullPath
from postroad.smtp.outcome import Phase
from postroad.smtp.reply import Reply, reply
from postroad.store.spool import Deferred, Settled

POLICY = SettlePolicy(hostname="mail.example.org")
OK = reply(250, "taken", "2.0.0")
NO = reply(550, "No such user", "5.1.1")
LATER = reply(451, "Later", "4.3.0")
NOTIFY = st.one_of(
    st.none(),
    st.just(frozenset({Notify.NEVER})),
    st.frozensets(st.sampled_from([Notify.SUCCESS, Notify.FAILURE, Notify.DELAY]), min_size=1),
)


def outcome(
    said: Reply | None, phase: Phase = Phase.RCPT, *, is_local: bool = False, passes_dsn_on: bool = False
) -> Outcome:
    return Outcome(
        meaning=classify(phase, said),
        phase=phase,
        reply=said,
        host="" if is_local else "mx.example.net",
        detail="" if said else "connection lost",
        is_local=is_local,
        passes_dsn_on=passes_dsn_on,
    )


TAKEN = outcome(OK, Phase.BODY)
REFUSED = outcome(NO)
DEFERRED = outcome(LATER)


def judged(
    of: Outcome,
    *,
    age_s: float = 10.0,
    attempts: int = 5,
    notify: frozenset[Notify] | None = None,
    sender: Address | NullPath = SENDER,
    delay_notified: bool = False,
    policy: SettlePolicy = POLICY,
) -> Judgement:
    about = message(
        envelope(recipient("someone@example.net", notify), sender=sender), lifetime_s=policy.schedule.lifetime_s
    )
    queued = queue(about, attempts=attempts, delay_notified=delay_notified)
    return judge(about, queued, {1: of}, policy=policy, now=1000.0 + age_s, rng=random.Random(3))


def test_taken_is_done_and_nobody_is_told() -> None:
    judgement = judged(TAKEN)
    (verdict,) = judgement.verdicts
    assert verdict.fate is Fate.DELIVERED
    assert isinstance(verdict.kept, Settled)
    assert not judgement.notices


def test_a_positive_reply_to_anything_but_the_body_is_no_delivery() -> None:
    for phase in (Phase.MAIL, Phase.RCPT, Phase.DATA):
        (verdict,) = judged(outcome(OK, phase)).verdicts
        assert verdict.fate is Fate.DEFERRED


def test_c10_a_temporary_failure_is_tried_again_later() -> None:
    (verdict,) = judged(DEFERRED, attempts=0).verdicts
    assert verdict.fate is Fate.DEFERRED
    assert isinstance(verdict.kept, Deferred)
    assert 1010 + 240 <= verdict.kept.due_at <= 1010 + 360
    assert verdict.kept.attempt.reply == "451 4.3.0 Later"
    assert verdict.kept.attempt.meaning == "system_temporary"
    assert not verdict.kept.delay_notified


def test_c09_an_unknown_outcome_is_tried_again_and_told_apart() -> None:
    (verdict,) = judged(outcome(None, Phase.BODY)).verdicts
    assert isinstance(verdict.kept, Deferred)
    assert verdict.kept.attempt.meaning == "outcome_unknown"
    (verdict,) = judged(outcome(None, Phase.RCPT)).verdicts
    assert isinstance(verdict.kept, Deferred)
    assert verdict.kept.attempt.meaning == "system_temporary"


def test_greylisting_is_honoured() -> None:
    (verdict,) = judged(outcome(reply(451, "Greylisted, try again in 60 seconds", "4.7.1")), attempts=0).verdicts
    assert isinstance(verdict.kept, Deferred)
    assert 1070 < verdict.kept.due_at < 1100


def test_c10_given_up_after_the_lifetime_with_a_dsn() -> None:
    judgement = judged(DEFERRED, age_s=POLICY.schedule.lifetime_s)
    assert judgement.verdicts[0].fate is Fate.BOUNCED
    (report,) = judgement.notices[Action.FAILED]
    assert report.status == "4.4.7"
    assert report.reply == LATER


def test_c10_the_last_try_is_made_when_the_time_is_up() -> None:
    (verdict,) = judged(DEFERRED, age_s=POLICY.schedule.lifetime_s - 30).verdicts
    assert isinstance(verdict.kept, Deferred)
    assert verdict.kept.due_at == pytest.approx(1000 + POLICY.schedule.lifetime_s)


def test_d04_a_clock_that_jumped_ahead_ends_nothing_hardly_tried() -> None:
    year = 365 * 86_400.0
    assert judged(DEFERRED, age_s=year, attempts=0).verdicts[0].fate is Fate.DEFERRED
    assert judged(DEFERRED, age_s=year, attempts=1).verdicts[0].fate is Fate.DEFERRED
    assert judged(DEFERRED, age_s=year, attempts=2).verdicts[0].fate is Fate.BOUNCED


def test_d04_a_clock_that_went_back_does_not_keep_mail_for_ever() -> None:
    year = 365 * 86_400.0
    assert judged(DEFERRED, age_s=-year, attempts=40).verdicts[0].fate is Fate.DEFERRED
    assert judged(DEFERRED, age_s=-year, attempts=400).verdicts[0].fate is Fate.BOUNCED


def test_a_short_lifetime_is_kept_to() -> None:
    policy = SettlePolicy(hostname="mail.example.org", schedule=RetrySchedule(lifetime_s=2))
    first = judged(DEFERRED, age_s=0.1, attempts=0, policy=policy).verdicts[0]
    assert isinstance(first.kept, Deferred)
    assert first.kept.due_at == pytest.approx(1002)
    assert judged(DEFERRED, age_s=2.1, attempts=1, policy=policy).verdicts[0].fate is Fate.BOUNCED


def test_c14_a_permanent_failure_is_told_to_the_sender() -> None:
    judgement = judged(REFUSED)
    assert judgement.verdicts[0].fate is Fate.BOUNCED
    assert isinstance(judgement.verdicts[0].kept, Settled)
    (report,) = judgement.notices[Action.FAILED]
    assert (report.status, report.remote, report.reply) == ("5.1.1", "mx.example.net", NO)


@pytest.mark.parametrize("said", [REFUSED, DEFERRED, TAKEN])
@pytest.mark.parametrize("age_s", [10.0, 5 * 3600.0, 500_000.0])
def test_h14_nobody_is_told_of_a_bounce(said: Outcome, age_s: float) -> None:
    every = frozenset({Notify.SUCCESS, Notify.FAILURE, Notify.DELAY})
    judgement = judged(said, sender=NULL, notify=every, age_s=age_s)
    assert not judgement.notices
    assert judgement.verdicts[0].fate is not Fate.BOUNCED


def test_h14_a_bounce_that_cannot_be_delivered_is_dropped() -> None:
    judgement = judged(REFUSED, sender=NULL)
    assert judgement.verdicts[0].fate is Fate.DROPPED
    assert isinstance(judgement.verdicts[0].kept, Settled)


def test_s27_the_delay_is_told_once() -> None:
    assert not judged(DEFERRED, age_s=3 * 3600).notices
    judgement = judged(DEFERRED, age_s=5 * 3600)
    (report,) = judgement.notices[Action.DELAYED]
    assert report.will_retry_until == 1000 + POLICY.schedule.lifetime_s
    assert report.status == "4.3.0"
    kept = judgement.verdicts[0].kept
    assert isinstance(kept, Deferred)
    assert kept.delay_notified
    again = judged(DEFERRED, age_s=6 * 3600, delay_notified=True)
    assert not again.notices
    assert isinstance(again.verdicts[0].kept, Deferred)
    assert again.verdicts[0].kept.delay_notified
    assert not judged(DEFERRED, age_s=5 * 3600, policy=SettlePolicy(hostname="x", delay_notice_s=0)).notices


@given(NOTIFY, st.booleans(), st.booleans())
def test_s27_notify_is_obeyed(notify: frozenset[Notify] | None, is_local: bool, passes_on: bool) -> None:
    failure = judged(REFUSED, notify=notify).notices
    assert (Action.FAILED in failure) == (notify is None or Notify.FAILURE in notify)
    delay = judged(DEFERRED, notify=notify, age_s=5 * 3600).notices
    assert (Action.DELAYED in delay) == (notify is None or Notify.DELAY in notify)
    taken = outcome(OK, Phase.BODY, is_local=is_local, passes_dsn_on=passes_on and not is_local)
    success = judged(taken, notify=notify).notices
    wanted = notify is not None and Notify.SUCCESS in notify
    assert (Action.DELIVERED in success) == (wanted and is_local)
    assert (Action.RELAYED in success) == (wanted and not is_local and not passes_on)


def test_the_bounce_as_a_message() -> None:
    about = message(envelope("a@example.net", "b@example.net"))
    queued = queue(about)
    judgement = judge(about, queued, {1: REFUSED, 2: REFUSED}, policy=POLICY, now=1010.0, rng=random.Random(1))
    bounce = bounce_message(
        about, judgement.notices[Action.FAILED], message_id=99, boundary="bbb", now=1010.0, policy=POLICY
    )
    assert bounce.id == 99
    assert isinstance(bounce.envelope.reverse_path, NullPath)
    assert [str(one.address) for one in bounce.envelope.recipients] == ["sender@example.org"]
    assert bounce.envelope.recipients[0].notify == frozenset({Notify.NEVER})
    assert bounce.expires_at == 1010 + POLICY.schedule.lifetime_s
    parsed = email.message_from_bytes(bounce.body)
    assert parsed.get_content_type() == "multipart/report"
    assert bounce.body.count(b"Final-Recipient:") == 2


def test_a_sender_without_a_domain_is_one_of_ours() -> None:
    about = message(envelope("a@example.net", sender=Address("postmaster", "")))
    judgement = judge(about, queue(about), {1: REFUSED}, policy=POLICY, now=1010.0, rng=random.Random(1))
    bounce = bounce_message(
        about, judgement.notices[Action.FAILED], message_id=99, boundary="bbb", now=1010.0, policy=POLICY
    )
    assert str(bounce.envelope.recipients[0].address) == "postmaster@mail.example.org"


@given(
    st.sampled_from(list(Phase)),
    st.one_of(st.none(), st.builds(reply, st.integers(200, 599), st.text(max_size=40))),
    st.integers(0, 500),
    st.floats(-1e9, 1e9),
    NOTIFY,
)
def test_every_outcome_has_a_verdict(
    phase: Phase, said: Reply | None, attempts: int, age_s: float, notify: frozenset[Notify] | None
) -> None:
    judgement = judged(outcome(said, phase), attempts=attempts, age_s=age_s, notify=notify)
    (verdict,) = judgement.verdicts
    match verdict.kept:
        case Deferred():
            assert verdict.fate is Fate.DEFERRED
            assert 1000 + age_s < verdict.kept.due_at <= 1000 + age_s + 7 * 3600
        case Settled():
            assert verdict.fate in (Fate.DELIVERED, Fate.BOUNCED)
    for action, reports in judgement.notices.items():
        assert reports
        assert all(report.status[0] in "245" for report in reports)
        assert all(report.action is action for report in reports)


@given(st.floats(0, 30 * 86_400), st.integers(0, 500), st.one_of(st.none(), st.floats(0, 86_400)))
def test_what_our_own_pace_turned_away_is_not_counted_and_never_given_up(
    age_s: float, attempts: int, retry_after_s: float | None
) -> None:
    paced = Outcome(
        meaning=replace(classify(Phase.CONNECT, None), retry_after_s=retry_after_s),
        phase=Phase.CONNECT,
        reply=None,
        detail="the site example.org is at its rate of 1 messages a minute from here",
        is_paced=True,
    )
    found = judged(paced, age_s=age_s, attempts=attempts)
    (verdict,) = found.verdicts
    assert verdict.fate is Fate.DEFERRED and isinstance(verdict.kept, Deferred)
    assert not verdict.kept.is_attempt
    assert verdict.kept.attempt.meaning == "paced" and "at its rate" in verdict.kept.attempt.reply
    assert found.tried().verdicts == ()
