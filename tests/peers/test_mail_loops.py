"""H-14: a loop between two of our servers ends by itself, and so does the bounce that nobody takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from peers.server import DOMAIN, Server
from peers.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

HOPS = 10
SENDER = f"dave@{DOMAIN}"
LOOP = "loop.test"


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Server, Server]]:
    """Two servers that each take mail for loop.test and pass it on to the other."""
    with Server({"limits": {"hops": HOPS}}) as one, Server({"limits": {"hops": HOPS}}) as other:
        for server, peer in ((one, other), (other, one)):
            server.add_user(SENDER)
            server.configure(
                domains={"local": [DOMAIN, LOOP], "mailboxes": "any"},
                route=[{"domain": LOOP, "host": "127.0.0.1", "port": peer.mx_port, "tls": "none"}],
            )
            server.stop()
            server.start()
        yield one, other


def send(server: Server, sender: str, subject: str) -> None:
    with Wire(server.mx_port) as wire:
        wire.ask("EHLO client.test")
        assert wire.ask(f"MAIL FROM:<{sender}>").code == 250
        assert wire.ask(f"RCPT TO:<round@{LOOP}>").code == 250
        assert wire.ask("DATA").code == 354
        wire.send(f"Subject: {subject}\r\n\r\nround\r\n.\r\n".encode())
        assert wire.answer().code == 250


def test_h14_s14_a_loop_between_two_servers_ends_with_one_bounce_to_the_sender(pair: tuple[Server, Server]) -> None:
    one, other = pair
    send(one, SENDER, "circles")
    one.wait(lambda: bool(one.mailbox("dave") or other.mailbox("dave")), "bounce")
    one.wait(lambda: not one.queued() and not other.queued(), "empty queues")
    (bounce,) = [*one.messages("dave"), *other.messages("dave")]
    assert bounce["Return-Path"] == "<>"
    assert bounce.get_content_type() == "multipart/report"
    assert "5.4.6" in bounce.as_string()


def test_h14_c14_a_bounce_in_a_loop_is_dropped_and_nobody_is_told(pair: tuple[Server, Server]) -> None:
    one, other = pair
    kept = len(one.mailbox("dave")) + len(other.mailbox("dave"))
    send(one, "", "a bounce in circles")
    one.wait(lambda: "delivery.dropped" in one.log() + other.log(), "dropped bounce")
    one.wait(lambda: not one.queued() and not other.queued(), "empty queues")
    assert len(one.mailbox("dave")) + len(other.mailbox("dave")) == kept
