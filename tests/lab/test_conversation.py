"""Whatever a client sends, a lab host answers by its personality; how the stream was cut makes no difference."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.raw import HOST, one_host
from postroad.lab.catalogue import CATALOGUE, play
from postroad.lab.conversation import MAX_LINE_OCTETS, Conversation, Turn
from postroad.lab.personality import Talk, Then
from postroad.lab.wording import WORDINGS, Manner
from postroad.smtp.framing import ReplyReader

LINES = (
    *("EHLO us.example", "HELO us.example", "MAIL FROM:<>", "MAIL FROM:<me@us.example>", "RSET", "NOOP", "QUIT"),
    *("RCPT TO:<ann@d.example>", "RCPT TO:<no@d.example>", "RCPT TO:<x@e.example>", "DATA", ".", "STARTTLS", "VRFY a"),
    *("", "MAIL FROM", "RCPT TO:<", "x" * 3000, "BDAT 5 LAST", "AUTH PLAIN", "\x00\xff", "hello\rworld"),
)
inputs = st.lists(st.sampled_from(LINES) | st.text(max_size=20), max_size=25).map(
    lambda lines: "".join(f"{line}\r\n" for line in lines).encode("utf-8", "surrogateescape")
)


def conversation(personality: str) -> Conversation:
    world = one_host(personality)
    manner = Manner(random.Random(1), HOST)
    return Conversation(play(personality, manner, world.standing, {}), Talk("127.0.0.1"))


def turns(talk: Conversation, pieces: list[bytes]) -> list[Turn]:
    """What comes of those bytes, as host would carry it out; a session that ends takes no more."""
    found: list[Turn] = []
    talk.greet(0.0)
    for piece in pieces:
        talk.buffer += piece
        while (turn := talk.next_turn(1.0, is_ahead=False)) is not None:
            found.append(turn)
            if turn.action.then not in (Then.GO_ON, Then.TAKE_BODY):
                return found
    return found


@pytest.mark.parametrize("personality", CATALOGUE)
@given(data=inputs)
def test_any_input_is_answered_in_replies_that_a_client_can_read(personality: str, data: bytes) -> None:
    reader = ReplyReader()
    for turn in turns(conversation(personality), [data]):
        reader.receive(turn.action.said)
        while reader.next_reply() is not None:
            pass
        assert not reader.is_mid_reply
        assert turn.action.delay_s >= 0 and len(turn.argument) <= MAX_LINE_OCTETS


@given(data=inputs, cuts=st.lists(st.integers(1, 40), max_size=30))
def test_it_makes_no_difference_where_the_stream_is_cut(data: bytes, cuts: list[int]) -> None:
    pieces, rest = [], data
    for cut in cuts:
        pieces.append(rest[:cut])
        rest = rest[cut:]
    assert turns(conversation("honest"), [*pieces, rest]) == turns(conversation("honest"), [data])


def test_a_host_keeps_to_one_wording_and_hosts_differ() -> None:
    manners = [Manner(random.Random(seed), HOST) for seed in range(200)]
    said = {manner.say("absent", address="no@d.example").encode() for manner in manners}
    assert len(said) >= len(WORDINGS["absent"])
    assert manners[0].say("absent") == manners[0].say("absent")


@pytest.mark.parametrize("meaning", WORDINGS)
def test_every_wording_can_be_said(meaning: str) -> None:
    for seed in range(50):
        reply = Manner(random.Random(seed), HOST).say(meaning, address="a@d.example", peer="127.0.0.1", seconds=90)
        assert reply.enhanced is None or reply.enhanced[0] == reply.code // 100
        assert "{" not in reply.text
