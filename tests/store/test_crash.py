"""Killed at any moment, out of space, a disk that fails: what was promised is there (D-01, D-02)."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from postroad.store.spool import Settled
from postroad.store.sqlite_spool import SqliteSpool
from store.spool_conformance import WALL, message, run

TESTS = Path(__file__).parent.parent


async def commit_forever(path: Path) -> None:
    """The child: prints the ids whose commit completed, settles every third, until it is killed."""
    spool = SqliteSpool.open(path, shard=0)

    async def session() -> None:
        while True:
            one = message(spool.new_id(WALL), body=os.urandom(2048))
            (queued,) = await spool.commit(one, WALL)
            os.write(1, b"%d\n" % one.id)
            if one.id % 3 == 0:
                os.write(1, b"begin %d\n" % one.id)
                await spool.settle([Settled(queued=queued)])
                os.write(1, b"gone %d\n" % one.id)

    await asyncio.gather(*[session() for _ in range(16)])


async def fill_up(path: Path) -> None:
    """The child: no file may grow beyond 1 MB, until it may."""
    import resource

    from postroad.store.spool import SpoolError

    spool = SqliteSpool.open(path, shard=0)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
    kept = 0
    failure = ""
    while not failure:
        try:
            await spool.commit(message(spool.new_id(WALL), body=bytes(20_000)), WALL)
            kept += 1
        except SpoolError as error:
            failure = str(error)
    assert len(await spool.due(before=WALL + 1, limit=10_000)) == kept
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await spool.commit(message(spool.new_id(WALL)), WALL)
    assert len(await spool.due(before=WALL + 1, limit=10_000)) == kept + 1
    await spool.close()
    print(kept, failure)


def start_child(work: str, path: Path) -> subprocess.Popen[bytes]:
    code = f"import asyncio, sys; from pathlib import Path; from store.test_crash import {work} as w; "
    code += "asyncio.run(w(Path(sys.argv[1])))"
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    return subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, env=environment)


@pytest.mark.parametrize("seed", range(6))
def test_d01_every_commit_that_completed_survives_a_kill(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "spool-0.db"
    rng = random.Random(seed)
    kept: set[int] = set()
    begun: set[int] = set()
    gone: set[int] = set()
    for _ in range(2):  # the second round works on what the first one's kill left
        child = start_child("commit_forever", path)
        assert child.stdout is not None
        with child, child.stdout:
            lines = [child.stdout.readline()]
            time.sleep(rng.uniform(0.0, 0.15))
            child.send_signal(signal.SIGKILL)
            lines += child.stdout.read().splitlines()
        for line in lines:
            words = line.split()
            number = int(words[-1])
            {1: kept, 2: begun if words[0] == b"begin" else gone}[len(words)].add(number)

    async def look() -> None:
        spool = SqliteSpool.open(path, shard=0)
        found = {one.message_id for one in await spool.due(before=WALL + 1, limit=1_000_000)}
        assert kept - begun <= found
        assert not gone & found
        for number in sorted(found)[:: max(1, len(found) // 50)]:
            loaded = await spool.load(number)
            assert loaded is not None
            assert len(loaded.body) == 2048
        assert spool.new_id(WALL) > max(kept)
        await spool.close()

    run(look())


def test_d02_a_write_that_fails_is_refused_and_the_spool_recovers(tmp_path: Path) -> None:
    child = start_child("fill_up", tmp_path / "spool-0.db")
    output, _ = child.communicate(timeout=60)
    assert child.returncode == 0
    kept, failure = output.decode().split(" ", 1)
    assert int(kept) > 10
    assert "spool-0.db" in failure
