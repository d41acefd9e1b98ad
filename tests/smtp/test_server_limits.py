"""What the server session bears: numbers, lengths, sizes and orders at their edges, and memory that stays flat."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.smtp import sasl
from postroad.smtp.errors import LocalProtocolError
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
from smtp.dialogue import Talk, codes, greeted, in_transaction

HOST = "mx.example.test"
ALL_MECHANISMS = ("SCRAM-SHA-256", "PLAIN", "LOGIN")


def one_by_one(talk: Talk, data: bytes) -> list[int]:
    return codes(b"".join(talk.send(data[at : at + 1]) for at in range(len(data))))


# Order ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", [b"STARTTLS", b"AUTH PLAIN AGEAYg=="])
def test_s02_commands_of_extensions_only_after_ehlo(line: bytes) -> None:
    talk = Talk(ServerSettings(hostname=HOST, has_starttls=True, auth_mechanisms=ALL_MECHANISMS))
    assert talk.codes(b"HELO c\r\n" + line + b"\r\n") == [250, 503]


def test_s02_s23_bdat_only_where_chunking_was_offered_and_its_octets_are_never_commands() -> None:
    opening = b"MAIL FROM:<a@example.test>\r\nRCPT TO:<b@example.test>\r\nBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n"
    assert Talk().codes(b"HELO c\r\n" + opening) == [250, 250, 250, 503, 250]
    withheld = Talk(ServerSettings(hostname=HOST, withheld=frozenset({"CHUNKING"})))
    assert withheld.codes(b"EHLO c\r\n" + opening) == [250, 250, 250, 503, 250]


def test_s09_recipients_beyond_the_limit_never_close_the_session() -> None:
    talk = in_transaction(ServerSettings(hostname=HOST, recipients=100, idle_commands=10, errors=3))
    said = talk.codes(b"RCPT TO:<c@example.test>\r\n" * 2000)
    assert said == [250] * 99 + [452] * 1901
    assert talk.codes(b"DATA\r\nx\r\n.\r\n") == [354, 250]


def test_h02_chunks_of_nothing_count_as_commands_without_a_message() -> None:
    talk = in_transaction(ServerSettings(hostname=HOST, idle_commands=10))
    assert talk.codes(b"BDAT 0\r\n" * 20)[-1] == 421
    assert talk.session.is_closed


def test_s11_s19_a_pipelined_batch_in_which_nobody_is_valid_leaves_no_body_behind() -> None:
    talk = greeted(decide=lambda event: reply(550, "No", "5.1.1") if isinstance(event, RcptReceived) else None)
    said = talk.codes(b"MAIL FROM:<a@example.test>\r\nRCPT TO:<b@example.test>\r\nDATA\r\nRSET\r\nNOOP\r\n")
    assert said == [250, 550, 503, 250, 250]


def test_s23_ehlo_or_rset_between_chunks_drops_what_came() -> None:
    for command in (b"EHLO c\r\n", b"RSET\r\n"):
        talk = in_transaction()
        assert talk.codes(b"BDAT 3\r\nabc" + command + b"BDAT 1 LAST\r\nx") == [250, 250, 503]
        assert talk.messages == []
        assert talk.session.buffered_octets == 0


# Lengths ----------------------------------------------------------------------------------------------------------


def test_s10_a_command_line_of_512_octets_is_taken() -> None:
    path = b"MAIL FROM:<" + b"a" * 64 + b"@" + b".".join([b"d" * 59] * 3) + b".example>"
    assert greeted().codes(path + b" " * (510 - len(path)) + b"\r\n") == [250]


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (b"<" + b"a" * 64 + b"@example.test>", 250),
        (b"<" + b"a" * 65 + b"@example.test>", 501),
        (b"<a@" + b".".join([b"d" * 63] * 3) + b"." + b"d" * 60 + b">", 250),
        (b"<a@" + b".".join([b"d" * 63] * 3) + b"." + b"d" * 61 + b">", 501),
        (b"<a@" + b"d" * 64 + b".test>", 501),
        (b"<@" + b",@".join([b"r.test"] * 40) + b":a@example.test>", 501),
    ],
)
def test_s10_paths_local_parts_and_domains_at_their_limits(path: bytes, code: int) -> None:
    assert greeted().codes(b"MAIL FROM:" + path + b"\r\n") == [code]


@pytest.mark.parametrize(("octets", "is_taken"), [(2048, True), (2049, False)])
def test_s10_the_limit_of_a_line_is_the_same_whole_and_split(octets: int, is_taken: bool) -> None:
    line = b"NOOP " + b"x" * (octets - 7) + b"\r\n"
    expected = [250 if is_taken else 500]
    assert greeted().codes(line) == expected
    assert one_by_one(greeted(), line) == expected


@pytest.mark.parametrize(("octets", "is_taken"), [(12_288, True), (12_289, False)])
def test_s25_an_auth_line_may_have_12288_octets(octets: int, is_taken: bool) -> None:
    settings = ServerSettings(hostname=HOST, auth_mechanisms=("PLAIN",))
    initial = b"AUTH PLAIN "
    line = initial + b"A" * (octets - len(initial) - 2) + b"\r\n"
    for said in (greeted(settings, is_tls=True).codes(line), one_by_one(greeted(settings, is_tls=True), line)):
        assert said == ([501] if is_taken else [500])
    talk = greeted(settings, is_tls=True)
    talk.send(b"AUTH PLAIN\r\n")
    line = b"A" * (octets - 2) + b"\r\n"
    assert talk.codes(line) == ([501] if is_taken else [500])


# Memory -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [b"", b"AUTH PLAIN ", b"MAIL FROM:<", b"EHLO ", b"\0", b"RCPT TO:<a@b.test> NOTIFY="])
def test_h02_an_endless_command_line_is_held_nowhere(start: bytes) -> None:
    talk = greeted(ServerSettings(hostname=HOST, auth_mechanisms=("PLAIN",)), is_tls=True)
    talk.send(start)
    for _ in range(200):
        assert talk.send(b"x" * 8192) == b""
        assert talk.session.buffered_octets <= 12_288 + 8192
    assert talk.codes(b"\r\nNOOP\r\n") == [500, 250]


@pytest.mark.parametrize("piece", [b"x" * 8192, b"H: v\r\n" * 1000, b"\r\n.." * 2000, b"\r\n" * 4000, b"\n.\n" * 3000])
def test_h02_an_endless_body_is_refused_and_held_to_the_limit(piece: bytes) -> None:
    limit = 65_536
    talk = in_transaction(ServerSettings(hostname=HOST, message_octets=limit))
    talk.send(b"DATA\r\n")
    for _ in range(200):
        talk.send(piece)
        assert talk.session.buffered_octets <= limit + limit // 2 + 1024 + len(piece)
    assert talk.session.buffered_octets < 10
    assert talk.codes(b"x\r\n.\r\nNOOP\r\n") == [552, 250]
    assert talk.messages == []


@pytest.mark.parametrize("size", [b"99999999999999999999", b"2147483648", b"4294967297", b"18446744073709551616"])
def test_h02_a_chunk_of_absurd_size_is_read_past_and_held_nowhere(size: bytes) -> None:
    talk = in_transaction()
    talk.send(b"BDAT " + size + b" LAST\r\n")
    for _ in range(100):
        assert talk.send(b"QUIT\r\n" * 1000) == b""
        assert talk.session.buffered_octets == 0


def test_s20_the_real_size_counts_over_all_chunks_and_after_unstuffing() -> None:
    settings = ServerSettings(hostname=HOST, message_octets=100)
    talk = in_transaction(settings)
    assert talk.codes(b"BDAT 60\r\n" + b"x" * 60 + b"BDAT 60 LAST\r\n" + b"x" * 60) == [250, 552]
    assert talk.messages == []
    talk = in_transaction(settings)
    body = b"." * 98 + b"\r\n"
    assert talk.codes(b"DATA\r\n." + body + b".\r\n") == [354, 250]
    assert talk.messages[0].body == body


def test_h02_a_body_refused_for_want_of_memory_is_read_to_its_end() -> None:
    for opening, end in ((b"DATA\r\nabc", b"\r\n.\r\n"), (b"BDAT 6 LAST\r\nabc", b"def")):
        talk = in_transaction()
        talk.send(opening)
        talk.session.refuse_body()
        assert talk.codes(end + b"NOOP\r\n") == [452, 250]
        assert talk.messages == []


# Values that only look like keywords ------------------------------------------------------------------------------


@pytest.mark.parametrize("parameter", ["BODY=8B\u0131TMIME", "RET=FULL\u00a0", "RET=\u017fFULL"])
def test_s22_a_letter_outside_ascii_makes_no_keyword(parameter: str) -> None:
    line = f"MAIL FROM:<a@example.test> SMTPUTF8 {parameter}\r\n".encode()
    assert greeted().codes(line)[0] == 501


def test_s22_notify_takes_ascii_alone() -> None:
    talk = greeted()
    talk.send(b"MAIL FROM:<a@example.test> SMTPUTF8\r\n")
    assert talk.codes("RCPT TO:<b@example.test> NOTIFY=\u017fUCCESS\r\n".encode()) == [501]


# AUTH, TLS --------------------------------------------------------------------------------------------------------

KEYS = sasl.make_scram_keys("right", b"salt" * 4)
PASSWORDS = st.sampled_from(["right", "wrong"])


@given(password=PASSWORDS, places=st.lists(st.integers(1, 300), max_size=8))
def test_s26_scram_through_a_session_in_any_chunking(password: str, places: list[int]) -> None:
    talk = greeted(ServerSettings(hostname=HOST, auth_mechanisms=ALL_MECHANISMS), is_tls=True)

    def send(data: bytes) -> bytes:
        marks = sorted({min(place, len(data)) for place in places} | {0, len(data)})
        said = b""
        for start, end in pairwise(marks):
            said += talk.send(data[start:end])
            if talk.session.is_waiting:
                talk.session.answer_keys(KEYS)
                said += talk.session.take_output()
        return said

    client = sasl.ClientExchange("SCRAM-SHA-256", "ann", password, "cnonce")
    said = send(b"AUTH SCRAM-SHA-256 " + b64encode(client.initial() or b"=") + b"\r\n")
    while said.startswith(b"334 "):
        said = send(b64encode(client.respond(b64decode(said[4:]))) + b"\r\n")
    assert codes(said) == ([235] if password == "right" else [535])
    assert client.is_complete == (password == "right")
    assert talk.session.user == ("ann" if password == "right" else None)
    assert isinstance(talk.events[-1], Authenticated if password == "right" else AuthFailed)


def test_s25_a_scram_exchange_can_be_refused_before_its_keys() -> None:
    talk = greeted(ServerSettings(hostname=HOST, auth_mechanisms=ALL_MECHANISMS), is_tls=True)
    talk.send(b"AUTH SCRAM-SHA-256 " + b64encode(b"n,,n=ann,r=abc") + b"\r\n")
    assert isinstance(talk.events[-1], ScramKeysWanted)
    talk.session.answer(reply(454, "Too many failed attempts", "4.7.0"))
    assert codes(talk.session.take_output()) == [454]
    assert talk.codes(b"NOOP\r\nMAIL FROM:<a@example.test>\r\n") == [250, 250]


def test_s25_no_scram_exchange_is_accepted_without_keys() -> None:
    talk = greeted(ServerSettings(hostname=HOST, auth_mechanisms=ALL_MECHANISMS), is_tls=True)
    talk.send(b"AUTH SCRAM-SHA-256 " + b64encode(b"n,,n=ann,r=abc") + b"\r\n")
    with pytest.raises(LocalProtocolError):
        talk.session.answer(None)
    assert talk.session.user is None


@pytest.mark.parametrize(
    "first", [b"n,a=other,n=ann,r=abc", b"p=tls-unique,,n=ann,r=abc", b"n,,m=x,n=ann,r=abc", b"n,,n=an\0n,r=abc"]
)
def test_s26_an_authzid_or_a_binding_that_is_not_served_is_refused(first: bytes) -> None:
    talk = greeted(ServerSettings(hostname=HOST, auth_mechanisms=ALL_MECHANISMS), is_tls=True)
    assert talk.codes(b"AUTH SCRAM-SHA-256 " + b64encode(first) + b"\r\n") == [501]


def test_s24_a_transaction_and_a_name_from_before_tls_are_forgotten() -> None:
    talk = greeted(ServerSettings(hostname=HOST, has_starttls=True))
    assert talk.codes(b"STARTTLS\r\n") == [220]
    talk.session.tls_started()
    assert talk.session.hello is None
    assert talk.session.offered == frozenset()
    assert talk.codes(b"MAIL FROM:<a@example.test>\r\nAUTH PLAIN AGEAYg==\r\n") == [503, 503]


# Whatever is sent -------------------------------------------------------------------------------------------------

ADDRESSES = st.sampled_from(
    ["<a@b.test>", "<>", "a@b.test", '<"a b"@b.test>', "<@x.test:a@b.test>", "<j\u00f6@b\u00fc.test>", "<"]
)  # fmt: skip
LINES = st.one_of(
    st.builds(
        "MAIL FROM:{}{}\r\n".format, ADDRESSES, st.sampled_from(["", " SMTPUTF8", " SIZE=9", " BODY=BINARYMIME"])
    ),
    st.builds("RCPT TO:{}{}\r\n".format, ADDRESSES, st.sampled_from(["", " NOTIFY=NEVER", " ORCPT=rfc822;x", " X=1"])),
    st.sampled_from(
        ["DATA\r\n", ".\r\n", "\r\n.\r\n", "\n.\n", "RSET\r\n", "STARTTLS\r\n", "EHLO c\r\n", "HELO c\r\n"]
    ),
    st.sampled_from(
        ["AUTH PLAIN AGEAYg==\r\n", "AUTH LOGIN\r\n", "YQ==\r\n", "*\r\n", "AUTH SCRAM-SHA-256\r\n", "=\r\n"]
    ),
    st.builds("AUTH SCRAM-SHA-256 {}\r\n".format, st.binary(max_size=40).map(lambda data: b64encode(data).decode())),
    st.builds("BDAT {}{}\r\n".format, st.integers(0, 20), st.sampled_from(["", " LAST"])),
).map(lambda line: line.encode())
CLEAN_REPLY = re.compile(rb"[2-5][0-9][0-9][ -][\x20-\x7e]*")
CHANCES = st.lists(st.sampled_from([None, 250, 421, 452, 550]), min_size=1, max_size=6)


@given(pieces=st.lists(LINES | st.binary(max_size=40), max_size=30), is_tls=st.booleans(), decisions=CHANCES)
def test_s18_no_input_raises_and_every_reply_is_whole(
    pieces: list[bytes], is_tls: bool, decisions: list[int | None]
) -> None:
    settings = ServerSettings(hostname=HOST, has_starttls=True, auth_mechanisms=ALL_MECHANISMS, message_octets=100)
    session = ServerSession(settings, nonce=lambda: "nonce", is_tls=is_tls)
    session.greet()
    number = 0

    def decide(event: Event) -> Reply | None:
        code = decisions[number % len(decisions)]
        return None if code is None or isinstance(event, Authenticated) else reply(code, "Said", f"{code // 100}.0.0")

    for piece in [b"EHLO c\r\n", *pieces]:
        session.receive(piece)
        while (event := session.next_event()) is not None:
            number += 1
            if isinstance(event, Authenticated | AuthFailed):
                continue
            if isinstance(event, ScramKeysWanted):
                session.answer_keys(KEYS)
                continue
            if isinstance(event, MessageReceived):
                assert event.recipients
                assert len(event.body) <= settings.message_octets
            session.answer(decide(event))
        said = session.take_output()
        assert said == b"" or said.endswith(b"\r\n")
        lines = said.split(b"\r\n")[:-1]
        for line, after in pairwise([*lines, b""]):
            assert len(line) <= 510
            assert CLEAN_REPLY.fullmatch(line), line
            if line[3:4] == b"-":
                assert after[:3] == line[:3], "every line of a reply has its code"
        if session.state.name == "HANDSHAKE":
            session.tls_started()
