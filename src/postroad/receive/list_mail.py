"""Messages of a list: a header names it, the copy gets its List-Unsubscribe headers, and who has left gets none.

    X-Postroad-List: offers

The header is for us and goes no further. The headers name one recipient, so list mail is submitted one recipient a
message; with several none are added, which is told in the log. Used by compose/returns.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from postroad.events import emit
from postroad.message.headers import has_header, header_end, headers, unfold
from postroad.message.unsubscribe import Leaving, Unsubscriber, list_scope
from postroad.receive.caller import Caller
from postroad.receive.checks import Amended, MessageDecision
from postroad.receive.suppression import Find, refusal
from postroad.smtp.address import Address
from postroad.smtp.reply import Reply, reply
from postroad.smtp.server_events import MessageReceived

HEADER = b"x-postroad-list"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_FIELD = re.compile(rb"(?im)^x-postroad-list[ \t]*:.*\r\n(?:[ \t].*\r\n)*")
_BAD_NAME = reply(
    550, "X-Postroad-List: a list's name has letters, digits, dots, dashes and underscores, at most 64", "5.6.0"
)


@dataclass(frozen=True, slots=True)
class ListMail:
    """`unsubscriber` None: no headers are added. `find` asks the list of those who left."""

    unsubscriber: Unsubscriber | None
    find: Find | None

    def message(self, caller: Caller, event: MessageReceived) -> MessageDecision:
        """Amend a message that names a list."""
        if not has_header(event.body, HEADER):
            return None
        return self._amend(event)

    async def _amend(self, event: MessageReceived) -> Reply | Amended | None:
        name = next(unfold(value) for field, value in headers(event.body) if field == HEADER.decode())
        sender = event.mail.reverse_path
        if _NAME.fullmatch(name) is None or not isinstance(sender, Address):
            return _BAD_NAME
        scope = list_scope(name, sender.domain)
        recipients = [recipient.forward_path for recipient in event.recipients]
        if self.find is not None:
            for address in recipients:
                entry = await self.find([str(address)], [scope])
                if entry is not None:
                    return refusal(address, entry)
        end = header_end(event.body)
        body = _FIELD.sub(b"", event.body[:end]) + event.body[end:]
        if self.unsubscriber is not None and not has_header(body, b"list-unsubscribe"):
            if len(recipients) == 1:
                body = self.unsubscriber.headers(Leaving(str(recipients[0]).lower(), scope)) + body
            else:
                emit("unsubscribe.skipped", list=name, recipients=len(recipients))
        return Amended(event=replace(event, body=body))
