"""Verdicts on their way: written down soon, and held back while they may say more of our own network than of a host."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from postroad.smtp.outcome import Phase
from postroad.verify import found as module
from postroad.verify.found import Found
from postroad.verify.judge import Known, Step, judge
from postroad.verify.memory import NoMemory
from postroad.verify.verdict import Verdict


class Kept:
    """A source that takes whatever is recorded."""

    def __init__(self, *, is_resumable: bool) -> None:
        self.is_resumable = is_resumable
        self.verdicts: dict[int, str] = {}

    async def take(self, limit: int) -> Sequence[tuple[int, str]]:
        return ()

    async def record(self, verdicts: Sequence[tuple[int, Verdict]]) -> None:
        self.verdicts.update((number, verdict.state) for number, verdict in verdicts)


def verdict(phase: Phase, detail: str) -> Verdict:
    step = Step(phase=phase, detail=detail, host="mx.a.test")
    return judge("ann@a.test", (step,), step, Known())


def flushed(found: Found) -> None:
    asyncio.run(found.flush())


def test_who_could_not_be_reached_stays_open_while_nobody_was() -> None:
    source = Kept(is_resumable=True)
    found = Found(source, NoMemory(), lambda count: None)
    found.keep(1, verdict(Phase.CONNECT, "timed out"), is_reached=False)
    found.keep(2, verdict(Phase.DNS, "no answer"), is_reached=False)
    flushed(found)
    assert set(source.verdicts) == {2}
    assert dict(found.counts) == {source.verdicts[2]: 1}
    found.release()
    flushed(found)
    assert source.verdicts[1] == "unknown:timed_out"


def test_a_few_addresses_get_their_verdict_at_once() -> None:
    source = Kept(is_resumable=False)
    found = Found(source, NoMemory(), lambda count: None)
    found.keep(1, verdict(Phase.CONNECT, "timed out"), is_reached=False)
    flushed(found)
    assert source.verdicts == {1: "unknown:timed_out"}


def test_no_more_are_held_back_than_memory_should_hold() -> None:
    source = Kept(is_resumable=True)
    found = Found(source, NoMemory(), lambda count: None)
    for number in range(module.HELD_BACK + 3):
        found.keep(number, verdict(Phase.CONNECT, "timed out"), is_reached=False)
    flushed(found)
    assert len(source.verdicts) == 3


def test_what_was_found_is_told_once() -> None:
    told: list[int] = []
    found = Found(Kept(is_resumable=True), NoMemory(), told.append)
    found.keep(1, verdict(Phase.CONNECT, "timed out"))
    found.keep(2, verdict(Phase.RCPT, "timed out"))
    flushed(found)
    flushed(found)
    assert told == [2]
