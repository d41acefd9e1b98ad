"""The name of this machine, where nobody configured one."""

from __future__ import annotations

import socket

import pytest

from postroad.net.hostname import NO_NAME, machine_name
from postroad.smtp.address import to_a_labels


@pytest.mark.parametrize(
    ("told", "name"),
    [
        ("mail.example.org", "mail.example.org"),
        ("Mail.Example.ORG.", "mail.example.org"),
        ("b\u00fccher.example", "xn--bcher-kva.example"),
        ("build", NO_NAME),
        ("localhost.localdomain", NO_NAME),
        ("1.0.0.127.in-addr.arpa", NO_NAME),
        ("1.0.0.0.ip6.arpa", NO_NAME),
        ("a host.example", NO_NAME),
        ("a..example", NO_NAME),
        ("x" * 64 + ".example", NO_NAME),
        ("mail.example\r\nQUIT", NO_NAME),
        ("", NO_NAME),
    ],
)
def test_what_the_system_calls_it_is_taken_only_where_it_can_stand_in_an_address(
    told: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getfqdn", lambda: told)
    assert machine_name() == name


def test_whatever_this_machine_is_called_the_name_can_stand_in_ehlo() -> None:
    assert to_a_labels(machine_name()) == machine_name()
