"""What was said on a connection: whole for an ordinary dialogue, bounded for any."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from postroad.net.transcript import MAX_PIECE_OCTETS, MAX_PIECES, Transcript


def opened() -> Transcript:
    transcript = Transcript()
    transcript.note("S", b"220 mx.example.net\r\n")
    transcript.note("C", b"EHLO mail.example.org\r\n")
    transcript.note("S", b"250-mx.example.net\r\n250 8BITMIME\r\n")
    return transcript


OPENING = "S: 220 mx.example.net\nC: EHLO mail.example.org\nS: 250-mx.example.net\nS: 250 8BITMIME"


def test_each_line_says_whose_it_is() -> None:
    assert opened().text() == OPENING


def test_a_transaction_is_told_with_how_its_connection_was_opened_and_without_the_one_before() -> None:
    transcript = opened()
    transcript.begin()
    transcript.note("C", b"MAIL FROM:<a@example.org>\r\n")
    first = transcript.kept()
    transcript.begin()
    transcript.note("C", b"MAIL FROM:<b@example.org>\r\n")
    transcript.note("C", b"the message", is_body=True)
    assert first() == f"{OPENING}\nC: MAIL FROM:<a@example.org>"
    assert transcript.text() == f"{OPENING}\nC: MAIL FROM:<b@example.org>\nC: … 11 octets of the message"


@given(st.lists(st.tuples(st.sampled_from("CS"), st.binary(max_size=3000)), max_size=2 * MAX_PIECES))
def test_it_is_bounded_and_every_line_is_somebodys(said: list[tuple[str, bytes]]) -> None:
    transcript = Transcript()
    for who, octets in said:
        transcript.note(who, octets)
    text = transcript.text()
    assert len(text) <= MAX_PIECES * (4 * MAX_PIECE_OCTETS + 100)
    assert all(line.startswith(("C: ", "S: ")) for line in text.split("\n") if said)
