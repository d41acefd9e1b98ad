"""Recipients that an operator wants given back to their sender, in the table `giving_back`.

A command of its own process writes them there (queue_admin.py); the server that owns the spool makes the notification,
and settles the recipient in the same transaction. So there is one notification for each, or none where the message was
delivered meanwhile. What stands there for a recipient that is gone means nothing, since ids of messages are never used
again. Statements on the spool's schema.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from postroad.store.spool import GivenBack
from postroad.store.spool_rows import queued_from

if TYPE_CHECKING:
    import sqlite3


def given_back(connection: sqlite3.Connection, limit: int) -> tuple[GivenBack, ...]:
    """What is to be given back and still here, oldest message first."""
    rows = connection.execute(
        "SELECT r.id, r.message_id, local, domain, notify, orcpt, ifnull(due_at, 9e999), attempts, delay_notified,"
        " priority, stream, words FROM giving_back g"
        " JOIN recipient r ON r.id = g.recipient_id AND r.message_id = g.message_id"
        " ORDER BY g.message_id, r.id LIMIT ?",
        (limit,),
    )
    return tuple([GivenBack(queued=queued_from(row[:-1]), words=row[-1]) for row in rows])


def sweep(connection: sqlite3.Connection) -> None:
    """Remove what stands there for recipients that are gone."""
    connection.execute(
        "DELETE FROM giving_back WHERE NOT EXISTS (SELECT 1 FROM recipient r"
        " WHERE r.id = recipient_id AND r.message_id = giving_back.message_id)"
    )
