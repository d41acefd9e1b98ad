"""Local domains of a whole server: aliases, forwarding and its bounces, full mailboxes, and every transport."""

from __future__ import annotations

import asyncio
import base64
import re
import smtplib
import stat
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from cli.calls import in_thread
from deliver.peers import Host, listening
from deliver.test_webhook import Service, answering
from dns_server import DnsServer
from peers.dovecot import dovecot
from peers.server import DOMAIN, Section, Server, Settings
from postroad.message import arc
from postroad.message.dns import DnsStatus, TextsAnswer

pytestmark = pytest.mark.peer

SENDER = "sender@far.test"


def alias(name: str, *to: str) -> Section:
    return {"address": f"{name}@{DOMAIN}", "to": list(to)}


def send(server: Server, *recipients: str, sender: str = SENDER, body: str = "hello", **options: list[str]) -> None:
    """Hand a message to the MX port, as a host on the Internet does."""
    with smtplib.SMTP("127.0.0.1", server.mx_port, timeout=30) as client:
        client.sendmail(
            sender,
            [name if "@" in name else f"{name}@{DOMAIN}" for name in recipients],
            f"From: {sender or 'mailer-daemon@far.test'}\r\nSubject: hello\r\n\r\n{body}\r\n",
            rcpt_options=options.get("rcpt_options", []),
        )


def refusal(server: Server, recipient: str, sender: str = SENDER) -> str:
    """What one recipient is told at RCPT, code and words."""
    with smtplib.SMTP("127.0.0.1", server.mx_port, timeout=30) as client:
        client.ehlo()
        client.mail(sender)
        code, said = client.rcpt(recipient if "@" in recipient else f"{recipient}@{DOMAIN}")
    return f"{code} {said.decode()}"


@contextmanager
def serving(tmp_path: Path, host: Host | None = None, settings: Settings | None = None) -> Iterator[Server]:
    """A server with the users ann and ben, to whose outside world (far.test and its kin) `host` belongs."""
    with in_thread(listening(host or Host())) as port:
        outside = ("far.test", "next.test", "mailing.far.test")
        road: Settings = {
            "delivery": {"allow_private": True, "first_retry_s": 1.0},
            "route": [{"domain": name, "host": "127.0.0.1", "port": port, "tls": "none"} for name in outside],
        }
        with Server(settings={**road, **(settings or {})}, base=tmp_path) as server:
            for user in ("ann", "ben"):
                server.add_user(f"{user}@{DOMAIN}")
            yield server


# Aliases ----------------------------------------------------------------------------------------------------------


def test_mail_to_an_alias_goes_to_all_whom_it_names_once_each(tmp_path: Path) -> None:
    settings = [alias("sales", "ann", "Ann", "team", "out@next.test"), alias("team", "ben", "ann")]
    host = Host()
    with serving(tmp_path, host, {"alias": settings}) as server:
        send(server, "sales", "ben", rcpt_options=["NOTIFY=NEVER"])
        (got,) = server.wait_for_messages("ann")
        assert got["Delivered-To"] == f"ann@{DOMAIN}"
        server.wait_for_messages("ben")
        server.wait(lambda: len(host.taken) == 1 and not server.queued(), "forwarding")
        assert host.taken[0].rcpts == [b"RCPT TO:<out@next.test>"]
        assert [len(server.mailbox(user)) for user in ("ann", "ben")] == [1, 1]
        assert refusal(server, "nobody").startswith("550 5.1.1")


def test_an_alias_of_the_command_line_counts_within_a_moment(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        assert refusal(server, "sales").startswith("550 5.1.1")
        server.run("alias", "add", f"sales@{DOMAIN}", "ann")
        server.wait(lambda: refusal(server, "sales").startswith("250"), "the alias")
        send(server, "sales")
        server.wait_for_messages("ann")
        server.run("alias", "remove", f"sales@{DOMAIN}")
        server.wait(lambda: refusal(server, "sales").startswith("550"), "its end")


def test_s08_postmaster_and_abuse_reach_somebody_at_every_domain(tmp_path: Path) -> None:
    domains = [{"name": "shop.test", "mailboxes": "listed", "transport": "discard"}]
    with serving(tmp_path, settings={"domain": domains}) as server:
        for address in ("postmaster@shop.test", "abuse@shop.test", f"abuse@{DOMAIN}"):
            send(server, address)
        server.wait(lambda: len(list((server.maildir / "shop.test/postmaster/new").glob("*"))) == 2, "both")
        server.wait_for_messages("postmaster")


def test_the_catch_all_and_a_domain_that_is_the_same_as_another(tmp_path: Path) -> None:
    domains: list[Section] = [
        {"name": DOMAIN, "mailboxes": "accounts", "catch_all": ["ann"]},
        {"name": "also.test", "same_as": DOMAIN},
    ]
    with serving(tmp_path, settings={"domain": domains}) as server:
        send(server, "what.ever", "ben@also.test")
        server.wait_for_messages("ann")
        server.wait_for_messages("ben")


def test_a_reload_takes_up_aliases_and_a_bad_one_changes_nothing(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        server.configure(alias=[alias("sales", "ann")])
        server.reload()
        server.wait(lambda: refusal(server, "sales").startswith("250"), "the alias")
        server.configure(
            alias=[alias("sales", "ann")], webhook=[{"url": "http://127.0.0.1:1/", "secret_file": "/no/such/file"}]
        )
        server.reload()
        server.wait(lambda: "config.refused" in server.log(), "refusal")
        assert refusal(server, "sales").startswith("250")


# Forwarding -------------------------------------------------------------------------------------------------------


def test_forwarded_mail_leaves_in_our_name_and_its_bounce_reaches_the_sender(tmp_path: Path) -> None:
    host = Host()
    long = f"bounce-{'7' * 40}@mailing.far.test"
    with serving(tmp_path, host, {"alias": [alias("out", "out@next.test")]}) as server:
        for sender in (SENDER, long):
            host.taken.clear()
            send(server, "out", sender=sender)
            server.wait(lambda: len(host.taken) == 1, "forwarding")
            mail = host.taken[0].mail.decode()
            found = re.match(rf"MAIL FROM:<(SRS0=[^@]{{1,59}}@{DOMAIN})>", mail)
            assert found is not None, mail
            assert b"From: " + sender.encode() in host.taken[0].body, "what was written is not changed"
            host.taken.clear()
            send(server, found[1].lower(), sender="")
            server.wait(lambda: len(host.taken) == 1, "the bounce")
            assert host.taken[0].mail.startswith(b"MAIL FROM:<>")
            assert host.taken[0].rcpts[0].startswith(f"RCPT TO:<{sender}>".encode())


def test_s32_a_return_address_is_no_way_through_us(tmp_path: Path) -> None:
    host = Host()
    with serving(tmp_path, host, {"alias": [alias("out", "out@next.test")]}) as server:
        assert refusal(server, "SRS0=aaaaaa=aa=far.test=victim", "").startswith("550 5.1.1")
        send(server, "out")
        server.wait(lambda: len(host.taken) == 1, "forwarding")
        address = host.taken[0].mail.decode().partition("<")[2].partition(">")[0]
        assert refusal(server, address, "spammer@far.test").startswith("550 5.7.1")
        assert refusal(server, address.replace("=sender@", "=victim@"), "").startswith("550 5.1.1")
        assert refusal(server, "victim@far.test").startswith("550 5.7.1")


def test_what_a_forward_bounces_with_goes_straight_to_the_sender(tmp_path: Path) -> None:
    def decide(command: str, accepted: int) -> bytes | None:
        return b"550 5.1.1 gone\r\n" if command.upper().startswith("RCPT") and "out@next" in command else None

    host = Host(decide=decide, offers=("PIPELINING", "8BITMIME", "DSN"))
    with serving(tmp_path, host, {"alias": [alias("out", "out@next.test")]}) as server:
        send(server, "out")
        server.wait(lambda: len(host.taken) == 1, "the notice")
        assert host.taken[0].mail.startswith(b"MAIL FROM:<>")
        assert host.taken[0].rcpts[0].startswith(f"RCPT TO:<{SENDER}>".encode())
        assert f"Original-Recipient: rfc822;out@{DOMAIN}".encode() in host.taken[0].body


def test_a04_forwarded_mail_is_sealed_with_what_was_seen_on_arrival(tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    file = tmp_path / "key.pem"
    file.touch(mode=0o600)
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    point = base64.b64encode(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()
    record = f"v=DKIM1; k=ed25519; p={point}"
    host = Host()
    with DnsServer({"far.test": {"MX": [(10, "mx.far.test")]}}) as dns:
        settings: Settings = {
            "alias": [alias("out", "out@next.test", "ann")],
            "dns": {"nameserver": dns.address},
            "door": {"exempt": []},
            "dkim_key": [{"domain": DOMAIN, "selector": "seal", "file": str(file)}],
        }
        with serving(tmp_path, host, settings) as server:
            send(server, "out")
            server.wait(lambda: len(host.taken) == 1, "forwarding")

    async def texts(name: str) -> TextsAnswer:
        assert name == f"seal._domainkey.{DOMAIN}"
        return TextsAnswer(DnsStatus.FOUND, (record.encode(),))

    found = asyncio.run(arc.validate(host.taken[0].body, texts))
    assert (found.verdict, found.sealers) == (arc.Chain.PASS, (DOMAIN,))
    assert "spf=none" in found.results and "dmarc=none" in found.results


# Transports -------------------------------------------------------------------------------------------------------


def test_a_full_mailbox_is_told_at_rcpt_and_there_is_room_again(tmp_path: Path) -> None:
    domains = [{"name": DOMAIN, "mailboxes": "accounts", "quota_messages": 1}]
    with serving(tmp_path, settings={"domain": domains}) as server:
        send(server, "ann")
        server.wait_for_messages("ann")
        said = refusal(server, "ann+tag")
        assert said.startswith("452 4.2.2") and "1 of 1 messages" in said
        send(server, "ben")
        server.mailbox("ann")[0].unlink()
        (server.maildir / DOMAIN / "ann" / "maildirsize").unlink()
        assert refusal(server, "ann").startswith("250")


def test_dovecot_takes_mail_by_lmtp_and_says_who_is_full(tmp_path: Path) -> None:
    with dovecot("ann", "ben", full="ben") as store:
        settings: Settings = {
            "domain": [{"name": DOMAIN, "transport": "lmtp", "mailboxes": "any"}],
            "lmtp": [{"address": f"unix:{store.socket}"}],
            "alias": [alias("all", "ann", "ben", "nobody")],
        }
        host = Host()
        with serving(tmp_path, host, settings) as server:
            send(server, "all", body="caf\u00e9".encode("ascii", "replace").decode() + "\r\n.dot")
            server.wait(lambda: len(store.messages("ann")) == 1, "the message")
            (got,) = store.messages("ann")
            assert f"Return-Path: <{SENDER}>".encode() in got and b"\n.dot" in got
            server.wait(lambda: len(host.taken) == 1, "the notice about nobody")
            assert b"nobody" in host.taken[0].body and b"5.1.1" in host.taken[0].body
            server.wait(lambda: "delivery.deferred" in server.log(), "waiting for room")
            server.wait(lambda: server.queued_recipients() == [f"ben@{DOMAIN}"], "ben alone in the queue")
            assert store.messages("ben") == []


def test_a_web_service_takes_mail_and_410_bounces(tmp_path: Path) -> None:
    taking, gone = Service(), answering(410, b"this ticket is closed")
    secret = tmp_path / "secret"
    secret.write_text("key\n")
    with in_thread(taking.listening()) as first, in_thread(gone.listening()) as second:
        settings: Settings = {
            "webhook": [
                {
                    "url": f"http://127.0.0.1:{first}/in",
                    "allow_private": True,
                    "format": "json",
                    "secret_file": str(secret),
                },
                {"name": "tickets", "url": f"http://127.0.0.1:{second}/", "allow_private": True},
            ],
            "mailbox": [
                {"address": f"in@{DOMAIN}", "transport": "webhook"},
                {"address": f"ticket@{DOMAIN}", "transport": "tickets"},
            ],
        }
        host = Host()
        with serving(tmp_path, host, settings) as server:
            send(server, "in+7", "ticket")
            server.wait(lambda: len(taking.requests) == 1 and len(host.taken) == 1, "both")
            assert f'"to": ["in+7@{DOMAIN}"]'.encode() in taking.requests[0][2]
            assert "postroad-signature" in taking.requests[0][1]
            assert b"this ticket is closed" in host.taken[0].body


def test_a_program_takes_mail_and_its_words_reach_the_sender(tmp_path: Path) -> None:
    program = tmp_path / "take"
    program.write_text(
        f"#!{sys.executable}\nimport os, sys\n"
        "if os.environ['DETAIL'] == 'no': print('we want none of it'); sys.exit(67)\n"
        f"open({str(tmp_path / 'taken')!r}, 'wb').write(sys.stdin.buffer.read())\n"
    )
    program.chmod(stat.S_IRWXU)
    settings: Settings = {
        "command": [{"argv": [str(program)]}],
        "mailbox": [{"address": f"bot@{DOMAIN}", "transport": "command"}],
    }
    host = Host()
    with serving(tmp_path, host, settings) as server:
        send(server, "bot+yes", "bot+no")
        server.wait(lambda: (tmp_path / "taken").exists() and len(host.taken) == 1, "both")
        assert b"Delivered-To: bot+yes@local.test" in (tmp_path / "taken").read_bytes()
        assert b"we want none of it" in host.taken[0].body


# Crashes ----------------------------------------------------------------------------------------------------------


def test_d01_a_message_to_an_alias_is_there_whole_or_not_at_all_after_kills(tmp_path: Path) -> None:
    names = [f"u{number}" for number in range(5)]
    settings: Settings = {
        "domain": [{"name": DOMAIN, "mailboxes": "any"}],
        "alias": [alias("all", *names)],
    }
    accepted: set[str] = set()
    sent: set[str] = set()
    with serving(tmp_path, settings=settings) as server:
        for round_ in range(6):
            try:
                with smtplib.SMTP("127.0.0.1", server.mx_port, timeout=30) as client:
                    for number in range(40):
                        sender = f"n{round_}-{number}@far.test"
                        sent.add(sender)
                        client.sendmail(sender, [f"all@{DOMAIN}"], f"From: {sender}\r\n\r\nbody\r\n")
                        accepted.add(sender)
                        if number == 30 + round_:
                            server.kill()
            except (OSError, smtplib.SMTPException):
                pass
            server.start()
        server.wait(lambda: server.queued() == 0, "an empty queue", timeout_s=60)
        found = [
            Counter(re.findall(r"<(n[0-9-]+@far\.test)>", path.read_text().partition("\n")[0])[0] for path in box)
            for box in map(server.mailbox, names)
        ]
    assert len(accepted) >= 6 * 30
    assert all(set(each) == set(found[0]) for each in found), "whole, or not at all"
    assert accepted <= set(found[0]) <= sent
    assert max(found[0].values()) == 1
