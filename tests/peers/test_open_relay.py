"""S-32 and its neighbours against the real process: nothing that a stranger says makes us carry his mail."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from peers.server import DOMAIN, Server
from peers.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

USER = f"dave@{DOMAIN}"

ATTEMPTS = [
    "<victim@elsewhere.test>",
    "<VICTIM@ELSEWHERE.TEST>",
    f"<victim%elsewhere.test@{DOMAIN}>",
    f"<victim%elsewhere.test%other.test@{DOMAIN}>",
    f'<"victim@elsewhere.test"@{DOMAIN}>',
    f'<"victim%elsewhere.test"@{DOMAIN}>',
    f"<elsewhere.test!victim@{DOMAIN}>",
    f"<{DOMAIN}!elsewhere.test!victim@{DOMAIN}>",
    "<elsewhere.test!victim>",
    f"<@{DOMAIN}:victim@elsewhere.test>",
    f"<@{DOMAIN},@other.test:victim@elsewhere.test>",
    f"<@elsewhere.test:victim%elsewhere.test@{DOMAIN}>",
    "<victim@elsewhere.test@local.test>",
    "<victim@local.test@elsewhere.test>",
    "<victim@[192.0.2.1]>",
    "<victim@[127.0.0.1]>",
    "<victim@[IPv6:::1]>",
    "<victim%elsewhere.test@[127.0.0.1]>",
    "<victim%elsewhere.test@127.0.0.1>",
    "<victim@elsewhere.test >",
    "< victim@elsewhere.test>",
    " <victim@elsewhere.test>",
    "victim@elsewhere.test",
    f"<victim@elsewhere.test> <{USER}>",
    f"<victim@elsewhere.test>,<{USER}>",
    "<victim@local\u200b.test>",
    "<victim@l\u043ecal.test>",
    "<victim@xn--lcal-55d.test>",
    f"<victim@sub.{DOMAIN}>",
    f"<victim@not{DOMAIN}>",
    f"<victim@{DOMAIN}.elsewhere.test>",
    "<victim@>",
    "<victim%elsewhere.test>",
    '<"victim@elsewhere.test">',
    "<victim\\@elsewhere.test>",
    "<@>",
    "<>",
]

SENDERS = ["<>", "<stranger@elsewhere.test>", f"<{USER}>", f"<postmaster@{DOMAIN}>", f"<stranger@sub.{DOMAIN}>"]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as running:
        running.add_user(USER)
        yield running


@pytest.mark.parametrize("sender", SENDERS)
def test_s32_no_trick_of_the_address_relays_through_the_mx_port(server: Server, sender: str) -> None:
    taken = []
    # A new connection for each few: too many errors may rightly end a session.
    for recipient in ATTEMPTS:
        with Wire(server.mx_port) as wire:
            assert wire.ask("EHLO stranger.test").code == 250
            assert wire.ask(f"MAIL FROM:{sender}").code == 250
            if wire.ask(f"RCPT TO:{recipient}").code < 400:
                taken.append(recipient)
    assert taken == []


def test_s32_the_submission_ports_take_nothing_from_a_stranger_not_even_for_local_users(server: Server) -> None:
    with Wire(server.submission_port) as wire:
        wire.ask("EHLO stranger.test")
        assert wire.ask("MAIL FROM:<stranger@elsewhere.test>").code == 530
        wire.starttls()
        wire.ask("EHLO stranger.test")
        assert wire.ask("MAIL FROM:<stranger@elsewhere.test>").code == 530
    with Wire(server.submissions_port, implicit_tls=True) as wire:
        wire.ask("EHLO stranger.test")
        assert wire.ask(f"MAIL FROM:<{USER}>").code == 530
        assert wire.ask(f"RCPT TO:<{USER}>").code >= 500


def test_s25_auth_is_never_offered_nor_taken_without_tls(server: Server) -> None:
    for port in (server.mx_port, server.submission_port):
        with Wire(port) as wire:
            assert "AUTH" not in wire.ask("EHLO client.test").keywords
            assert wire.login(USER, "whatever").code in {502, 503, 504, 530, 538}
    with Wire(server.submission_port) as wire:
        wire.ask("EHLO client.test")
        wire.starttls()
        offered = wire.ask("EHLO client.test").keywords
        assert "AUTH" in offered
        assert "STARTTLS" not in offered


def test_s28_a_user_may_not_send_in_anothers_name(server: Server) -> None:
    server.add_user(f"erin@{DOMAIN}")
    with Wire(server.submissions_port, implicit_tls=True) as wire:
        wire.ask("EHLO client.test")
        assert wire.login(USER, "correct horse battery").code == 235
        answer = wire.ask(f"MAIL FROM:<erin@{DOMAIN}>")
        assert (answer.code, answer.lines[0][4:9]) == (553, b"5.7.1")


def test_s24_commands_pipelined_after_starttls_are_never_carried_out(server: Server) -> None:
    with Wire(server.mx_port) as wire:
        wire.ask("EHLO client.test")
        wire.send(b"STARTTLS\r\nMAIL FROM:<before@tls.test>\r\nRCPT TO:<" + USER.encode() + b">\r\n")
        assert wire.answer().code in {220, 501, 554}
        try:
            wire._wrap()
        except OSError:
            return
        wire.ask("EHLO client.test")
        assert wire.ask("DATA").code == 503
