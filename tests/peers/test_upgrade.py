"""Giving way to a new version, and starting on systemd's sockets: no connection is refused, no message is lost."""

from __future__ import annotations

import os
import signal
import smtplib
import socket
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import pytest

from peers.need import find_program
from peers.processes import free_ports
from peers.server import DOMAIN, Server

PACKAGING = Path(__file__).parents[2] / "packaging"
ACTIVATE = """
import os, socket, sys
for place, (address, port) in enumerate((("127.0.0.1", int(one)) for one in sys.argv[1].split(",")), 3):
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((address, port)); made.listen(64)
    os.dup2(made.fileno(), place) if made.fileno() != place else None
    os.set_inheritable(place, True)
os.environ.update(LISTEN_FDS=str(len(sys.argv[1].split(","))), LISTEN_PID=str(os.getpid()))
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


class Load(threading.Thread):
    """Sends one message after the other, each on a connection of its own, until told to end."""

    def __init__(self, port: int, name: str) -> None:
        super().__init__()
        self._port = port
        self._label = name
        self.sent: list[str] = []
        self.faults: list[str] = []
        self.over = threading.Event()

    def run(self) -> None:
        for number in range(100_000):
            if self.over.is_set():
                return
            subject = f"{self._label}-{number}"
            try:
                with smtplib.SMTP("127.0.0.1", self._port, timeout=30) as client:
                    client.sendmail("bob@example.net", [f"ann@{DOMAIN}"], f"Subject: {subject}\n\nhi\n")
                self.sent.append(subject)
            except smtplib.SMTPException as error:
                if "421" not in str(error):  # told to come again: nothing was promised
                    self.faults.append(f"{subject}: {error!r}")
            except OSError as error:
                self.faults.append(f"{subject}: {error!r}")


def have_sent(loads: list[Load], least: int) -> bool:
    return min(len(load.sent) for load in loads) > least


def is_told(server: Server, mark: str, times: int) -> bool:
    return server.log().count(mark) >= times


@pytest.mark.peer
@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGHUP])
def test_a_new_version_takes_over_and_a_reload_happens_under_load_without_a_refused_connection(
    tmp_path: Path, number: signal.Signals
) -> None:
    with Server(settings={"domains": {"mailboxes": "any"}}, base=tmp_path, workers=2) as server:
        loads = [Load(server.mx_port, f"load{index}") for index in range(3)]
        for load in loads:
            load.start()
        try:
            assert server.process is not None
            mark = "worker.serving" if number is signal.SIGUSR2 else "config.reloaded"
            for times in (1, 2):
                server.wait(partial(have_sent, loads, 15 * times), "messages sent")
                begun = server.log().count(mark)
                server.process.send_signal(number)
                server.wait(partial(is_told, server, mark, begun + 2), mark)
            server.wait(partial(have_sent, loads, 60), "messages sent")
        finally:
            for load in loads:
                load.over.set()
            for load in loads:
                load.join()
        assert [fault for load in loads for fault in load.faults] == []
        sent = {subject for load in loads for subject in load.sent}
        server.wait(
            lambda: {str(one["Subject"]) for one in server.messages("ann")} >= sent, "every message", timeout_s=60
        )
        assert server.process.poll() is None, "the process is the same"


@pytest.mark.peer
def test_a_configuration_with_a_mistake_gives_way_to_nobody(tmp_path: Path) -> None:
    with Server(base=tmp_path) as server:
        right = server.config.read_text()
        server.config.write_text(right + "\n[servr]\n")
        assert server.process is not None
        server.process.send_signal(signal.SIGUSR2)
        server.wait(lambda: "config.refused" in server.log(), "the refusal")
        with smtplib.SMTP("127.0.0.1", server.mx_port, timeout=30) as client:
            assert client.noop()[0] == 250
        server.config.write_text(right)


@pytest.mark.peer
def test_it_serves_on_sockets_of_systemd_and_tells_how_things_stand(tmp_path: Path) -> None:
    mx, submission, submissions, web = free_ports(4)
    door = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    door.bind(str(tmp_path / "notify"))
    door.settimeout(30)
    config = tmp_path / "postroad.toml"
    config.write_text(
        f'[server]\nhostname = "mx.test"\nworkers = 2\nstate_dir = "{tmp_path}/var"\n[http]\nport = {web}\n'
        + "".join(
            f'[[listener]]\nport = {port}\nrole = "{role}"\n'
            for port, role in ((mx, "mx"), (submission, "submission"), (submissions, "submissions"))
        )
    )
    command = ["-m", "postroad", "serve", "--config", str(config)]
    with subprocess.Popen(
        [sys.executable, "-c", ACTIVATE, f"{web},{submissions},{submission},{mx}", *command],
        env={**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "600000"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd=tmp_path,
        close_fds=False,
    ) as process:
        try:
            told = [door.recv(200)]
            assert told == [b"READY=1"]
            for port in (mx, submission):
                with smtplib.SMTP("127.0.0.1", port, timeout=30) as client:
                    assert client.ehlo()[0] == 250
            while door.recv(200) != b"WATCHDOG=1":
                pass
            health = subprocess.run(
                [sys.executable, "-m", "postroad", "health", "--config", str(config)],
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )
            assert "ok     workers: 2 at work" in health.stdout
            process.send_signal(signal.SIGTERM)
            while (last := door.recv(200)) != b"STOPPING=1":
                assert last == b"WATCHDOG=1"
            assert process.wait(30) == 0
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            door.close()


def test_the_units_are_what_systemd_understands() -> None:
    program = find_program("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed on this machine")
    for name in ("postroad.service", "postroad.socket"):
        done = subprocess.run(
            [program, "verify", str(PACKAGING / name)], capture_output=True, text=True, check=False, timeout=60
        )
        faults = [line for line in done.stderr.splitlines() if "postroad" in line and "not executable" not in line]
        assert [line for line in faults if "Unknown" in line or "Invalid" in line or "Failed to parse" in line] == []
