"""Telling hooks what became of messages, after the fact: nobody waits for them, and a slow one misses some."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from postroad.events import emit
from postroad.hook.scanner import Scanner
from postroad.hook.vocabulary import Settled

CAPACITY = 10_000


class Notices:
    """One for a worker. `run` until cancelled."""

    def __init__(self, scanners: Sequence[Scanner]) -> None:
        self._hearers: Sequence[Scanner] = ()
        self._waiting: asyncio.Queue[Settled] = asyncio.Queue(CAPACITY)
        self.use(scanners)

    def use(self, scanners: Sequence[Scanner]) -> None:
        """From now on, tell these."""
        self._hearers = [scanner for scanner in scanners if scanner.hears("settled")]

    @property
    def is_heard(self) -> bool:
        """Whether anybody wants to be told."""
        return bool(self._hearers)

    def tell(self, what: Settled) -> None:
        """Have it told; what finds no room is missed, and counted in the log."""
        try:
            self._waiting.put_nowait(what)
        except asyncio.QueueFull:
            emit("hook.failed", hook="settled", reason="too many notices wait", answer="missed", queue_id=what.queue_id)

    async def run(self) -> None:
        """Tell them, one after the other."""
        while True:
            what = await self._waiting.get()
            for scanner in self._hearers:
                await scanner.settled(what)
