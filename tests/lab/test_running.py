"""A world on loopback: real sockets, one port, hosts that are down, resets; and in the loop the same run again."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from lab.raw import HOST, Client, one_host
from postroad.lab.build import build_world
from postroad.lab.dns import LabError
from postroad.lab.host import Latency
from postroad.lab.log import Ending, Event, LabLog, What
from postroad.lab.running import Lab, LabSettings, SimulatedLab, simulate
from postroad.lab.world import World
from postroad.net.dialogue import connect
from postroad.net.endpoint import DialogueError, Endpoint, PhaseTimeouts
from postroad.smtp.address import NULL, Address
from postroad.smtp.command import Mail, Rcpt


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


# In the simulated loop ---------------------------------------------------------------------------------------------


async def probe_all(lab: SimulatedLab) -> list[str]:
    """Every domain of the list asked about at the same time, by the road's own dialogue; how each probe went."""
    by_domain: dict[str, list[str]] = {}
    for truth in lab.world.by_address.values():
        local, _, domain = truth.address.partition("@")
        if domain in lab.world.domains:
            by_domain.setdefault(domain, []).append(local)

    async def probe(domain: str, locals_: list[str]) -> str:
        for _, host in (await lab.resolver.mx(domain)).records:
            for address in (await lab.resolver.addresses(host)).addresses:
                endpoint = Endpoint(host=host, address=address, port=lab.port)
                try:
                    connection = await connect(endpoint, hello="prober.example", timeouts=PhaseTimeouts.all(60))
                except DialogueError as error:
                    return f"{domain} {error}"
                rcpts = [Rcpt(Address(local, domain), {}) for local in locals_]
                found = await connection.probe(Mail(NULL, {}), rcpts)
                await connection.quit()
                return f"{domain} {[str(one.reply or one.detail) for one in found.recipients]}"
        return f"{domain} has no host"

    tasks = [asyncio.create_task(probe(domain, locals_)) for domain, locals_ in by_domain.items()]
    done, _ = await asyncio.wait(tasks)
    return [task.result() for task in done]


def test_the_same_seed_gives_the_same_run_to_the_last_event() -> None:
    def once() -> tuple[list[str], list[Event]]:
        log = LabLog()
        world = build_world(5, addresses=400)
        return simulate(probe_all, world, LabSettings(latency=Latency(0.05), link_s=0.001), log=log), list(log.events)

    first, second = once(), once()
    assert first == second and len(first[1]) > 300
