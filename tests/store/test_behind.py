"""Writing behind: everything noted is written in order, nothing waits for it, and what finds no room is counted."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from postroad.store.behind import Behind


def test_what_was_noted_is_written_in_order_and_in_batches() -> None:
    batches: list[list[int]] = []

    async def work() -> None:
        behind = Behind[int](lambda some: batches.append(list(some)), on_trouble=lambda *_: None, batch=4, every_s=0.01)
        running = asyncio.create_task(behind.run())
        for number in range(10):
            behind.add(number)
        assert batches == [], "nobody waited for the disk"
        while len(behind):
            await asyncio.sleep(0.01)
        behind.add(10)
        running.cancel()
        assert await behind.flush()

    asyncio.run(work())
    assert [number for batch in batches for number in batch] == list(range(11))
    assert [len(batch) for batch in batches[:3]] == [4, 4, 2]


def test_a_batch_that_could_not_be_written_is_offered_again_and_the_rest_is_bounded() -> None:
    written: list[int] = []
    troubles: list[int] = []
    is_broken = True

    def write(some: Sequence[int]) -> None:
        if is_broken:
            raise OSError("the disk is full")
        written.extend(some)

    async def work() -> None:
        nonlocal is_broken
        behind = Behind[int](write, on_trouble=lambda _, dropped: troubles.append(dropped), capacity=5)
        for number in range(8):
            behind.add(number)
        assert not await behind.flush()
        assert len(behind) == 5
        is_broken = False
        assert await behind.flush()

    asyncio.run(work())
    assert written == [0, 1, 2, 3, 4]
    assert troubles == [3]
