"""How urgent a message is: what its sender may claim, what the operator says of him, what its headers show.

Pure. Higher goes first, below 0 is bulk (RFC 6710 §2). A stranger's claim counts as 0. Used by receive/accept.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from postroad.message.headers import header_section
from postroad.smtp.address import Address, NullPath

NORMAL = 0

_BULK = re.compile(
    rb"^(?:Precedence:[ \t]*(?:bulk|list|junk)[ \t]*\r?$|List-Unsubscribe:)", re.IGNORECASE | re.MULTILINE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderPriority:
    """`given`: what the sender's mail has; `highest`: what he may claim."""

    given: int = NORMAL
    highest: int = NORMAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Priorities:
    """The operator's rules. `senders`: by account, or by domain, in lower case; the account's own row comes first."""

    senders: Mapping[str, SenderPriority] = field(default_factory=dict)
    bulk: int | None = None
    """The priority of what its headers call bulk, unless it is lower still; None: headers are not looked at."""

    def of(self, *, user: str | None, reverse_path: Address | NullPath, asked: int | None, body: bytes) -> int:
        """The priority of a message that this user (None: a stranger) sent, asking for that."""
        priority = NORMAL
        if user is not None:
            rule = self._rule(user, reverse_path)
            priority = rule.given if asked is None else min(asked, max(rule.highest, rule.given))
        if self.bulk is not None and priority > self.bulk and is_bulk(body):
            return self.bulk
        return priority

    def _rule(self, user: str, reverse_path: Address | NullPath) -> SenderPriority:
        rule = self.senders.get(user.lower())
        if rule is None and isinstance(reverse_path, Address):
            rule = self.senders.get(reverse_path.domain)
        return rule or _EVERYBODY


_EVERYBODY = SenderPriority()


def is_bulk(body: bytes) -> bool:
    """Whether the headers say that it went to many: `Precedence: bulk`, `list` or `junk`, or a List-Unsubscribe."""
    return _BULK.search(header_section(body)) is not None
