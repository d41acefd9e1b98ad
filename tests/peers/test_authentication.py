"""A whole server and a DNS of its own: forged mail is refused, honest mail says what was found."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from dns_server import DnsServer
from peers.server import DOMAIN, Server
from peers.test_guard import From
from postroad.message.authentication_results import parse_results
from postroad.message.dkim_key import key_record, txt_strings
from postroad.message.dkim_sign import SigningKey, sign

USER = f"dave@{DOMAIN}"
KEY = SigningKey("a.test", "s", generate_private_key(65537, 2048))
ZONE: dict[str, Any] = {
    "a.test": {"TXT": ["v=spf1 ip4:127.0.0.2 -all"], "MX": [(10, "mx.a.test")]},
    "_dmarc.a.test": {"TXT": ["v=DMARC1; p=reject"]},
    "s._domainkey.a.test": {"TXT": [list(txt_strings(key_record(KEY.key)))]},
    "null.test": {"MX": [(0, ".")]},
}
MESSAGE = f"From: Ann <ann@a.test>\r\nTo: {USER}\r\nSubject: hello\r\n\r\nbody\r\n".encode()
FORGED = f"Authentication-Results: mx.{DOMAIN}; dmarc=pass header.from=a.test\r\n".encode()


@contextmanager
def serving(policy: str) -> Iterator[Server]:
    with (
        DnsServer(ZONE) as dns,
        Server(
            {
                "door": {"exempt": ["127.0.0.1"]},
                "dns": {"nameserver": dns.address},
                "authentication": {"policy": policy, "authserv_id": f"mx.{DOMAIN}"},
            }
        ) as server,
    ):
        server.add_user(USER)
        yield server


def sent(server: Server, source: str, message: bytes = MESSAGE, sender: str = "ann@a.test") -> str:
    """The last reply, from MAIL or to the end of the message."""
    with From(source, server.mx_port) as wire:
        wire.ask("EHLO c")
        asked = wire.ask(f"MAIL FROM:<{sender}>")
        if asked.code != 250:
            return asked.lines[-1].decode()
        wire.ask(f"RCPT TO:<{USER}>")
        wire.ask("DATA")
        wire.send(message + b".\r\n")
        return wire.answer().lines[-1].decode()


def found(server: Server, count: int) -> tuple[str, list[str]]:
    """Of the newest message: who says it, and what was found."""
    message = max(server.wait_for_messages("dave", count), key=lambda one: str(one["Received"]).rpartition(" id ")[2])
    fields = message.get_all("Authentication-Results", [])
    assert len(fields) == 1
    parsed = parse_results(str(fields[0]))
    assert parsed is not None
    return parsed.authserv_id, [f"{one.method}={one.result}" for one in parsed.results]


def test_a05_what_was_found_is_in_the_mailbox_and_what_was_forged_is_not() -> None:
    """(A-01) (A-02) (A-03) (A-05)"""
    with serving("mark") as server:
        signed = sign(MESSAGE, [KEY], now=1e9) + MESSAGE
        assert sent(server, "127.0.0.2", FORGED + signed).startswith("250 ")
        assert found(server, 1) == (f"mx.{DOMAIN}", ["spf=pass", "dkim=pass", "dmarc=pass"])
        assert sent(server, "127.0.0.3", FORGED + MESSAGE).startswith("250 ")
        server.wait(lambda: '"dmarc": "fail"' in server.log() or "dmarc=fail" in server.log(), "the event")


def test_a03_a_reload_takes_up_that_policies_are_enforced() -> None:
    """(A-03) (C-02)"""
    with serving("mark") as server:
        assert sent(server, "127.0.0.3").startswith("250 ")
        server.configure(authentication={"policy": "enforce"})
        server.reload()
        server.wait(lambda: "config.reloaded" in server.log(), "the reload")
        assert sent(server, "127.0.0.3").startswith("550 5.7.26 ")
        assert sent(server, "127.0.0.2").startswith("250 ")
        assert sent(server, "127.0.0.2", sender="ann@null.test").startswith("550 5.7.27 ")
