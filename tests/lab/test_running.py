"""A whole world, alive: in the simulated loop and on loopback, verified by postroad.verify, and repeatable."""

from __future__ import annotations

import asyncio
import random
import socket
from typing import Any

import pytest

from lab.raw import HOST, Client, one_host
from postroad.lab.build import build_world
from postroad.lab.catalogue import NAMES, Pace
from postroad.lab.dns import LabError
from postroad.lab.host import Latency
from postroad.lab.log import Ending, Event, LabLog, What
from postroad.lab.running import Lab, LabSettings, SimulatedLab, simulate
from postroad.lab.truth import UNDELIVERABLE, Kind
from postroad.lab.world import World
from postroad.net.endpoint import PhaseTimeouts
from postroad.net.resolver import DnsResolver, Resolver
from postroad.verify.job import Job, VerifySettings
from postroad.verify.source import MemorySource
from postroad.verify.verdict import Verdict


async def verify(world: World, port: int, resolver: Resolver, timeout_s: float) -> list[Verdict]:
    """The list of a world, verified."""
    source = MemorySource(world.addresses())
    settings = VerifySettings(
        hello="prober.example",
        port=port,
        allow_private=True,
        timeouts=PhaseTimeouts.all(timeout_s, connect_s=timeout_s / 4),
    )
    await Job(settings, resolver, source, rng=random.Random(1)).run()
    return list(source.verdicts())


def in_the_loop(world: World) -> tuple[list[Verdict], list[Event], LabLog]:
    log = LabLog()

    async def main(lab: SimulatedLab) -> list[Verdict]:
        return await verify(world, lab.port, lab.resolver, 60)

    settings = LabSettings(latency=Latency(0.05), link_s=0.001)
    return simulate(main, world, settings, log=log), list(log.events), log


def check(world: World, verdicts: list[Verdict]) -> None:
    """What must hold of any verifier: a verdict each, and nobody who has a mailbox is written off."""
    said = {verdict.address: str(verdict.verdict) for verdict in verdicts}
    assert said.keys() == set(world.addresses())
    there = [truth.address for truth in world.by_address.values() if truth.kind in (Kind.EXISTS, Kind.FULL)]
    assert there and not [address for address in there if said[address] == UNDELIVERABLE]
    assert any(said[address] == "deliverable" for address in there)


def test_verification_in_the_simulated_loop_writes_off_nobody_and_sends_no_data() -> None:
    world = build_world(3, addresses=600)
    verdicts, _, log = in_the_loop(world)
    check(world, verdicts)
    assert log.politeness().whole.data == 0 and log.politeness().whole.sessions > 20


def test_the_same_seeds_give_the_same_run_to_the_last_event() -> None:
    world = build_world(5, addresses=300)
    first, second = in_the_loop(world), in_the_loop(world)
    assert first[0] == second[0] and first[1] == second[1]


def test_minutes_of_greylisting_pass_in_the_simulated_loop() -> None:
    world = build_world(1, addresses=20, personalities=("greylisting",), again=0, bad=0, mistyped=0)

    async def main(lab: SimulatedLab) -> float:
        for _ in range(2):
            await verify(world, lab.port, lab.resolver, 60)
            await asyncio.sleep(900)
        check(world, await verify(world, lab.port, lab.resolver, 60))
        return lab.loop.time()

    assert simulate(main, world) >= 1800


def test_verification_on_loopback_over_real_sockets_and_dns() -> None:
    quick = [name for name in NAMES if name not in ("mute", "unanswered", "dns_silent", "out_of_step", "endless")]
    pace = Pace(greylist_s=(1, 2), factor=0.001)
    world = build_world(3, addresses=300, personalities=tuple(quick), pace=pace)

    async def main() -> LabLog:
        async with Lab(world) as lab:
            dns = DnsResolver(lab.resolver, timeout_s=2.0, tries=1)
            try:
                check(world, await verify(world, lab.port, dns, 8))
            finally:
                await dns.close()
            return lab.log

    log = asyncio.run(main())
    assert log.politeness().whole.data == 0 and log.politeness().whole.sessions > 20


async def told(port: int, address: str, *lines: str) -> list[str]:
    reader, writer = await asyncio.open_connection(address, port)
    client = Client(reader, writer)
    heard = [await client.hear(), *await client.say(*lines)]
    writer.close()
    await writer.wait_closed()
    return heard


def on_loopback(world: World, main: Any) -> Any:
    async def run() -> Any:
        async with Lab(world) as lab:
            return await main(lab)

    return asyncio.run(run())


def test_on_loopback_each_host_has_its_address_and_all_share_one_port() -> None:
    world = build_world(1, addresses=60, personalities=("honest",))

    async def main(lab: Lab) -> None:
        for spec in world.hosts.values():
            greeting, said = await told(lab.port, spec.address, "EHLO us.example")
            assert greeting.startswith("220") and spec.name in said

    on_loopback(world, main)


def test_on_loopback_a_refused_host_refuses_and_an_unanswered_one_is_silent() -> None:
    async def refused(lab: Lab) -> None:
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.1.0.2", lab.port)

    on_loopback(one_host(), refused)

    async def unanswered(lab: Lab) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await asyncio.open_connection("127.1.0.1", lab.port)

    on_loopback(one_host("unanswered"), unanswered)


def test_on_loopback_a_reset_is_a_reset() -> None:
    async def main(lab: Lab) -> None:
        with pytest.raises(ConnectionResetError):
            await told(lab.port, "127.1.0.1", "EHLO us.example", "MAIL FROM:<>", "RCPT TO:<ann@d.example>")

    on_loopback(one_host("resets", at=2, resets=1), main)


def test_sessions_that_the_lab_itself_ends_are_nobodys_fault() -> None:
    log = LabLog()

    async def main() -> None:
        async with Lab(one_host(), log=log) as lab:
            reader, writer = await asyncio.open_connection("127.1.0.1", lab.port)
            await reader.readline()
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()

    asyncio.run(main())
    assert [event.ending for event in log.events if event.what is What.CLOSE] == [Ending.LAB]
    assert {event.host for event in log.events} == {HOST} and not log.politeness().whole.without_quit


def test_a_port_that_is_taken_is_told_in_one_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.1.0.1", 0))
        taken.listen()

        async def main() -> None:
            async with Lab(one_host(), LabSettings(port=taken.getsockname()[1])):
                pass

        with pytest.raises(LabError, match=r"cannot listen on port \d+ of the lab's hosts: address already in use"):
            asyncio.run(main())
