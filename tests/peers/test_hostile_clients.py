"""H-02, H-04 … H-08 against the real process: hostile clients are refused or closed, and honest mail goes on."""

from __future__ import annotations

import base64
import socket
import struct
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from peers.server import DOMAIN, PASSWORD, Server
from peers.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

USER = f"dave@{DOMAIN}"
PER_PEER = 20
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
HALF_A_CLIENT_HELLO = b"\x16\x03\x01\x02\x00\x01\x00"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    limits = {"message_octets": 65_536, "connections_per_peer": PER_PEER}
    with Server({"limits": limits, "timeouts": {"tls_handshake_s": 1}, "auth": {"delay_s": 0}}) as running:
        running.add_user(USER)
        yield running
        log = running.log()
        assert "internal.error" not in log
        assert "worker.died" not in log
        assert log.replace("\n", "").isprintable(), "nothing a peer sent stands raw in the log (H-05)"


def said_to(port: int, *pieces: bytes) -> bytes:
    """All the server says to these bytes, up to the end of the connection, which it must bring about."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        said = b""
        with suppress(ConnectionError):
            for piece in pieces:
                client.sendall(piece)
            while octets := client.recv(65_536):
                said += octets
        return said


def codes(said: bytes) -> list[int]:
    return [int(line[:3]) for line in said.split(b"\r\n") if line[:3].isdigit() and line[3:4] == b" "]


def check_honest_mail(server: Server) -> None:
    with Wire(server.mx_port) as wire:
        assert wire.ask("EHLO client.test").code == 250
        assert wire.ask("MAIL FROM:<a@elsewhere.test>").code == 250
        assert wire.ask(f"RCPT TO:<{USER}>").code == 250


def break_off_handshakes(server: Server, said: bytes, *, reset: bool) -> None:
    """More of them than one peer may have connections at a time."""
    for _ in range(PER_PEER + 1):
        with socket.create_connection(("127.0.0.1", server.submission_port), timeout=20) as client:
            assert client.recv(4096).startswith(b"220"), "the places of the connections before were given back"
            for line in (b"EHLO c\r\n", b"STARTTLS\r\n"):
                client.sendall(line)
                client.recv(4096)
            client.sendall(said)
            if reset:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            else:
                client.shutdown(socket.SHUT_WR)
                with suppress(ConnectionError):
                    while client.recv(4096):
                        pass
    check_honest_mail(server)


@pytest.mark.parametrize("said", [b"", HALF_A_CLIENT_HELLO, b"EHLO again\r\n"], ids=["silence", "half", "plain"])
def test_h08_a_handshake_broken_off_leaves_nothing_behind(server: Server, said: bytes) -> None:
    break_off_handshakes(server, said, reset=False)


def test_h08_a_handshake_ended_by_a_reset_leaves_nothing_behind() -> None:
    with Server({"limits": {"connections_per_peer": PER_PEER}}) as server:
        server.add_user(USER)
        break_off_handshakes(server, b"", reset=True)


@pytest.mark.parametrize(
    "garbage",
    [b"", HALF_A_CLIENT_HELLO, b"EHLO plain\r\n", b"\x00" * 100, b"\x16\x03\x01\xff\xff"],
    ids=["silence", "half", "plain", "nul", "odd"],
)
def test_s29_h08_what_is_no_handshake_on_a_tls_port_is_closed_without_a_word_of_smtp(
    server: Server, garbage: bytes
) -> None:
    assert b"220" not in said_to(server.submissions_port, garbage)
    check_honest_mail(server)


def test_h04_what_is_pipelined_past_starttls_or_quit_is_never_answered(server: Server) -> None:
    behind = b"EHLO evil\r\nMAIL FROM:<a@b.test>\r\n"
    assert codes(said_to(server.submission_port, b"EHLO c\r\nSTARTTLS\r\n" + behind)) == [220, 250, 220]
    assert codes(said_to(server.submission_port, b"EHLO c\r\n", b"STARTTLS\r\n", behind)) == [220, 250, 220]
    assert codes(said_to(server.mx_port, b"EHLO c\r\nQUIT\r\n" + behind)) == [220, 250, 221]


def test_h04_what_is_pipelined_past_auth_is_never_obeyed(server: Server) -> None:
    with Wire(server.submissions_port, implicit_tls=True) as wire:
        wire.ask("EHLO c")
        wire.send(b"AUTH PLAIN AGEAYg==\r\nMAIL FROM:<" + USER.encode() + b">\r\n")
        assert wire.answer().code == 535
        assert wire.ask("NOOP").code == 250


def test_h05_nul_controls_and_8_bit_in_every_command_are_refused_and_not_echoed(server: Server) -> None:
    lines = [
        b"\0\0\r\n", b"EHLO \0\r\n", b"EHLO \x1b[31m\r\n", b"EHLO \xff\xfe\r\n", b"MAIL FROM:<a\0@b.test>\r\n",
        b"MAIL FROM:<\xff@b.test>\r\n", b"RCPT TO:<a@b\x07.test>\r\n", b"VRFY \x1b]0;x\x07\r\n", b"\xff\xff\r\n",
        b"BDAT \xd9\xa1 LAST\r\n", b"BDAT -1\r\n", b"BDAT 0x10\r\n", b"BDAT 1e9\r\n",
    ]  # fmt: skip
    said = said_to(server.mx_port, b"EHLO c\r\n" + b"".join(lines) + b"QUIT\r\n")
    assert all(32 <= octet < 127 or octet in b"\r\n" for octet in said)
    assert codes(said)[:2] == [220, 250]
    assert codes(said)[-1] == 221
    assert all(code in (500, 501, 553) for code in codes(said)[2:-1])
    assert len(codes(said)) == len(lines) + 3


def test_h02_a_line_of_five_megabytes_is_one_refusal(server: Server) -> None:
    for start in (b"", b"AUTH PLAIN ", b"EHLO "):
        said = said_to(server.mx_port, b"EHLO c\r\n", start + b"x" * 5_000_000, b"\r\nQUIT\r\n")
        assert codes(said) == [220, 250, 500, 221]


def test_h02_a_message_beyond_the_limit_is_refused_by_data_and_by_bdat(server: Server) -> None:
    opening = f"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<{USER}>\r\n".encode()
    octets = 10_000_000
    said = said_to(server.mx_port, opening + b"DATA\r\n", b"X: y\r\n" * (octets // 6), b"\r\n.\r\nQUIT\r\n")
    assert codes(said) == [220, 250, 250, 250, 354, 552, 221]
    with Wire(server.mx_port) as wire:
        wire.send(opening + b"BDAT %d LAST\r\n" % octets + b"x" * octets + b"NOOP\r\n")
        assert [wire.answer().code for _ in range(5)] == [250, 250, 250, 552, 250]


def test_h07_a_name_is_not_guessed_without_end(server: Server) -> None:
    said: list[int] = []
    while 454 not in said:
        assert len(said) < 40
        with Wire(server.submissions_port, implicit_tls=True) as wire:
            wire.ask("EHLO c")
            said += [wire.login(f"guess@{DOMAIN}", f"guess {number}").code for number in range(6)]
    assert set(said) == {535, 454}
    check_honest_mail(server)


def test_s16_a_message_whose_client_leaves_before_the_reply_is_whole_or_absent(server: Server) -> None:
    before = len(server.mailbox("dave"))
    opening = f"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<{USER}>\r\nDATA\r\n".encode()
    with socket.create_connection(("127.0.0.1", server.mx_port), timeout=20) as client:
        client.sendall(opening + b"Subject: cut\r\n\r\nnever ended\r\n.\r")
    with socket.create_connection(("127.0.0.1", server.mx_port), timeout=20) as client:
        client.sendall(opening + b"Subject: ended\r\n\r\nx\r\n.\r\n")
        client.shutdown(socket.SHUT_WR)
        while client.recv(4096):
            pass
    subjects = [message["Subject"] for message in server.wait_for_messages("dave", before + 1)]
    assert "ended" in subjects
    assert "cut" not in subjects


def test_s26_nobody_acts_for_another_by_plain(server: Server) -> None:
    token = base64.b64encode(f"other@{DOMAIN}\0{USER}\0{PASSWORD}".encode()).decode()
    with Wire(server.submissions_port, implicit_tls=True) as wire:
        wire.ask("EHLO c")
        assert wire.ask(f"AUTH PLAIN {token}").code in (454, 535)
        assert wire.ask(f"MAIL FROM:<{USER}>").code == 530
