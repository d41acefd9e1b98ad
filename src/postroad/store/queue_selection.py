"""Which part of a queue an operator means: by message, sender, recipient, site, age, reason, hold, priority.

A value, and the SQL that finds it: conditions on a message `m` and on one of its recipients `r` still to be settled. A
recipient's reason is its last attempt. Used by store/queue_admin.py; the commands fill it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

LAST_ATTEMPT = (
    "SELECT {} FROM attempt a WHERE a.message_id = r.message_id AND a.recipient_id = r.id"
    " ORDER BY at DESC, number DESC LIMIT 1"
)

LAST_HOST = f"ifnull(({LAST_ATTEMPT.format('lower(host)')}), '')"


def know_sites(connection: sqlite3.Connection, site_of: Callable[[str], str]) -> None:
    """Give the connection `site_of(host)`: the name of what shares limits with a host (road/site.py)."""
    connection.create_function("site_of", 1, lambda host: site_of(host) if host else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """All that is given must hold; the one with nothing in it is the whole queue. Times: wall clock."""

    ids: Sequence[int] | None = None
    domain: str | None = None
    """Of the recipient."""
    recipient: tuple[str, str] | None = None
    """Local part and domain."""
    sender: str | None = None
    """An address, `@domain`, or `<>` for the null reverse-path."""
    site: str | None = None
    """Of the host that was tried last, or that host itself. What was never tried is of no site."""
    received_before: float | None = None
    received_after: float | None = None
    reason: str | None = None
    """A kind of meaning (`greylisted`), or a part of the host's words, of the hold, of the damage."""
    is_held: bool | None = None
    hold: str | None = None
    """Held for exactly that."""
    not_hold: str | None = None
    """But not for that."""
    priorities: tuple[int, int] | None = None
    """The least and the greatest."""

    @property
    def is_everything(self) -> bool:
        """Whether it leaves nothing out."""
        return all(getattr(self, one.name) is None for one in fields(self))


@dataclass(frozen=True, slots=True)
class Conditions:
    """`of_message` and `of_recipient`: SQL on `m` and `r`, whose names stand in `values`."""

    of_message: str
    of_recipient: str
    values: Mapping[str, Any]

    @property
    def of_any(self) -> str:
        """That the message has such a recipient."""
        if self.of_recipient == "1":
            return "1"
        return f"EXISTS (SELECT 1 FROM recipient r WHERE r.message_id = m.id AND {self.of_recipient})"  # noqa: S608


def conditions(selection: Selection) -> Conditions:
    """The selection as SQL, for a connection that `know_sites` was told of."""
    message: list[str] = []
    recipient: list[str] = []
    values: dict[str, Any] = {}
    if selection.ids is not None:
        message.append("m.id IN (SELECT value FROM json_each(:ids))")
        values["ids"] = f"[{','.join(map(str, selection.ids))}]"
    if selection.sender is not None:
        message.append(_sender(selection.sender, values))
    for name, sign in (("received_before", "<"), ("received_after", ">")):
        if (at := getattr(selection, name)) is not None:
            message.append(f"m.received_at {sign} :{name}")
            values[name] = at
    if selection.is_held is not None:
        message.append(f"m.held IS {'NOT ' if selection.is_held else ''}NULL")
    if selection.hold is not None:
        message.append("m.held = :hold")
        values["hold"] = selection.hold
    if selection.not_hold is not None:
        message.append("ifnull(m.held, '') <> :not_hold")
        values["not_hold"] = selection.not_hold
    if selection.priorities is not None:
        message.append("m.priority BETWEEN :least AND :greatest")
        values["least"], values["greatest"] = selection.priorities
    if selection.domain is not None:
        recipient.append("r.domain = :domain")
        values["domain"] = selection.domain.lower()
    if selection.recipient is not None:
        recipient.append("lower(r.local) = :local AND r.domain = :of_domain")
        values["local"], values["of_domain"] = (part.lower() for part in selection.recipient)
    if selection.site is not None:
        recipient.append(f":site IN (site_of(({LAST_HOST})), ({LAST_HOST}))")
        values["site"] = selection.site.lower()
    if selection.reason is not None:
        recipient.append(
            f"((m.held IS NULL AND (({LAST_ATTEMPT.format('meaning')}) = :reason"  # noqa: S608 - our own words
            f" OR instr(lower(({LAST_ATTEMPT.format('reply')})), :reason)))"
            " OR instr(lower(m.held), :reason)"
            " OR instr(lower((SELECT reason FROM damaged WHERE message_id = m.id)), :reason))"
        )
        values["reason"] = selection.reason.lower()
    return Conditions(" AND ".join(message) or "1", " AND ".join(recipient) or "1", values)


def _sender(sender: str, values: dict[str, Any]) -> str:
    if sender == "<>":
        return "m.sender_domain IS NULL"
    local, _, domain = sender.rpartition("@")
    values["sender_domain"] = domain.lower()
    if not local:
        return "m.sender_domain = :sender_domain"
    values["sender_local"] = local.lower()
    return "lower(m.sender_local) = :sender_local AND m.sender_domain = :sender_domain"
