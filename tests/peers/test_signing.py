"""A real server signs what its users submit and what it says itself, by keys that begin when DNS shows them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from dns_server import DnsServer
from peers.internet import USER
from peers.server import DOMAIN, PASSWORD, Server
from peers.wire import Wire
from postroad.message.dkim import Verdict, verify
from postroad.net.resolver import DnsResolver

ERIN = f"erin@{DOMAIN}"


@pytest.fixture(scope="module")
def dns() -> Iterator[DnsServer]:
    with DnsServer() as made:
        yield made


@pytest.fixture(scope="module")
def server(dns: DnsServer) -> Iterator[Server]:
    with Server(settings={"dns": {"nameserver": dns.address}}) as made:
        made.add_user(USER)
        made.add_user(ERIN)
        yield made


def publish(server: Server, dns: DnsServer) -> None:
    """The keys that `postroad domain show` tells of, in DNS."""
    for record in json.loads(server.run("domain", "show", DOMAIN, "--json").stdout)["records"]:
        if record["about"].startswith("DKIM "):
            dns.zone[record["name"]] = {"TXT": [record["strings"]]}


def submit(server: Server, recipient: str, *, author: str = USER) -> None:
    with Wire(server.submissions_port, implicit_tls=True) as wire:
        wire.ask("EHLO client.test")
        assert wire.login(USER, PASSWORD).code == 235
        assert wire.ask(f"MAIL FROM:<{USER}>").code == 250
        assert wire.ask(f"RCPT TO:<{recipient}>").code == 250
        assert wire.ask("DATA").code == 354
        wire.send(f"From: {author}\r\nSubject: signed?\r\n\r\nbody\r\n.\r\n".encode())
        assert wire.answer().code == 250


def delivered(server: Server, user: str, count: int) -> bytes:
    server.wait_for_messages(user, count)
    newest = max(server.mailbox(user), key=lambda path: path.stat().st_mtime_ns)
    return newest.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def signers(message: bytes, dns: DnsServer) -> list[tuple[Verdict, str]]:
    """Verdict and selector of each signature."""

    async def ask() -> list[tuple[Verdict, str]]:
        resolver = DnsResolver(dns.address)
        try:
            return [(one.verdict, one.selector) for one in await verify(message, resolver.texts, now=4e9)]
        finally:
            await resolver.close()

    return asyncio.run(ask())


def test_a02_keys_sign_once_dns_shows_them_and_new_ones_take_over(server: Server, dns: DnsServer) -> None:
    submit(server, ERIN)
    assert signers(delivered(server, "erin", 1), dns) == []
    server.run("domain", "add", DOMAIN)
    publish(server, dns)
    server.run("domain", "check", DOMAIN, check=False)
    first = {one["selector"] for one in keys(server, "active")}
    assert len(first) == 2
    wait_for_signatures(server, dns, first)
    server.run("domain", "rotate", DOMAIN)
    publish(server, dns)
    server.run("domain", "check", DOMAIN, check=False)
    second = {one["selector"] for one in keys(server, "active")}
    assert len(second) == 2 and not first & second
    wait_for_signatures(server, dns, second)


def keys(server: Server, state: str) -> list[dict[str, str]]:
    shown = json.loads(server.run("domain", "show", DOMAIN, "--json").stdout)
    return [one for one in shown["keys"] if one["state"] == state]


def wait_for_signatures(server: Server, dns: DnsServer, selectors: set[str]) -> None:
    """Submit until the running server has taken up these keys; all its signatures hold."""

    def signed() -> bool:
        count = len(server.mailbox("erin")) + 1
        submit(server, ERIN)
        found = signers(delivered(server, "erin", count), dns)
        assert all(verdict is Verdict.PASS for verdict, _ in found)
        return {selector for _, selector in found} == selectors

    server.wait(signed, f"signatures by {selectors}")


def test_a02_notices_of_the_server_are_signed_too(server: Server, dns: DnsServer) -> None:
    before = len(server.mailbox("dave"))
    submit(server, "nobody@missing.test")
    notice = delivered(server, "dave", before + 1)
    assert b"From: " in notice and b"multipart/report" in notice
    found = signers(notice, dns)
    assert len(found) == 2 and all(verdict is Verdict.PASS for verdict, _ in found)


def test_nobody_signs_as_somebody_else(server: Server, dns: DnsServer, tmp_path: Path) -> None:
    count = len(server.mailbox("erin")) + 1
    submit(server, ERIN, author=ERIN)
    assert signers(delivered(server, "erin", count), dns) == []
    assert "dkim.unsigned" in server.log()
