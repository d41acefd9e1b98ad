"""The spool in memory keeps the port's promises, all but durability."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from postroad.store.memory_spool import MemorySpool
from postroad.store.spool import Deferred, Spool, SpoolFull
from store.spool_conformance import WALL, SpoolConformance, attempt, message, run


class TestMemorySpool(SpoolConformance):
    @contextmanager
    def using(self, tmp_path: Path) -> Iterator[Callable[[], Spool]]:
        yield MemorySpool


def test_it_is_bounded() -> None:
    async def work() -> None:
        spool = MemorySpool(max_messages=2)
        for _ in range(2):
            await spool.commit(message(spool.new_id(WALL)), WALL)
        with pytest.raises(SpoolFull):
            await spool.commit(message(spool.new_id(WALL)), WALL)

    run(work())


def test_an_operators_removal_is_noticed_once() -> None:
    async def work() -> None:
        spool = MemorySpool()
        (queued,) = await spool.commit(message(spool.new_id(WALL)), WALL)
        assert spool.remove(queued.message_id) == 1
        assert await spool.changed()
        assert not await spool.changed()
        assert spool.remove(queued.message_id) == 0
        assert not await spool.changed()

    run(work())


def test_the_last_attempts_are_kept() -> None:
    async def work() -> None:
        spool = MemorySpool(attempts_kept=3)
        (queued,) = await spool.commit(message(spool.new_id(WALL)), WALL)
        for number in range(5):
            await spool.settle([Deferred(queued=queued, due_at=WALL, attempt=attempt(at=float(number)))])
        assert [one.at for one in spool.attempts(queued)] == [2.0, 3.0, 4.0]

    run(work())
