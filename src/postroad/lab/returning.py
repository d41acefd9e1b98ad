"""Bounces on their way from the lab's hosts back to senders: to one mail host on loopback, a few at a time.

Used by running, on loopback; the simulated loop has nobody to send them to.
"""

from __future__ import annotations

import asyncio
import contextlib

from postroad.lab.letter import Letter
from postroad.lab.notice import notice

MAX_WAITING = 100_000
CONNECTIONS = 4
TRIES = 60
PAUSE_S = 1.0
"""Before a bounce that was not taken is tried again."""
REPLY_S = 30.0
MAX_LINES = 100
"""Of one reply."""


class Refused(Exception):
    """The mail host does not take a bounce for good: its reply."""


class GiveBack:
    """Sends what bounces, each in a session of its own, to the mail host at that address and port."""

    def __init__(self, address: str, port: int) -> None:
        self.sent = 0
        self.lost = 0
        """Refused for good, tried too often, or too many at once."""
        self._target = (address, port)
        self._waiting: asyncio.Queue[tuple[str, Letter]] = asyncio.Queue(MAX_WAITING)
        self._tasks: list[asyncio.Task[None]] = []
        self._number = 0

    @property
    def waiting(self) -> int:
        """Bounces that nobody has begun to send."""
        return self._waiting.qsize()

    def start(self) -> None:
        """Begin to send, in the running loop."""
        self._tasks = [asyncio.create_task(self._work()) for _ in range(CONNECTIONS)]

    async def stop(self) -> None:
        """Send nothing more; what waits is lost."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    def take(self, host: str, letter: Letter) -> None:
        """Something bounces at that host. Nobody is told of what came from nobody."""
        if not letter.sender:
            return
        try:
            self._waiting.put_nowait((host, letter))
        except asyncio.QueueFull:
            self.lost += 1

    async def _work(self) -> None:
        while True:
            host, letter = await self._waiting.get()
            self._number += 1
            if await self._persist(host, letter, self._number):
                self.sent += 1
            else:
                self.lost += 1

    async def _persist(self, host: str, letter: Letter, number: int) -> bool:
        for _ in range(TRIES):
            try:
                await self._send(host, letter.sender, notice(host, letter, number))
                return True
            except Refused:
                return False
            except (TimeoutError, OSError, EOFError, ValueError):
                await asyncio.sleep(PAUSE_S)
        return False

    async def _send(self, host: str, recipient: str, body: bytes) -> None:
        async with asyncio.timeout(REPLY_S):
            reader, writer = await asyncio.open_connection(*self._target)
            try:
                await _expect(reader, "2")
                for line, wanted in (
                    (f"EHLO {host}", "2"),
                    ("MAIL FROM:<>", "2"),
                    (f"RCPT TO:<{recipient}>", "2"),
                    ("DATA", "3"),
                ):
                    writer.write(f"{line}\r\n".encode())
                    await _expect(reader, wanted)
                writer.write(body.replace(b"\r\n.", b"\r\n..") + b".\r\n")
                await _expect(reader, "2")
                writer.write(b"QUIT\r\n")
            finally:
                with contextlib.suppress(OSError):
                    writer.close()


async def _expect(reader: asyncio.StreamReader, first: str) -> None:
    """One reply that begins with that digit. Raises Refused for 5yz, ConnectionError for any other."""
    for _ in range(MAX_LINES):
        line = (await reader.readline()).decode("ascii", "backslashreplace")
        if not line:
            raise EOFError
        if line[3:4] != "-":
            break
    if line.startswith("5"):
        raise Refused(line.strip())
    if not line.startswith(first):
        raise ConnectionError(line.strip())
