"""What stands around a mail server: Dovecot as the store, OpenDKIM and rspamd as milters, seen in what they say."""

from __future__ import annotations

import base64
import re
import smtplib
import subprocess
from pathlib import Path

import dkim
import pytest

from dns_server import DnsServer
from peers.dovecot import dovecot
from peers.filters import opendkim, rspamd
from peers.interop_table import Section, Table
from peers.need import need_program
from peers.server import DOMAIN, Server
from peers.tap import Tap
from peers.test_hooks import GTUBE

pytestmark = pytest.mark.peer

LINES = [".", "..one", "", "the end"]


def version(*command: str) -> str:
    done = subprocess.run([need_program(command[0]), *command[1:]], capture_output=True, text=True, check=False)
    found = re.search(r"\d+\.[\w.]+", done.stdout + done.stderr)
    assert found is not None
    return found[0]


def send(server: Server, lines: list[str], *recipients: str) -> tuple[int, bytes]:
    """The reply to the message, or the last to a recipient where none is taken."""
    with smtplib.SMTP("127.0.0.1", server.mx_port, timeout=30) as client:
        client.ehlo("client.far.test")
        client.mail("ann@far.test")
        replies = [client.rcpt(f"{name}@{DOMAIN}") for name in recipients]
        if all(code != 250 for code, _ in replies):
            return replies[-1]
        header = ["From: ann@far.test", "Subject: around", "Date: Mon, 02 Nov 2026 10:00:00 +0000"]
        return client.data("".join(f"{line}\r\n" for line in [*header, "", *lines]).encode())


def is_milter(tap: Tap) -> bool:
    """Whether the first packet offers options, as that protocol begins."""
    from_client, said = tap.dialogues()[0].turns[0]
    return from_client and said[4:5] == b"O"


def test_dovecot_takes_mail_by_lmtp(table: Table) -> None:
    with dovecot("erin") as store, Tap(store.socket) as tap, DnsServer({}) as dns:
        settings = {
            "dns": {"nameserver": dns.address},
            "domain": [{"name": DOMAIN, "transport": "lmtp", "mailboxes": "any"}],
            "lmtp": [{"address": f"127.0.0.1:{tap.port}"}],
        }
        with Server(settings) as server:  # type: ignore[arg-type]
            assert send(server, LINES, "erin", "nobody")[0] == 250
            server.wait(lambda: bool(store.messages("erin")), "the message")
            server.wait(lambda: "delivery.bounced" in server.log(), "the refusal")
        (got,) = store.messages("erin")
    assert got.replace(b"\r\n", b"\n").partition(b"\n\n")[2].decode().splitlines() == LINES
    assert any(each.has("LHLO ") for each in tap.dialogues())
    refused = {reply[:9] for each in tap.dialogues() for reply in each.replies if reply[0] == "5"}
    assert refused == {"550 5.1.1"}
    for row, cell in (("spoken", "LMTP"), ("arrives whole", "yes"), ("what it does", "refuses an unknown user")):
        table.show(Section.AROUND, "Dovecot", version("dovecot", "--version"), row, cell)


def test_opendkim_signs_by_milter(table: Table, tmp_path: Path) -> None:
    with opendkim(tmp_path, "far.test", "s1") as (address, public), Tap(int(address.rpartition(":")[2])) as tap:
        settings = {"milter": [{"address": f"127.0.0.1:{tap.port}"}], "domains": {"mailboxes": "any"}}
        with Server(settings) as server:  # type: ignore[arg-type]
            assert send(server, LINES, "erin")[0] == 250
            (message,) = server.wait_for_messages("erin")
            (path,) = server.mailbox("erin")
            record = b"v=DKIM1; k=rsa; p=" + base64.b64encode(public)
            assert dkim.verify(path.read_bytes(), dnsfunc=lambda name, timeout=5: record)
    assert message.get_content().splitlines() == LINES
    assert is_milter(tap)
    signed = (("spoken", "milter"), ("arrives whole", "yes"), ("what it does", "signs, and the signature verifies"))
    for row, cell in signed:
        table.show(Section.AROUND, "OpenDKIM", version("opendkim", "-V"), row, cell)


def test_rspamd_refuses_by_milter(table: Table, tmp_path: Path) -> None:
    with rspamd(tmp_path) as there, Tap(int(there.milter.rpartition(":")[2])) as tap:
        settings = {"milter": [{"address": f"127.0.0.1:{tap.port}"}], "domains": {"mailboxes": "any"}}
        with Server(settings) as server:  # type: ignore[arg-type]
            assert send(server, LINES, "erin")[0] == 250
            (message,) = server.wait_for_messages("erin")
            code, said = send(server, [GTUBE], "erin")
            assert code in (550, 554) and b"Gtube" in said
    assert message.get_content().splitlines() == LINES
    assert is_milter(tap)
    for row, cell in (("spoken", "milter"), ("arrives whole", "yes"), ("what it does", "refuses its test pattern")):
        table.show(Section.AROUND, "rspamd", version("rspamd", "--version"), row, cell)
