"""Opening a connection on a route: its hosts in turn, each secured as the route and policies ask.

Hosts are tried in the route's order (C-04), a host that just failed is passed over for a while, and a failed
opportunistic TLS handshake is followed by one try in the clear (C-12). Used by road/pool.py, which decides when.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from postroad.message.tls_report import TlsSession
from postroad.net.dialogue import Connection
from postroad.net.endpoint import CertificateCheck, DialogueError, Endpoint, PhaseTimeouts, TlsMode
from postroad.road.route import Route, RouteFailure, RouteHost, dns_trouble
from postroad.road.tls_demand import TlsDemand
from postroad.smtp.outcome import Phase
from postroad.smtp.reply import Reply

Endpoints = Callable[[Route, RouteHost], Awaitable["tuple[Endpoint, ...] | RouteFailure"]]


class Connector(Protocol):
    """Opens one connection; net.dialogue.connect does."""

    def __call__(
        self,
        endpoint: Endpoint,
        *,
        hello: str,
        tls: TlsMode,
        timeouts: PhaseTimeouts,
        ssl_context: ssl.SSLContext | None,
        credentials: Any,
        check: CertificateCheck | None,
    ) -> Coroutine[Any, Any, Connection]: ...


@dataclass(frozen=True, slots=True)
class HostAttempt:
    """One host that was tried in vain."""

    host: str
    address: str
    phase: Phase
    reply: Reply | None
    detail: str
    is_by_policy: bool = False
    """It was reachable, and not secured as a policy asks: that is no trouble of its site."""
    may_pass: bool = False
    """That may be over soon."""
    dialogue: Callable[[], str] = field(default=str, compare=False)
    """What was said until then, as text."""
    source_address: str = ""


@dataclass(frozen=True, slots=True)
class ConnectFailure:
    """No host of the route could be used now; `attempts` in the order in which they were made."""

    attempts: tuple[HostAttempt, ...]
    retry_after_s: float | None = None
    is_ours: bool = False
    """It is our own pace that does not allow it: no host was asked, nor is one to blame."""

    @property
    def is_by_policy(self) -> bool:
        """Whether nothing but policies of TLS stood in the way."""
        return all(attempt.is_by_policy for attempt in self.attempts)

    @property
    def last(self) -> HostAttempt:
        """The attempt that tells most: the last one in which a host spoke, or else the last."""
        spoken = [attempt for attempt in self.attempts if attempt.reply is not None]
        return (spoken or list(self.attempts))[-1]


class Opener:
    """`endpoints` resolves a route's host; `down_s`: how long a host that could not be reached is passed over where
    there are others, so many of them (`down_table`)."""

    def __init__(
        self,
        endpoints: Endpoints,
        connector: Connector,
        ssl_contexts: Callable[[TlsMode], ssl.SSLContext],
        *,
        hello: str,
        timeouts: PhaseTimeouts,
        down_s: float,
        down_table: int,
        on_tls: Callable[[TlsSession], None] | None,
    ) -> None:
        self._endpoints = endpoints
        self._connector = connector
        self._contexts = ssl_contexts
        self._context_cache: dict[TlsMode, ssl.SSLContext] = {}
        self._loop = asyncio.get_running_loop()
        self._hello = hello
        self._timeouts = timeouts
        self._down: OrderedDict[str, float] = OrderedDict()
        self._down_s = down_s
        self._down_table = down_table
        self._on_tls = on_tls

    async def open(self, route: Route) -> Connection | RouteFailure | ConnectFailure:
        """A connection to the first host that can be used, or why none can."""
        attempts: list[HostAttempt] = []
        failure: RouteFailure | None = None
        for host in self._reachable_first(route.hosts):
            demand = host.tls
            if demand is not None and demand.refusal:
                refused = self._refused(route, host, demand)
                if demand.is_enforced:
                    attempts.append(refused)
                    continue
            endpoints = await self._endpoints(route, host)
            if isinstance(endpoints, RouteFailure):
                # A host that may come back outweighs one that will not.
                if failure is None or failure.is_permanent:
                    failure = endpoints
                continue
            for endpoint in endpoints:
                outcome = await self._try_endpoint(endpoint, route, demand)
                if isinstance(outcome, Connection):
                    self._down.pop(host.name, None)
                    return outcome
                attempts.append(outcome)
                if outcome.phase is not Phase.CONNECT:
                    break
            if not attempts[-1].is_by_policy:
                self._note_down(host.name)
        if attempts:
            return ConnectFailure(tuple(attempts))
        if failure is not None and failure.is_permanent and route.is_cut:
            # Of more hosts than are tried, those that are left may be better.
            return dns_trouble(f"none of the first {len(route.hosts)} mail hosts can be used, and no more are tried")
        return failure or not_now("the route names no host")

    def _reachable_first(self, hosts: tuple[RouteHost, ...]) -> list[RouteHost]:
        if not self._down or len(hosts) == 1:
            return list(hosts)
        now = self._loop.time()
        return sorted(hosts, key=lambda host: self._down.get(host.name, 0.0) > now)

    def _note_down(self, host: str) -> None:
        self._down[host] = self._loop.time() + self._down_s
        self._down.move_to_end(host)
        if len(self._down) > self._down_table:
            self._down.popitem(last=False)

    def _refused(self, route: Route, host: RouteHost, demand: TlsDemand) -> HostAttempt:
        """A host that a policy rules out without a connection, or would."""
        if self._on_tls is not None and demand.policy is not None:
            session = TlsSession(
                domain=route.domain,
                policy=demand.policy,
                host=host.name,
                address="",
                source_address="",
                result=demand.result,
                reason=demand.refusal,
                is_enforced=demand.is_enforced,
            )
            self._on_tls(session)
        detail = f"{demand.named()} is not met by {host.name}: {demand.refusal}"
        return HostAttempt(host.name, "", Phase.STARTTLS, None, detail, is_by_policy=True, may_pass=demand.may_pass)

    async def _try_endpoint(
        self, endpoint: Endpoint, route: Route, demand: TlsDemand | None
    ) -> Connection | HostAttempt:
        if demand is None:
            return await self._try_opportunely(endpoint, route, is_noted=False)
        if demand.refusal:  # and not enforced
            return await self._try_opportunely(endpoint, route, is_noted=True)
        mode = TlsMode.VERIFIED if demand.check is None and route.tls is TlsMode.VERIFIED else demand.mode
        try:
            connection = await self._connect(endpoint, route, mode, demand.check)
        except DialogueError as error:
            if error.phase is not Phase.STARTTLS:
                return _attempt(endpoint, error)
            self._note_tls(route, endpoint, demand, error)
            if not demand.is_enforced:
                return await self._try_opportunely(endpoint, route, is_noted=True)
            detail = f"{demand.named()} is not met by {endpoint.host}: {error.detail}"
            may_pass = error.reply is not None and error.reply.is_transient
            return replace(_attempt(endpoint, error), detail=detail, is_by_policy=True, may_pass=may_pass)
        self._note_tls(route, endpoint, demand, None)
        return connection

    async def _try_opportunely(self, endpoint: Endpoint, route: Route, *, is_noted: bool) -> Connection | HostAttempt:
        """As the route asks: no policy says more. `is_noted`: what came of TLS was told already."""
        failure: DialogueError | None = None
        try:
            connection = await self._connect(endpoint, route, route.tls)
        except DialogueError as error:
            if error.phase is not Phase.STARTTLS:
                return _attempt(endpoint, error)
            failure = error
        if not is_noted:
            is_clear = failure is None and connection.tls is None
            self._note_tls(route, endpoint, None, _NOT_OFFERED if is_clear else failure)
        if failure is None:
            return connection
        if route.tls is not TlsMode.OPPORTUNISTIC:
            return _attempt(endpoint, failure)
        try:
            return await self._connect(endpoint, route, TlsMode.NONE)  # RFC 7435
        except DialogueError as error:
            return _attempt(endpoint, error)

    def _note_tls(
        self, route: Route, endpoint: Endpoint, demand: TlsDemand | None, failure: DialogueError | None
    ) -> None:
        if self._on_tls is None or route.is_trusted:
            return
        session = TlsSession(
            domain=route.domain,
            policy=None if demand is None else demand.policy,
            host=endpoint.host,
            address=endpoint.address,
            source_address=endpoint.source_address or "",
            result="" if failure is None else failure.tls_result,
            reason="" if failure is None else failure.detail,
            is_enforced=demand is not None and demand.is_enforced,
        )
        self._on_tls(session)

    async def _connect(
        self, endpoint: Endpoint, route: Route, tls: TlsMode, check: CertificateCheck | None = None
    ) -> Connection:
        return await self._connector(
            endpoint,
            hello=self._hello if route.source is None else route.source.hello or self._hello,
            tls=tls,
            timeouts=self._timeouts,
            ssl_context=self._context(tls),
            credentials=route.credentials,
            check=check,
        )

    def _context(self, tls: TlsMode) -> ssl.SSLContext | None:
        if tls is TlsMode.NONE:
            return None
        if tls not in self._context_cache:
            self._context_cache[tls] = self._contexts(tls)
        return self._context_cache[tls]


_NOT_OFFERED = DialogueError(Phase.STARTTLS, "the server does not offer STARTTLS", tls_result="starttls-not-supported")


def _attempt(endpoint: Endpoint, failure: DialogueError) -> HostAttempt:
    return HostAttempt(
        *(endpoint.host, endpoint.address, failure.phase, failure.reply, failure.detail),
        dialogue=failure.dialogue,
        source_address=endpoint.source_address or "",
    )


def not_now(detail: str, retry_after_s: float | None = None, *, is_ours: bool = False) -> ConnectFailure:
    """No host was asked. `is_ours`: for our own pace's sake."""
    return ConnectFailure((HostAttempt("", "", Phase.CONNECT, None, detail),), retry_after_s, is_ours)
