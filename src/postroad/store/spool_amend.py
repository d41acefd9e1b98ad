"""A message in the spool that becomes another: its body, its envelope, its hold. Statements on the spool's schema.

Used by the SQLite spool, in its writer's thread and inside its transaction."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from postroad.store.spool import Queued, SpooledMessage, as_queued
from postroad.store.spool_rows import INSERT_RECIPIENTS, MESSAGE_COLUMNS, message_row, read_recipients, recipient_row
from postroad.store.tally import count

if TYPE_CHECKING:
    import sqlite3


def amend(connection: sqlite3.Connection, message: SpooledMessage, due_at: float, first: int) -> list[Queued]:
    """Let the message of that id be this one from now on, its recipients due then (never, where it is held).

    Recipients that it had before keep their rows, those that are new get rows from `first` on, and what is no longer
    among them goes. Nothing happens where the message is gone. The recipients as they are now."""
    before = {queued.recipient.address: queued for queued in read_recipients(connection, message.id)}
    if not before:
        return []
    columns = ", ".join(f"{name} = ?" for name in MESSAGE_COLUMNS.split(", ")[1:])
    row = message_row(message)
    connection.execute(f"UPDATE message SET {columns} WHERE id = ?", (*row[1:], row[0]))  # noqa: S608 - our columns
    wanted = as_queued(message, due_at, first)
    kept = [
        replace(before[one.recipient.address], due_at=one.due_at) if one.recipient.address in before else one
        for one in wanted
    ]
    staying = {one.id for one in kept}
    gone = [(one.id,) for one in before.values() if one.id not in staying]
    connection.executemany("DELETE FROM recipient WHERE id = ?", gone)
    added = [one for one in kept if one.recipient.address not in before]
    count(connection, {"removed": len(gone), "accepted": len(added)})
    old = [one for one in kept if one.recipient.address in before]
    connection.executemany(
        "UPDATE recipient SET due_at = ? WHERE id = ?", [(None if message.held else one.due_at, one.id) for one in old]
    )
    INSERT_RECIPIENTS.run(connection, [recipient_row(one) for one in added])
    return kept


def held_for(connection: sqlite3.Connection, reason: str, limit: int) -> list[int]:
    """Messages held for exactly that reason, oldest first."""
    rows = connection.execute("SELECT id FROM message WHERE held = ? ORDER BY id LIMIT ?", (reason, limit))
    return [row[0] for row in rows]
