"""The fixtures show that they work before anything of ours is measured against them."""

from __future__ import annotations

import smtplib

import pytest

from peers.netns import Namespace
from peers.postfix import Postfix

pytestmark = pytest.mark.peer


@pytest.mark.netns
def test_a_postfix_in_its_own_namespace_takes_known_users_on_port_25_and_refuses_the_rest() -> None:
    with Namespace() as host, Postfix(address=host.address, port=25, namespace=host) as peer:
        with smtplib.SMTP(host.address, 25, timeout=30) as client:
            client.sendmail("x@example.org", ["alice@postfix.test"], b"Subject: one\r\n\r\nbody\r\n")
            client.mail("x@example.org")
            code, text = client.rcpt("nobody@postfix.test")
        assert (code, text[:5]) == (550, b"5.1.1")
        assert peer.wait_for_messages("alice")[0]["Subject"] == "one"
