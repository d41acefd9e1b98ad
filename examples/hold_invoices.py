"""A plugin: messages of strangers that speak of an invoice wait for a person (docs/guides/hooks.md)."""

from __future__ import annotations

from collections.abc import Mapping

from postroad.hook.vocabulary import AddHeader, Amend, Answer, Arrived, Hold, Settled


class HoldInvoices:
    """`word=…`: what the body must hold."""

    def __init__(self, options: Mapping[str, str]) -> None:
        self.word = options.get("word", "invoice").encode().lower()
        self.delivered = 0

    async def message(self, arrived: Arrived) -> Answer:
        """Hold it, or mark it as seen."""
        if arrived.client.user is None and self.word in arrived.octets.lower():
            return Hold("a stranger's invoice")
        return Amend((AddHeader("X-Invoices", "none"),))

    async def settled(self, what: Settled) -> None:
        """Count what arrived."""
        self.delivered += what.outcome == "delivered"
