"""When an address is asked about again: as the host says, within the time that a run may wait (V-03)."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.meaning.backoff import HINT_MARGIN_S
from postroad.smtp.outcome import Phase
from postroad.verify.again import GREYLIST_DELAYS_S, JITTER, LONGER_S, Waited, retry_in
from postroad.verify.judge import Step, read
from verify.hearsay import ABSENT, BLOCK, BYE, FULL, GREY, GREY_NO_HINT, OK, POLICY, RATE, TROUBLE, step

WAIT_S = 900.0


def asked_again(
    found: Step, times: int = 1, *, first: float = 0.0, now: float = 0.0, wait_s: float = WAIT_S
) -> float | None:
    waited = Waited(first, times)
    return retry_in(found, read(found), waited, now=now, wait_s=wait_s, rng=random.Random(1))


def schedule(found: Step, wait_s: float = WAIT_S) -> list[float]:
    """When it is asked again, until that has an end."""
    now, times, found_at = 0.0, 1, []
    while (delay := asked_again(found, times, now=now, wait_s=wait_s)) is not None:
        now, times = now + delay, times + 1
        found_at.append(now)
    return found_at


@pytest.mark.parametrize("text", [OK, ABSENT, FULL])
def test_what_was_said_of_the_mailbox_is_the_last_word(text: str) -> None:
    assert asked_again(step(text)) is None


@pytest.mark.parametrize("text", [BLOCK, POLICY])
def test_a_refusal_for_good_that_is_not_about_the_mailbox_is_the_last_word_too(text: str) -> None:
    assert asked_again(step(text)) is None


@pytest.mark.parametrize("phase", [Phase.MAIL, Phase.RCPT, Phase.GREETING])
def test_v03_a_greylisting_host_is_asked_after_the_delay_that_it_names(phase: Phase) -> None:
    delay = asked_again(step(GREY, phase))
    assert delay is not None and 300 + HINT_MARGIN_S <= delay <= (300 + HINT_MARGIN_S) * (1 + JITTER)


def test_v03_without_such_a_word_the_usual_delays_are_waited_out() -> None:
    times = schedule(step(GREY_NO_HINT))
    for usual in (60, 300, 600):
        assert any(usual <= at <= usual * 2 for at in times), f"a host that lets us in after {usual} s is heard"
    assert len(times) == 4 and times[-1] == 900, "and once more before the deadline"


def test_who_may_wait_for_hours_goes_on_at_longer_intervals() -> None:
    times = schedule(step(GREY_NO_HINT), wait_s=4 * 3600.0)
    assert len(times) > len(GREYLIST_DELAYS_S) + 5
    assert times[-2] - times[-3] >= LONGER_S


def test_a_host_that_says_in_a_second_each_time_is_not_asked_each_second() -> None:
    times = schedule(step("451 4.7.1 Greylisted, please try again in 1 seconds"))
    assert times[0] < 10 and len(times) <= 5


def test_a_delay_beyond_the_deadline_is_not_waited_for() -> None:
    assert asked_again(step("450 4.2.0 Greylisted, try again in 2 hours")) is None
    assert asked_again(step(GREY), first=0.0, now=700.0) is None


def test_trouble_is_tried_a_few_times_and_silence_once() -> None:
    assert len(schedule(step(TROUBLE), wait_s=1e9)) == 2
    for silence in (step(detail="timed out"), step(detail="connection lost"), step(reason="dns_temporary")):
        assert len(schedule(silence, wait_s=1e9)) == 1


def test_what_no_host_said_and_time_does_not_change_is_not_asked_again() -> None:
    for reason in ("private_address", "out_of_step", "smtputf8_needed", "blocked"):
        assert asked_again(step(reason=reason)) is None


@given(
    st.sampled_from([GREY, GREY_NO_HINT, TROUBLE, RATE, BYE, POLICY, BLOCK, ""]),
    st.sampled_from(list(Phase)),
    st.integers(1, 50),
    st.floats(0, 5000),
    st.floats(0, 5000),
)
def test_nothing_is_asked_again_at_once_or_after_the_deadline(
    text: str, phase: Phase, times: int, waited: float, wait_s: float
) -> None:
    delay = asked_again(step(text, phase, detail="lost"), times, first=100.0, now=100.0 + waited, wait_s=wait_s)
    if delay is not None:
        assert delay >= 30 and waited + delay <= wait_s + 1e-6
