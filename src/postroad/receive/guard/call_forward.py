"""Whether a recipient exists, asked of the host that the mail will go to: for domains with a route behind us.

Answers are remembered for a while, questions about the same recipient share one, and so many are asked at a time. What
cannot be known is 450: the client comes again. Who asks the host comes from outside (worker.py joins it).
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Container
from dataclasses import dataclass

from postroad.receive.caller import Caller
from postroad.smtp.address import Address
from postroad.smtp.reply import Reply, reply
from postroad.smtp.server_events import RcptReceived

Ask = Callable[[Address], Awaitable["Reply | None"]]
"""None: the host takes the recipient; a 5yz: it does not; anything else: it could not be known."""

_UNKNOWN = reply(450, "This recipient cannot be verified now: try again later", "4.1.1")


@dataclass(frozen=True, slots=True, kw_only=True)
class CallForwardSettings:
    """Seconds and counts. `domains`: those whose recipients are asked about, in canonical form."""

    domains: Container[str] = frozenset()
    known_s: float = 86_400.0
    """How long a recipient that the host took is not asked about again."""
    absent_s: float = 3600.0
    unknown_s: float = 60.0
    """How long a host that gave no answer about a recipient is not asked about it again."""
    timeout_s: float = 20.0
    cache_size: int = 50_000
    asking: int = 50
    """Questions at a time; beyond them it cannot be known now."""


class CallForward:
    """A check of recipients. `now`: a clock that only goes forward, in seconds."""

    def __init__(self, settings: CallForwardSettings, ask: Ask, now: Callable[[], float]) -> None:
        self.settings = settings
        self._ask = ask
        self._now = now
        self._known: OrderedDict[Address, tuple[float, Reply | None]] = OrderedDict()
        self._asking: dict[Address, asyncio.Future[Reply | None]] = {}

    def use(self, settings: CallForwardSettings) -> None:
        """From now on these; what is known is kept."""
        self.settings = settings

    def rcpt(self, caller: Caller, event: RcptReceived) -> Reply | Awaitable[Reply | None] | None:
        """None where the host takes it, as far as is known; else its refusal, or 450."""
        address = event.forward_path
        if address.domain not in self.settings.domains or caller.role.is_submission:
            return None
        known = self._known.get(address)
        if known is not None and known[0] > self._now():
            self._known.move_to_end(address)
            return known[1]
        asking = self._asking.get(address)
        if asking is None:
            if len(self._asking) >= self.settings.asking:
                return _UNKNOWN
            asking = asyncio.ensure_future(self._find_out(address))
            self._asking[address] = asking
            asking.add_done_callback(lambda _: self._asking.pop(address, None))
        return asyncio.shield(asking)

    async def _find_out(self, address: Address) -> Reply | None:
        settings = self.settings
        try:
            async with asyncio.timeout(settings.timeout_s):
                said = await self._ask(address)
        except TimeoutError:
            said = _UNKNOWN
        if said is None:
            kept_s, decision = settings.known_s, None
        elif said.is_permanent:
            kept_s, decision = settings.absent_s, said
        else:
            kept_s, decision = settings.unknown_s, _UNKNOWN
        self._known[address] = (self._now() + kept_s, decision)
        self._known.move_to_end(address)
        while len(self._known) > settings.cache_size:
            self._known.popitem(last=False)
        return decision
