"""Real clients → our submission ports → the MX record → Postfix on port 25 of another host: mail arrives whole."""

from __future__ import annotations

import smtplib
import ssl
import subprocess
import sys
from email.message import EmailMessage
from typing import TYPE_CHECKING

import pytest

from peers.internet import USER, Internet, internet
from peers.need import need_program, need_swaks_with_tls
from peers.server import DOMAIN, PASSWORD

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.peer, pytest.mark.netns]

BODY = "one line\n.\n..two dots\n\ttab and trailing space \nlast line\n"
"""Dots alone and dots first must come out as they went in."""


@pytest.fixture(scope="module")
def world() -> Iterator[Internet]:
    with internet() as made:
        yield made


def run(*command: str, stdin: bytes = b"") -> str:
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=60, check=False)
    output = (done.stdout + done.stderr).decode(errors="replace")
    assert done.returncode == 0, output
    return output


def arrived(world: Internet, subject: str, user: str = "alice") -> EmailMessage:
    """The message with that subject in Postfix's Maildir."""

    def found() -> list[EmailMessage]:
        return [message for message in world.postfix.messages(user) if message["Subject"] == subject]

    world.server.wait(lambda: bool(found()), f"message {subject!r} at Postfix")
    (message,) = found()
    return message


def test_swaks_with_auth_over_starttls_reaches_postfix_through_the_mx_record(world: Internet) -> None:
    transcript = run(
        *(need_swaks_with_tls(), "--server", f"127.0.0.1:{world.server.submission_port}", "--tls"),
        *("--auth", "PLAIN", "--auth-user", USER, "--auth-password", PASSWORD),
        *("--from", USER, "--to", "alice@postfix.test", "--h-Subject", "by swaks", "--body", BODY),
    )
    assert "TLS started" in transcript
    message = arrived(world, "by swaks")
    assert message.get_content().splitlines()[:5] == BODY.splitlines()
    assert any("ESMTPSA" in received for received in message.get_all("Received", []))
    assert message["Return-Path"] == f"<{USER}>"


def test_swaks_with_auth_login_and_with_a_wrong_password(world: Internet) -> None:
    base = (need_swaks_with_tls(), "--server", f"127.0.0.1:{world.server.submission_port}", "--tls", "--auth", "LOGIN")
    envelope = ("--from", USER, "--to", "alice@postfix.test", "--h-Subject", "by login")
    run(*base, "--auth-user", USER, "--auth-password", PASSWORD, *envelope)
    arrived(world, "by login")
    refused = subprocess.run(
        [*base, "--auth-user", USER, "--auth-password", "wrong", *envelope],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert refused.returncode != 0
    assert b"535 5.7.8" in refused.stdout + refused.stderr


def test_curl_over_implicit_tls(world: Internet, tmp_path: Path) -> None:
    file = tmp_path / "message"
    file.write_bytes(f"From: {USER}\nTo: alice@postfix.test\nSubject: by curl\n\n{BODY}".replace("\n", "\r\n").encode())
    run(
        *(need_program("curl"), "--silent", "--show-error", "--insecure", "--max-time", "30"),
        *("--url", f"smtps://127.0.0.1:{world.server.submissions_port}", "--user", f"{USER}:{PASSWORD}"),
        *("--mail-from", USER, "--mail-rcpt", "alice@postfix.test", "--upload-file", str(file)),
    )
    message = arrived(world, "by curl")
    assert message.get_content().splitlines() == BODY.splitlines()
    assert message["Date"], "submission adds what is missing"
    assert message["Message-ID"], "submission adds what is missing"


def test_msmtp_over_starttls(world: Internet, tmp_path: Path) -> None:
    config = tmp_path / "msmtprc"
    config.write_text(
        f"account default\nhost 127.0.0.1\nport {world.server.submission_port}\nfrom {USER}\nauth plain\n"
        f"user {USER}\npassword {PASSWORD}\ntls on\ntls_starttls on\ntls_certcheck off\n"
    )
    config.chmod(0o600)
    text = f"From: {USER}\nTo: bob@postfix.test\nSubject: by msmtp\n\n{BODY}"
    run(need_program("msmtp"), "-C", str(config), "bob@postfix.test", stdin=text.encode())
    assert arrived(world, "by msmtp", "bob").get_content().splitlines() == BODY.splitlines()


def test_msmtp_proves_itself_by_scram(world: Internet, tmp_path: Path) -> None:
    config = tmp_path / "msmtprc"
    config.write_text(
        f"account default\nhost 127.0.0.1\nport {world.server.submissions_port}\nfrom {USER}\nauth scram-sha-256\n"
        f"user {USER}\npassword {PASSWORD}\ntls on\ntls_starttls off\ntls_certcheck off\n"
    )
    config.chmod(0o600)
    text = f"From: {USER}\nTo: bob@postfix.test\nSubject: by scram\n\nbody\n"
    run(need_program("msmtp"), "-C", str(config), "bob@postfix.test", stdin=text.encode())
    arrived(world, "by scram", "bob")


def test_smtplib_to_several_recipients_of_which_one_is_unknown(world: Internet) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = USER, "several", "by smtplib"
    message.set_content(BODY + "\n".join(f"line {number}" for number in range(20_000)))
    with smtplib.SMTP("127.0.0.1", world.server.submission_port, timeout=30) as client:
        client.starttls(context=context)
        client.login(USER, PASSWORD)
        client.send_message(
            message, USER, ["alice@postfix.test", "carol@postfix.test", "nobody@postfix.test", f"erin@{DOMAIN}"]
        )
    for user in ("alice", "carol"):
        assert arrived(world, "by smtplib", user).get_content().splitlines()[-1] == "line 19999"
    (local,) = world.server.wait_for_messages("erin")
    assert local["Subject"] == "by smtplib"
    assert local["Return-Path"] == f"<{USER}>"


def test_c14_a_permanent_failure_comes_back_to_the_local_sender_as_a_dsn(world: Internet) -> None:
    before = len(world.server.mailbox("dave"))
    run(
        *(need_swaks_with_tls(), "--server", f"127.0.0.1:{world.server.submission_port}", "--tls"),
        *("--auth", "PLAIN", "--auth-user", USER, "--auth-password", PASSWORD),
        *("--from", USER, "--to", "nobody@postfix.test", "--h-Subject", "to nobody"),
    )
    reports = world.server.wait_for_messages("dave", before + 1)
    if not any("to nobody" in one.as_string() for one in reports):
        reports = world.server.wait_for_messages("dave", before + 2)  # the first was that of another test's message
    report = next(one for one in reports if "to nobody" in one.as_string())
    assert report.get_content_type() == "multipart/report"
    assert report["Return-Path"] == "<>"
    status = next(part for part in report.walk() if part.get_content_type() == "message/delivery-status")
    fields = {name.lower(): str(value) for block in status.get_payload() for name, value in block.items()}  # type: ignore[union-attr]
    assert fields["final-recipient"].replace(" ", "") == "rfc822;nobody@postfix.test"
    assert fields["action"] == "failed"
    assert fields["status"] == "5.1.1"
    assert "User unknown" in fields["diagnostic-code"]


def test_postroad_send_shows_the_dialogue_and_delivers(world: Internet, tmp_path: Path) -> None:
    (tmp_path / "password").write_text(PASSWORD + "\n")
    dialogue = run(
        *(sys.executable, "-m", "postroad", "send", "--server", f"127.0.0.1:{world.server.submission_port}"),
        *("--tls", "required", "--user", USER, "--password-file", str(tmp_path / "password")),
        *("--from", USER, "--to", "alice@postfix.test", "--header", "Subject: by postroad send", "--body", "hello"),
        "--show-dialogue",
    )
    for command in ("EHLO", "STARTTLS", "MAIL FROM:<dave@local.test>", "RCPT TO:<alice@postfix.test>", "QUIT"):
        assert command in dialogue
    assert PASSWORD not in dialogue
    arrived(world, "by postroad send")
