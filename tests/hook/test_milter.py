"""The milter protocol as bytes, and a milter of one's own that answers in every way."""

from __future__ import annotations

import asyncio
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hook.test_amend import BOB, arrived
from postroad.hook.milter import ask_milter
from postroad.hook.milter_packet import MilterError, Packet, Packets, Steps, strings
from postroad.hook.vocabulary import (
    AddHeader,
    AddRecipient,
    Amend,
    Answer,
    ChangeHeader,
    ChangeSender,
    Defer,
    Discard,
    Refuse,
    RemoveRecipient,
    ReplaceBody,
)
from postroad.smtp.address import NULL, Address


@given(st.lists(st.tuples(st.sampled_from("acdhimqy"), st.binary(max_size=40))), st.data())
def test_packets_come_whole_however_the_stream_is_cut(sent: list[tuple[str, bytes]], data: st.DataObject) -> None:
    stream = b"".join(bytes(Packet(kind, octets)) for kind, octets in sent)
    packets, got = Packets(), list[Packet]()
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        got += packets.feed(stream[:size])
        stream = stream[size:]
    assert [(one.kind, one.data) for one in got] == sent


@given(st.binary(min_size=5, max_size=60))
def test_garbage_is_an_error_or_packets_and_never_a_fault(octets: bytes) -> None:
    try:
        list(Packets().feed(octets))
    except MilterError:
        pass


class Milter:
    """A channel to a milter that answers each stage by `answers` (its letter), by default with «continue»."""

    def __init__(self, answers: dict[str, list[Packet]], steps: int = 0, version: int = 6) -> None:
        self.heard: list[Packet] = []
        self._answers = answers
        self._steps = Steps(steps)
        self._version = version
        self._packets = Packets()
        self._out = b""

    async def read(self, octets: int) -> bytes:
        data, self._out = self._out[:octets], self._out[octets:]
        return data

    def write(self, octets: bytes) -> None:
        for packet in self._packets.feed(octets):
            self.heard.append(packet)
            if packet.kind == "O":
                said = [Packet("O", struct.pack("!III", self._version, 0x1FF, self._steps))]
            elif packet.kind in "DQ" or (packet.kind == "L" and Steps.SILENT_HEADER in self._steps):
                said = []
            else:
                said = self._answers.get(packet.kind, [Packet("c")])
            self._out += b"".join(map(bytes, said))

    async def drain(self) -> None:
        return None


def asked(answers: dict[str, list[Packet]], **options: int) -> tuple[Answer, list[Packet]]:
    milter = Milter(answers, **options)
    return asyncio.run(ask_milter(milter, arrived())), milter.heard


def test_the_whole_session_is_told_in_order() -> None:
    answer, heard = asked({})
    assert answer is None
    told = [packet.kind for packet in heard if packet.kind != "D"]
    assert told == ["O", "C", "H", "M", "R", "T", "L", "L", "L", "L", "N", "B", "E", "Q"]
    headers = [packet.data for packet in heard if packet.kind == "L"]
    assert headers[1] == b"Subject\0one\n two\0" and headers[3] == b"x\x002\0", "names keep their case"
    assert next(packet.data for packet in heard if packet.kind == "C") == b"[192.0.2.1]\x004\x00\x01192.0.2.1\0"


def test_what_a_milter_does_not_want_it_is_not_told() -> None:
    unwanted = Steps.NO_CONNECT | Steps.NO_HELO | Steps.NO_BODY | Steps.NO_DATA | Steps.SILENT_HEADER
    _, heard = asked({}, steps=int(unwanted))
    assert [packet.kind for packet in heard if packet.kind != "D"] == [*"OMRLLLLNEQ"]
    _, heard = asked({"B": [Packet("s")]}, steps=int(Steps.SKIP))
    assert [packet.kind for packet in heard].count("B") == 1


@pytest.mark.parametrize(
    ("packet", "kind", "code"),
    [
        (Packet("r"), Refuse, 550),
        (Packet("t"), Defer, 451),
        (Packet("y", b"554 5.7.1 No, thank you\0"), Refuse, 554),
        (Packet("y", b"421 4.7.0 Later\0"), Defer, 421),
        (Packet("d"), Discard, 0),
    ],
)
@pytest.mark.parametrize("stage", ["C", "M", "R", "L", "E"])
def test_an_answer_at_any_stage_ends_the_matter(packet: Packet, kind: type, code: int, stage: str) -> None:
    answer, heard = asked({stage: [packet]})
    assert isinstance(answer, kind)
    if isinstance(answer, Refuse | Defer):
        assert answer.reply.code == code
    assert heard[-1].kind == "Q" and [one.kind for one in heard].count(stage) == 1


def test_changes_are_taken_in_order_and_progress_is_patience() -> None:
    answer, _ = asked(
        {
            "E": [
                Packet("p"),
                Packet("h", strings(b"X-One", b"1")),
                Packet("i", struct.pack("!I", 1) + strings(b"X-Two", b"2")),
                Packet("m", struct.pack("!I", 1) + strings(b"Subject", b"")),
                Packet("b", b"new "),
                Packet("b", b"body"),
                Packet("+", strings(b"<carl@example.org>")),
                Packet("-", strings(b"<bob@example.org>")),
                Packet("e", strings(b"<>")),
                Packet("q", strings(b"looks odd")),
                Packet("a"),
            ]
        }
    )
    assert answer == Amend(
        (
            AddHeader("X-One", "1"),
            AddHeader("X-Two", "2", 0),
            ChangeHeader("Subject", 1, None),
            ReplaceBody(b"new body"),
            AddRecipient(Address("carl", "example.org")),
            RemoveRecipient(BOB),
            ChangeSender(NULL),
        ),
        "looks odd",
    )


@pytest.mark.parametrize(
    "answers",
    [
        {"E": [Packet("Z")]},
        {"E": [Packet("y", b"250 fine\0")]},
        {"E": [Packet("y", b"nonsense\0")]},
        {"E": [Packet("h", b"\0")]},
        {"E": [Packet("m", b"\0")]},
        {"E": [Packet("+", strings(b"<a b>"))]},
        {"E": [Packet("h", strings(b"A", b"1"))] * 1001},
        {"M": []},
    ],
)
def test_a_milter_that_answers_nonsense_or_leaves_is_an_error(answers: dict[str, list[Packet]]) -> None:
    with pytest.raises(MilterError):
        asked(answers)


def test_a_version_that_is_not_known_is_told() -> None:
    with pytest.raises(MilterError, match="version 9"):
        asked({}, version=9)
