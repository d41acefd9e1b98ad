"""Those who are not to be mailed again are refused when mail to them is submitted, with the reason (550).

Asked only where the list has entries at all; what the list says comes by a callable, since it is on a disk. Mail for
local domains is not concerned. Used by compose/returns.py.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from postroad.receive.caller import Caller
from postroad.smtp.address import Address
from postroad.smtp.reply import Reply, reply
from postroad.smtp.server_events import RcptReceived
from postroad.store.facts import EVERYBODY, Cause, Suppressed

_MAX_WORDS = 300
_WHY = {
    Cause.BOUNCED: ("Mail to {name} came back", "5.1.1"),
    Cause.DO_NOT_MAIL: ("{name} is not to be mailed", "5.7.1"),
    Cause.OPT_OUT: ("{name} wants no mail from you", "5.7.1"),
    Cause.BLOCKED_DOMAIN: ("The domain {name} is not to be mailed", "5.7.1"),
}

Find = Callable[[Sequence[str], Sequence[str]], Awaitable["Suppressed | None"]]
"""The entry that stops mail to one of the names, in one of the scopes."""


@dataclass(frozen=True, slots=True)
class SuppressionCheck:
    """`is_empty`: whether nobody is on the list, so that asking would be in vain."""

    find: Find
    is_empty: Callable[[], bool]
    is_local: Callable[[Address], bool]

    def rcpt(self, caller: Caller, event: RcptReceived) -> Awaitable[Reply | None] | None:
        """Refuse a recipient who is on the list."""
        if self.is_empty() or self.is_local(event.forward_path):
            return None
        return self._ask(caller, event.forward_path)

    async def _ask(self, caller: Caller, address: Address) -> Reply | None:
        entry = await self.find([str(address), address.domain], scopes_of(caller))
        return None if entry is None else refusal(address, entry)


def scopes_of(caller: Caller) -> list[str]:
    """Whose entries concern that sender's mail."""
    sender = caller.reverse_path
    if not isinstance(sender, Address):
        return [EVERYBODY]
    return [EVERYBODY, str(sender).lower(), sender.domain]


def refusal(address: Address, entry: Suppressed) -> Reply:
    """What is said of a recipient who is on the list; how to take him off it is for the operator to know."""
    why, status = _WHY[entry.cause]
    name = entry.name if entry.cause is Cause.BLOCKED_DOMAIN else str(address)
    since = datetime.fromtimestamp(entry.added_at, UTC).strftime("%Y-%m-%d")
    words = f": {entry.note[:_MAX_WORDS]}" if entry.note else ""
    sentence = f"{why.format(name=name)} (suppressed since {since}{words}); `postroad suppress remove` lifts it"
    return reply(550, "".join(one if " " <= one <= "~" else "?" for one in sentence), status)
