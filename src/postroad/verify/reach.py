"""Whether any mail host can be reached at all: a closed port is known within seconds, and said once.

Many networks close port 25 to the outside. Then every connection is met with silence, and a list of a million would
end as a million times `unknown`: instead the run stops, says why, and what to do. Used by job.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from postroad.net.dialogue import Connection
from postroad.net.endpoint import CertificateCheck, DialogueError, Endpoint, PhaseTimeouts, TlsMode
from postroad.road.site import site_key
from postroad.smtp.outcome import Phase

SILENT_S = 5.0
"""A connection that takes longer is as good as unanswered."""
SILENT_SITES = 5
"""Sites that all are silent, while nobody has answered: the port is closed."""
REFUSING_SITES = 20
"""The same of sites that all refuse the connection, or to which there is no way: it takes more, since a host without
a mail server does so too."""


class Dialler(Protocol):
    """Opens one connection, and says when the host was reached; net.dialogue.connect does."""

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
        on_connected: Callable[[], None],
    ) -> Coroutine[Any, Any, Connection]: ...


class Reach:
    """Opens connections by `connector`, and notes what came of them."""

    def __init__(self, connector: Dialler, port: int, *, by_proxy: bool) -> None:
        self._connector = connector
        self._port = port
        self._by_proxy = by_proxy
        self._trying: dict[object, tuple[str, float]] = {}
        self._silent: set[str] = set()
        self._refusing: set[str] = set()
        self._enough_since: float | None = None
        self.is_open = False
        """Somebody was reached."""

    async def connect(
        self,
        endpoint: Endpoint,
        *,
        hello: str,
        tls: TlsMode,
        timeouts: PhaseTimeouts,
        ssl_context: ssl.SSLContext | None,
        credentials: Any,
        check: CertificateCheck | None = None,
    ) -> Connection:
        """As the connector does it."""
        token = object()
        site = site_key(endpoint.host)
        if not self.is_open:
            self._trying[token] = (site, asyncio.get_running_loop().time())
        try:
            return await self._connector(
                endpoint,
                hello=hello,
                tls=tls,
                timeouts=timeouts,
                ssl_context=ssl_context,
                credentials=credentials,
                check=check,
                on_connected=self._settle,  # a host may greet late, and yet be there
            )
        except DialogueError as error:
            self._note(site, error)
            raise
        finally:
            self._trying.pop(token, None)

    def is_closed(self, now: float, *, is_over: bool = False) -> bool:
        """Whether, by what is known now, nobody can be reached. `is_over`: nothing more will be tried."""
        if self.is_open:
            return False
        slow = {site for site, since in self._trying.values() if now - since >= SILENT_S}
        silent = len(self._silent | slow)
        is_enough = silent >= (2 if is_over else SILENT_SITES) or len(self._refusing) + silent >= REFUSING_SITES
        if not is_enough or is_over:
            return is_enough
        if self._enough_since is None:
            self._enough_since = now
        # Failures are quick, and answers take their time: those who were asked along with them are heard out.
        return not any(since <= self._enough_since and now - since < SILENT_S for _, since in self._trying.values())

    def next_look(self, now: float) -> float | None:
        """In how many seconds a connection that is being tried becomes a silent one."""
        waits = [since + SILENT_S - now for _, since in self._trying.values() if now - since < SILENT_S]
        return max(0.01, min(waits)) if waits and not self.is_open else None

    @property
    def is_doubtful(self) -> bool:
        """Whether nobody was reached so far, and somebody was silent."""
        return not self.is_open and bool(self._silent)

    def doubt(self) -> str:
        """What to tell where one site is too little to know."""
        return (
            f"No mail host was reached on port {self._port}. If that is so with every address, this network closes the"
            " port, as many providers do: verify from a machine where it is open, or by way of one: --proxy"
            " socks5://HOST:PORT."
        )

    def notice(self) -> str:
        """What to tell, and what to do about it."""
        if self._by_proxy:
            return (
                f"No mail host can be reached on port {self._port} by way of the proxies: every connection failed. Ask"
                " whoever runs them whether they let mail out."
            )
        return (
            f"No mail host can be reached on port {self._port}: every connection failed. Most likely this network"
            " closes that port, as many providers do. Verify from a machine where it is open, ask the provider to"
            " open it, or go by way of such a machine: --proxy socks5://HOST:PORT."
        )

    def _note(self, site: str, error: DialogueError) -> None:
        if self.is_open:
            return
        if error.phase is not Phase.CONNECT:
            self._settle()
        elif self._by_proxy or "timed out" in error.detail:
            self._silent.add(site)
        else:
            self._refusing.add(site)

    def _settle(self) -> None:
        self.is_open = True
        self._trying.clear()
        self._silent.clear()
        self._refusing.clear()
