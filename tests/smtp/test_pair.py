"""Our client and our server talk to each other through any chunking, and agree."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroad.smtp.address import Address
from postroad.smtp.client import Answer, ClientSession
from postroad.smtp.command import Ehlo, Mail, Rcpt
from postroad.smtp.framing import BodyFault, BodyLimits, ReplyReader, check_body, has_bare_newline, stuff
from postroad.smtp.outcome import Phase
from postroad.smtp.reply import Reply, reply
from postroad.smtp.server import ServerSession
from postroad.smtp.server_events import (
    Authenticated,
    AuthFailed,
    Event,
    MessageReceived,
    RcptReceived,
    ScramKeysWanted,
    ServerSettings,
)
from postroad.smtp.transaction import Transaction
from smtp.dialogue import Talk, in_transaction

CORPUS = Path(__file__).parents[2].parent / "shared" / "corpora" / "smuggling" / "sequences.json"

command_lines = st.sampled_from(
    [
        b"EHLO client.example.test\r\n",
        b"HELO client\r\n",
        b"MAIL FROM:<a@example.test>\r\n",
        b"MAIL FROM:<> SIZE=10 BODY=8BITMIME\r\n",
        b"MAIL FROM:<a@example.test> BODY=BINARYMIME\r\n",
        b"RCPT TO:<b@example.test>\r\n",
        b"RCPT TO:<no@example.test>\r\n",
        b"DATA\r\n",
        b"Subject: hi\r\n\r\nbody\r\n.\r\n",
        b".\r\n",
        b"..x\r\n",
        b"BDAT 4\r\nab\r\n",
        b"BDAT 3 LAST\r\n\x00\n\r",
        b"BDAT 0 LAST\r\n",
        b"BDAT 99999999999999999999\r\n",
        b"RSET\r\n",
        b"NOOP\r\n",
        b"VRFY x\r\n",
        b"FOO\n",
        b"\r\n",
        b"x" * 3000 + b"\r\n",
    ]
)
streams = st.lists(command_lines | st.binary(max_size=30), max_size=25).map(b"".join)


def refuse_no(event: Event) -> Reply | None:
    return reply(550, "No", "5.1.1") if isinstance(event, RcptReceived) and event.forward_path.local == "no" else None


def cut(data: bytes, places: list[int]) -> list[bytes]:
    marks = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(marks)]


@given(stream=streams, places=st.lists(st.integers(0, 10_000), max_size=30))
def test_any_split_of_the_input_gives_the_same_events_and_replies(stream: bytes, places: list[int]) -> None:
    limits = ServerSettings(hostname="mx.example.test", message_octets=2000)
    whole, split, single = (Talk(limits, refuse_no) for _ in range(3))
    said = whole.send(stream)
    assert b"".join(split.send(piece) for piece in cut(stream, places)) == said
    assert b"".join(single.send(stream[index : index + 1]) for index in range(len(stream))) == said
    assert whole.events == split.events == single.events


@given(data=st.lists(st.binary(max_size=300), max_size=10), is_tls=st.booleans())
def test_no_input_raises(data: list[bytes], is_tls: bool) -> None:
    offered = ServerSettings(
        hostname="mx.example.test", auth_mechanisms=("PLAIN", "LOGIN", "SCRAM-SHA-256"), has_starttls=True
    )
    session = ServerSession(offered, nonce=lambda: "nonce", is_tls=is_tls)
    session.greet()
    for piece in [b"EHLO x\r\n", *data, b"\r\nAUTH SCRAM-SHA-256\r\n", *data, b"\r\n"]:
        session.receive(piece)
        while (event := session.next_event()) is not None:
            if not isinstance(event, Authenticated | AuthFailed | ScramKeysWanted):
                session.answer(None)
            elif isinstance(event, ScramKeysWanted):
                return
        for line in session.take_output().splitlines():
            assert len(line) <= 510
            assert line[:3].isdigit()


@given(data=st.lists(st.binary(max_size=200), max_size=10))
def test_no_reply_stream_raises_anything_but_the_remotes_fault(data: list[bytes]) -> None:
    from postroad.smtp.errors import RemoteProtocolError

    session = ClientSession()
    session.send(Ehlo("x"))
    try:
        for piece in data:
            session.receive(piece)
            while session.next_answer() is not None:
                pass
    except RemoteProtocolError:
        pass


bodies = st.lists(
    st.sampled_from([b"", b".", b"..", b".x", b"text", b"\xc3\xa9", b"MAIL FROM:<x@y>", b"\0"]), max_size=8
).map(lambda lines: b"".join(line + b"\r\n" for line in lines))
pieces = st.lists(st.integers(1, 40), min_size=1, max_size=12)


@settings(max_examples=150)
@given(
    body=bodies,
    is_accepted=st.lists(st.booleans(), min_size=1, max_size=5),
    is_probe=st.booleans(),
    withheld=st.sets(st.sampled_from(["PIPELINING", "8BITMIME", "SIZE", "CHUNKING", "DSN"])),
    to_server=pieces,
    to_client=pieces,
)
def test_client_and_server_never_dead_lock_or_disagree(
    body: bytes,
    is_accepted: list[bool],
    is_probe: bool,
    withheld: set[str],
    to_server: list[int],
    to_client: list[int],
) -> None:
    taken: list[MessageReceived] = []

    def decide(event: Event) -> Reply | None:
        if isinstance(event, RcptReceived) and not is_accepted[int(event.forward_path.local)]:
            return reply(550, "No", "5.1.1")
        if isinstance(event, MessageReceived):
            taken.append(event)
        return None

    server = ServerSession(
        ServerSettings(hostname="mx.example.test", withheld=frozenset(withheld)), nonce=lambda: "nonce"
    )
    server.greet()
    client = ClientSession()
    client.send(Ehlo("client.example.test"))
    transaction: Transaction | None = None
    to_s, to_c = bytearray(), bytearray()
    for step in range(100_000):
        to_s += client.take_output()
        to_c += server.take_output()
        if not to_s and not to_c:
            break
        size = to_server[step % len(to_server)]
        server.receive(bytes(to_s[:size]))
        del to_s[:size]
        while (event := server.next_event()) is not None:
            server.answer(decide(event))
        to_c += server.take_output()
        size = to_client[step % len(to_client)]
        client.receive(bytes(to_c[:size]))
        del to_c[:size]
        while (item := client.next_answer()) is not None:
            assert isinstance(item, Answer)
            if isinstance(item.sent, Ehlo):
                rcpts = [Rcpt(Address(str(index), "example.test"), {}) for index in range(len(is_accepted))]
                transaction = Transaction(client, Mail(Address("a", "b"), {}), rcpts, None if is_probe else body)
                transaction.start()
            elif transaction is not None:
                transaction.receive(item)
    assert transaction is not None
    assert transaction.is_done
    fates = [result.is_accepted for result in transaction.result().recipients]
    assert fates == is_accepted
    assert transaction.is_clean
    if is_probe or not any(is_accepted):
        assert [message for message in taken if message.recipients] == []
    else:
        assert [message.body for message in taken] == [body]
        assert all(result.phase in (Phase.BODY, Phase.RCPT) for result in transaction.result().recipients)


@given(body=bodies)
def test_stuffing_and_unstuffing_cancel_out(body: bytes) -> None:
    talk = in_transaction()
    talk.send(b"DATA\r\n" + stuff(body))
    assert [message.body for message in talk.messages] == [body]


@given(body=st.binary(max_size=200))
def test_a_body_is_either_clean_or_a_fault(body: bytes) -> None:
    checked = check_body(body, BodyLimits(message=150, line=100))
    if isinstance(checked, BodyFault):
        assert len(body) > 98 or b"\r" in body or b"\n" in body
    else:
        assert checked == body


@given(lines=st.lists(st.text(max_size=40), min_size=1, max_size=5), code=st.integers(200, 599))
def test_replies_survive_the_wire(lines: list[str], code: int) -> None:
    said = Reply(code, tuple(lines))
    reader = ReplyReader()
    reader.receive(said.encode())
    heard = reader.next_reply()
    assert heard is not None
    assert heard.code == code
    assert reader.next_reply() is None


@pytest.mark.skipif(not CORPUS.exists(), reason="the smuggling corpus is not beside this checkout")
def test_h01_no_smuggling_sequence_ends_a_message_or_starts_another() -> None:
    rows = json.loads(CORPUS.read_text())
    assert rows
    for row in rows:
        sequence = row["bytes_escaped"].encode().decode("unicode_escape").encode("latin-1")
        talk = in_transaction()
        stream = b"Subject: a\r\n\r\nfirst" + sequence
        stream += b"MAIL FROM:<evil@example.test>\r\nRCPT TO:<b@example.test>\r\nDATA\r\nsecond\r\n.\r\n"
        talk.send(b"DATA\r\n")
        for index in range(len(stream)):
            talk.send(stream[index : index + 1])
        assert len(talk.messages) <= stream.count(b"\r\n.\r\n"), row["name"]
        assert not any(has_bare_newline(message.body) for message in talk.messages), row["name"]
        if stream.count(b"\r\n.\r\n") == 1:
            assert not any("evil" in str(message.mail.reverse_path) for message in talk.messages), row["name"]
