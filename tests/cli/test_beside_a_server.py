"""Commands beside a running server: it sees what they change, and they see what it does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cli.calls import Done, call, serving
from peers.processes import free_ports
from peers.server import DOMAIN, PASSWORD, Server
from postroad.message.envelope import Envelope
from postroad.receive.caller import Caller
from postroad.store.accounts import SqliteAccounts

DAVE, ERIN = f"dave@{DOMAIN}", f"erin@{DOMAIN}"


@dataclass
class Sink:
    """Where the mail of the server goes, once it is there."""

    taken: list[str] = field(default_factory=list)

    def message(self, caller: Caller, envelope: Envelope, body: bytes) -> None:
        self.taken.extend(str(one.address) for one in envelope.recipients)


@dataclass(frozen=True)
class Place:
    server: Server
    next_hop: int
    """The port to which all mail for elsewhere goes; nothing listens there."""

    def run(self, *arguments: object, stdin: str = "") -> Done:
        return call(*arguments, "--config", self.server.config, stdin=stdin)

    def send(self, user: str, *arguments: object, password: str = PASSWORD) -> Done:
        return call(
            *("send", "--server", f"localhost:{self.server.submission_port}", "--user", user, "--password-stdin"),
            *("--ca-file", self.server.state / "tls" / "self-signed.pem", *arguments),
            stdin=f"{password}\n",
        )

    def queue(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.run("queue", "list", "--format", "jsonl").out.splitlines()]

    def wait_for_a_failed_try(self, count: int) -> list[str]:
        """The ids in the queue, once there are so many that were all tried."""
        self.server.wait(
            lambda: len(found := self.queue()) == count and all(one["attempts"] for one in found), "failed tries"
        )
        return [str(one["id"]) for one in self.queue()]


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    (next_hop,) = free_ports(1)
    settings = {
        "route": [{"domain": "*", "host": "127.0.0.1", "port": next_hop}],
        "delivery": {"allow_private": True},
        "auth": {"delay_s": 0},
    }
    with Server(settings=settings) as server:  # type: ignore[arg-type]
        yield Place(server, next_hop)


def test_the_running_server_sees_each_change_of_an_account(place: Place) -> None:
    assert "535" in place.send(ERIN, "--to", ERIN).err
    assert place.run("user", "add", ERIN, "--password-stdin", stdin=f"{PASSWORD}\n").status == 0
    assert place.send(ERIN, "--to", ERIN).status == 0
    assert place.run("user", "password", ERIN, "--password-stdin", stdin="another one\n").status == 0
    assert "535" in place.send(ERIN, "--to", ERIN).err
    assert place.send(ERIN, "--to", ERIN, password="another one").status == 0
    assert "553" in place.send(ERIN, "--to", ERIN, "--from", DAVE, password="another one").out
    assert place.run("user", "identities", ERIN, ERIN, DAVE).status == 0
    assert place.send(ERIN, "--to", ERIN, "--from", DAVE, password="another one").status == 0
    assert place.run("user", "disable", ERIN).status == 0
    assert "535" in place.send(ERIN, "--to", ERIN, password="another one").err
    assert place.run("user", "disable", ERIN, "--enable").status == 0
    assert place.send(ERIN, "--to", ERIN, password="another one").status == 0
    assert place.run("user", "remove", ERIN).status == 0
    assert "535" in place.send(ERIN, "--to", ERIN, password="another one").err


def test_a_dialogue_by_scram_shows_nothing_that_a_password_could_be_guessed_from(place: Place) -> None:
    place.server.add_user(DAVE)
    done = place.send(DAVE, "--to", DAVE, "--show-dialogue")
    assert done.status == 0
    lines = done.out.splitlines()
    start = lines.index("C: AUTH SCRAM-SHA-256 ***")
    assert lines[start + 1 : start + 5] == ["S: 334 ***", "C: ***", "S: 334 ***", "C: ***"]
    assert lines[start + 5].startswith("S: 235 ")


def test_mail_waits_and_is_removed_shown_and_retried_though_its_worker_was_killed(place: Place) -> None:
    place.run("user", "add", DAVE, "--password-stdin", stdin=f"{PASSWORD}\n")
    for number in range(3):
        assert place.send(DAVE, "--to", f"r{number}@elsewhere.test").status == 0
    ids = place.wait_for_a_failed_try(3)
    assert "connection refused" in place.run("queue", "show", ids[0]).out
    assert place.run("queue", "remove", ids[1]).out == "1 recipient removed\n"
    assert [one["id"] for one in place.queue()] == [ids[0], ids[2]]
    (worker,) = workers(place.server)
    os.kill(worker, signal.SIGKILL)
    place.server.wait(lambda: bool(set(workers(place.server)) - {worker}), "another worker")
    sink = Sink()
    with serving(sink, port=place.next_hop):
        assert place.run("queue", "retry", ids[2]).out == "1 recipient due now\n"
        place.server.wait(lambda: [one["id"] for one in place.queue()] == [ids[0]], "delivery of one")
        assert place.run("queue", "retry", "--domain", "ELSEWHERE.test").out == "1 recipient due now\n"
        place.server.wait(lambda: not place.queue(), "delivery of the other")
    assert sink.taken == ["r2@elsewhere.test", "r0@elsewhere.test"]


def workers(server: Server) -> list[int]:
    assert server.process is not None
    pid = server.process.pid
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_d06_a_second_server_is_refused_at_once_in_one_sentence(place: Place) -> None:
    done = subprocess.run(
        [*(sys.executable, "-m", "postroad", "serve", "--listen", "mx=127.0.0.1:0"), "--config", place.server.config],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    (line,) = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (1, "")
    assert line.startswith(f"postroad: another server uses the state directory {place.server.state}: ")


def test_a_password_that_nobody_was_shown_is_made_anew_at_the_next_start(tmp_path: Path) -> None:
    # A directory where the spool should be keeps the worker from serving, after the account was made.
    (tmp_path / "spool" / "spool-0.db").mkdir(parents=True)
    done = subprocess.run(
        [sys.executable, "-m", "postroad", "serve", "--state", str(tmp_path), "--listen", "mx=127.0.0.1:0"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert "administrator" not in done.stdout
    accounts = SqliteAccounts(tmp_path / "accounts.db")
    assert accounts.all() == ()
    accounts.close()


def test_no_command_but_add_makes_a_state_directory(tmp_path: Path) -> None:
    missing = tmp_path / "mistyped"
    for arguments in (["list"], ["password", DAVE, "--password-stdin"], ["disable", DAVE], ["remove", DAVE]):
        done = call("user", *arguments, "--state", missing, stdin="secret\n")
        assert done.status == 1
        assert str(missing) in done.sentence
    assert not missing.exists()
