"""A run of verification in the simulated loop: hosts that answer as told, and minutes that pass in no time."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from deliver.peers import Host
from postroad.clock import Clock
from postroad.lab.simloop import SimulatedLoop
from postroad.net.resolver import AddressAnswer, DnsStatus, MxAnswer
from postroad.smtp.address import Address
from postroad.verify.job import Job
from postroad.verify.memory import Memory
from postroad.verify.settings import VerifySettings
from postroad.verify.source import MemorySource
from postroad.verify.verdict import Verdict

SETTINGS = VerifySettings(hello="probe.example.org", mail_from=Address("probe", "example.org"), allow_private=True)
"""The defaults."""


class Zone:
    """A resolver: every domain that has a host has the MX mx.DOMAIN, or mx.SITE where it is one of a site."""

    def __init__(self, domains: Mapping[str, str]) -> None:
        self.domains = dict(domains)
        names = sorted({f"mx.{site}" for site in self.domains.values()})
        self.hosts = {name: f"127.0.1.{number}" for number, name in enumerate(names, 1)}
        self.failures: dict[str, int] = {}
        """Domain → how often it gives no answer before it does."""
        self.asked: list[str] = []

    async def mx(self, domain: str) -> MxAnswer:
        self.asked.append(domain)
        await asyncio.sleep(0.001)
        if self.failures.get(domain, 0) > 0:
            self.failures[domain] -= 1
            return MxAnswer(DnsStatus.TEMPORARY, (), "SERVFAIL")
        site = self.domains.get(domain)
        return MxAnswer(DnsStatus.NO_DOMAIN) if site is None else MxAnswer(DnsStatus.FOUND, ((10, f"mx.{site}"),))

    async def addresses(self, host: str) -> AddressAnswer:
        found = self.hosts.get(host)
        return AddressAnswer(DnsStatus.NO_DOMAIN) if found is None else AddressAnswer(DnsStatus.FOUND, (found,))

    async def close(self) -> None:
        pass


@dataclass
class Session:
    """One connection as a host saw it."""

    host: str
    peer: str
    at: float


@dataclass
class Ran:
    """What came of a run."""

    verdicts: list[Verdict] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    sessions: list[Session] = field(default_factory=list)
    took_s: float = 0.0
    job: Job | None = None

    @property
    def states(self) -> dict[str, str]:
        return {verdict.address: verdict.state for verdict in self.verdicts}


def verify(
    hosts: Mapping[str, Host],
    *addresses: str,
    sites: Mapping[str, str] | None = None,
    zone: Zone | None = None,
    memory: Memory | None = None,
    clock: Clock | None = None,
    during: Callable[[Job], None] | None = None,
    **settings: Any,
) -> Ran:
    """Verify against `hosts`, by site. `sites`: domain → site, where a domain has no site of its own name.

    `during`: called before the run begins, within the loop."""
    ran = Ran()
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        names = zone or Zone({**{site: site for site in hosts}, **(sites or {})})
        runner.run(_run(ran, hosts, addresses, names, memory, clock, during, replace(SETTINGS, **settings)))
    return ran


async def _run(
    ran: Ran,
    hosts: Mapping[str, Host],
    addresses: Sequence[str],
    zone: Zone,
    memory: Memory | None,
    clock: Clock | None,
    during: Callable[[Job], None] | None,
    settings: VerifySettings,
) -> None:
    loop = asyncio.get_running_loop()
    source = MemorySource(addresses)

    def serving(site: str, host: Host) -> Any:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            ran.sessions.append(Session(site, writer.get_extra_info("peername")[0], loop.time()))
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await host.serve(reader, writer)
            writer.close()

        return serve

    for site, host in hosts.items():
        if f"mx.{site}" in zone.hosts:
            await asyncio.start_server(serving(site, host), zone.hosts[f"mx.{site}"], 25)
    job = ran.job = Job(
        settings, zone, source, rng=random.Random(1), memory=memory, clock=clock, on_notice=ran.notices.append
    )
    if during is not None:
        during(job)
    await job.run()
    ran.took_s = loop.time()
    ran.verdicts = list(source.verdicts())
