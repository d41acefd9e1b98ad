"""Writing behind: what is noted on the event loop is written soon after, in batches and in a thread.

For what is history or can be found again, never for mail: what is noted in the last moment before a crash is lost, and
beyond `capacity` the newest is dropped and counted, so that a slow disk holds up nobody. Used by worker.py, for facts.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")

RETRY_CEILING_S = 30.0


class Behind(Generic[Item]):
    """`write` takes a batch, in a thread; what it raises is told to `on_trouble`, and the batch is offered again."""

    def __init__(
        self,
        write: Callable[[Sequence[Item]], None],
        *,
        on_trouble: Callable[[Exception, int], None],
        capacity: int = 100_000,
        batch: int = 2000,
        every_s: float = 0.3,
    ) -> None:
        """`on_trouble` gets the fault and how many items were dropped so far for want of room."""
        self._write = write
        self._on_trouble = on_trouble
        self._capacity = capacity
        self._batch = batch
        self._every_s = every_s
        self._waiting: deque[Item] = deque()
        self._some = asyncio.Event()
        self.dropped = 0
        """Items that found no room."""

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, item: Item) -> None:
        """Note it; cheap."""
        if len(self._waiting) >= self._capacity:
            self.dropped += 1
            return
        self._waiting.append(item)
        if not self._some.is_set():
            self._some.set()

    async def run(self) -> None:
        """Write until cancelled; `flush` writes what is left then."""
        wait_s = self._every_s
        while True:
            await self._some.wait()
            await asyncio.sleep(wait_s)
            wait_s = self._every_s if await self.flush() else min(wait_s * 2, RETRY_CEILING_S)

    async def flush(self) -> bool:
        """Write all that waits now; whether that succeeded."""
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(self._batch, len(self._waiting)))]
            try:
                await loop.run_in_executor(None, self._write, batch)
            except Exception as error:
                self._waiting.extendleft(reversed(batch))
                self._on_trouble(error, self.dropped)
                return False
        self._some.clear()
        return True
