"""What delivery needs of the road, no more: the verbs of router, pool and lease that it calls."""

from __future__ import annotations

from typing import Protocol

from postroad.net.dialogue import Connection
from postroad.road.pool import ConnectFailure
from postroad.road.route import Route, RouteFailure


class Router(Protocol):
    async def route(self, domain: str) -> Route | RouteFailure:
        """The way to a domain."""
        ...


class Lease(Protocol):
    """A connection for one's own use until `release`."""

    @property
    def connection(self) -> Connection: ...

    def release(self, *, reusable: bool) -> None:
        """Give it back; `reusable`: another transaction may follow on it."""
        ...

    def trouble(self) -> None:
        """The site has said that it does not want us now: it is left alone for a while."""
        ...


class Pool(Protocol):
    def try_acquire(self, route: Route) -> Lease | None:
        """A connection that is free at this moment, or None: then `acquire`."""
        ...

    async def acquire(self, route: Route) -> Lease | RouteFailure | ConnectFailure:
        """A connection, once the limits admit one; or why there is none."""
        ...
