"""Local delivery: which transport takes the mail of an address, and what it said of each recipient.

A transport is one place where mail ends: Maildirs, a mail store by LMTP, a web service, a program. Each answers with a
reply for each recipient, in order, whose words a sender may read. A fault of a transport is an answer too: its
recipients are tried again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from postroad.events import emit
from postroad.message.envelope import format_queue_id
from postroad.smtp.address import Address
from postroad.smtp.reply import Reply, reply
from postroad.store.spool import Queued, SpooledMessage

_DISCARDED = reply(250, "Discarded, as the configuration says", "2.0.0")
_FAULT = reply(451, "An internal error of this server", "4.3.0")
_UNKNOWN = reply(451, "This server's configuration names no way to deliver to this address", "4.3.5")


class Transport(Protocol):
    """One place where mail ends."""

    async def deliver(self, message: SpooledMessage, queued: Sequence[Queued]) -> Sequence[Reply]:
        """Deliver to recipients; the fate of each as a reply, in order."""
        ...


class Discard:
    """Takes everything and keeps nothing."""

    async def deliver(self, message: SpooledMessage, queued: Sequence[Queued]) -> Sequence[Reply]:
        """Say that it was taken."""
        return [_DISCARDED] * len(queued)


class Destinations:
    """Local delivery by several transports. `takes`: the local domains; `chosen`: what takes an address, by name."""

    def __init__(
        self,
        transports: Mapping[str, Transport],
        chosen: Callable[[Address], str],
        takes: Callable[[str], bool],
    ) -> None:
        self._transports = transports
        self._chosen = chosen
        self._takes = takes

    def takes(self, domain: str) -> bool:
        """Whether mail for that domain ends here."""
        return self._takes(domain)

    async def deliver(self, message: SpooledMessage, queued: Sequence[Queued]) -> Sequence[Reply]:
        """Deliver by each recipient's transport; the fate of each, in order."""
        parts: dict[str, list[Queued]] = {}
        for one in queued:
            parts.setdefault(self._chosen(one.recipient.address), []).append(one)
        if len(parts) == 1:
            ((name, alone),) = parts.items()
            return await self._by(name, message, alone)
        said: dict[int, Reply] = {}
        for name, part in parts.items():
            answers = await self._by(name, message, part)
            said.update({one.id: answer for one, answer in zip(part, answers, strict=True)})
        return [said[one.id] for one in queued]

    async def _by(self, name: str, message: SpooledMessage, queued: Sequence[Queued]) -> Sequence[Reply]:
        transport = self._transports.get(name)
        if transport is None:
            return [_UNKNOWN] * len(queued)
        try:
            return await transport.deliver(message, queued)
        except Exception as error:  # one transport that fails must not cost the recipients of another
            emit("internal.error", where=f"transport {name}", queue_id=format_queue_id(message.id), error=error)
            return [_FAULT] * len(queued)
