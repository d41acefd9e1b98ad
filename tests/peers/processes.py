"""Processes and ports: waiting for a listener, finding free ports, ending a process group that we started."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from contextlib import ExitStack, suppress
from pathlib import Path


def free_ports(count: int, address: str = "127.0.0.1") -> list[int]:
    """So many different TCP ports that nothing listens on at this moment."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind((address, 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def wait_for_port(
    address: str,
    port: int,
    *,
    timeout_s: float,
    alive: subprocess.Popen[bytes] | None = None,
    greeting: bytes = b"",
) -> None:
    """Return once something listens there, and greets so; raise when not in time, or when `alive` has ended."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            with socket.create_connection((address, port), timeout=timeout_s) as probe:
                if probe.recv(len(greeting)) == greeting:
                    return
        except OSError as error:
            failure = str(error)
        else:
            failure = "closed without the greeting"
        if alive is not None and alive.poll() is not None:
            raise RuntimeError(f"the process that should listen on {address}:{port} has ended")
        if time.monotonic() > deadline:
            raise RuntimeError(f"nothing serves {address}:{port} after {timeout_s:.0f} s: {failure}")
        time.sleep(0.05)


def group_lives(group: int) -> bool:
    """Whether a process of that group is more than a zombie."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, process_group = stat.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(process_group) == group and state != "Z":
            return True
    return False


def kill_group(process: subprocess.Popen[bytes] | subprocess.Popen[str]) -> None:
    """SIGKILL to the group that this process leads; returns when nothing of it runs any more."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=30)
    deadline = time.monotonic() + 30
    while group_lives(process.pid):
        if time.monotonic() > deadline:
            raise RuntimeError(f"process group {process.pid} outlives SIGKILL")
        time.sleep(0.01)
