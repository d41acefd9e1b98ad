"""The loop that empties the queue, broken off in the middle: nothing delivered is delivered again."""

from __future__ import annotations

import asyncio
import random

from deliver.messages import envelope, message
from deliver.peers import SILENCE, Host, listening, road
from postroad.clock import SystemClock
from postroad.deliver.attempt import Attempter
from postroad.deliver.settle import SettlePolicy
from postroad.deliver.worker import Deliverer, Surroundings
from postroad.store.memory_spool import MemorySpool


def around(events: list[str]) -> Surroundings:
    return Surroundings(
        clock=SystemClock(), rng=random.Random(1), token=lambda: "token", emit=lambda name, **_: events.append(name)
    )


def test_d01_what_was_delivered_before_a_drain_broke_the_attempt_off_is_settled() -> None:
    def decide(command: str, accepted: int) -> bytes | None:
        return SILENCE if command.startswith("RCPT TO:<c@") else None

    host = Host(offers=("PIPELINING", "LIMITS RCPTMAX=1"), decide=decide)
    events: list[str] = []

    async def go() -> list[str]:
        spool = MemorySpool()
        now = SystemClock().wall()
        one = message(envelope("a@example.net", "b@example.net", "c@example.net", "d@example.net"), received_at=now)
        await spool.commit(one, now)
        async with listening(host) as port, road(port) as way:
            deliverer = Deliverer(
                spool, Attempter(way.router, way.pool), SettlePolicy(hostname="mail.example.org"), around(events)
            )
            running = asyncio.create_task(deliverer.run())
            while not any(command.startswith("RCPT TO:<c@") for command in host.commands):
                await asyncio.sleep(0)
            await deliverer.drain(0)
            await running
        return [str(queued.recipient.address) for queued in await spool.due(before=now + 1e9, limit=10)]

    assert asyncio.run(go()) == ["c@example.net", "d@example.net"]
    assert [taken.rcpts for taken in host.taken] == [[b"RCPT TO:<a@example.net>"], [b"RCPT TO:<b@example.net>"]]
    assert events == ["delivery.delivered", "delivery.delivered"]
