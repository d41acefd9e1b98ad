"""Greylisting as a check of recipients: questions that come together go to the book together, in its thread.

What the book cannot say, because the disk is full or another program holds it, puts nobody off.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Protocol

from postroad.events import emit
from postroad.receive.caller import Caller
from postroad.receive.guard.greylist import GreylistPolicy, judge, triplet
from postroad.smtp.reply import Reply, reply
from postroad.smtp.server_events import RcptReceived
from postroad.store.guard_book import GuardBook, Triplet
from postroad.store.spool import SpoolError

TOGETHER = 500
WAITING = 10_000
"""Questions that may wait; beyond them recipients are taken without being asked about."""


class InThread(Protocol):
    """Runs blocking work beside the event loop."""

    def __call__(self, work: Callable[..., Any], *arguments: Any) -> Awaitable[Any]: ...


class Greylisting:
    """`policy` None: off. `wall`: the wall clock; `spawn` runs a coroutine under the worker's tasks."""

    def __init__(
        self,
        policy: GreylistPolicy | None,
        book: GuardBook,
        in_thread: InThread,
        wall: Callable[[], float],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self.policy = policy
        self._book = book
        self._in_thread = in_thread
        self._wall = wall
        self._spawn = spawn
        self._waiting: deque[tuple[Triplet, asyncio.Future[Reply | None]]] = deque()
        self._is_asking = False

    def rcpt(self, caller: Caller, event: RcptReceived) -> Awaitable[Reply | None] | None:
        """451 for a stranger, with the seconds he is to wait (RFC 6647 §5)."""
        if self.policy is None or len(self._waiting) >= WAITING:
            return None
        future: asyncio.Future[Reply | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((triplet(caller.peer, caller.reverse_path, event.forward_path), future))
        if not self._is_asking:
            self._is_asking = True
            self._spawn(self._ask())
        return future

    async def _ask(self) -> None:
        try:
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(TOGETHER, len(self._waiting)))]
                delays = await self._delays([one for one, _ in batch])
                for (_, future), delay_s in zip(batch, delays, strict=True):
                    if not future.done():
                        future.set_result(_put_off(delay_s) if delay_s > 0 else None)
        finally:
            self._is_asking = False

    async def _delays(self, triplets: Sequence[Triplet]) -> Sequence[float]:
        policy, now = self.policy, self._wall()
        if policy is None:
            return [0.0] * len(triplets)
        decide = partial(judge, now=now, policy=policy)
        try:
            delays: list[float] = await self._in_thread(partial(self._book.greylist, triplets, decide, now=now))
        except SpoolError as error:
            emit("guard.failed", what="greylisting", error=str(error))
            return [0.0] * len(triplets)
        return delays

    async def forget(self) -> None:
        """Remove from the book what no longer counts."""
        policy, now = self.policy, self._wall()
        if policy is None:
            return
        try:
            await self._in_thread(
                partial(
                    self._book.forget_triplets,
                    waiting_before=now - policy.delay_s - policy.retry_s,
                    passed_before=now - policy.keep_s,
                )
            )
        except SpoolError as error:
            emit("guard.failed", what="greylisting", error=str(error))


def _put_off(delay_s: float) -> Reply:
    return reply(451, f"Greylisted: try again in {max(1, int(delay_s + 0.999))} seconds", "4.7.1")
