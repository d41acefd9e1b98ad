"""A message's life in a real server, as `postroad trace`, `postroad queue` and `postroad log` tell it."""

from __future__ import annotations

import json
import re
import signal
import smtplib
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cli.calls import call, in_thread
from deliver.peers import Host, listening
from dns_server import DnsServer
from peers.processes import free_ports
from peers.server import DOMAIN, PASSWORD, Section, Server
from postroad.message.envelope import format_queue_id
from postroad.store.ledger import Ledger

ANN = f"ann@{DOMAIN}"
ZONE = {"example.net": {"MX": [(10, "mx.example.net")]}, "mx.example.net": {"A": ["127.0.0.1"]}}


class Moods:
    """A host that answers by the recipient's name, and keeps what it took."""

    def __init__(self) -> None:
        self.host = Host(decide=self.decide)
        self.grey: set[str] = set()

    def decide(self, command: str, accepted: int) -> bytes | None:
        if not command.upper().startswith("RCPT"):
            return None
        if "gone" in command:
            return b"550 5.1.1 \x1b[31mNo such user here\r\n"
        if "grey" in command and command not in self.grey:
            self.grey.add(command)
            return b"451 4.7.1 Greylisted, come again in a second\r\n"
        return b"452 4.2.2 The mailbox is full\r\n" if "full" in command else None


@contextmanager
def serving(host: Host, base: Path, *, workers: int = 1, **settings: Section) -> Iterator[Server]:
    with DnsServer(ZONE) as dns, in_thread(listening(host)) as port:
        road: dict[str, Section] = {
            "dns": {"nameserver": dns.address},
            "delivery": {"port": port, "allow_private": True, "first_retry_s": 1.0, "retry_jitter": 0.0},
            "queueing": {"greylisted_retry_s": 1.0, "mailbox_full_retry_s": 1.0},
            "history": {"subjects": True},
        }
        with Server(settings={**road, **settings}, base=base, workers=workers) as server:
            server.add_user(ANN)
            yield server


def submit(server: Server, *recipients: str, subject: str = "hello") -> str:
    """The queue id."""
    with smtplib.SMTP("127.0.0.1", server.submission_port, timeout=30) as client:
        client.starttls(context=ssl._create_unverified_context())
        client.login(ANN, PASSWORD)
        client.mail(ANN)
        for one in recipients:
            assert client.rcpt(one)[0] == 250
        text = f"From: {ANN}\r\nSubject: {subject}\r\nMessage-ID: <{subject}@{DOMAIN}>\r\n\r\nhello\r\n"
        return client.data(text)[1].split()[-1].decode()


def trace(server: Server, *arguments: object) -> str:
    done = call("trace", *arguments, "--config", server.config)
    assert done.status == 0, done.err
    return done.out


def seen(server: Server, queue_id: str) -> str:
    """What is told by now; nothing in the moment between the queue and the history."""
    return call("trace", queue_id, "--config", server.config).out


def balance(server: Server) -> dict[str, int]:
    done = call("trace", "--balance", "--json", "--config", server.config)
    found: dict[str, int] = json.loads(done.out)
    assert done.status == (1 if found["difference"] else 0)
    return found


def test_a_messages_whole_life_is_told_in_sentences_with_each_dialogue(tmp_path: Path) -> None:
    moods = Moods()
    with serving(moods.host, tmp_path) as server:
        queue_id = submit(server, "bob@example.net", "grey@example.net", "gone@example.net", subject="offer")
        server.wait(lambda: balance(server)["waiting"] == 0, "an end of all recipients")
        server.wait(lambda: "to grey@example.net: delivered" in seen(server, queue_id), "the whole story")
        told = trace(server, queue_id)
        for words in (
            f"message {queue_id}",
            f"by ESMTPSA over TLSv1.3 TLS_AES_256_GCM_SHA384 at the listener submission, user {ANN}, sender {ANN}",
            f"Message-ID <offer@{DOMAIN}>",
            "Subject offer",
            "to bob@example.net: delivered",
            "delivered at mx.example.net[127.0.0.1]: 250 2.0.0 taken",
            "deferred at mx.example.net[127.0.0.1], in the phase rcpt: 451 4.7.1 Greylisted",
            "(greylisted); to be tried again 20",
            "the dialogue is the one with bob@example.net",
            "to gone@example.net: bounced",
            "550 5.1.1",
            "      C: EHLO mx.local.test",
            "      C: RCPT TO:<gone@example.net>",
            "octets of the message",
        ):
            assert words in told, words
        assert told.replace("\n", "").isprintable(), "H-11"
        assert "RCPT TO" not in trace(server, queue_id, "--no-dialogue")
        (notice,) = re.findall(r"told by message (\w+)", told)
        assert f"made here, to tell of message {queue_id}" in trace(server, notice)
        for name in (f"<offer@{DOMAIN}>", f"offer@{DOMAIN}", "GONE@example.net"):
            assert queue_id in trace(server, name)
        assert queue_id in trace(server, ANN) and notice in trace(server, ANN)
        (found,) = [json.loads(line) for line in trace(server, queue_id, "--json").splitlines()]
        fates = {one["address"]: one["fate"] for one in found["recipients"]}
        assert fates == {
            "bob@example.net": "delivered",
            "grey@example.net": "delivered",
            "gone@example.net": "bounced",
        }
        done = call("trace", "nobody@example.net", "--config", server.config)
        assert done.status == 1 and "nothing is known of nobody@example.net" in done.sentence


def test_why_a_message_waits_and_when_it_is_tried_again_is_told_while_it_waits(tmp_path: Path) -> None:
    moods = Moods()
    (closed,) = free_ports(1)
    delivery = {"port": closed, "allow_private": True, "first_retry_s": 300.0}
    with serving(moods.host, tmp_path, delivery=delivery) as server:
        queue_id = submit(server, "bob@example.net")
        server.wait(lambda: "      mx.example.net[" in seen(server, queue_id), "an attempt with its dialogue")
        told = trace(server, queue_id)
        assert "to bob@example.net: waits, next try 20" in told
        assert "in the phase connect: connection refused" in told
        assert "      mx.example.net[127.0.0.1], connect: connection refused" in told
        assert "connection refused" in call("queue", "list", "--config", server.config).out


def test_an_operators_bounce_comes_to_its_sender_once_and_stands_in_the_story(tmp_path: Path) -> None:
    moods = Moods()
    with serving(moods.host, tmp_path) as server:
        queue_id = submit(server, "full@example.net", "bob@example.net")
        server.wait(lambda: "deferred" in seen(server, queue_id), "an attempt")
        held = call("queue", "hold", queue_id, "--why", "a look first", "--config", server.config)
        assert held.status == 0, held.err
        done = call("queue", "bounce", queue_id, "--why", "the project has ended", "--config", server.config)
        assert done.status == 0, done.err
        (notice,) = server.wait_for_messages("ann")
        assert "the project has ended" in notice.as_string()
        server.wait(lambda: balance(server)["waiting"] == 0, "an empty queue")
        time.sleep(1.5)  # what would come twice would have come
        assert len(server.messages("ann")) == 1
        server.wait(lambda: "bounced" in seen(server, queue_id), "the end on record")
        told = trace(server, queue_id)
        for words in (
            "held: a look first",
            "to be given back to its sender: the project has ended",
            "to full@example.net: bounced",
        ):
            assert words in told, told


def test_the_balance_holds_through_kills_and_the_history_says_what_it_does_not_know(tmp_path: Path) -> None:
    moods = Moods()
    with serving(moods.host, tmp_path, workers=2) as server:
        sent = []
        for number in range(30):
            sent.append(submit(server, f"b{number}@example.net", f"full{number}@example.net", subject=f"s{number}"))
            if number % 10 == 5:
                server.kill()
                server.start()
        server.wait(lambda: balance(server)["delivered"] == 30, "deliveries")
        found = balance(server)
        assert found["difference"] == 0
        assert found["accepted"] == 60 and found["waiting"] == 30

        def is_whole() -> bool:
            with Ledger(server.state / "ledger.db") as ledger:
                return ledger.fates().get("waiting") == 30

        server.wait(is_whole, "history in which all that waits is, after a crash too")
        call("queue", "remove", "--all", "--yes", "--config", server.config)
        found = balance(server)
        assert (found["difference"], found["removed"], found["waiting"]) == (0, 30, 0)


def test_a_log_file_is_shared_by_all_workers_and_read_by_the_command(tmp_path: Path) -> None:
    moods = Moods()
    with serving(moods.host, tmp_path, workers=2, log={"file": "log/postroad.log"}) as server:
        ids = [submit(server, "bob@example.net", subject=f"s{number}") for number in range(10)]
        server.wait(lambda: balance(server)["delivered"] == 10, "deliveries")
        done = call("log", "--event", "message.accepted", "--json", "--config", server.config)
        assert [json.loads(line)["queue_id"] for line in done.out.splitlines()] == ids
        told = call("log", "--queue-id", ids[3], "--config", server.config).out
        assert "message.accepted" in told and "delivery.delivered" in told and ids[4] not in told
        workers = {
            json.loads(line)["pid"]
            for line in call("log", "--event", "worker.serving", "--json", "--config", server.config).out.splitlines()
        }
        assert len(workers) == 2
        assert "message.accepted" not in server.log()
        assert server.process is not None
        server.process.send_signal(signal.SIGHUP)
        server.wait(lambda: "config.reloaded" in call("log", "--config", server.config).out, "the reload in the log")


def test_v10_an_address_is_forgotten_by_the_history_too(tmp_path: Path) -> None:
    moods = Moods()
    with serving(moods.host, tmp_path) as server:
        queue_id = submit(server, "gone@example.net", "bob@example.net")
        server.wait(lambda: "sender was told" in seen(server, queue_id), "the whole story")
        state = server.state
        server.stop()
        done = call("forget", "gone@example.net", "--state", state)
        assert done.status == 0 and "of the history" in done.out
        assert "gone@" not in trace(server, queue_id)
        for path in state.glob("ledger.db*"):
            assert b"gone@example.net" not in path.read_bytes()
        server.start()


def test_a_queue_id_is_found_whatever_its_letters(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.db") as ledger:
        assert ledger.story(1) is None
    done = call("trace", format_queue_id(1).upper(), "--state", tmp_path)
    assert done.status == 1 and "nothing is known" in done.sentence
