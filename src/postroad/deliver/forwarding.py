"""The sender of mail that we forward, as the next host sees it (message/srs.py).

Mail of a stranger that goes to a host elsewhere is forwarded: nobody else may send through us. Its envelope in the
spool stays as it came, so that our own notices go to its sender without a detour; at the connection it gets a sender of
ours, which passes SPF there, and to which bounces come back.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from postroad.message.srs import Srs
from postroad.smtp.address import Address
from postroad.store.spool import Queued, SpooledMessage

_OUR_OWN = ("bounce", "report")
"""Protocols of messages that this server wrote."""


@dataclass(frozen=True, slots=True)
class Forwarding:
    """`is_ours`: whether a domain is local; `remember`: keeps a sender by his name, durably; `wall`: the clock."""

    srs: Srs
    is_ours: Callable[[str], bool]
    remember: Callable[[str, Address], Awaitable[None]]
    wall: Callable[[], float]

    def concerns(self, message: SpooledMessage, queued: Queued) -> bool:
        """Whether it is forwarded to that recipient."""
        sender = message.envelope.reverse_path
        return (
            message.trace.user is None
            and isinstance(sender, Address)
            and bool(sender.domain)
            and message.trace.protocol not in _OUR_OWN
            and not self.is_ours(queued.recipient.address.domain)
            and not self.is_ours(sender.domain)
        )

    async def sender(self, message: SpooledMessage) -> Address:
        """The sender to say. Raises what `remember` does."""
        original = message.envelope.reverse_path
        assert isinstance(original, Address)
        long = self.srs.name_for(original)
        if long is not None:
            await self.remember(long.name, original)
        return self.srs.forward(original, self.wall())
