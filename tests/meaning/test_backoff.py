"""Retry intervals: growing, never beyond the ceiling, spread by chance, and as RFC 5321 wants them on average."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.meaning.backoff import DEFAULT_SCHEDULE, MAX_HINT_S, RetrySchedule, next_attempt, retry_hint

SCHEDULES = st.builds(
    RetrySchedule,
    first_s=st.floats(1, 3600),
    factor=st.floats(1, 10),
    ceiling_s=st.floats(3600, 86_400),
    jitter=st.floats(0, 0.9),
)


@given(SCHEDULES, st.integers(0, 10_000), st.integers())
def test_intervals_stay_within_their_bounds(schedule: RetrySchedule, attempts: int, seed: int) -> None:
    wait = next_attempt(attempts, schedule=schedule, rng=random.Random(seed))
    base = schedule.interval(attempts)
    assert 0 < wait <= schedule.ceiling_s
    assert base * (1 - schedule.jitter) - 1e-6 <= wait <= base * (1 + schedule.jitter) + 1e-6


@given(SCHEDULES, st.integers(1, 1000))
def test_intervals_never_shrink_but_by_chance(schedule: RetrySchedule, attempts: int) -> None:
    assert schedule.interval(attempts) <= schedule.interval(attempts + 1) <= schedule.ceiling_s


@given(SCHEDULES, st.integers(1, 100), st.floats(0.1, MAX_HINT_S), st.integers())
def test_a_hint_is_never_undercut(schedule: RetrySchedule, attempts: int, hint: float, seed: int) -> None:
    assert next_attempt(attempts, schedule=schedule, rng=random.Random(seed), hint_s=hint) > hint


def test_a_hint_shortens_the_first_wait_only() -> None:
    rng = random.Random(1)
    assert next_attempt(1, rng=rng, hint_s=60) < 80
    assert next_attempt(5, rng=rng, hint_s=60) >= DEFAULT_SCHEDULE.interval(5)


@pytest.mark.parametrize("hint", [0.0, -5.0, MAX_HINT_S + 1])
def test_an_absurd_hint_is_not_believed(hint: float) -> None:
    assert next_attempt(1, rng=random.Random(1), hint_s=hint) <= 360


def test_c10_soon_at_first_then_seldom_for_days() -> None:
    rng = random.Random(7)
    first = next_attempt(1, rng=rng)
    assert 240 <= first <= 360
    elapsed, attempts = 0.0, 1
    while elapsed < DEFAULT_SCHEDULE.lifetime_s:
        elapsed += next_attempt(attempts, rng=rng)
        attempts += 1
    assert elapsed / (attempts - 1) >= 1800
    assert 4 * 86_400 <= DEFAULT_SCHEDULE.lifetime_s <= 5 * 86_400


def test_attempts_within_a_lifetime() -> None:
    assert RetrySchedule(lifetime_s=1).attempts_within_lifetime() == 1
    assert RetrySchedule(lifetime_s=301).attempts_within_lifetime() == 2
    assert 30 <= DEFAULT_SCHEDULE.attempts_within_lifetime() <= 40


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Greylisted, please try again in 300 seconds", 300),
        ("greylisted; retry after 10 minutes", 600),
        ("try again in 1 hour", 3600),
        ("Greylisting in action, please come back in 00:05:00", 300),
        ("Please wait 45s", 45),
        ("try again later", None),
        ("see https://example.org/300 seconds", None),
        ("try again in 99999 hours", None),
        ("try again in 0 seconds", None),
        ("", None),
    ],
)
def test_hints_are_read(text: str, seconds: float | None) -> None:
    assert retry_hint(text) == seconds


@given(st.text(max_size=300))
def test_any_text_may_be_asked_for_a_hint(text: str) -> None:
    found = retry_hint(text)
    assert found is None or 0 < found <= MAX_HINT_S


def test_c10_what_the_host_meant_decides_the_first_interval() -> None:
    """(C-10) A full mailbox is tried rarely, a greylisting host soon; none more often than all on average."""
    kinds = RetrySchedule(first_of={"mailbox_full": 7200.0, "greylisted": 200.0})
    assert kinds.interval(1, "mailbox_full") == 7200.0
    assert kinds.interval(1, "greylisted") == 200.0
    assert kinds.interval(1, "host_unreachable") == kinds.interval(1) == 300.0
    for kind in ("mailbox_full", "greylisted", ""):
        assert sum(kinds.interval(number, kind) for number in range(1, 11)) / 10 >= 1800.0
        assert max(kinds.interval(number, kind) for number in range(1, 100)) == kinds.ceiling_s


def test_c10_a_hint_is_honoured_whatever_the_kind() -> None:
    schedule = RetrySchedule(first_of={"greylisted": 100.0}, jitter=0.0)
    assert next_attempt(1, schedule=schedule, rng=random.Random(1), hint_s=60.0, kind="greylisted") == 65.0
    assert next_attempt(2, schedule=schedule, rng=random.Random(1), kind="greylisted") == 200.0
