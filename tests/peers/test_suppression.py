"""The loop is closed: whoever bounced is refused at the next submission, and `postroad verify` knows it at once."""

from __future__ import annotations

import json
import smtplib
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cli.calls import in_thread
from deliver.peers import Host, listening
from deliver.test_returns import BOUNCE
from dns_server import DnsServer
from peers.server import DOMAIN, PASSWORD, Section, Server

ANN = f"ann@{DOMAIN}"
ZONE = {"example.net": {"MX": [(10, "mx.example.net")]}, "mx.example.net": {"A": ["127.0.0.1"]}}


def decide(command: str, accepted: int) -> bytes | None:
    if command.upper().startswith("RCPT") and "gone" in command:
        return b"550 5.1.1 No such user here\r\n"
    return None


@contextmanager
def serving(host: Host, base: Path, **settings: Section) -> Iterator[Server]:
    with DnsServer(ZONE) as dns, in_thread(listening(host)) as port:
        road: dict[str, Section] = {
            "dns": {"nameserver": dns.address},
            "delivery": {"port": port, "allow_private": True, "tls": "none", "first_retry_s": 1.0},
        }
        with Server(settings={**road, **settings}, base=base) as server:
            server.add_user(ANN)
            yield server


def submit(server: Server, *recipients: str) -> dict[str, tuple[int, bytes]]:
    """Recipients that were refused, with the reply."""
    context = ssl._create_unverified_context()
    with smtplib.SMTP("127.0.0.1", server.submission_port, timeout=30) as client:
        client.starttls(context=context)
        client.login(ANN, PASSWORD)
        try:
            return client.sendmail(ANN, recipients, f"From: {ANN}\r\nSubject: hello\r\n\r\nhello\r\n")
        except smtplib.SMTPRecipientsRefused as refused:
            return refused.recipients


def here(server: Server, *arguments: str) -> str:
    """What a command prints in the directory where the server was started: it finds the state by itself."""
    command = [sys.executable, "-m", "postroad", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, cwd=server.directory).stdout


@pytest.mark.peer
def test_an_address_that_bounced_is_refused_at_submission_and_undeliverable_to_verify_at_once(tmp_path: Path) -> None:
    host = Host(decide=decide)
    with serving(host, tmp_path) as server:
        assert submit(server, "gone@example.net", "bob@example.net") == {}
        (bounce,) = server.wait_for_messages("ann")
        assert "No such user here" in bounce.as_string()
        server.wait(lambda: "gone@example.net" in submit(server, "gone@example.net", "carl@example.net"), "refusal")
        code, said = submit(server, "gone@example.net")["gone@example.net"]
        assert code == 550
        assert b"5.1.1 Mail to gone@example.net came back (suppressed since" in said
        assert b"mx.example.net said: 550 5.1.1 No such user here" in said
        asked = len(host.commands)
        verdict = json.loads(here(server, "verify", "gone@example.net", "--format", "jsonl"))
        assert (verdict["verdict"], verdict["reason"]) == ("undeliverable", "bounced")
        assert "mx.example.net said: 550 5.1.1 No such user here" in verdict["evidence"][-1]["detail"]
        assert len(host.commands) == asked, "nobody was asked"
        here(server, "suppress", "remove", "gone@example.net")
        server.wait(lambda: submit(server, "gone@example.net") == {}, "acceptance again")
    assert sum(len(taken.rcpts) for taken in host.taken) >= 2, "the others got their mail"


@pytest.mark.peer
@pytest.mark.parametrize("mode", ["domain", "mailbox"])
def test_recipients_are_checked_before_mail_for_them_is_taken(tmp_path: Path, mode: str) -> None:
    host = Host(decide=decide)
    with serving(host, tmp_path, verify_first={"mode": mode}) as server:
        refused = submit(server, "bob@example.net", "x@nowhere.example", "gone@example.net")
        code, said = refused["x@nowhere.example"]
        assert code == 550 and said.startswith(b"5.1.2")
        assert ("gone@example.net" in refused) == (mode == "mailbox")
        if mode == "mailbox":
            code, said = refused["gone@example.net"]
            assert code == 550
            assert b"5.1.1 gone@example.net: there is no such mailbox (mx.example.net said: 550 5.1.1 No such" in said
        server.wait(lambda: len(host.taken) >= 1, "delivery to bob")


@pytest.mark.peer
def test_a_bounce_that_comes_later_counts_for_its_message_and_a_forged_one_is_refused(tmp_path: Path) -> None:
    host = Host()
    with serving(host, tmp_path, returns={"domain": f"bounces.{DOMAIN}"}) as server:
        assert submit(server, "carl@example.net") == {}
        server.wait(lambda: len(host.taken) == 1, "delivery")
        sender = host.taken[0].mail.split(b"<")[1].split(b">")[0].decode()
        assert sender.startswith("b-") and sender.endswith(f"@bounces.{DOMAIN}")
        bounce = BOUNCE % (b"carl@example.net", b"failed")
        with smtplib.SMTP("127.0.0.1", server.mx_port, timeout=30) as client:
            client.ehlo("mx.example.net")
            assert client.docmd("MAIL FROM:<>")[0] == 250
            assert client.rcpt(f"b-0000000000000-0000000000000000@bounces.{DOMAIN}")[0] == 550
            assert client.rcpt(sender)[0] == 250
            assert client.data(bounce)[0] == 250
        (passed_on,) = server.wait_for_messages("ann")
        assert "No such user here" in passed_on.as_string()
        server.wait(lambda: "carl@example.net" in submit(server, "carl@example.net"), "refusal")
        ids = [line for line in server.log().splitlines() if "return.bounced" in line]
        assert len(ids) == 1
        queue_id = ids[0].split("queue_id=")[1].split()[0]
        server.wait(lambda: "came back later" in server.run("trace", queue_id).stdout, "its trace")
        told = server.run("trace", queue_id).stdout
        assert "to carl@example.net: bounced" in told and "No such user here" in told
        assert "C: DATA" in told and "octets of the message" in told and "S: 250" in told
        verdict = json.loads(here(server, "verify", "carl@example.net", "--format", "jsonl"))
        assert (verdict["verdict"], verdict["reason"]) == ("undeliverable", "bounced")
