"""Faults of the machine, with a real server: disk full, failing syncs, a locked database, clocks, DNS away.

Mail is refused with 4yz or waits; nothing that was accepted is lost; it mends itself when the fault is over."""

from __future__ import annotations

import os
import shutil
import smtplib
import sqlite3
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from cli.calls import in_thread
from deliver.peers import Host, listening
from dns_server import DnsServer
from peers.need import need_program, need_root
from peers.processes import free_ports
from peers.server import DOMAIN, PASSWORD, Server, Settings

ANY: Settings = {"domains": {"mailboxes": "any"}, "disk": {"least_free_octets": 0}}
ANN = f"ann@{DOMAIN}"
BODY = "x" * 70 + "\r\n"


def send(server: Server, subject: str, *, to: str = ANN, lines: int = 1) -> int:
    """The code of the reply that decided."""
    with smtplib.SMTP("127.0.0.1", server.mx_port, timeout=60) as client:
        client.ehlo("client.example.net")
        for code, _ in (client.mail("bob@example.net"), client.rcpt(to)):
            if code != 250:
                return code
        return client.data(f"Subject: {subject}\r\n\r\n{BODY * lines}".encode())[0]


@contextmanager
def small_disk(where: Path, megabytes: int) -> Iterator[None]:
    """A file system of that size at that place."""
    need_root("a file system of its own")
    where.mkdir(parents=True, exist_ok=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(where)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("this machine does not let us mount a file system")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(where)], check=False)


@pytest.mark.peer
def test_d02_a_full_disk_refuses_mail_for_a_while_and_keeps_what_it_has(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with (
        small_disk(disk, 40),
        Server(settings={**ANY, "limits": {"message_octets": 10_000_000}}, base=tmp_path) as server,
    ):
        server.stop()
        shutil.move(server.state, disk / "var")
        server.configure(server={"state_dir": str(disk / "var")}, domains={"maildir": str(disk / "mail")})
        server.start()
        accepted = [f"before-{number}" for number in range(5) if send(server, f"before-{number}") == 250]
        ballast = disk / "ballast"
        with ballast.open("wb") as file:
            try:
                while True:
                    file.write(b"b" * 65_536)
                    file.flush()
            except OSError:
                pass
        codes = []
        for number in range(30):
            code = send(server, f"full-{number}", lines=2000)
            codes.append(code)
            if code == 250:
                accepted.append(f"full-{number}")
        assert 452 in codes and set(codes) <= {250, 452}, codes
        ballast.unlink()
        server.wait(lambda: send(server, "after") == 250, "mail taken again by itself")

        def subjects() -> set[str]:
            found = (disk / "mail" / DOMAIN / "ann" / "new").glob("*")
            return {path.read_text().split("Subject: ")[1].split("\n")[0].strip() for path in found}

        server.wait(lambda: subjects() >= {*accepted, "after"}, "everything accepted in its mailbox", timeout_s=60)
        server.stop()


@pytest.mark.peer
def test_d02_a_sync_that_fails_is_no_250_and_the_next_ones_are_trusted_again(tmp_path: Path) -> None:
    strace = need_program("strace")
    # Mailboxes are synced by the same disk: what they refuse is tried again soon.
    with Server(settings={**ANY, "delivery": {"first_retry_s": 1.0}}, base=tmp_path) as server:
        assert send(server, "before") == 250
        server.wait_for_messages("ann", 1)
        server.stop()
        command = server._command("serve")
        # The first hundred syncs are those of the start; then some fail as a dying disk makes them fail.
        inject = "inject=fsync,fdatasync:error=EIO:when=60..75"
        with (server.directory / "stderr").open("ab") as log:
            server.process = subprocess.Popen(
                [strace, "-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync,fdatasync", "-e", inject, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=server.directory,
                start_new_session=True,
            )
        server.wait(lambda: is_open(server), "the server", timeout_s=60)
        answers = {f"message-{number}": send(server, f"message-{number}") for number in range(120)}
        accepted = {subject for subject, code in answers.items() if code == 250}
        assert set(answers.values()) <= {250, 452, 451}
        assert any(code != 250 for code in answers.values()), "some sync failed"
        assert answers["message-119"] == 250, "and the next ones were trusted again"
        server.wait(
            lambda: {str(one["Subject"]) for one in server.messages("ann")} >= accepted, "accepted mail", timeout_s=90
        )
        server.kill()
        server.start()


def is_open(server: Server) -> bool:
    try:
        with smtplib.SMTP("127.0.0.1", server.mx_port, timeout=5) as client:
            return client.noop()[0] == 250
    except OSError:
        return False


@pytest.mark.peer
def test_d05_a_database_that_another_program_locks_delays_mail_and_loses_none(tmp_path: Path) -> None:
    with Server(settings=ANY, base=tmp_path) as server:
        assert send(server, "before") == 250
        with closing(sqlite3.connect(server.state / "spool" / "spool-0.db", isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            begun = time.monotonic()
            code = send(server, "during")
            assert code == 250 or 400 <= code < 500, "it waits, or is told to come again"
            assert time.monotonic() - begun < 60
            connection.execute("ROLLBACK")
        server.wait(lambda: send(server, "after") == 250, "mail taken again")
        wanted = {"before", "after"} | ({"during"} if code == 250 else set())
        server.wait(lambda: {str(one["Subject"]) for one in server.messages("ann")} >= wanted, "every message")


@pytest.mark.peer
def test_d05_mail_waits_while_dns_is_away_and_goes_by_age_when_it_is_back(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    host = Host()
    zone: dict[str, object] = {f"d{number}.example": {"MX": [(10, "mx.example.net")]} for number in range(30)}
    zone["mx.example.net"] = {"A": ["127.0.0.1"]}
    with in_thread(listening(host)) as smtp_port:
        settings: Settings = {
            "dns": {"nameserver": f"127.0.0.1:{port}", "timeout_s": 0.2, "tries": 1},
            "delivery": {
                "port": smtp_port,
                "allow_private": True,
                "tls": "none",
                "connections": 1,
                "first_retry_s": 2.0,
                "retry_factor": 1.0,
                "retry_jitter": 0.0,
            },
            "mta_sts": {"mode": "off"},
            "verify_first": {"mode": "off"},
        }
        with Server(settings=settings, base=tmp_path) as server:
            server.add_user(ANN)
            submit_to(server, [f"bob@d{number}.example" for number in range(30)])
            server.wait(lambda: server.log().count("delivery.deferred") >= 60, "two tries in vain")
            assert server.queued() == 30 and "delivery.bounced" not in server.log()
            with DnsServer(zone, port=port):
                server.wait(lambda: len(host.taken) == 30, "all of it delivered", timeout_s=60)
                server.wait(lambda: server.queued() == 0, "an empty queue")
            tally = server.run("trace", "--balance").stdout
            assert "the balance holds" in tally


def submit_to(server: Server, recipients: list[str]) -> None:
    with smtplib.SMTP("127.0.0.1", server.submission_port, timeout=30) as client:
        client.starttls(context=ssl._create_unverified_context())
        client.login(ANN, PASSWORD)
        for one in recipients:
            assert client.sendmail(ANN, [one], f"From: {ANN}\nSubject: {one}\n\nhi\n") == {}


@contextmanager
def clock(library: Path, jump: str) -> Iterator[None]:
    """What is started meanwhile has a clock that is wrong by so much."""
    changed = {"LD_PRELOAD": str(library), "FAKETIME": jump, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    os.environ.update(changed)
    try:
        yield
    finally:
        for name in changed:
            del os.environ[name]


@pytest.mark.peer
@pytest.mark.parametrize("jump", ["+1y", "-1y"])
def test_d04_a_server_whose_clock_is_a_year_wrong_loses_and_bounces_nothing_that_waits(
    tmp_path: Path, jump: str
) -> None:
    library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
    if library is None:
        need_program("faketime")
        pytest.skip("libfaketime is not installed on this machine")
    host = Host(answers={"RCPT": b"451 4.3.0 not now\r\n"})
    zone = {"example.net": {"MX": [(10, "mx.example.net")]}, "mx.example.net": {"A": ["127.0.0.1"]}}
    with DnsServer(zone) as dns, in_thread(listening(host)) as smtp_port:
        settings: Settings = {
            "dns": {"nameserver": dns.address},
            "delivery": {
                "port": smtp_port,
                "allow_private": True,
                "tls": "none",
                "first_retry_s": 30.0,
                "retry_factor": 1.0,
            },
            "mta_sts": {"mode": "off"},
        }
        with Server(settings=settings, base=tmp_path) as server:
            server.add_user(ANN)
            submit_to(server, ["bob@example.net"])
            server.wait(lambda: "delivery.deferred" in server.log(), "a first try")
            server.stop()
            with clock(library, jump):
                server.start()
            tried = len([one for one in host.commands if one.startswith("RCPT")])
            time.sleep(3)
            again = len([one for one in host.commands if one.startswith("RCPT")]) - tried
            assert again <= 6, "no storm of tries"
            assert server.queued() == 1 and "delivery.bounced" not in server.log(), "it was hardly tried, and waits on"
            host.answers.clear()
            with clock(library, jump):
                server.run("queue", "retry", "--all")
            server.wait(lambda: len(host.taken) == 1, "delivery")
