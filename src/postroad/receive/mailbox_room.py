"""A full mailbox is told at RCPT, where the sender's host can say so at once (452 4.2.2).

Only for an address that is one mailbox: where an alias leads to several, the others get their copy. Asked in a thread.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from postroad.receive.caller import Caller
from postroad.receive.directory import Directory
from postroad.smtp.address import Address
from postroad.smtp.reply import Reply
from postroad.smtp.server_events import RcptReceived


@dataclass(frozen=True, slots=True)
class MailboxRoom:
    """`has_quota`: whether a mailbox has any limit; `refusal`: what is said where it is full."""

    directory: Directory
    has_quota: Callable[[Address], bool]
    refusal: Callable[[Address], Awaitable[Reply | None]]

    def rcpt(self, caller: Caller, event: RcptReceived) -> Awaitable[Reply | None] | None:
        """Refuse for now what finds no room."""
        if not self.directory.is_local(event.forward_path):
            return None
        found = self.directory.resolve(event.forward_path).addresses
        if len(found) != 1 or not self.directory.is_local(found[0]) or not self.has_quota(found[0]):
            return None
        return self.refusal(found[0])
