"""Each example of docs/guides/library.md runs, against real servers on ports of their own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dns_server import DnsServer
from library.serving import AUTHORITY, SERVER_TLS, Keeper, serving
from library.test_pytest_plugin import run_pytest
from postroad import events
from postroad.receive.caller import Caller
from postroad.smtp.address import Address
from postroad.smtp.reply import Reply, reply

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "library.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", GUIDE.read_text("utf-8"), re.MULTILINE | re.DOTALL)

LETTER, FAULT, EXTENSIONS, SERVER, FIXTURE, SINK, VERIFY, CLASSIFY = range(8)


class Mailboxes(Keeper):
    """Takes mail for people with short names but `nobody`, and knows one user."""

    def rcpt(self, caller: Caller, address: Address) -> Reply | None:
        is_there = address.local != "nobody" and len(address.local) < 10
        return None if is_there else reply(550, "No such user here", "5.1.1")

    def auth(self, peer: str, username: str, password: str) -> bool:
        return (username, password) == ("ann@example.org", "right")


@pytest.fixture
def mailboxes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Mailboxes, int]]:
    """A server that clients of this process trust, with its handler."""
    authority = tmp_path / "authority.pem"
    AUTHORITY.cert_pem.write_to_path(str(authority))
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    events.configure(level="error")
    handler = Mailboxes()
    with serving(handler, tls=SERVER_TLS) as port:
        yield handler, port
    events.configure()


def run(number: int, capsys: pytest.CaptureFixture[str], **values: Any) -> list[str]:
    """The lines that an example prints."""
    code = BLOCKS[number]
    for name, value in values.items():
        line = rf"^((?:HOST, )?{name} = (?:\"localhost\", )?).*$"
        code, count = re.subn(line, rf"\g<1>{value!r}", code, flags=re.MULTILINE)
        assert count == 1, f"the example has no line {name} = …"
    exec(compile(code, f"{GUIDE.name}: example {number}", "exec"), {"__name__": "__main__"})
    return capsys.readouterr().out.splitlines()


def test_every_example_has_a_test() -> None:
    assert len(BLOCKS) == CLASSIFY + 1


def test_a_letter_is_sent_and_who_was_refused_is_told(
    mailboxes: tuple[Mailboxes, int], capsys: pytest.CaptureFixture[str]
) -> None:
    handler, port = mailboxes
    assert run(LETTER, capsys, PORT=port) == ["nobody@example.net rcpt 550 5.1.1 No such user here"]
    assert [str(one.address) for one in handler.envelopes[0].recipients] == ["bob@example.net"]


def test_a_wrong_password_is_one_sentence(mailboxes: tuple[Mailboxes, int], capsys: pytest.CaptureFixture[str]) -> None:
    said = run(FAULT, capsys, PORT=mailboxes[1])
    assert said[0] == "auth"
    assert said[1].startswith("auth: 535 5.7.8 ")


def test_reports_and_international_addresses(
    mailboxes: tuple[Mailboxes, int], capsys: pytest.CaptureFixture[str]
) -> None:
    handler, port = mailboxes
    assert run(EXTENSIONS, capsys, PORT=port) == ["True", "True"]
    assert handler.envelopes[0].envid == "order-17"
    assert handler.envelopes[1].smtputf8


def test_a_server_with_two_hooks(capsys: pytest.CaptureFixture[str]) -> None:
    events.configure(level="error")
    try:
        assert run(SERVER, capsys) == [" ['ann@example.org'] 17"]
    finally:
        events.configure()


def test_the_fixture(tmp_path: Path) -> None:
    (tmp_path / "test_guide.py").write_text(BLOCKS[FIXTURE])
    ran = run_pytest(tmp_path, "-q")
    assert ran.returncode == 0, ran.stdout
    assert "2 passed" in ran.stdout


def test_the_sink(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(SINK, capsys) == ["Hello"]


def test_addresses_are_verified(mailboxes: tuple[Mailboxes, int], capsys: pytest.CaptureFixture[str]) -> None:
    zone = {"example.org": {"MX": [(10, "mx.example.org")]}, "mx.example.org": {"A": ["127.0.0.1"]}}
    handler, port = mailboxes
    with DnsServer(zone) as dns:
        said = run(VERIFY, capsys, RESOLVER=dns.address, PORT=port, ALLOW_PRIVATE=True)
    assert [line.split(" (")[0] for line in said] == [
        "ann@example.org deliverable accepted",
        "nobody@example.org undeliverable mailbox_unknown",
        "ann@no-such-domain.example undeliverable no_domain",
        "no address undeliverable bad_syntax",
    ]
    assert "550 5.1.1 No such user here" in said[1]
    assert handler.bodies == []


def test_replies_are_classified(capsys: pytest.CaptureFixture[str]) -> None:
    promised = [line.split("  # ")[1] for line in BLOCKS[CLASSIFY].splitlines() if "  # " in line]
    assert run(CLASSIFY, capsys) == promised
