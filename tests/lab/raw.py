"""A world of one host, and a client that speaks to it line by line in the simulated loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from postroad.lab.host import Latency
from postroad.lab.log import LabLog
from postroad.lab.personality import Standing
from postroad.lab.running import LabSettings, SimulatedLab, simulate
from postroad.lab.world import DomainSpec, HostSpec, World, WorldSettings
from postroad.lab.zone import Records, reverse_name

DOMAIN = "d.example"
HOST = "mx.d.example"
ADDRESS = "127.1.0.1"
MAILBOXES = {"ann": Standing.EXISTS, "bob": Standing.EXISTS, "full": Standing.FULL, "old": Standing.DISABLED}

Result = TypeVar("Result")


def one_host(
    personality: str = "honest", *, others: Standing = Standing.ABSENT, named: str = "", **options: float
) -> World:
    """A domain whose one host is of that personality. `named`: the client's name in DNS."""
    zone = {DOMAIN: Records(mx=((10, HOST),)), HOST: Records(a=(ADDRESS,))}
    if named:
        zone |= {named: Records(a=("127.0.0.1",)), reverse_name("127.0.0.1"): Records(ptr=(named,))}
    return World(
        1,
        WorldSettings(),
        {HOST: HostSpec(HOST, ADDRESS, DOMAIN, personality, options, 1)},
        {DOMAIN: DomainSpec(DOMAIN, (HOST,), personality, MAILBOXES, others)},
        zone,
        {},
    )


_CLIENTS: list[Client] = []
"""Those of the run that is under way; it closes them at its end."""


class Client:
    """Says lines and hears replies; knows what time it is."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, lab: SimulatedLab, address: str = ADDRESS) -> Client:
        made = cls(*await asyncio.open_connection(address, lab.port))
        _CLIENTS.append(made)
        return made

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def hear(self) -> str:
        """One whole reply; empty at the end of the connection."""
        lines = []
        while line := (await self.reader.readline()).decode():
            lines.append(line.rstrip("\r\n"))
            if line[3:4] != "-":
                break
        return "\n".join(lines)

    def write(self, *lines: str) -> None:
        self.writer.write("".join(f"{line}\r\n" for line in lines).encode())

    async def say(self, *lines: str) -> list[str]:
        """Lines one after another, each with its reply."""
        replies = []
        for line in lines:
            self.write(line)
            replies.append(await self.hear())
        return replies

    async def begin(self, sender: str = "me@us.example", hello: str = "us.example") -> Client:
        """Greeting, EHLO, MAIL, all of them taken."""
        assert (await self.hear()).startswith("220")
        for said in await self.say(f"EHLO {hello}", f"MAIL FROM:<{sender}>"):
            assert said.startswith("250"), said
        return self


def rcpt(local: str) -> str:
    return f"RCPT TO:<{local}@{DOMAIN}>"


def run(
    main: Callable[[SimulatedLab], Coroutine[Any, Any, Result]],
    world: World,
    *,
    log: LabLog | None = None,
    latency: Latency | None = None,
) -> Result:

    async def closing(lab: SimulatedLab) -> Result:
        try:
            return await main(lab)
        finally:
            for client in _CLIENTS:
                client.writer.close()
            await asyncio.sleep(1)
            _CLIENTS.clear()

    return simulate(closing, world, LabSettings(latency=latency or Latency()), log=log)


def dialogue(world: World, *lines: str, log: LabLog | None = None) -> list[str]:
    """The greeting and the replies to those lines, one at a time."""

    async def main(lab: SimulatedLab) -> list[str]:
        client = await Client.connect(lab)
        return [await client.hear(), *await client.say(*lines)]

    return run(main, world, log=log)


def codes(replies: list[str]) -> list[str]:
    return [said[:3] for said in replies]
