"""Mail that we forward gets a seal (ARC, RFC 8617): what we saw of it on arrival, so that the next host may believe it.

The last check of a message on the MX port; only where an alias leads elsewhere, and our domain has keys. The message
itself, and whatever its author signed, stays as it is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from postroad.events import emit
from postroad.message.arc import ArcResult
from postroad.receive.caller import Caller
from postroad.receive.checks import Amended
from postroad.receive.directory import Directory
from postroad.receive.signing import CannotSign
from postroad.smtp.errors import LocalProtocolError
from postroad.smtp.server_events import MessageReceived

Seal = Callable[[bytes, ArcResult, str], Awaitable[bytes]]
"""The message, what was said of its chain on arrival, and what we saw → the message with our set above it."""


@dataclass(frozen=True, slots=True)
class ForwardSealing:
    """`has_keys`: whether there is anything to seal with; `domain`: whose keys they are."""

    directory: Directory
    domain: str
    has_keys: Callable[[], bool]
    seal: Seal

    def message(self, caller: Caller, event: MessageReceived) -> Awaitable[Amended | None] | None:
        """Seal what goes elsewhere."""
        seen = caller.authenticated
        if seen is None or not self.has_keys():
            return None
        if not any(self.directory.leads_elsewhere(one.forward_path) for one in event.recipients):
            return None
        return self._sealed(event, seen.chain, seen.results)

    async def _sealed(self, event: MessageReceived, chain: ArcResult, results: str) -> Amended | None:
        try:
            sealed = await self.seal(event.body, chain, results)
        except (CannotSign, LocalProtocolError) as error:
            emit("dkim.unsigned", domain=self.domain, reason=str(error))
            return None
        above = sealed[: len(sealed) - len(event.body)]
        return Amended(event=event, above=above) if above else None
