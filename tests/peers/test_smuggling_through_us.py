"""H-01 with real receivers: no end-of-data trick makes a second message, at us or behind us."""

from __future__ import annotations

import codecs
import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from peers.internet import USER, Internet, internet
from peers.server import DOMAIN, PASSWORD
from peers.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.peer, pytest.mark.netns]

CORPUS = Path(__file__).parents[3] / "shared/corpora/smuggling/sequences.json"
OUR_OWN = {
    "lf-dot-lf": b"\n.\n",
    "lf-dot-crlf": b"\n.\r\n",
    "cr-dot-crlf": b"\r.\r\n",
    "crlf-dot-lf": b"\r\n.\n",
    "crlf-dot-cr": b"\r\n.\r",
    "crlf-dot-crcrlf": b"\r\n.\r\r\n",
    "crlf-nul-dot-crlf": b"\r\n\0.\r\n",
}
"""What every receiver must survive, corpus or not."""
END = b"\r\n.\r\n"


def sequences() -> dict[str, bytes]:
    """Name → bytes: our own and, where it is there, the corpus; without those that are true ends of data."""
    found = dict(OUR_OWN)
    if CORPUS.exists():
        for entry in json.loads(CORPUS.read_text()):
            found[entry["name"]] = codecs.decode(entry["bytes_escaped"], "unicode_escape").encode("latin-1")
    return {name: octets for name, octets in found.items() if END not in b"\r\n" + octets}


@pytest.fixture(scope="module")
def world() -> Iterator[Internet]:
    with internet() as made:
        yield made


def smuggled(name: str, octets: bytes, recipient: str) -> bytes:
    """The attack: a message, the sequence, and commands that would make a second message."""
    return (
        f"From: {USER}\r\nSubject: outer {name} for {recipient}\r\n\r\nbody".encode()
        + octets
        + f"MAIL FROM:<{USER}>\r\nRCPT TO:<{recipient}>\r\nDATA\r\n".encode()
        + f"Subject: inner {name} for {recipient}\r\n\r\nsmuggled".encode()
        + END
    )


def begin(wire: Wire, recipient: str) -> None:
    wire.ask("EHLO attacker.test")
    assert wire.ask(f"MAIL FROM:<{USER}>").code == 250
    assert wire.ask(f"RCPT TO:<{recipient}>").code == 250


def replies_to_the_end(wire: Wire) -> list[int]:
    """The codes of everything the server still says, up to the end of the connection."""
    codes = []
    with suppress(ConnectionError):
        while True:
            codes.append(wire.answer().code)
    return codes


def submit(world: Internet) -> Wire:
    wire = Wire(world.server.submissions_port, implicit_tls=True)
    wire.ask("EHLO attacker.test")
    assert wire.login(USER, PASSWORD).code == 235
    return wire


def check_nothing_smuggled(world: Internet) -> None:
    """Send one honest message behind the attacks; when it is there, whatever was smuggled would be too."""
    count = sum(1 for message in world.postfix.messages("carol") if message["Subject"] == "honest")
    with submit(world) as wire:
        begin(wire, "carol@postfix.test")
        assert wire.ask("DATA").code == 354
        wire.send(b"Subject: honest\r\n\r\nbody" + END)
        assert wire.answer().code == 250
    world.server.wait(
        lambda: sum(1 for message in world.postfix.messages("carol") if message["Subject"] == "honest") > count,
        "honest message at Postfix",
    )
    world.server.wait(lambda: not world.server.queued(), "empty queue")
    received = [*world.postfix.messages("alice"), *world.server.messages("erin")]
    subjects = [str(message["Subject"]) for message in received]
    assert [subject for subject in subjects if "inner" in subject] == []
    assert len(subjects) == len(set(subjects)), "each attack is at most one message"


def test_h01_no_sequence_in_data_becomes_a_second_message_here_or_at_postfix(world: Internet) -> None:
    for name, octets in sequences().items():
        for wire, recipient in ((submit(world), "alice@postfix.test"), (Wire(world.server.mx_port), f"erin@{DOMAIN}")):
            with wire:
                begin(wire, recipient)
                assert wire.ask("DATA").code == 354
                wire.send(smuggled(name, octets, recipient) + b"QUIT\r\n")
                codes = replies_to_the_end(wire)
                assert len(codes) <= 2, f"{name}: more replies than one to the data and one to QUIT: {codes}"
                assert 354 not in codes, f"{name}: a smuggled DATA was answered"
    check_nothing_smuggled(world)


def test_h01_no_sequence_in_bdat_becomes_a_second_message_at_postfix(world: Internet) -> None:
    for name, octets in {**sequences(), "crlf-dot-crlf": END}.items():
        with submit(world) as wire:
            begin(wire, "alice@postfix.test")
            body = smuggled(f"bdat {name}", octets, "alice@postfix.test")
            wire.send(f"BDAT {len(body)} LAST\r\n".encode() + body + b"QUIT\r\n")
            codes = replies_to_the_end(wire)
            assert len(codes) <= 2, f"{name}: {codes}"
    check_nothing_smuggled(world)
