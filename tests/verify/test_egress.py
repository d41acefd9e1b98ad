"""Several ways out: a site is asked from one of them, unless it is to be split; each keeps its own limits (V-09)."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from deliver.peers import Host, Names, listening
from net.scripted import scripted
from net.test_proxy import Socks5
from postroad.net.endpoint import Egress
from postroad.verify.job import Job
from postroad.verify.settings import VerifySettings
from postroad.verify.source import MemorySource
from verify.simulated import SETTINGS, Ran, verify
from verify.test_job_waits import greylists, knows, now, recipients

SOURCES = ("127.0.0.2", "127.0.0.3", "127.0.0.4")
EGRESS = tuple(Egress(source_address=address) for address in SOURCES)
DOMAINS = [f"d{number}.test" for number in range(30)]
ONE_SITE = dict.fromkeys(DOMAINS, "site.test")


def peers(ran: Ran) -> dict[str, set[str]]:
    """Site → the addresses that it was asked from."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for session in ran.sessions:
        found[session.host].add(session.peer)
    return found


@dataclass
class Counting(Host):
    """Notes how many connections it has at a time, and when it was asked, in all and by source."""

    open: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    most: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    asked_at: list[tuple[float, str]] = field(default_factory=list)
    delay_s: float = 0.05
    refuses: str = ""
    """A source that is blocked."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername")[0]
        for key in (peer, "all"):
            self.open[key] += 1
            self.most[key] = max(self.most[key], self.open[key])
        try:
            self.greeting = b"220 mx\r\n" if peer != self.refuses else b"554 5.7.1 Your address is blocked\r\n"
            await asyncio.sleep(self.delay_s)
            if peer == self.refuses:
                writer.write(self.greeting)
                await reader.readline()
                return
            self.asked_at.append((now(), peer))
            await super().serve(reader, writer)
        finally:
            for key in (peer, "all"):
                self.open[key] -= 1


# Each site from one ---------------------------------------------------------------------------------------------------


def test_v09_each_site_is_asked_from_one_of_them_and_all_of_them_are_used() -> None:
    hosts = {domain: Host(decide=knows("u1")) for domain in DOMAINS}
    addresses = [f"u{number}@{domain}" for domain in DOMAINS for number in range(20)]
    ran = verify(hosts, *addresses, egress=EGRESS, recipients_per_session=5)
    assert len(ran.verdicts) == len(addresses)
    assert all(len(from_) == 1 for from_ in peers(ran).values())
    assert {session.peer for session in ran.sessions} == set(SOURCES)


def test_v09_several_ways_out_ask_no_site_faster_than_one() -> None:
    host = Counting(decide=knows("u1"))
    ran = verify(
        {"site.test": host},
        *(f"u{number}@{domain}" for domain in DOMAINS for number in range(10)),
        sites=ONE_SITE,
        egress=EGRESS,
        per_site=2,
    )
    assert len(ran.verdicts) == 300 and len(peers(ran)["site.test"]) == 1
    assert host.most["all"] <= 2


def test_v03_a_greylisting_host_is_asked_again_from_the_same_one() -> None:
    hosts = {domain: Host(decide=greylists(290, knows("u1"), words="Greylisted, retry in 290 s")) for domain in DOMAINS}
    ran = verify(hosts, *(f"u1@{domain}" for domain in DOMAINS), egress=EGRESS)
    assert set(ran.states.values()) == {"deliverable:accepted"}
    assert all(len(from_) == 1 for from_ in peers(ran).values())
    assert all(host.connections >= 2 for host in hosts.values())


# Split ----------------------------------------------------------------------------------------------------------------


def test_v09_split_as_configured_a_site_is_asked_from_all_and_each_keeps_its_limits() -> None:
    host = Counting(decide=knows("u1"))
    ran = verify(
        {"site.test": host},
        *(f"u{number}@{domain}" for domain in DOMAINS for number in range(10)),
        sites=ONE_SITE,
        egress=EGRESS,
        splits_sites=True,
        per_site=2,
    )
    assert len(ran.verdicts) == 300 and peers(ran)["site.test"] == set(SOURCES)
    assert all(host.most[source] <= 2 for source in SOURCES) and host.most["all"] > 2


def test_v03_split_a_domain_is_still_asked_again_from_the_same_one() -> None:
    class ByPeer(Host):
        """Greylists by source too, as triplets do."""

        async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            peer = writer.get_extra_info("peername")[0]
            one = Host(decide=lambda command, accepted: self.ask(f"{peer} {command}"))
            self.connections += 1
            await one.serve(reader, writer)

        def ask(self, command: str) -> bytes | None:
            peer, _, rest = command.partition(" ")
            if not rest.startswith("RCPT"):
                return None
            if rest not in self.first:
                self.first[rest] = (peer, now())
            if self.first[rest][0] != peer:
                self.others += 1
            return b"450 4.2.0 Greylisted\r\n" if now() < self.first[rest][1] + 60 else knows("u1")(rest, 0)

        first: dict[str, tuple[str, float]] = {}
        others = 0

    host = ByPeer()
    ran = verify(
        {"site.test": host}, *(f"u1@{domain}" for domain in DOMAINS), sites=ONE_SITE, egress=EGRESS, splits_sites=True
    )
    assert set(ran.states.values()) == {"deliverable:accepted"} and host.others == 0
    assert {session.peer for session in ran.sessions} == set(SOURCES)


def test_split_the_rate_of_each_holds_by_itself() -> None:
    host = Counting(decide=knows("u1"))
    ran = verify(
        {"site.test": host},
        *(f"u{number}@{domain}" for domain in DOMAINS for number in range(20)),
        sites=ONE_SITE,
        egress=EGRESS,
        splits_sites=True,
        recipients_per_minute=60.0,
    )
    total = sum(recipients(host).values())
    assert len(ran.verdicts) == 600 and total >= 600
    assert ran.took_s >= 60 * (total / 60 / len(SOURCES) - 2)
    alone = verify(
        {"site.test": Counting(decide=knows("u1"))},
        *(f"u{number}@{domain}" for domain in DOMAINS for number in range(20)),
        sites=ONE_SITE,
        egress=EGRESS,
        recipients_per_minute=60.0,
    )
    assert alone.took_s > 2 * ran.took_s, "which is why it is for the user to say"


def test_split_a_source_that_is_blocked_does_not_end_the_others_part() -> None:
    host = Counting(decide=knows("u1"), refuses=SOURCES[0])
    ran = verify(
        {"site.test": host},
        *(f"u{number}@{domain}" for domain in DOMAINS for number in range(3)),
        sites=ONE_SITE,
        egress=EGRESS,
        splits_sites=True,
    )
    found = defaultdict(set)
    for verdict in ran.verdicts:
        found[verdict.address.partition("@")[2]].add(verdict.state)
    blocked = [domain for domain, states in found.items() if states == {"unknown:blocked"}]
    assert 0 < len(blocked) < len(DOMAINS), "those of the blocked one alone"
    for domain in set(DOMAINS) - set(blocked):
        assert found[domain] == {"deliverable:accepted", "undeliverable:mailbox_unknown"}


# For real -------------------------------------------------------------------------------------------------------------


@dataclass
class Noting(Host):
    """Notes from where it is asked."""

    peers: set[str] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.peers.add(writer.get_extra_info("peername")[0])
        await super().serve(reader, writer)


def verify_really(host: Host, egress: Callable[[int], Egress], proxy: Socks5 | None = None) -> dict[str, str]:
    """Over real sockets, by way of the proxy where there is one: address → state."""
    source = MemorySource(["ann@example.net", "bob@example.net"])

    async def main() -> None:
        async with listening(host) as port, scripted((proxy or Socks5()).serve) as proxy_port:
            settings = replace(SETTINGS, port=port, egress=(egress(proxy_port),), wait_s=0.0)
            await Job(settings, Names(example_net=((10, "mx.example.net"),)), source, rng=random.Random(1)).run()

    asyncio.run(main())
    return {verdict.address: verdict.state for verdict in source.verdicts()}


TOLD_APART = {"ann@example.net": "deliverable:accepted", "bob@example.net": "undeliverable:mailbox_unknown"}


@pytest.mark.parametrize("address", SOURCES)
def test_connections_go_out_from_the_address_that_is_named(address: str) -> None:
    host = Noting(decide=knows("ann"))
    assert verify_really(host, lambda _: Egress(source_address=address)) == TOLD_APART
    assert host.peers == {address}


def test_a_verification_goes_by_way_of_a_proxy_that_gets_the_address() -> None:
    proxy = Socks5(password="ann:secret")
    host = Host(decide=knows("ann"))
    assert verify_really(host, lambda port: Egress(proxy=f"socks5://ann:secret@127.0.0.1:{port}"), proxy) == TOLD_APART
    assert {address for address, _ in proxy.asked} == {"127.0.0.1"}


def test_a_proxy_that_refuses_leaves_everybody_unknown_and_is_named_without_its_password() -> None:
    found = MemorySource(["ann@example.net"])

    async def main() -> None:
        async with scripted(Socks5(status=2).serve) as port:
            egress = (Egress(proxy=f"socks5://ann:secret@127.0.0.1:{port}"),)
            settings = replace(SETTINGS, egress=egress, wait_s=0.0)
            names = Names(example_net=((10, "mx.example.net"),))
            await Job(settings, names, found, rng=random.Random(1)).run()

    asyncio.run(main())
    (verdict,) = found.verdicts()
    assert verdict.state == "unknown:connect_failed"
    assert "the proxy socks5://127.0.0.1:" in verdict.proof.detail and "secret" not in verdict.to_json()


def test_settings_without_a_way_out_or_with_nothing_allowed_are_refused() -> None:
    with pytest.raises(ValueError, match="egress"):
        VerifySettings(hello="a.example", egress=())
    for name in ("connections", "per_site", "recipients_per_session", "window", "deferred"):
        with pytest.raises(ValueError, match=name):
            VerifySettings(hello="a.example", **{name: 0})  # type: ignore[arg-type]
