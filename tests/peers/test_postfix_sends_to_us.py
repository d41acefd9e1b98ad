"""Postfix as the sending client: what it brings to our MX port ends in the local user's Maildir."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from peers.postfix import Postfix
from peers.server import DOMAIN, Server

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.peer


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as running:
        running.add_user(f"dave@{DOMAIN}")
        running.add_user(f"erin@{DOMAIN}")
        yield running


@pytest.fixture(scope="module")
def postfix(server: Server) -> Iterator[Postfix]:
    tls = {"smtp_tls_security_level": "may", "smtp_tls_loglevel": "1", "minimal_backoff_time": "1s"}
    with Postfix(relay_host=f"[127.0.0.1]:{server.mx_port}", settings=tls) as peer:
        yield peer


def test_mail_from_postfix_arrives_whole_over_starttls(server: Server, postfix: Postfix) -> None:
    body = "".join(f".line {number}\n" for number in range(5_000)) + ".\n..\nend\n"
    text = f"From: x@{postfix.address}\nSubject: from postfix\n\n{body}"
    postfix.submit(text.encode(), sender="x@elsewhere.test", recipients=[f"dave@{DOMAIN}", f"erin@{DOMAIN}"])
    for user in ("dave", "erin"):
        (message,) = server.wait_for_messages(user)
        assert message.get_content().splitlines() == body.splitlines()
        assert message["Return-Path"] == "<x@elsewhere.test>"
        assert "ESMTPS" in message.get_all("Received", [])[0]
    assert "TLS connection established to 127.0.0.1" in postfix.log()


def test_postfix_gets_our_permanent_refusal_with_its_words(server: Server, postfix: Postfix) -> None:
    postfix.submit(b"Subject: no\n\nbody\n", sender="<>", recipients=[f"nobody@{DOMAIN}"])
    postfix.wait_for_log("status=bounced")
    assert "550 5.1.1" in postfix.log()


def test_many_messages_from_postfix_arrive_once_each(server: Server, postfix: Postfix) -> None:
    before = len(server.mailbox("erin"))
    for number in range(40):
        text = f"Subject: number {number}\n\nbody\n"
        postfix.submit(text.encode(), sender="x@elsewhere.test", recipients=[f"erin@{DOMAIN}"])
    messages = server.wait_for_messages("erin", before + 40)
    numbers = [str(message["Subject"]) for message in messages if str(message["Subject"]).startswith("number")]
    assert sorted(numbers) == sorted(f"number {number}" for number in range(40))
