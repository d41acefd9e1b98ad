"""What kill -9 costs: messages accepted, found after the restart, lost (must be 0), and duplicated.

Several connections bring messages to the MX port, each message with a sender of its own. Again and again,
under that load, the server's whole process group (supervisor and workers) gets SIGKILL and is started
anew. After each restart every message that was answered 250 before the kill must be in the queue or in
the local user's Maildir; at the end, when the queue has run empty, in the Maildir. A message whose 250
never came may be there or not: it is counted apart. The load is bounded in messages and in time.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from tempfile import gettempdir

from bench.load import message
from bench.machine import print_machine, print_table
from peers.server import DOMAIN, Server

MESSAGES = 2_000
KILLS = 20
CONNECTIONS = 8
LONGEST_S = 600.0
USER = "kill"


@dataclass
class Round:
    """One kill: what had been accepted by then, and where that was found after the restart."""

    accepted: int
    in_queue: int
    in_maildir: int
    lost: frozenset[str]
    restart_s: float


@dataclass
class Outcome:
    rounds: list[Round] = field(default_factory=list)
    accepted: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)
    """Sent whole, but the connection was lost before an answer."""
    found: Counter[str] = field(default_factory=Counter)
    """Sender → copies in the Maildir when the queue had run empty."""

    @property
    def lost(self) -> set[str]:
        """Accepted, and missing after some restart or at the end."""
        missing = {sender for sender in self.accepted if not self.found[sender]}
        return missing.union(*(each.lost for each in self.rounds))

    @property
    def duplicated(self) -> int:
        return sum(1 for sender, copies in self.found.items() if copies > 1)

    @property
    def unknown_but_found(self) -> int:
        return sum(1 for sender in self.unknown if self.found[sender])


class _Load:
    """The connections; each goes on by itself after the server died under it."""

    def __init__(self, port: int, outcome: Outcome, total: int) -> None:
        self._port = port
        self._outcome = outcome
        self._total = total
        self._numbers = count(1)
        self._order = random.Random(5321)
        self.progress = asyncio.Condition()
        self.open = asyncio.Event()
        """Cleared while a restarted server is being looked through, so the load lasts for all the kills."""
        self.open.set()

    @property
    def is_done(self) -> bool:
        return len(self._outcome.accepted) >= self._total

    async def connection(self) -> None:
        while not self.is_done:
            try:
                await self.open.wait()
                await self._session(self._order.randint(1, 30))
            except (OSError, asyncio.IncompleteReadError):
                await asyncio.sleep(0.05)

    async def _session(self, messages: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            await _expect(reader, b"220")
            writer.write(b"EHLO load.test\r\n")
            await _expect(reader, b"250")
            for _ in range(messages):
                if self.is_done:
                    break
                await self._message(reader, writer)
            writer.write(b"QUIT\r\n")
            await _expect(reader, b"221")
        finally:
            writer.close()

    async def _message(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sender = f"n{next(self._numbers)}@load.test"
        writer.write(f"MAIL FROM:<{sender}>\r\nRCPT TO:<{USER}@{DOMAIN}>\r\nDATA\r\n".encode())
        for code in (b"250", b"250", b"354"):
            await _expect(reader, code)
        self._outcome.unknown.add(sender)
        writer.write(message(subject=sender) + b".\r\n")
        await _expect(reader, b"250")
        self._outcome.unknown.discard(sender)
        self._outcome.accepted.add(sender)
        async with self.progress:
            self.progress.notify_all()


async def _expect(reader: asyncio.StreamReader, code: bytes) -> None:
    while True:
        line = await reader.readuntil(b"\n")
        if line[3:4] != b"-":
            break
    if not line.startswith(code):
        # A draining or busy server says 4xx and the message was not taken: as good as a lost connection.
        raise ConnectionError(f"the server answered {line!r}, not {code!r}")


def _delivered(server: Server) -> Counter[str]:
    """Sender → copies in the Maildir, by the Return-Path on top."""
    copies: Counter[str] = Counter()
    for path in server.mailbox(USER):
        with path.open("rb") as file:
            if sender := re.search(rb"<(n\d+@load\.test)>", file.readline()):
                copies[sender[1].decode()] += 1
    return copies


def _restart(server: Server, accepted: frozenset[str]) -> Round:
    """Start the killed server and look for everything accepted: first in the queue, then in the Maildir."""
    begun = time.perf_counter()
    server.start()
    restart_s = time.perf_counter() - begun
    # In this order a message on its way from the queue to the Maildir is seen at least once.
    queued = {entry.sender for entry in server.queue()}
    delivered = _delivered(server)
    return Round(
        accepted=len(accepted),
        in_queue=len(accepted & queued),
        in_maildir=sum(1 for sender in accepted if delivered[sender]),
        lost=frozenset(sender for sender in accepted if sender not in queued and not delivered[sender]),
        restart_s=restart_s,
    )


async def _run(server: Server, outcome: Outcome, messages: int, kills: int) -> None:
    load = _Load(server.mx_port, outcome, messages)

    async def killer() -> None:
        for number in range(1, kills + 1):
            threshold = number * messages // (kills + 1)
            async with load.progress:
                while len(outcome.accepted) < threshold:
                    await load.progress.wait()
            await asyncio.to_thread(server.kill)
            load.open.clear()
            # Answers that left the server before it died are still on their way through the sockets.
            await asyncio.sleep(0.1)
            outcome.rounds.append(await asyncio.to_thread(_restart, server, frozenset(outcome.accepted)))
            load.open.set()

    async with asyncio.timeout(LONGEST_S), asyncio.TaskGroup() as group:
        group.create_task(killer())
        for _ in range(CONNECTIONS):
            group.create_task(load.connection())


def run_kills(*, messages: int = MESSAGES, kills: int = KILLS, workers: int = 2) -> Outcome:
    """The whole run against a server of its own; the outcome is judged by the caller."""
    outcome = Outcome()
    with Server(workers=workers, settings={"domains": {"mailboxes": "any"}}) as server:
        asyncio.run(_run(server, outcome, messages, kills))
        server.wait(lambda: not server.queued(), "empty queue", timeout_s=120)
        outcome.found = _delivered(server)
    return outcome


def print_outcome(outcome: Outcome) -> None:
    rows = [
        (number, each.accepted, each.in_queue, each.in_maildir, len(each.lost), f"{each.restart_s:.2f}")
        for number, each in enumerate(outcome.rounds, 1)
    ]
    head = ("kill", "accepted before", "found in queue", "found in Maildir", "lost", "restart s")
    print_table("kill -9 of the whole process group under load", head, rows)
    print_table(
        "in all, when the queue had run empty",
        ("what", "messages"),
        [
            ("kills", len(outcome.rounds)),
            ("accepted (answered 250)", len(outcome.accepted)),
            ("found after restart", len(outcome.accepted) - len(outcome.lost)),
            ("lost", len(outcome.lost)),
            ("duplicated (delivery in flight at the kill)", outcome.duplicated),
            ("sent whole, 250 never came", len(outcome.unknown)),
            ("  of these kept all the same", outcome.unknown_but_found),
        ],
    )


def main() -> None:
    print_machine(Path(gettempdir()))
    outcome = run_kills()
    print_outcome(outcome)
    if outcome.lost:
        raise SystemExit(f"lost {len(outcome.lost)} accepted messages: {sorted(outcome.lost)[:10]}")
