"""The load: Postfix's smtp-source and smtp-sink as programs, and a small client that times single replies."""

from __future__ import annotations

import asyncio
import math
import os
import re
import subprocess
import threading
import time
from typing import TYPE_CHECKING, Self

from peers.need import need_program
from peers.processes import free_ports, wait_for_port

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

SESSIONS = 20
MESSAGE_BYTES = 4096
SENDER = "sender@load.test"
LONGEST_ROUND_S = 300.0


def smtp_source(port: int, recipient: str, *, messages: int, reuse: bool, sessions: int = SESSIONS) -> float:
    """Send so many 4 KB messages to that port of 127.0.0.1; seconds until the last one was accepted.

    `reuse`: each session goes on with its next message (smtp-source -d); else a connection for each.
    """
    command = [need_program("smtp-source"), "-s", str(sessions), "-m", str(messages), "-l", str(MESSAGE_BYTES)]
    command += ["-f", SENDER, "-t", recipient, "-M", "load.test", "-4", "-C", "10"]
    if reuse:
        command.append("-d")
    begun = time.perf_counter()
    done = subprocess.run(
        [*command, f"127.0.0.1:{port}"], capture_output=True, text=True, timeout=LONGEST_ROUND_S, check=False
    )
    taken = time.perf_counter() - begun
    if done.returncode != 0 or done.stderr.strip():
        raise RuntimeError(f"smtp-source against port {port} failed: {done.stderr.strip()[-500:]}")
    return taken


class Sink:
    """smtp-sink on a free loopback port, with the count of messages it has taken."""

    def __init__(self) -> None:
        (self.port,) = free_ports(1)
        self._count = 0
        self._changed = threading.Condition()

    def __enter__(self) -> Self:
        command = [need_program("smtp-sink")]
        if os.geteuid() == 0:
            command += ["-u", "nobody"]
        self._process = subprocess.Popen(
            [*command, "-4", "-c", "-m", "256", f"127.0.0.1:{self.port}", "1024"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        wait_for_port("127.0.0.1", self.port, timeout_s=10, alive=self._process)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()

    @property
    def count(self) -> int:
        with self._changed:
            return self._count

    def wait_for(self, count: int, *, timeout_s: float = LONGEST_ROUND_S) -> None:
        """Return once that many messages in all have come."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._count >= count, timeout_s):
                raise RuntimeError(f"smtp-sink has {self._count} of {count} messages after {timeout_s:.0f} s")

    def _read(self) -> None:
        assert self._process.stdout is not None
        tail = b""
        while chunk := self._process.stdout.read1(65536):  # type: ignore[attr-defined]
            tail = (tail + chunk)[-4096:]
            if counts := re.findall(rb"mesg=(\d+)\D", tail):
                with self._changed:
                    self._count = int(counts[-1])
                    self._changed.notify_all()


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least that share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def message(size: int = MESSAGE_BYTES, *, subject: str = "load") -> bytes:
    """A message of about that many bytes, CRLF lines, ready for DATA without its final dot."""
    line = b"The road is long, and every letter walks it whole; none is lost on it.\r\n"
    head = f"From: <{SENDER}>\r\nSubject: {subject}\r\n\r\n".encode()
    return head + line * max(1, (size - len(head)) // len(line))


async def _reply(reader: asyncio.StreamReader, expected: bytes) -> None:
    while True:
        line = await reader.readline()
        if line[3:4] == b"-":
            continue
        if not line.startswith(expected):
            raise RuntimeError(f"the server answered {line!r} where {expected!r} was expected")
        return


async def _session(port: int, recipient: str, count: int, times: list[float]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = message() + b".\r\n"
    try:
        await _reply(reader, b"220")
        writer.write(b"EHLO load.test\r\n")
        await _reply(reader, b"250")
        for _ in range(count):
            writer.write(f"MAIL FROM:<{SENDER}>\r\nRCPT TO:<{recipient}>\r\nDATA\r\n".encode())
            for expected in (b"250", b"250", b"354"):
                await _reply(reader, expected)
            writer.write(body)
            begun = time.perf_counter()
            await _reply(reader, b"250")
            times.append(time.perf_counter() - begun)
        writer.write(b"QUIT\r\n")
        await _reply(reader, b"221")
    finally:
        writer.close()


def final_dot_times(port: int, recipient: str, *, messages: int, sessions: int = SESSIONS) -> list[float]:
    """Seconds from writing the message with its final dot to the 250, of each message, all sessions busy."""

    async def all_sessions() -> list[float]:
        times: list[float] = []
        async with asyncio.timeout(LONGEST_ROUND_S), asyncio.TaskGroup() as group:
            for _ in range(sessions):
                group.create_task(_session(port, recipient, messages // sessions, times))
        return times

    return asyncio.run(all_sessions())
