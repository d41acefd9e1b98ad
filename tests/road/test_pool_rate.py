"""The pool keeps a site's rate of recipients, whoever asks, however long it takes, and whoever gives up waiting."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from deliver.peers import Host
from postroad.lab.simloop import SimulatedLoop
from postroad.net.endpoint import Endpoint
from postroad.road.pool import Pool, PoolSettings
from postroad.road.route import Route, RouteFailure, RouteHost
from postroad.road.site import Site, SiteLimits
from postroad.road.site_pool import Lease
from postroad.smtp.address import NULL, Address
from postroad.smtp.command import Mail, Rcpt

RATE = 60


@dataclass
class Slow(Host):
    """Takes its time for each recipient, and notes when it heard of it."""

    step_s: float = 0.0
    heard: list[float] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mx.test\r\n")
        while line := await reader.readline():
            verb = line[:4].upper()
            if verb == b"RCPT":
                await asyncio.sleep(self.step_s)
                self.heard.append(asyncio.get_running_loop().time())
            writer.write(b"221 bye\r\n" if verb == b"QUIT" else b"250 ok\r\n")

    def most_a_minute(self) -> int:
        return max((sum(at <= other < at + 59.99 for other in self.heard) for at in self.heard), default=0)


def simulated(work: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        runner.run(work)


@contextlib.asynccontextmanager
async def _pool(host: Host, limits: SiteLimits) -> Any:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await host.serve(reader, writer)
        writer.close()

    async def endpoints(route: Route, named: RouteHost) -> tuple[Endpoint, ...] | RouteFailure:
        return (Endpoint(host=named.name, address="127.0.1.1", port=route.port),)

    server = await asyncio.start_server(serve, "127.0.1.1", 25)
    pool = Pool(PoolSettings(hello="a.example", longest_pause_s=3600.0), endpoints)
    route = Route(domain="a.test", hosts=(RouteHost("mx.a.test"),), site=Site("a.test", limits))
    try:
        yield pool, route
    finally:
        await pool.close()
        server.close()


async def ask(pool: Pool, route: Route, count: int) -> None:
    """About so many recipients, in one session."""
    lease = pool.try_acquire(route, count) or await pool.acquire(route, count)
    assert isinstance(lease, Lease)
    try:
        await lease.connection.probe(Mail(NULL, {}), [Rcpt(Address(f"u{n}", "a.test"), {}) for n in range(count)])
    finally:
        lease.release()


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=25),
    st.integers(1, 4),
    st.sampled_from([0.0, 0.3, 5.0]),
    st.integers(0, 2**16),
)
def test_v09_no_minute_sees_more_recipients_than_the_site_bears(
    counts: list[int], connections: int, step_s: float, seed: int
) -> None:
    host, rng = Slow(step_s=step_s), random.Random(seed)

    async def work() -> None:
        limits = SiteLimits(connections=connections, recipients_per_minute=float(RATE))
        async with _pool(host, limits) as (pool, route):
            tasks = [asyncio.create_task(ask(pool, route, count)) for count in counts]
            await asyncio.sleep(rng.uniform(0, 200))
            given_up = [task for task in tasks if rng.random() < 0.2 and not task.done()]
            for task in given_up:
                task.cancel()
            done = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(result is None or isinstance(result, asyncio.CancelledError) for result in done)
            assert sum(result is not None for result in done) <= len(given_up)
            await ask(pool, route, 1)  # whoever gave up left nothing taken

    simulated(work())
    assert host.most_a_minute() <= RATE


def test_what_is_larger_than_a_minute_allows_goes_into_an_empty_one() -> None:
    host = Slow()

    async def work() -> None:
        async with _pool(host, SiteLimits(recipients_per_minute=10.0)) as (pool, route):
            await asyncio.gather(*(ask(pool, route, count) for count in (5, 25, 5)))
            assert asyncio.get_running_loop().time() >= 120

    simulated(work())
    assert len(host.heard) == 35


def test_a_connection_that_cannot_be_had_leaves_the_minute_as_it_was() -> None:
    async def work() -> None:
        async with _pool(Slow(), SiteLimits(recipients_per_minute=10.0)) as (pool, route):
            nowhere = Route(domain="b.test", hosts=(RouteHost("mx.b.test"),), site=route.site, port=26)
            assert not isinstance(await pool.acquire(nowhere, 10), Lease)
            assert pool._sites[route.site.place].throttle._under_way == []
            assert pool.open_connections == 0

    simulated(work())


def test_a_large_one_that_waits_for_its_minute_is_not_overtaken_by_small_ones() -> None:
    done: list[int] = []

    async def one(pool: Pool, route: Route, count: int) -> None:
        await ask(pool, route, count)
        done.append(count)

    async def work() -> None:
        async with _pool(Slow(), SiteLimits(recipients_per_minute=10.0, connections=3)) as (pool, route):
            await asyncio.gather(*(one(pool, route, count) for count in (5, 10, *[1] * 30)))

    simulated(work())
    assert done[:2] == [5, 10]
