"""At a site with fewer connections than workers each worker gets its turn, however much mail another has for it."""

from __future__ import annotations

import asyncio

from postroad.net.endpoint import Endpoint
from postroad.road.pool import Pool, PoolSettings
from postroad.road.route import Route, RouteFailure, RouteHost
from postroad.road.seats import REST_S
from postroad.road.shaping import Remembered
from postroad.road.site import Site, SiteLimits
from postroad.road.site_pool import SEATED_S
from postroad.road.throttle import LOOK_AGAIN_S
from road.test_pool_rate import Slow, ask, simulated

ROUTE = Route(
    domain="a.test",
    hosts=(RouteHost("mx.a.test"),),
    site=Site("a.test", SiteLimits(connections=1, messages_per_connection=100_000), seats=1),
)


class OneSeat:
    """What the workers of one machine share, on one clock."""

    def __init__(self) -> None:
        self.holder: Turn | None = None


class Turn:
    """One worker's guidance: nothing is remembered, and the seat is taken in turn."""

    def __init__(self, table: OneSeat) -> None:
        self._table = table
        self._rests_until = 0.0

    def remembered(self, place: tuple[str, str]) -> Remembered | None:
        return None

    def hold_s(self, key: str) -> float:
        return 0.0

    def take_seat(self, place: tuple[str, str], most: int) -> int | None:
        if self._table.holder is not None or asyncio.get_running_loop().time() < self._rests_until:
            return None
        self._table.holder = self
        return 0

    def give_seat_back(self, place: tuple[str, str], seat: int) -> None:
        assert self._table.holder is self
        self._table.holder = None
        self._rests_until = asyncio.get_running_loop().time() + REST_S


async def endpoints(route: Route, named: RouteHost) -> tuple[Endpoint, ...] | RouteFailure:
    return (Endpoint(host=named.name, address="127.0.1.1", port=route.port),)


def test_a_worker_with_mail_without_end_leaves_the_one_connection_to_another_in_time() -> None:
    async def work() -> None:
        host, table = Slow(), OneSeat()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await host.serve(reader, writer)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.1.1", 25)
        busy, other = (Pool(PoolSettings(hello="us.test"), endpoints, guidance=Turn(table)) for _ in range(2))

        async def without_end() -> None:
            while True:
                await ask(busy, ROUTE, 1)
                await asyncio.sleep(0.5)

        sending = asyncio.create_task(without_end())
        await asyncio.sleep(1)
        await ask(other, ROUTE, 1)
        assert asyncio.get_running_loop().time() <= SEATED_S + 2 * LOOK_AGAIN_S
        before = len(host.heard)
        await asyncio.sleep(60)
        assert len(host.heard) > before, "and it is the first one's turn again"
        sending.cancel()
        await asyncio.gather(busy.close(), other.close())
        assert table.holder is None
        server.close()

    simulated(work())
