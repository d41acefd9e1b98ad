"""A whole world verified by postroad.verify, in the simulated loop and on loopback."""

from __future__ import annotations

import asyncio
import ipaddress

from postroad.lab.build import build_world
from postroad.lab.catalogue import NAMES, Pace
from postroad.lab.host import Latency
from postroad.lab.log import LabLog
from postroad.lab.running import Lab, LabSettings, SimulatedLab, simulate
from postroad.lab.truth import UNDELIVERABLE, Kind
from postroad.lab.world import World
from postroad.library.verification import verify
from postroad.net.resolver import Resolver
from postroad.verify.verdict import Verdict

LONGEST_S = 3600.0


async def ask(world: World, port: int, resolver: str | Resolver, timeout_s: float) -> list[Verdict]:
    """The list of a world, verified; it must come to an end."""
    async with asyncio.timeout(LONGEST_S):
        return await verify(
            world.addresses(),
            resolver=resolver,
            hello="prober.example",
            port=port,
            allow_private=True,
            timeout_s=timeout_s,
        )


def in_the_loop(world: World) -> tuple[list[Verdict], LabLog]:
    log = LabLog()

    async def main(lab: SimulatedLab) -> list[Verdict]:
        return await ask(world, lab.port, lab.resolver, 60)

    return simulate(main, world, LabSettings(latency=Latency(0.05), link_s=0.001), log=log), log


def check(world: World, verdicts: list[Verdict]) -> None:
    """What must hold of any verifier: a verdict each, and nobody who has a mailbox is written off."""
    said = {verdict.address: str(verdict.verdict) for verdict in verdicts}
    assert said.keys() == set(world.addresses())
    there = [truth.address for truth in world.by_address.values() if truth.kind in (Kind.EXISTS, Kind.FULL)]
    assert there and not [address for address in there if said[address] == UNDELIVERABLE]
    assert any(said[address] == "deliverable" for address in there)


def test_verification_in_the_simulated_loop_writes_off_nobody_and_sends_no_data() -> None:
    steady = tuple(name for name in NAMES if name != "out_of_step")  # what those say is for verify's own tests
    world = build_world(3, addresses=600, personalities=steady)
    verdicts, log = in_the_loop(world)
    check(world, verdicts)
    assert log.politeness().whole.data == 0 and log.politeness().whole.sessions > 20


def test_minutes_of_greylisting_pass_in_the_simulated_loop() -> None:
    world = build_world(1, addresses=20, personalities=("greylisting",), again=0, bad=0, mistyped=0)

    async def main(lab: SimulatedLab) -> float:
        for _ in range(2):
            await ask(world, lab.port, lab.resolver, 60)
            await asyncio.sleep(900)
        check(world, await ask(world, lab.port, lab.resolver, 60))
        return lab.loop.time()

    assert simulate(main, world) >= 1800


QUICK = (
    *("honest", "tarpit", "slow", "wants_tls", "breaks_tls", "no_pipelining", "wants_name", "catch_all", "no_mx"),
    *("alias", "null_mx", "no_domain", "no_host", "blocks_mail", "blocks_recipient"),
)
"""Those that no verifier comes again to later: real time passes here."""


def test_verification_on_loopback_over_real_sockets_and_dns() -> None:
    world = build_world(3, addresses=300, personalities=QUICK, pace=Pace(factor=0.001))

    async def main() -> LabLog:
        async with Lab(world) as lab:
            check(world, await ask(world, lab.port, lab.resolver, 8))
            return lab.log

    log = asyncio.run(main())
    assert log.politeness().whole.data == 0 and log.politeness().whole.sessions > 20


def test_each_attempt_to_connect_is_noted_also_where_nobody_listens() -> None:
    world = build_world(2, addresses=40, personalities=("private_mx", "refused"), private_network="10.0.0.0/8")

    async def main(lab: SimulatedLab) -> set[str]:
        await ask(world, lab.port, lab.resolver, 60)
        return {attempt.address for attempt in lab.loop.attempts}

    tried = {ipaddress.ip_address(address) for address in simulate(main, world)}
    down = {ipaddress.ip_address(host.address) for host in world.hosts.values()}
    assert down and down <= tried, "so a test can show whom a verifier left alone"
