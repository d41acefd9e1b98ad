"""The door of a whole server with two workers: bans by command and by failures, greylisting, recipients verified."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from cli import calls
from dns_server import DnsServer
from peers.server import DOMAIN, PASSWORD, Server
from peers.wire import Wire
from postroad.receive.caller import Caller
from postroad.smtp.address import Address
from postroad.smtp.reply import Reply, reply

USER = f"dave@{DOMAIN}"


class From(Wire):
    """A client that connects from an address of its own within 127.0.0.0/8."""

    def __init__(self, source: str, port: int, *, implicit_tls: bool = False) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30, source_address=(source, 0))
        self._rest = b""
        if implicit_tls:
            self._wrap()
        self.greeting = self.answer()


@contextmanager
def serving(**settings: object) -> Iterator[Server]:
    door = {"exempt": ["127.0.0.1"]}
    with Server({"door": door, **settings}, workers=2) as server:  # type: ignore[dict-item]
        yield server


def rcpt(server: Server, source: str, recipient: str = USER, sender: str = "ann@client.test") -> int:
    with From(source, server.mx_port) as wire:
        wire.ask("EHLO c")
        wire.ask(f"MAIL FROM:<{sender}>")
        return wire.ask(f"RCPT TO:<{recipient}>").code


def until(server: Server, done: object, what: str) -> None:
    server.wait(done, what)  # type: ignore[arg-type]


def greeted(source: str, port: int) -> int:
    with From(source, port) as wire:
        return wire.greeting.code


def test_a_ban_by_command_is_taken_up_by_every_worker_and_lifted_again() -> None:
    with serving() as server:
        assert greeted("127.0.0.2", server.mx_port) == 220
        server.run("ban", "add", "127.0.0.2", "--for", "1h", "--reason", "test")
        until(server, lambda: [greeted("127.0.0.2", server.mx_port) for _ in range(8)] == [421] * 8, "the ban")
        assert greeted("127.0.0.3", server.mx_port) == 220, "others go on"
        server.run("ban", "remove", "127.0.0.2")
        until(server, lambda: [greeted("127.0.0.2", server.mx_port) for _ in range(8)] == [220] * 8, "the release")


def login(server: Server, source: str, password: str) -> int:
    with From(source, server.submissions_port, implicit_tls=True) as wire:
        if wire.greeting.code != 220:
            return wire.greeting.code
        wire.ask("EHLO c")
        return wire.login(USER, password).code


def test_h07_a_guesser_is_banned_by_all_workers_and_the_user_elsewhere_is_unharmed() -> None:
    with serving(auth={"failures": 4, "delay_s": 0.0, "ban_s": 3600}) as server:
        server.add_user(USER)
        said = [login(server, "127.0.0.9", f"guess {number}") for number in range(4)]
        assert said == [535] * 4
        assert login(server, "127.0.0.9", PASSWORD) in (454, 421), "counted over both workers"
        until(server, lambda: login(server, "127.0.0.9", PASSWORD) == 421, "the ban")
        assert login(server, "127.0.0.1", PASSWORD) == 235
        (ban,) = map(json.loads, server.run("ban", "list", "--format", "jsonl").stdout.splitlines())
        assert (ban["subject"], ban["reach"], ban["times"]) == ("127.0.0.9/32", "auth", 1)
        assert greeted("127.0.0.9", server.mx_port) == 220, "mail from there is still taken"
        server.run("ban", "remove", "127.0.0.9")
        until(server, lambda: login(server, "127.0.0.9", PASSWORD) == 235, "the release")


def test_h07_failures_are_remembered_over_a_restart() -> None:
    with serving(auth={"failures": 3, "delay_s": 0.0, "ban_s": 0}) as server:
        server.add_user(USER)
        assert [login(server, "127.0.0.9", "guess") for _ in range(3)] == [535] * 3
        server.stop()
        server.start()
        assert login(server, "127.0.0.9", PASSWORD) == 454
        assert login(server, "127.0.0.1", PASSWORD) == 235


def test_a_stranger_is_put_off_once_whichever_worker_he_meets_and_taken_when_he_comes_again() -> None:
    with serving(greylist={"enabled": True, "delay_s": 1}) as server:
        server.add_user(USER)
        assert rcpt(server, "127.0.0.2") == 451
        until(server, lambda: rcpt(server, "127.0.0.2") == 250, "the second try")
        assert {rcpt(server, "127.0.0.2") for _ in range(6)} == {250}
        assert rcpt(server, "127.0.0.2", sender="other@client.test") == 451
        assert rcpt(server, "127.0.0.1") == 250, "exempt networks are not put off"
        shown = server.run("greylist", "list").stdout
        assert f"127.0.0.0/24  ann@client.test → {USER}  known" in shown


def test_mail_of_a_known_sender_is_not_put_off_where_spf_passes() -> None:
    records = {
        "big.test": {"TXT": ["v=spf1 ip4:127.0.0.2 -all"]},
        "mail.big.test": {"TXT": ["v=spf1 ip4:127.0.0.2 -all"]},
    }
    with (
        DnsServer(records) as dns,
        serving(greylist={"enabled": True, "known_senders": ["big.test"]}, dns={"nameserver": dns.address}) as server,
    ):
        server.add_user(USER)
        assert rcpt(server, "127.0.0.2", sender="ann@big.test") == 250
        assert rcpt(server, "127.0.0.2", sender="ann@mail.big.test") == 250
        assert rcpt(server, "127.0.0.3", sender="ann@big.test") == 451, "from elsewhere it may be anybody"
        assert rcpt(server, "127.0.0.2", sender="ann@notbig.test") == 451


def test_rates_are_taken_up_by_a_reload_and_told_with_the_time_to_wait() -> None:
    with serving() as server:
        server.configure(rates={"connections": 3, "window_s": 3600})
        server.reload()
        until(server, lambda: greeted("127.0.0.2", server.mx_port) == 421, "the limit")
        with From("127.0.0.2", server.mx_port) as wire:
            assert b"Too many connections from your address: try again in" in wire.greeting.lines[0]
        assert greeted("127.0.0.1", server.mx_port) == 220


class Behind:
    """The host behind: it knows nobody called absent, and counts who was asked about."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.senders: set[str] = set()

    def mail(self, caller: Caller, path: object) -> Reply | None:
        self.senders.add(str(path))
        return None

    def rcpt(self, caller: Caller, address: Address) -> Reply | None:
        self.asked.append(address.local)
        return reply(550, "Nobody of that name behind", "5.1.1") if address.local == "absent" else None

    async def message(self, caller: Caller, envelope: object, body: bytes) -> Reply | None:
        return None


def test_recipients_of_a_domain_behind_us_are_verified_there_before_the_message_is_taken() -> None:
    behind = Behind()
    with calls.serving(behind) as port:
        route = [
            {"domain": "behind.test", "host": "127.0.0.1", "port": port, "tls": "none"},
            {"domain": "down.test", "host": "127.0.0.1", "port": 1, "tls": "none"},
        ]
        domains = {"local": [DOMAIN, "behind.test", "down.test"]}
        with serving(route=route, domains=domains, call_forward={"domains": ["behind.test", "down.test"]}) as server:
            assert rcpt(server, "127.0.0.1", "ann@behind.test") == 250
            with From("127.0.0.1", server.mx_port) as wire:
                wire.ask("EHLO c")
                wire.ask("MAIL FROM:<a@client.test>")
                refused = wire.ask("RCPT TO:<absent@behind.test>")
                assert refused.lines == (b"550 5.1.1 Nobody of that name behind",)
                assert wire.ask("RCPT TO:<absent@behind.test>").code == 550
                assert wire.ask("RCPT TO:<ann@down.test>").code == 450
            assert 1 <= behind.asked.count("absent") <= 2, "once for each worker at most"
            assert behind.senders == {""}, "asked from nobody, and no message was sent"


@pytest.mark.parametrize("delay_s", [1])
def test_h04_early_talkers_are_refused_by_a_server_that_waits_with_its_greeting(delay_s: int) -> None:
    door = {"exempt": ["127.0.0.1"], "greeting_delay_s": delay_s, "early_talk": "refuse"}
    with serving(door=door) as server:
        with socket.create_connection(("127.0.0.1", server.mx_port), 30, source_address=("127.0.0.2", 0)) as hasty:
            hasty.sendall(b"EHLO c\r\n")
            assert hasty.recv(4096).startswith(b"554")
        assert greeted("127.0.0.2", server.mx_port) == 220
