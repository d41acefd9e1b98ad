"""A closed port is known within seconds and told once; silent or refusing hosts by themselves are none."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from postroad.lab.build import build_world
from postroad.lab.catalogue import Pace
from postroad.lab.running import SimulatedLab, simulate
from postroad.lab.simloop import SimulatedLoop
from postroad.lab.world import World
from postroad.net.dialogue import Connection
from postroad.net.endpoint import DialogueError, Endpoint, PhaseTimeouts, TlsMode
from postroad.smtp.outcome import Phase
from postroad.store.results import InputRow, ResultStore
from postroad.verify.job import Job
from postroad.verify.reach import REFUSING_SITES, SILENT_S, SILENT_SITES, Reach
from postroad.verify.settings import VerifySettings
from postroad.verify.source import MemorySource, Source, StoredSource, canonical

SETTINGS = VerifySettings(hello="prober.example", allow_private=True)
LATEST_S = 2 * SILENT_S + 5
"""What is meant by seconds."""


class Network:
    """Stands where connections are opened: what becomes of each, by host."""

    def __init__(self, **hosts: str) -> None:
        self.hosts = hosts

    async def connect(
        self,
        endpoint: Endpoint,
        *,
        hello: str,
        tls: TlsMode,
        timeouts: PhaseTimeouts,
        ssl_context: ssl.SSLContext | None,
        credentials: Any,
        check: Any,
        on_connected: Callable[[], None],
    ) -> Connection:
        match self.hosts[endpoint.host.partition(".")[0]]:
            case "silent":
                await asyncio.sleep(timeouts.connect_s)
                raise DialogueError(Phase.CONNECT, "timed out")
            case "greets late":
                await asyncio.sleep(0.1)
                on_connected()
                await asyncio.sleep(60)
                raise DialogueError(Phase.GREETING, "timed out")
            case "refuses the greeting":
                await asyncio.sleep(1.0)
                raise DialogueError(Phase.GREETING, "refused")
            case detail:
                raise DialogueError(Phase.CONNECT, detail)


def reach(hosts: dict[str, str], at: float, *, by_proxy: bool = False, is_over: bool = False) -> tuple[bool, bool]:
    """Whether the port was found closed at that time, and whether anybody was reached."""
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        return runner.run(_reach(hosts, at, by_proxy=by_proxy, is_over=is_over))


async def _reach(hosts: dict[str, str], at: float, *, by_proxy: bool, is_over: bool) -> tuple[bool, bool]:
    made = Reach(Network(**hosts).connect, 25, by_proxy=by_proxy)
    tasks = [
        asyncio.create_task(
            made.connect(
                Endpoint(host=f"{name}.{name}.test", address="192.0.2.1"),
                hello="prober.example",
                tls=TlsMode.NONE,
                timeouts=PhaseTimeouts.all(60.0, connect_s=15.0),
                ssl_context=None,
                credentials=None,
            )
        )
        for name in hosts
    ]
    loop = asyncio.get_running_loop()
    found = False
    while not found and loop.time() < at:
        wait = made.next_look(loop.time())
        await asyncio.sleep(min(0.2 if wait is None else wait, at - loop.time()))
        found = made.is_closed(loop.time())
    if is_over:
        found = made.is_closed(loop.time(), is_over=True)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return found, made.is_open


def hosts(count: int, what: str, start: str = "h") -> dict[str, str]:
    return {f"{start}{number}": what for number in range(count)}


def test_sites_that_are_all_silent_are_a_closed_port_within_seconds() -> None:
    assert reach(hosts(SILENT_SITES, "silent"), SILENT_S + 0.5) == (True, False)


def test_nothing_is_concluded_before_a_host_had_time_to_answer() -> None:
    assert reach(hosts(50, "silent"), SILENT_S - 0.5) == (False, False)


@pytest.mark.parametrize(("count", "is_over", "expected"), [(1, False, False), (1, True, False), (4, False, False)])
def test_one_silent_host_is_no_closed_port(count: int, is_over: bool, expected: bool) -> None:
    assert reach(hosts(count, "silent"), 60, is_over=is_over) == (expected, False)


def test_a_short_list_of_silent_hosts_is_judged_at_its_end() -> None:
    assert reach(hosts(3, "silent"), 20, is_over=True) == (True, False)


def test_many_sites_that_all_refuse_are_a_closed_port_and_few_are_none() -> None:
    for detail in ("connection refused", "no route to host", "network is unreachable"):
        assert reach(hosts(REFUSING_SITES, detail), 1) == (True, False)
        assert reach(hosts(REFUSING_SITES - 1, detail), 60, is_over=True) == (False, False)


@pytest.mark.parametrize("one", ["greets late", "refuses the greeting"])
def test_whoever_was_reached_shows_that_the_port_is_open(one: str) -> None:
    assert reach(hosts(50, "silent") | {"one": one}, 60) == (False, True)
    assert reach(hosts(50, "connection refused") | {"one": one}, 60) == (False, True)


def test_hosts_that_all_greet_late_are_no_closed_port() -> None:
    assert reach(hosts(20, "greets late"), 70, is_over=True) == (False, True)


def test_by_way_of_a_proxy_every_failure_counts_as_silence() -> None:
    refused = hosts(SILENT_SITES, "the proxy socks5://127.0.0.1:1080 says: Connection refused by destination host")
    assert reach(refused, 1, by_proxy=True) == (True, False)
    assert reach(refused, 1) == (False, False)


def test_the_notice_says_what_is_wrong_and_what_to_do() -> None:
    assert "--proxy" in Reach(Network().connect, 25, by_proxy=False).notice()
    assert "proxies" in Reach(Network().connect, 25, by_proxy=True).notice()


# A whole run ----------------------------------------------------------------------------------------------------------


def silent_world(*personalities: str) -> World:
    return build_world(1, addresses=300, personalities=personalities, pace=Pace(factor=1.0), again=0, bad=0, mistyped=0)


class Ran:
    """A run, and what it told."""

    def __init__(self, world: World, source: Source, settings: VerifySettings = SETTINGS) -> None:
        self.notices: list[str] = []
        self.took_s = 0.0
        self.job: Job | None = None

        async def main(lab: SimulatedLab) -> None:
            job = self.job = Job(settings, lab.resolver, source, rng=random.Random(1), on_notice=self.notices.append)
            await job.run()
            self.took_s = lab.loop.time()

        simulate(main, world)

    @property
    def is_port_closed(self) -> bool:
        return self.job is not None and self.job.is_port_closed


@pytest.mark.parametrize("connections", [50, 1])
def test_a_list_of_silent_sites_ends_within_seconds_with_one_notice_and_a_verdict_each(connections: int) -> None:
    world = silent_world("unanswered")
    source = MemorySource(world.addresses())
    ran = Ran(world, source, replace(SETTINGS, connections=connections))
    assert ran.is_port_closed and len(ran.notices) == 1
    assert "port 25" in ran.notices[0]
    assert ran.took_s <= (LATEST_S if connections > 1 else SILENT_SITES * 16)
    found = list(source.verdicts())
    assert len(found) == len(world.addresses())
    assert {verdict.verdict for verdict in found} == {"unknown"}
    assert {verdict.state for verdict in found} == {"unknown:connect_failed"}


def test_what_was_not_taken_from_the_source_yet_has_its_verdict_too() -> None:
    world = silent_world("unanswered")
    source = MemorySource(world.addresses())
    ran = Ran(world, source, replace(SETTINGS, window=50))
    assert ran.is_port_closed and len(list(source.verdicts())) == len(world.addresses())


def stored(store: ResultStore, addresses: Sequence[str]) -> StoredSource:
    run = store.open_run("list", now=1.0)
    store.add_rows(run, [InputRow(position=n, text=one, address=canonical(one)) for n, one in enumerate(addresses)])
    return StoredSource(store, run)


def test_nothing_is_recorded_where_the_run_can_be_gone_on_with(tmp_path: Path) -> None:
    world = silent_world("unanswered")
    with ResultStore(tmp_path / "verify.db") as store:
        source = stored(store, world.addresses())
        ran = Ran(world, source)
        assert ran.is_port_closed and len(ran.notices) == 1 and ran.took_s <= LATEST_S
        counts = store.counts(source._run)
        assert counts.pending == counts.addresses == len(world.addresses())


def test_one_host_that_answers_keeps_the_run_going() -> None:
    world = silent_world("unanswered", "honest")
    source = MemorySource(world.addresses())
    ran = Ran(world, source)
    assert not ran.is_port_closed
    assert {verdict.verdict for verdict in source.verdicts()} >= {"deliverable", "undeliverable", "unknown"}


def test_sites_that_all_greet_late_are_heard_out() -> None:
    world = silent_world("slow")
    source = MemorySource(world.addresses())
    ran = Ran(world, source, replace(SETTINGS, timeouts=PhaseTimeouts.all(120.0, connect_s=15.0)))
    assert not ran.is_port_closed
    assert "unknown" not in {verdict.verdict for verdict in source.verdicts()}
