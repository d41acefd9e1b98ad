"""Hooks in a real server: plugins, OpenDKIM and rspamd, before the 250 and after it, when they fail, when it dies."""

from __future__ import annotations

import base64
import smtplib
from pathlib import Path

import dkim
import pytest

from peers.filters import opendkim, rspamd
from peers.server import DOMAIN, Server

ANN = f"ann@{DOMAIN}"
GTUBE = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"

PLUGIN = """
import asyncio
from pathlib import Path

from postroad.hook.vocabulary import AddHeader, Amend, Discard, Hold, Refuse
from postroad.smtp.reply import reply


class Watch:
    def __init__(self, options):
        self.options = options

    async def rcpt(self, client, sender, recipient):
        if recipient.local == "nobody":
            return Refuse(reply(550, "Not this one", "5.1.1"))

    async def message(self, arrived):
        if "wait" in self.options:
            while not Path(self.options["wait"]).exists():
                await asyncio.sleep(0.05)
        if b"explode" in arrived.octets:
            raise RuntimeError("boom")
        if b"hold me" in arrived.octets:
            return Hold("it asked for it")
        if b"throw me away" in arrived.octets:
            return Discard()
        if b"refuse me" in arrived.octets:
            return Refuse(reply(554, "No, thank you", "5.7.1"))
        return Amend((AddHeader("X-Watched", self.options.get("word", "yes")),))

    async def settled(self, what):
        with open("settled.log", "a") as file:
            file.write(f"{what.recipient} {what.outcome}\\n")
"""


def server_with(base: Path, **settings: object) -> Server:
    server = Server(settings=settings, base=base)  # type: ignore[arg-type]
    original = server.configure

    def configure(**changes: object) -> None:
        (server.directory / "watching.py").write_text(PLUGIN)
        original(**changes)  # type: ignore[arg-type]

    server.configure = configure  # type: ignore[method-assign]
    return server


def send(server: Server, text: str, recipient: str = ANN, sender: str = "bob@example.net") -> tuple[int, bytes]:
    with smtplib.SMTP("127.0.0.1", server.mx_port, timeout=30) as client:
        client.ehlo("client.example.net")
        client.mail(sender)
        code, said = client.rcpt(recipient)
        if code != 250:
            return code, said
        return client.data(f"From: {sender}\r\nSubject: hello\r\n\r\n{text}\r\n".encode())


@pytest.mark.peer
def test_a_plugin_refuses_amends_holds_and_discards_and_its_faults_have_a_defined_answer(tmp_path: Path) -> None:
    plugin = {"name": "watching:Watch", "options": ["word=seen"], "on_failure": "defer", "timeout_s": 5.0}
    with server_with(tmp_path, plugin=[plugin], domains={"mailboxes": "any"}) as server:
        assert send(server, "plain")[0] == 250
        (first, *_) = server.wait_for_messages("ann", 1)
        assert first["X-Watched"] == "seen"
        assert send(server, "x", f"nobody@{DOMAIN}") == (550, b"5.1.1 Not this one")
        assert send(server, "refuse me") == (554, b"5.7.1 No, thank you")
        assert send(server, "explode") == (451, b"4.7.1 The message cannot be examined now: try again later")
        assert "hook.failed hook=watching:Watch" in server.log() and "boom" in server.log()
        before = len(server.mailbox("ann"))
        assert send(server, "throw me away")[0] == 250
        assert send(server, "hold me")[0] == 250
        server.wait(lambda: server.queued() == 1, "held message")
        assert len(server.mailbox("ann")) == before
        server.wait(lambda: (server.directory / "settled.log").exists(), "notice of the delivery")
        assert f"{ANN} delivered" in (server.directory / "settled.log").read_text()


@pytest.mark.peer
def test_a_slow_hook_of_the_queue_holds_no_sender_and_its_messages_survive_a_kill(tmp_path: Path) -> None:
    flag = tmp_path / "go"
    plugin = {"name": "watching:Watch", "options": [f"wait={flag}"], "when": "after", "timeout_s": 60.0}
    with server_with(tmp_path, plugin=[plugin], domains={"mailboxes": "any"}) as server:
        for number in range(20):
            assert send(server, f"message {number}")[0] == 250
        assert send(server, "hold me")[0] == 250
        assert server.mailbox("ann") == [], "nothing is delivered unseen"
        server.kill()
        server.start()
        assert server.mailbox("ann") == [] and server.queued() == 21
        flag.touch()
        found = server.wait_for_messages("ann", 20)
        assert all(one["X-Watched"] == "yes" for one in found)
        assert sorted(int(one.get_content().split()[1]) for one in found) == list(range(20))
        server.wait(lambda: server.queued() == 1, "the held message alone")


@pytest.mark.peer
def test_opendkim_signs_what_passes_and_another_program_verifies_it(tmp_path: Path) -> None:
    with (
        opendkim(tmp_path, "example.net", "s1") as (address, public),
        server_with(tmp_path, milter=[{"address": address}], domains={"mailboxes": "any"}) as server,
    ):
        assert send(server, "sign this\r\nand that")[0] == 250
        server.wait_for_messages("ann")
        (path,) = server.mailbox("ann")
        record = b"v=DKIM1; k=rsa; p=" + base64.b64encode(public)
        assert dkim.verify(path.read_bytes(), dnsfunc=lambda name, timeout=5: record)
    with server_with(tmp_path, milter=[{"address": address, "on_failure": "defer"}]) as server:
        server.add_user(ANN)
        code, said = send(server, "nobody is there")
        assert code == 451 and b"cannot be examined" in said


@pytest.mark.peer
@pytest.mark.parametrize("way", ["http", "milter", "after"])
def test_rspamd_refuses_its_test_pattern_and_lets_other_mail_pass(tmp_path: Path, way: str) -> None:
    with rspamd(tmp_path) as there:
        asked = {"milter": [{"address": there.milter}]} if way == "milter" else {"rspamd": [{"url": there.url}]}
        if way == "after":
            asked["rspamd"][0]["when"] = "after"
        with server_with(tmp_path, domains={"mailboxes": "any"}, **asked) as server:
            assert send(server, "a harmless message")[0] == 250
            server.wait_for_messages("ann")
            code, said = send(server, GTUBE)
            if way == "after":
                assert code == 250, "the sender does not wait"
                server.wait(lambda: server.queued() == 1, "message held for the operator")
                server.wait(lambda: "result=refused" in server.log(), "its examination")
            else:
                assert code in (550, 554) and b"Gtube" in said
            assert len(server.mailbox("ann")) == 1
