"""What is urgent is found in the spool behind any amount of bulk."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from deliver.messages import envelope, message
from postroad.store.memory_spool import MemorySpool
from postroad.store.spool import Spool
from postroad.store.sqlite_spool import SqliteSpool


@pytest.mark.parametrize("kind", ["sqlite", "memory"])
def test_only_the_priorities_asked_for_are_read(kind: str, tmp_path: Path) -> None:
    async def go() -> None:
        spool: Spool = MemorySpool() if kind == "memory" else SqliteSpool.open(tmp_path / "spool.db", shard=0)
        try:
            for number, priority in enumerate((-4, -4, 0, 5, -1)):
                of = replace(envelope(f"u{number}@example.net"), priority=priority)
                await spool.commit(message(of, number=number + 1), float(number))
            before_bulk = await spool.due(before=100.0, limit=10, priorities=(0, 9))
            assert [one.priority for one in before_bulk] == [0, 5]
            bulk = await spool.due(before=100.0, limit=2, priorities=(-9, -1))
            assert [one.due_at for one in bulk] == [0.0, 1.0]
            after = (bulk[-1].due_at, bulk[-1].id)
            assert [
                one.priority for one in await spool.due(before=100.0, limit=2, after=after, priorities=(-9, -1))
            ] == [-1]
            assert len(await spool.due(before=100.0, limit=10)) == 5
        finally:
            await spool.close()

    asyncio.run(go())
