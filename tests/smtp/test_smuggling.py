"""H-01, S-12: nothing but CRLF.CRLF ends a message, and nothing that we pass on could end one elsewhere."""

from __future__ import annotations

import codecs
import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.smtp.client import ClientSession
from postroad.smtp.errors import LocalProtocolError
from postroad.smtp.framing import BodyFault, BodyLimits, check_body, stuff
from postroad.smtp.server_events import MessageReceived, ServerSettings
from smtp.dialogue import Talk, in_transaction

CORPUS = Path(__file__).parents[3] / "shared/corpora/smuggling/sequences.json"
END = b"\r\n.\r\n"
INNER = b"MAIL FROM:<evil@example.test>\r\nRCPT TO:<b@example.test>\r\nDATA\r\nSubject: inner\r\n\r\nx" + END

OUR_OWN = [
    b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\r\n", b"\r\n.\r", b"\r\n.\r\r\n", b"\r\r\n.\n", b"\n\n.\n\n",
    b"\r\n\0.\r\n", b"\r\n.\0\r\n", b"\r\n .\r\n", b"\r\n. \r\n", b"\r\n..\r\n", b"\n\r.\n\r",
    b"\x0b.\x0b", b"\x85.\x85", b"\xe2\x80\xa8.\xe2\x80\xa8",
]  # fmt: skip


def sequences() -> dict[str, bytes]:
    """Name → bytes; our own and, where it is there, the corpus. A true end of data is none of them."""
    found = {octets.hex(): octets for octets in OUR_OWN}
    if CORPUS.exists():
        for row in json.loads(CORPUS.read_text()):
            found[row["name"]] = codecs.decode(row["bytes_escaped"], "unicode_escape").encode("latin-1")
    return {name: octets for name, octets in found.items() if END not in b"x" + octets + b"x"}


SEQUENCES = sequences()


def limits(*, converts: bool) -> ServerSettings:
    return ServerSettings(hostname="mx.example.test", convert_bare_newlines=converts)


def check_one_at_most(talk: Talk, name: str) -> None:
    assert len(talk.messages) <= 1, name
    assert not any("evil" in str(message.mail.reverse_path) for message in talk.messages), name
    for message in talk.messages:
        check_what_we_pass_on(message, name)


def check_what_we_pass_on(message: MessageReceived, name: str) -> None:
    """On the wire of the next hop there is one end of data, by the strictest and by the laxest reading."""
    client = ClientSession()
    client.send_body(message.body)
    wire = b"\r\n" + client.take_output()
    assert wire.count(END) == 1, name
    lax = wire.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    assert lax.count(b"\n.\n") == 1, name
    assert lax.endswith(b"\n.\n"), name


@pytest.mark.parametrize("converts", [False, True])
@pytest.mark.parametrize("is_split", [False, True])
def test_s12_h01_no_sequence_in_data_ends_a_message_or_begins_another(converts: bool, is_split: bool) -> None:
    for name, octets in SEQUENCES.items():
        talk = in_transaction(limits(converts=converts))
        stream = b"DATA\r\nSubject: outer\r\n\r\nfirst" + octets + INNER
        pieces = [stream[at : at + 1] for at in range(len(stream))] if is_split else [stream]
        said = b"".join(talk.send(piece) for piece in pieces)
        assert said.count(b"354 ") == 1, name
        check_one_at_most(talk, name)


@pytest.mark.parametrize("converts", [False, True])
@pytest.mark.parametrize("is_split", [False, True])
def test_s12_h01_no_sequence_in_bdat_ends_a_message_or_begins_another(converts: bool, is_split: bool) -> None:
    for name, octets in {**SEQUENCES, "true end": END}.items():
        talk = in_transaction(limits(converts=converts))
        body = b"Subject: outer\r\n\r\nfirst" + octets + INNER
        cut = len(body) // 2
        stream = b"BDAT %d\r\n%bBDAT %d LAST\r\n%b" % (cut, body[:cut], len(body) - cut, body[cut:])
        pieces = [stream[at : at + 1] for at in range(len(stream))] if is_split else [stream]
        for piece in pieces:
            talk.send(piece)
        check_one_at_most(talk, name)


def test_s12_h01_a_binary_body_that_could_smuggle_goes_by_bdat_or_not_at_all() -> None:
    for octets in SEQUENCES.values():
        talk = in_transaction()
        talk.send(b"RSET\r\nMAIL FROM:<a@example.test> BODY=BINARYMIME\r\nRCPT TO:<b@example.test>\r\n")
        body = b"x" + octets + INNER
        talk.send(b"BDAT %d LAST\r\n%b" % (len(body), body))
        (message,) = talk.messages
        assert message.body == body
        if b"\n" in octets.replace(b"\r\n", b"") or b"\r" in octets.replace(b"\r\n", b""):
            with pytest.raises(LocalProtocolError):
                ClientSession().send_body(message.body)


hostile = st.lists(
    st.sampled_from([b"\r", b"\n", b"\r\n", b".", b"..", b"\0", b"x", b"MAIL FROM:<>", b"\x85"]), max_size=30
).map(b"".join)


@given(body=hostile, converts=st.booleans())
def test_s12_h01_whatever_is_kept_leaves_with_one_end(body: bytes, converts: bool) -> None:
    kept = check_body(body, BodyLimits(message=10_000, line=1000, convert_newlines=converts))
    if isinstance(kept, BodyFault):
        assert not converts
        return
    wire = b"\r\n" + stuff(kept)
    lax = wire.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    assert wire.count(END) == lax.count(b"\n.\n") == 1


@given(body=hostile, converts=st.booleans(), places=st.lists(st.integers(0, 200), max_size=10))
def test_s12_h01_any_split_of_any_dots_and_newlines_gives_the_same(
    body: bytes, converts: bool, places: list[int]
) -> None:
    stream = b"DATA\r\n" + body + b"\r\n.\r\nNOOP\r\n"
    whole, split = in_transaction(limits(converts=converts)), in_transaction(limits(converts=converts))
    marks = sorted({min(place, len(stream)) for place in places} | {0, len(stream)})
    said = whole.send(stream)
    assert b"".join(split.send(stream[start:end]) for start, end in pairwise(marks)) == said
    assert whole.events == split.events
