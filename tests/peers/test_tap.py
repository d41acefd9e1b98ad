"""What the table of interoperation rests on: a dialogue is read right, and bodies are never taken for commands."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from peers.tap import KEPT_OCTETS, Dialogue

BODIES = st.lists(st.sampled_from([b"MAIL FROM:<x@y.test>", b"BDAT 5", b"..", b"", b"quit now"]), max_size=5)


def heard(*turns: tuple[bool, bytes]) -> Dialogue:
    dialogue = Dialogue()
    for from_client, octets in turns:
        dialogue.hear(from_client, octets)
    return dialogue


@given(BODIES)
def test_lines_of_a_body_sent_by_data_are_no_commands(lines: list[bytes]) -> None:
    body = b"".join(line + b"\r\n" for line in lines)
    said = heard(
        (True, b"MAIL FROM:<>\r\nRCPT TO:<a@b.test>\r\nDATA\r\n"),
        (False, b"250 ok\r\n250 ok\r\n"),
        (False, b"354 go on\r\n"),
        (True, body + b"\r\n.\r\nQUIT\r\n"),
        (False, b"250 taken\r\n221 bye\r\n"),
    )
    assert said.batches == [["MAIL FROM:<>", "RCPT TO:<a@b.test>", "DATA"], ["QUIT"]]
    assert said.replies == ["250 ok", "250 ok", "354 go on", "250 taken", "221 bye"]


@given(BODIES)
def test_octets_of_a_chunk_are_no_commands(lines: list[bytes]) -> None:
    body = b"\r\n".join(lines)
    said = heard((True, b"BDAT %d LAST\r\n" % len(body) + body + b"QUIT\r\n"))
    assert said.commands == [f"BDAT {len(body)} LAST", "QUIT"]
    assert said.has("bdat ") and not said.has("MAIL")


def test_keywords_outside_tls_and_inside_are_offered() -> None:
    said = heard(
        (True, b"EHLO a\r\n"),
        (False, b"250-b hello\r\n250-SIZE 5\r\n250 STARTTLS\r\n"),
        (True, b"STARTTLS\r\n"),
        (False, b"220 go\r\n"),
        (True, b"EHLO a\r\n"),
        (False, b"250-b hello\r\n250 AUTH PLAIN\r\n"),
    )
    assert said.offered == {"SIZE", "STARTTLS", "AUTH"}


def test_words_of_an_auth_exchange_are_no_commands() -> None:
    said = heard(
        (True, b"AUTH LOGIN\r\n"), (False, b"334 VXNlcjo=\r\n"), (True, b"bWFpbA==\r\n"), (False, b"535 no\r\n")
    )
    assert said.commands == ["AUTH LOGIN"]


def test_what_is_kept_of_a_turn_is_bounded() -> None:
    said = heard(*[(True, b"x" * 10_000)] * 20)
    assert len(said.turns) == 1 and len(said.turns[0][1]) == KEPT_OCTETS
