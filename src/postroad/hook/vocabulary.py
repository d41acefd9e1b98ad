"""What hooks are told, and what they may answer: one vocabulary for plugins, milters and rspamd. Values only.

Used by whoever writes a plugin, by the clients of this room, and by receive/hooks.py, which makes replies of answers.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from postroad.smtp.address import Address, NullPath
from postroad.smtp.reply import Reply


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """Who is at the other end. `user`: the account that authenticated; `listener`: mx, submission or submissions."""

    address: str
    port: int
    listener: str
    hello: str = ""
    user: str | None = None
    is_tls: bool = False
    host_name: str = ""
    """Its confirmed name in DNS, where that was looked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """A whole message. `queue_id` only where it is in the queue already."""

    client: Client
    sender: Address | NullPath
    recipients: tuple[Address, ...]
    octets: bytes = field(repr=False)
    hostname: str
    """Our own name."""
    queue_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What became of one recipient: told after the fact. `outcome`: delivered, deferred, bounced or dropped."""

    queue_id: str
    sender: str
    recipient: str
    outcome: str
    said: str
    host: str


# Answers -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Refuse:
    """Turn it away for good (5yz)."""

    reply: Reply


@dataclass(frozen=True, slots=True)
class Defer:
    """Turn it away for now (4yz)."""

    reply: Reply


@dataclass(frozen=True, slots=True)
class Hold:
    """Take it, and keep it from being delivered until an operator releases it."""

    reason: str


@dataclass(frozen=True, slots=True)
class Discard:
    """Say 250, and throw it away."""


@dataclass(frozen=True, slots=True)
class AddHeader:
    """A field at the end of the header section, or before the field of that place (0: the first)."""

    name: str
    value: str
    at: int | None = None


@dataclass(frozen=True, slots=True)
class ChangeHeader:
    """The `occurrence`-th field of that name (from 1) gets another value; None removes it."""

    name: str
    occurrence: int
    value: str | None


@dataclass(frozen=True, slots=True)
class ReplaceBody:
    """Everything behind the header section."""

    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class AddRecipient:
    address: Address


@dataclass(frozen=True, slots=True)
class RemoveRecipient:
    address: Address


@dataclass(frozen=True, slots=True)
class ChangeSender:
    """Another reverse-path."""

    sender: Address | NullPath


Change = AddHeader | ChangeHeader | ReplaceBody | AddRecipient | RemoveRecipient | ChangeSender


@dataclass(frozen=True, slots=True)
class Amend:
    """Take it, with these changes, made in order; held where `hold` says why."""

    changes: tuple[Change, ...]
    hold: str = ""


Answer = Refuse | Defer | Hold | Discard | Amend | None
"""None: no objection."""
EarlyAnswer = Refuse | Defer | None
"""What may be answered before there is a message."""
