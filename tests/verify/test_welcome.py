"""Whether a site is still willing to answer, by what it said: blocks end its part, slowness only after a while."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.smtp.outcome import Phase
from postroad.verify.judge import Step, read
from postroad.verify.welcome import LEAST_PATIENCE_S, Welcome
from verify.hearsay import ABSENT, BLOCK, BYE, GREY, OK, RATE, TROUBLE, step

WAIT_S = 900.0


def session(welcome: Welcome, *heard: Step, now: float = 0.0, wait_s: float = WAIT_S) -> Step | None:
    """What came up in one session; what the site's part ends with, if it does."""
    welcome.note_session([(one, read(one)) for one in heard], now=now, wait_s=wait_s)
    return welcome.refusal


def test_v09_a_block_ends_a_sites_part_when_it_is_said_twice_with_no_hearing_between() -> None:
    welcome = Welcome()
    assert session(welcome, step(BLOCK)) is None
    assert session(welcome, step(BLOCK), now=1.0) == step(BLOCK)
    assert welcome.troubles == 2 and welcome.words == BLOCK


@pytest.mark.parametrize("hearing", [OK, ABSENT, GREY, TROUBLE])
def test_a_hearing_between_two_blocks_shows_that_the_site_still_answers(hearing: str) -> None:
    welcome = Welcome()
    session(welcome, step(BLOCK))
    session(welcome, step(hearing))
    assert session(welcome, step(BLOCK)) is None
    assert welcome.troubles == 2, "and it is told all the same"


def test_a_session_that_answers_some_and_blocks_the_rest_is_gone_on_with() -> None:
    welcome = Welcome()
    for now in range(10):
        assert session(welcome, step(ABSENT), step(BLOCK), now=float(now)) is None


def test_a_block_at_the_greeting_counts_like_any_other() -> None:
    welcome = Welcome()
    greeting = step("554 5.7.1 Blocked using list.test", Phase.GREETING)
    session(welcome, greeting)
    assert session(welcome, greeting) == greeting


def test_a_block_for_now_is_no_block_for_good() -> None:
    welcome = Welcome()
    for now in range(5):
        assert session(welcome, step("450 4.7.1 Client host blocked, try later"), now=float(now)) is None


@pytest.mark.parametrize("text", [RATE, BYE, "421 4.7.0 Too many connections"])
@pytest.mark.parametrize("phase", [Phase.GREETING, Phase.MAIL, Phase.RCPT])
def test_v09_slowness_is_borne_as_long_as_an_address_may_wait(text: str, phase: Phase) -> None:
    welcome = Welcome()
    now = 0.0
    while now < WAIT_S:
        assert session(welcome, step(text, phase), now=now) is None
        now += 100.0
    assert session(welcome, step(text, phase), now=now) == step(text, phase)


def test_also_who_does_not_wait_bears_it_for_a_while() -> None:
    welcome = Welcome()
    assert session(welcome, step(RATE), wait_s=0.0) is None
    assert session(welcome, step(RATE), now=LEAST_PATIENCE_S - 1, wait_s=0.0) is None
    assert session(welcome, step(RATE), now=LEAST_PATIENCE_S, wait_s=0.0) is not None


def test_a_pause_that_lasts_too_long_ends_it_with_the_sites_own_words() -> None:
    welcome = Welcome()
    session(welcome, step(RATE))
    welcome.note_pause(now=WAIT_S - 1, wait_s=WAIT_S)
    assert welcome.refusal is None
    welcome.note_pause(now=WAIT_S, wait_s=WAIT_S)
    assert welcome.refusal == step(RATE)


def test_a_site_that_says_nothing_at_all_is_borne_as_long() -> None:
    welcome = Welcome()
    for now in (0.0, 400.0, WAIT_S - 1):
        assert session(welcome, step(detail="timed out"), now=now) is None
    assert session(welcome, step(detail="timed out"), now=WAIT_S) == step(detail="timed out")
    assert welcome.troubles == 0, "and is not told as one that does not want us"


def test_one_answer_shows_that_a_silent_site_is_there() -> None:
    welcome = Welcome()
    session(welcome, step(detail="timed out"))
    session(welcome, step(ABSENT), step(detail="connection lost"), now=500.0)
    assert session(welcome, step(detail="timed out"), now=WAIT_S) is None


def test_a_pause_that_would_last_beyond_the_time_is_not_waited_for() -> None:
    welcome = Welcome()
    session(welcome, step(RATE))
    welcome.note_pause(now=600.0, wait_s=WAIT_S, pause_s=100.0)
    assert welcome.refusal is None
    welcome.note_pause(now=600.0, wait_s=WAIT_S, pause_s=640.0)
    assert welcome.refusal == step(RATE)


def test_a_pause_without_words_is_told_as_one() -> None:
    welcome = Welcome()
    welcome.note_pause(now=0.0, wait_s=0.0)
    welcome.note_pause(now=LEAST_PATIENCE_S, wait_s=0.0)
    assert welcome.refusal is not None and welcome.refusal.reason == "site_paused"
    assert welcome.words


def test_a_site_without_trouble_has_no_words() -> None:
    welcome = Welcome()
    session(welcome, step(OK), step(ABSENT))
    assert welcome.words == "" and welcome.troubles == 0


@given(
    st.lists(
        st.tuples(st.lists(st.sampled_from([OK, ABSENT, GREY, TROUBLE, RATE, BYE, BLOCK]), max_size=4)), max_size=30
    )
)
def test_v02_a_site_that_goes_on_hearing_us_is_never_given_up(sessions: list[tuple[list[str]]]) -> None:
    welcome = Welcome()
    for now, (heard,) in enumerate(sessions):
        refusal = session(welcome, step(ABSENT), *(step(text) for text in heard), now=float(now) * 50)
        assert refusal is None


@given(st.lists(st.sampled_from([OK, GREY, RATE, BYE, BLOCK]), max_size=30))
def test_a_refusal_stands_and_is_trouble_never_a_missing_mailbox(sessions: list[str]) -> None:
    welcome, before = Welcome(), None
    for now, text in enumerate(sessions):
        refusal = session(welcome, step(text), now=float(now) * 50)
        assert before is None or refusal is not None
        before = refusal
        if refusal is not None:
            assert read(refusal).judgement == "unknown"
