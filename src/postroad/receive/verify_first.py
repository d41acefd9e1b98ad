"""Recipients are checked before mail for them is taken from a user: a mistyped domain is told at once.

How it is found out comes by a callable (worker.py hands in verification, or the router alone). Used by
compose/returns.py."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from postroad.receive.caller import Caller
from postroad.smtp.address import Address
from postroad.smtp.reply import Reply
from postroad.smtp.server_events import RcptReceived


@dataclass(frozen=True, slots=True)
class VerifyFirstCheck:
    """`ask` gives the refusal of a recipient whose mail would come back, or None."""

    ask: Callable[[Address], Awaitable[Reply | None]]
    is_local: Callable[[Address], bool]

    def rcpt(self, caller: Caller, event: RcptReceived) -> Awaitable[Reply | None] | None:
        """Ask about a recipient that is not ours."""
        address = event.forward_path
        return None if self.is_local(address) else self.ask(address)
