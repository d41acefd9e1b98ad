"""The spool of a worker, opened: its own shard, and those of workers that no longer exist."""

from __future__ import annotations

import asyncio
from pathlib import Path

from postroad.clock import Clock
from postroad.config import Config
from postroad.events import emit
from postroad.store.shards import adopt, find_shards, shard_path
from postroad.store.spool import SpoolError, SpoolLocked
from postroad.store.sqlite_spool import SqliteSpool

LOCK_PATIENCE_S = 10.0
"""How long the workers of a server that was just killed may take to give their spool up."""


async def open_spool(config: Config, index: int, clock: Clock) -> SqliteSpool:
    """The shard of that worker. Raises SpoolError."""
    directory = Path(config.server.state_dir) / "spool"
    directory.mkdir(parents=True, exist_ok=True)
    deadline = clock.monotonic() + LOCK_PATIENCE_S
    while True:
        try:
            spool = SqliteSpool.open(shard_path(directory, index), shard=index, on_damage=_report_damage)
            break
        except SpoolLocked:
            if clock.monotonic() > deadline:
                raise
            await asyncio.sleep(0.2)
    workers = config.server.workers
    for shard, path in find_shards(directory):
        if shard >= workers and shard % workers == index:
            try:
                adopted = await adopt(spool, path)
            except SpoolError as error:
                emit("spool.failed", path=str(path), error=str(error))
                continue
            emit("spool.adopted", shard=shard, messages=adopted.messages, damaged=len(adopted.damaged))
    return spool


def _report_damage(message_id: int, reason: str) -> None:
    emit("spool.damaged", message_id=message_id, reason=reason)
