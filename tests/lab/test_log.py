"""Politeness as the lab's log proves it, on logs written by hand."""

from __future__ import annotations

import io
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.lab.log import Ending, Event, LabLog, What, politeness_of, read_events

SITE = "d.example"


def event(at: float, session: int, what: What, **details: object) -> Event:
    return Event(at=at, session=session, what=what, host="mx.d.example", site=SITE, **details)  # type: ignore[arg-type]


def session(number: int, start: float, end: float, *verbs: str, ending: Ending = Ending.QUIT) -> list[Event]:
    """A greeted session that says those verbs at its start."""
    return [
        event(start, number, What.OPEN, peer="127.0.0.1"),
        event(start, number, What.GREETED),
        *(event(start, number, What.COMMAND, verb=verb, code=250) for verb in verbs),
        event(end, number, What.CLOSE, ending=ending),
    ]


def in_time(*sessions: list[Event]) -> list[Event]:
    return sorted(itertools.chain(*sessions), key=lambda one: one.at)


def test_connections_at_a_time_and_in_a_minute() -> None:
    log = in_time(session(1, 0, 30), session(2, 10, 20), session(3, 25, 40), session(4, 59, 70), session(5, 61, 62))
    figures = politeness_of(log).sites[SITE]
    assert (figures.sessions, figures.most_connections, figures.most_connections_a_minute) == (5, 2, 4)


def test_a_session_that_has_said_farewell_no_longer_counts_as_a_connection() -> None:
    log = in_time(session(1, 0, 30), [event(10, 1, What.FAREWELL)], session(2, 11, 12), session(3, 13, 40))
    assert politeness_of(log).sites[SITE].most_connections == 1
    log = in_time(session(1, 0, 30), session(2, 11, 12))
    assert politeness_of(log).sites[SITE].most_connections == 2


def test_recipients_of_a_transaction_of_a_session_and_of_a_minute() -> None:
    log = in_time(
        session(1, 0, 1, "MAIL", "RCPT", "RCPT", "RSET", "MAIL", "RCPT", "RCPT", "RCPT", "QUIT"),
        session(2, 50, 51, "MAIL", "RCPT", "QUIT"),
        session(3, 60, 61, "MAIL", "RCPT", "QUIT"),
    )
    figures = politeness_of(log).sites[SITE]
    assert figures.most_recipients_a_transaction == 3 and figures.most_recipients_a_session == 5
    assert figures.recipients == 7 and figures.most_recipients_a_minute == 6


def test_sessions_without_quit_are_those_the_client_left_and_no_others() -> None:
    log = in_time(
        session(1, 0, 1, "QUIT"),
        session(2, 2, 3, ending=Ending.LEFT),
        session(3, 4, 5, ending=Ending.HOST),
        session(4, 6, 7, ending=Ending.LAB),
        [event(8, 5, What.OPEN), event(9, 5, What.CLOSE, ending=Ending.LEFT)],
    )
    assert politeness_of(log).sites[SITE].without_quit == 1, "one that was never greeted has nothing to say QUIT to"


def test_data_and_bdat_are_counted() -> None:
    assert politeness_of(session(1, 0, 1, "MAIL", "RCPT", "DATA", "BDAT")).whole.data == 2


def test_the_whole_is_the_sum_and_the_largest() -> None:
    other = [Event(at=0.0, session=9, what=What.OPEN, host="mx.e.example", site="e.example")]
    whole = politeness_of([*session(1, 0, 1, "RCPT"), *session(2, 0, 1, "RCPT", "RCPT"), *other]).whole
    assert (whole.sessions, whole.recipients, whole.most_recipients_a_session) == (3, 3, 2)


words = st.text(max_size=20)
events = st.builds(
    Event,
    at=st.floats(0, 1e6),
    session=st.integers(0, 100),
    what=st.sampled_from(What),
    host=words,
    site=words,
    peer=words,
    verb=words,
    argument=words,
    code=st.integers(0, 599),
    ending=st.sampled_from(["", *Ending]),
)


@given(st.lists(events, max_size=20))
def test_a_log_in_a_file_is_read_back_as_it_was(written: list[Event]) -> None:
    file = io.StringIO()
    log = LabLog(file=file)
    for one in written:
        log.add(one)
    assert list(read_events(file.getvalue().splitlines())) == written == list(log.events)


TEXT = '{"what": "open", "at": "noon", "session": 1, "host": "h", "site": "s"}'


@pytest.mark.parametrize("line", ["", "[]", "{}", '{"what": "rude"}', '{"what": "open", "at": 1}', TEXT, "x" * 20_000])
def test_a_line_that_is_no_event_is_told_with_its_number(line: str) -> None:
    with pytest.raises(ValueError, match="line 1 is no event of the lab"):
        list(read_events([line]))


def test_memory_holds_the_newest_events_alone() -> None:
    log = LabLog(keep=2)
    for one in session(1, 0, 1, "MAIL", "QUIT"):
        log.add(one)
    assert [one.what for one in log.events] == [What.COMMAND, What.CLOSE]
    assert log.commands() == ["QUIT"] and log.politeness().whole.sessions == 1
