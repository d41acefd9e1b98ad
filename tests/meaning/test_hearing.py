"""What a whole transaction says: was the connection stale, are we welcome, were we crowded out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.meaning.hearing import is_crowded_out, is_shifted, is_stale, is_unwelcome
from postroad.smtp.framing import ReplyReader
from postroad.smtp.outcome import Phase, RecipientResult
from postroad.smtp.reply import Reply


def heard(phase: Phase, line: str = "", detail: str = "") -> RecipientResult:
    reader = ReplyReader()
    reader.receive(line.encode() + b"\r\n" if line else b"")
    return RecipientResult(phase, reader.next_reply(), detail)


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (heard(Phase.MAIL, detail="the server closed the connection"), True),
        (heard(Phase.RCPT, detail="connection lost"), True),
        (heard(Phase.MAIL, "421 4.4.2 idle for too long"), True),
        (heard(Phase.MAIL, detail="timed out"), False),
        (heard(Phase.RCPT, "421 4.7.0 too many"), False),
        (heard(Phase.BODY, detail="connection lost"), False),
        (heard(Phase.RCPT, "250 ok"), False),
    ],
)
def test_a_connection_is_stale_where_it_ended_before_anything_was_decided(
    result: RecipientResult, expected: bool
) -> None:
    assert is_stale([result, result]) is expected


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (heard(Phase.RCPT, "421 4.7.0 too many connections"), True),
        (heard(Phase.RCPT, "450 4.7.1 try again later"), True),
        (heard(Phase.MAIL, "550 5.7.1 your address is blocked by a list"), True),
        (heard(Phase.RCPT, "450 4.7.1 greylisted, come back later"), False),
        (heard(Phase.RCPT, "550 5.1.1 no such user"), False),
        (heard(Phase.RCPT, "452 4.2.2 mailbox full"), False),
        (heard(Phase.RCPT, "250 ok"), False),
        (heard(Phase.RCPT, detail="connection lost"), False),
    ],
)
def test_v09_a_site_wants_less_of_us_where_it_speaks_of_us(result: RecipientResult, expected: bool) -> None:
    assert is_unwelcome(result) is expected


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (heard(Phase.RCPT, "452 4.5.3 too many recipients"), True),
        (heard(Phase.RCPT, "452 too many recipients"), True),
        (heard(Phase.RCPT, "552 5.5.3 that is enough"), True),
        (heard(Phase.RCPT, "452 4.2.2 mailbox full"), False),
        (heard(Phase.MAIL, "452 4.5.3 too many"), False),
        (heard(Phase.RCPT, "550 5.1.1 no such user"), False),
    ],
)
def test_a_recipient_is_crowded_out_where_others_had_filled_the_transaction(
    result: RecipientResult, expected: bool
) -> None:
    assert is_crowded_out(result) is expected


ASKED = ["ann@a.test", "bob@a.test", "Eve@a.test"]


def shifted(*lines: str, reset: str = "250 ok", asked: list[str] = ASKED) -> bool:
    results = [heard(Phase.RCPT, line, "" if line else "connection lost") for line in lines]
    return is_shifted(asked[: len(lines)], results, heard(Phase.RSET, reset).reply)


def test_c07_replies_that_name_another_recipient_than_their_own_belong_elsewhere() -> None:
    assert shifted("250 ok", "550 5.1.1 <ann@a.test>: no such user", "550 5.1.1 <bob@a.test>: no such user")
    assert shifted("550 no bob@a.test here", "250 ok")


@pytest.mark.parametrize(
    "lines",
    [
        ("250 <ann@a.test> ok", "550 5.1.1 <bob@a.test> unknown"),
        ("250 ok", "550 5.1.1 no such user"),
        ("250 <ANN@A.TEST> ok", "250 ok", "550 eve@A.test unknown"),
        ("550 5.1.1 <ann@a.test> unknown, not bob@a.test", "250 ok"),
        ("550 write to postmaster@a.test", "550 write to postmaster@a.test"),
        ("250 ok", "", ""),
    ],
)
def test_replies_that_name_their_own_or_nobody_on_the_list_are_in_step(lines: tuple[str, ...]) -> None:
    assert not shifted(*lines)


@pytest.mark.parametrize("line", ["251 2.1.5 will forward to <bob@a.test>", "551 5.7.1 try <bob@a.test>"])
def test_a_reply_that_says_where_the_mail_goes_may_name_another(line: str) -> None:
    assert not shifted(line, "250 ok")


def test_c07_a_reset_that_is_refused_was_an_answer_to_something_else() -> None:
    assert shifted("250 ok", reset="550 5.1.1 no such user")
    assert shifted("250 ok", reset="450 4.2.0 greylisted")
    for own in ("502 5.5.1 not implemented", "421 4.3.2 closing"):
        assert not shifted("250 ok", reset=own), "a host may refuse RSET itself"


def test_c07_a_reset_without_a_reply_means_that_one_reply_is_missing() -> None:
    assert is_shifted(ASKED[:1], [heard(Phase.RCPT, "250 ok")], None)
    assert not is_shifted(ASKED[:1], [heard(Phase.RCPT, "421 4.7.0 too many")], None), "the session had ended"


def test_one_recipient_alone_has_nobody_to_be_taken_for() -> None:
    assert not shifted("550 not bob@a.test", asked=["ann@a.test"])


@given(st.lists(st.tuples(st.text(max_size=30), st.sampled_from(Phase), st.text(max_size=80)), max_size=5))
def test_whatever_is_asked_and_said_it_is_in_step_or_not(said: list[tuple[str, Phase, str]]) -> None:
    results = [RecipientResult(phase, Reply(250, (text,))) for _, phase, text in said]
    assert is_shifted([address for address, _, _ in said], results, None) in (True, False)


@given(st.sampled_from(Phase), st.none() | st.builds(Reply, st.integers(200, 599), st.tuples(st.text(max_size=40))))
def test_no_result_raises(phase: Phase, reply: Reply | None) -> None:
    result = RecipientResult(phase, reply)
    assert {is_stale([result]), is_unwelcome(result), is_crowded_out(result)} <= {True, False}
