"""The process as operators know it: reload, drain, restart, workers, and what a dead worker leaves behind."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trustme

from peers.internet import USER, internet
from peers.processes import free_ports
from peers.server import DOMAIN, PASSWORD, Server
from peers.wire import Wire

if TYPE_CHECKING:
    from peers.server import Settings

ERIN = f"erin@{DOMAIN}"


def send(server: Server, subject: str, recipient: str = ERIN) -> None:
    """One message through the MX port."""
    with Wire(server.mx_port) as wire:
        wire.ask("EHLO client.test")
        assert wire.ask("MAIL FROM:<x@elsewhere.test>").code == 250
        assert wire.ask(f"RCPT TO:<{recipient}>").code == 250
        assert wire.ask("DATA").code == 354
        wire.send(f"Subject: {subject}\r\n\r\nbody\r\n.\r\n".encode())
        assert wire.answer().code == 250


def submit(server: Server, subject: str, recipient: str) -> None:
    """One message from dave through the submissions port."""
    with Wire(server.submissions_port, implicit_tls=True) as wire:
        wire.ask("EHLO client.test")
        assert wire.login(USER, PASSWORD).code == 235
        assert wire.ask(f"MAIL FROM:<{USER}>").code == 250
        assert wire.ask(f"RCPT TO:<{recipient}>").code == 250
        assert wire.ask("DATA").code == 354
        wire.send(f"From: {USER}\r\nSubject: {subject}\r\n\r\nbody\r\n.\r\n".encode())
        assert wire.answer().code == 250


def subjects(server: Server, user: str = "erin") -> list[str]:
    return sorted(str(message["Subject"]) for message in server.messages(user))


def write_certificate(authority: trustme.CA, directory: Path) -> bytes:
    """Chain and key where the configuration names them; the certificate in DER."""
    issued = authority.issue_cert("mx.local.test")
    for name, octets in (
        ("chain.pem", b"".join(blob.bytes() for blob in issued.cert_chain_pems)),
        ("key.pem", issued.private_key_pem.bytes()),
    ):
        fresh = directory / f"{name}.new"
        fresh.write_bytes(octets)
        fresh.replace(directory / name)
    return ssl.PEM_cert_to_DER_cert(issued.cert_chain_pems[0].bytes().decode())


def shown_certificate(port: int) -> bytes:
    with Wire(port, implicit_tls=True) as wire:
        return wire.certificate()


def test_sighup_serves_a_renewed_certificate_and_new_settings_without_a_restart(tmp_path: Path) -> None:
    authority = trustme.CA()
    first = write_certificate(authority, tmp_path)
    tls = {"tls": {"certificate": str(tmp_path / "chain.pem"), "key": str(tmp_path / "key.pem")}}
    with Server(settings=tls, workers=2) as server:
        assert server.process is not None
        pid = server.process.pid
        assert shown_certificate(server.submissions_port) == first
        with Wire(server.mx_port) as standing:
            standing.ask("EHLO before.test")
            second = write_certificate(authority, tmp_path)
            server.configure(limits={"message_octets": 123_456})
            server.reload()
            # Each connection may fall to either worker: a row of fresh ones means that both have it.
            server.wait(
                lambda: all(shown_certificate(server.submissions_port) == second for _ in range(8)),
                "renewed certificate",
            )
            assert standing.ask("NOOP").code == 250, "a session from before the reload goes on"
        with Wire(server.mx_port) as wire:
            assert b"250-SIZE 123456" in wire.ask("EHLO after.test").lines
        assert server.process.pid == pid


def test_sighup_with_a_mistake_in_the_configuration_keeps_the_old_one_and_says_why() -> None:
    with Server() as server:
        good = server.config.read_text()
        server.config.write_text(good + "\n[nonsense]\nno_such_key = 1\n")
        server.reload()
        server.wait(lambda: "nonsense" in server.log(), "word about the mistake")
        send_to_postmaster(server)
        server.config.write_text(good)


def send_to_postmaster(server: Server) -> None:
    with Wire(server.mx_port) as wire:
        wire.ask("EHLO client.test")
        wire.ask("MAIL FROM:<>")
        assert wire.ask("RCPT TO:<postmaster>").code == 250


def test_sigterm_lets_a_message_in_progress_finish_and_takes_no_new_connections() -> None:
    with Server() as server:
        server.add_user(ERIN)
        with Wire(server.mx_port) as wire:
            wire.ask("EHLO client.test")
            wire.ask("MAIL FROM:<x@elsewhere.test>")
            assert wire.ask(f"RCPT TO:<{ERIN}>").code == 250
            assert wire.ask("DATA").code == 354
            wire.send(b"Subject: in progress\r\n\r\n")
            assert server.process is not None
            server.process.send_signal(signal.SIGTERM)
            server.wait(lambda: not _takes_connections(server.mx_port), "end of listening")
            wire.send(b"body\r\n.\r\n")
            assert wire.answer().code == 250
        server.stop()
        server.start()
        server.wait_for_messages("erin")
        assert subjects(server) == ["in progress"]


def _takes_connections(port: int) -> bool:
    """Whether a new connection is greeted."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as probe:
            return probe.recv(3) == b"220"
    except OSError:
        return False


def test_mail_for_two_workers_is_adopted_by_one_and_nothing_is_lost_or_doubled() -> None:
    # A relay that no one answers on keeps the mail in the shards of both workers.
    (closed_port,) = free_ports(1)
    away: Settings = {
        "route": [{"domain": "*", "host": "127.0.0.1", "port": closed_port}],
        "delivery": {"allow_private": True},
    }
    with Server(workers=2, settings=away) as server:
        server.add_user(USER)
        for number in range(12):
            submit(server, f"number {number}", f"r{number}@elsewhere.test")
        server.stop()
        server.workers = 1
        server.configure()
        server.start()
        assert server.queued_recipients() == sorted(f"r{number}@elsewhere.test" for number in range(12))


def test_both_workers_serve_and_a_killed_worker_is_replaced_with_its_mail() -> None:
    with Server(workers=2) as server:
        server.add_user(ERIN)
        for number in range(10):
            send(server, f"before {number}")
        assert server.process is not None
        supervisor = server.process.pid
        victims = children(supervisor)
        assert len(victims) == 2
        os.kill(victims[0], signal.SIGKILL)
        server.wait(lambda: len(set(children(supervisor)) - {victims[0]}) == 2, "replacement")
        for number in range(10):
            send(server, f"after {number}")
        server.wait_for_messages("erin", 20)
        assert len(set(subjects(server))) == 20


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_d06_a_second_server_on_the_same_state_directory_refuses_to_start_and_says_why() -> None:
    with Server() as server:
        second = server.config.with_name("second.toml")
        text = server.config.read_text()
        for old, new in zip(
            (server.mx_port, server.submission_port, server.submissions_port), free_ports(3), strict=True
        ):
            text = text.replace(str(old), str(new))
        second.write_text(text)
        done = subprocess.run(
            [sys.executable, "-m", "postroad", "--config", str(second), "serve"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode != 0
        assert str(server.state) in done.stdout + done.stderr


@pytest.mark.peer
@pytest.mark.netns
def test_mail_waits_while_the_peer_is_down_survives_a_restart_and_goes_when_it_is_up() -> None:
    quick = {"delivery": {"first_retry_s": 1, "retry_factor": 1, "retry_jitter": 0}}
    with internet(settings=quick) as world:
        world.postfix.stop()
        submit(world.server, "patience", "alice@postfix.test")
        world.server.wait(lambda: any(entry.attempts > 0 for entry in world.server.queue()), "failed attempt")
        world.server.stop()
        world.server.start()
        (entry,) = world.server.queue()
        assert (entry.sender, entry.recipients) == (USER, 1)
        world.postfix.start()
        (message,) = world.postfix.wait_for_messages("alice", timeout_s=60)
        assert message["Subject"] == "patience"
        world.server.wait(lambda: not world.server.queued(), "empty queue")


def test_idle_sessions_do_not_hold_up_the_end(tmp_path: Path) -> None:
    with Server() as server, Wire(server.mx_port) as idle:
        idle.ask("EHLO idle.test")
        begun = time.monotonic()
        server.stop(timeout_s=25)
        assert idle.answer().code == 421
        assert time.monotonic() >= begun
