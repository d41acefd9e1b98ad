"""Any order of commits, settlements and restarts leaves the spool as a simple model says."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import replace
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from postroad.store.queue_admin import QueueAdmin
from postroad.store.queue_selection import Selection
from postroad.store.spool import Deferred, Queued, Settled, SpooledMessage
from postroad.store.sqlite_spool import SpoolLimits, SqliteSpool
from store.spool_conformance import WALL, attempt, message

TIMES = st.integers(0, 20).map(lambda offset: WALL + offset)


class SpoolMachine(RuleBasedStateMachine):
    recipients = Bundle("recipients")

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.path = Path(self.directory.name) / "spool-0.db"
        self.runner = asyncio.Runner()
        self.spool = self.opened()
        self.bodies: dict[int, bytes] = {}
        self.model: dict[int, Queued] = {}
        self.last_id = 0

    def opened(self) -> SqliteSpool:
        return SqliteSpool.open(self.path, shard=0, limits=SpoolLimits(cache_bytes=2_000))

    def made(self, count: int, wall: float) -> SpooledMessage:
        number = self.spool.new_id(wall)
        assert number > self.last_id
        self.last_id = number
        body = b"%d " % number * 10
        self.bodies[number] = body
        return message(number, *[f"r{index}@x.org" for index in range(count)], body=body)

    @rule(target=recipients, count=st.integers(1, 3), due_at=TIMES, wall=TIMES)
    def commit(self, count: int, due_at: float, wall: float) -> object:
        async def work() -> tuple[Queued, ...]:
            return await self.spool.commit(self.made(count, wall), due_at)

        queued = self.runner.run(work())
        self.model.update({one.id: one for one in queued})
        return multiple(*[one.id for one in queued])

    @rule(target=recipients, gone=st.lists(consumes(recipients), max_size=3), bounce=st.booleans(), due_at=TIMES)
    def settle(self, gone: list[int], bounce: bool, due_at: float) -> object:
        async def work() -> tuple[Queued, ...]:
            bounces = [(self.made(1, WALL), due_at)] if bounce else []
            known = [self.model[number] for number in gone if number in self.model]
            return await self.spool.settle([Settled(queued=one) for one in known], bounces)

        queued = self.runner.run(work())
        for number in gone:
            self.model.pop(number, None)
        self.model.update({one.id: one for one in queued})
        return multiple(*[one.id for one in queued])

    @rule(number=recipients, due_at=TIMES, is_told=st.booleans())
    def defer(self, number: int, due_at: float, is_told: bool) -> None:
        queued = self.model.get(number)
        if queued is None:
            return

        async def work() -> None:
            outcome = Deferred(queued=queued, due_at=due_at, attempt=attempt(), delay_notified=is_told)
            await self.spool.settle([outcome])

        self.runner.run(work())
        self.model[number] = replace(
            queued, due_at=due_at, attempts=queued.attempts + 1, delay_notified=queued.delay_notified or is_told
        )

    @rule(number=consumes(recipients))
    def operator_removes_the_message(self, number: int) -> None:
        queued = self.model.get(number)
        if queued is None:
            return
        with QueueAdmin(self.path.parent) as admin:
            assert admin.remove(Selection(ids=[queued.message_id])).recipients > 0
        self.model = {key: one for key, one in self.model.items() if one.message_id != queued.message_id}

        async def work() -> bool:
            return await self.spool.changed()

        assert self.runner.run(work())

    @rule()
    def reopen(self) -> None:
        self.close()
        self.spool = self.opened()

    def close(self) -> None:
        async def work() -> None:
            await self.spool.close()

        self.runner.run(work())

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        async def work() -> None:
            found = await self.spool.due(before=WALL + 100, limit=1000)
            assert list(found) == sorted(self.model.values(), key=lambda one: (one.due_at, one.id))
            for number in self.bodies:
                left = [one.recipient for _, one in sorted(self.model.items()) if one.message_id == number]
                loaded = await self.spool.load(number)
                assert (loaded is None) == (not left)
                if loaded is not None:
                    assert loaded.body == self.bodies[number]
                    assert list(loaded.envelope.recipients) == left

        self.runner.run(work())

    def teardown(self) -> None:
        self.close()
        self.runner.close()
        self.directory.cleanup()


TestSpoolMachine = SpoolMachine.TestCase
TestSpoolMachine.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
