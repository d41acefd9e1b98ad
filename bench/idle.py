"""What 10,000 idle sessions cost: memory of the server before and after, and whether honest mail goes on.

Each session connects, reads the greeting, says EHLO, and then says nothing more. Memory is the sum of the
proportional set sizes (PSS) of the server's processes, so shared pages count once; the kernel's own
socket buffers are not in it. Sessions come from many addresses of 127.0.0.0/8, as idle peers would.
"""

from __future__ import annotations

import resource
import socket
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from bench.load import final_dot_times, percentile
from bench.machine import print_machine, print_table
from bench.rivals import work_directory
from peers.server import DOMAIN, Server

if TYPE_CHECKING:
    from collections.abc import Iterator

SESSIONS = 10_000
SPARE_DESCRIPTORS = 500
HONEST_MESSAGES = 200
HONEST_LIMIT_S = 30.0


def raise_descriptor_limit(wanted: int) -> None:
    """Let this process and those it starts hold so many descriptors; say so where the machine forbids it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= wanted:
        return
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise SystemExit(f"this machine allows {hard} open files in a process, and the benchmark needs {wanted}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def group_pids(group: int) -> Iterator[int]:
    """The processes of that process group."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group:
            yield int(stat.parent.name)


def memory_kb(group: int) -> int:
    """Sum of the PSS of the group's processes, in KB."""
    total = 0
    for pid in group_pids(group):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total


def open_idle(port: int, number: int) -> socket.socket:
    """One session that has said EHLO and then falls silent."""
    source = f"127.0.{1 + number % 40}.{1 + number // 40 % 250}"
    session = socket.create_connection(("127.0.0.1", port), timeout=30, source_address=(source, 0))
    try:
        for command in (b"", b"EHLO idle.test\r\n"):
            session.sendall(command)
            answer = b""
            while not any(line[3:4] == b" " for line in answer.split(b"\r\n")[:-1]):
                chunk = session.recv(4096)
                if not chunk:
                    raise RuntimeError(f"session {number} was closed after {answer!r}")
                answer += chunk
            if not answer.startswith(b"2"):
                raise RuntimeError(f"session {number} was answered {answer!r}")
    except BaseException:
        session.close()
        raise
    return session


def main() -> None:
    raise_descriptor_limit(SESSIONS + SPARE_DESCRIPTORS)
    with (
        work_directory() as base,
        Server(workers=1, base=base, settings={"domains": {"mailboxes": "any"}}) as server,
        ExitStack() as stack,
    ):
        print_machine(base)
        assert server.process is not None
        group = server.process.pid
        # The first sessions pay for what is loaded once: not counted.
        final_dot_times(server.mx_port, f"user@{DOMAIN}", messages=HONEST_MESSAGES)
        before = memory_kb(group)
        begun = time.perf_counter()
        for number in range(SESSIONS):
            stack.enter_context(open_idle(server.mx_port, number))
        opened_s = time.perf_counter() - begun
        after = memory_kb(group)
        times = final_dot_times(server.mx_port, f"user@{DOMAIN}", messages=HONEST_MESSAGES)
        slowest = max(times)
        print_table(
            f"{SESSIONS:,} idle sessions without TLS, one worker",
            ("what", "value"),
            [
                ("memory before (PSS), KB", f"{before:,}"),
                ("memory with all sessions open, KB", f"{after:,}"),
                ("KB a session", f"{(after - before) / SESSIONS:.2f}"),
                ("seconds to open them all", f"{opened_s:.1f}"),
                (f"{HONEST_MESSAGES} messages meanwhile: p50 to the 250, ms", f"{percentile(times, 0.5) * 1000:.2f}"),
                (f"{HONEST_MESSAGES} messages meanwhile: slowest, ms", f"{slowest * 1000:.2f}"),
            ],
        )
        if slowest > HONEST_LIMIT_S:
            raise SystemExit(f"honest mail waited {slowest:.0f} s for its 250")
