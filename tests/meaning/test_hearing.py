"""What a whole transaction says: was the connection stale, are we welcome, were we crowded out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.meaning.hearing import is_crowded_out, is_stale, is_unwelcome
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


@given(st.sampled_from(Phase), st.none() | st.builds(Reply, st.integers(200, 599), st.tuples(st.text(max_size=40))))
def test_no_result_raises(phase: Phase, reply: Reply | None) -> None:
    result = RecipientResult(phase, reply)
    assert {is_stale([result]), is_unwelcome(result), is_crowded_out(result)} <= {True, False}
