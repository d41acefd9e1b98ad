"""What delivery needs of the road, no more: the verbs of router, pool and lease that it calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from postroad.net.dialogue import Connection
from postroad.road.pool import ConnectFailure
from postroad.road.route import Route, RouteFailure
from postroad.smtp.reply import Reply
from postroad.store.spool import Queued, SpooledMessage


class LocalDelivery(Protocol):
    """Final delivery here: mailboxes, and whatever else takes the mail of a local domain."""

    def takes(self, domain: str) -> bool:
        """Whether mail for that domain is delivered here, not over the road."""
        ...

    async def deliver(self, message: SpooledMessage, queued: Sequence[Queued]) -> Sequence[Reply]:
        """Deliver to recipients of one such domain; the fate of each as a reply, in order. Never raises for a fault of
        the destination."""
        ...


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

    def trouble(self, words: str = "") -> None:
        """The site has said so that it does not want us now: it is left alone for a while, and asked for less."""
        ...


class Sources(Protocol):
    """The addresses that mail leaves from."""

    def choose(self, message: SpooledMessage, queued: Queued, route: Route) -> Route | ConnectFailure:
        """The same way from the address for this mail, which has then sent one more; or why it must wait."""
        ...

    def unused(self, route: Route) -> None:
        """Nothing was sent on a route that was chosen."""
        ...


class Pool(Protocol):
    def try_acquire(self, route: Route) -> Lease | None:
        """A connection that is free at this moment, or None: then `acquire`."""
        ...

    async def acquire(self, route: Route) -> Lease | RouteFailure | ConnectFailure:
        """A connection, once the limits admit one; or why there is none."""
        ...
