"""The balance of a spool: recipients that came in, and what became of them, in the table `tally`.

Each change is counted in the transaction that makes it, so the balance holds after any crash: nothing is lost, and
nothing is counted twice. Used by the SQLite spool, by adoption and by the operator's queue access.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3

IN = ("accepted", "generated")
"""Received from clients, and made by ourselves (notifications, reports)."""
HERE = ("waiting", "held")
OUT = ("delivered", "bounced", "dropped", "discarded", "removed")


def count(connection: sqlite3.Connection, changes: Mapping[str, int]) -> None:
    """Add to the tally."""
    rows = [(name, number) for name, number in changes.items() if number]
    if rows:
        connection.executemany(
            "INSERT INTO tally VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value", rows
        )


def read(connection: sqlite3.Connection) -> dict[str, int]:
    """The tally, and the recipients that are there: those `held` for an operator or a hook, and those `waiting`."""
    found = dict.fromkeys((*IN, *OUT), 0)
    found.update(connection.execute("SELECT name, value FROM tally").fetchall())
    found["held"] = connection.execute(
        "SELECT count(*) FROM message m JOIN recipient r ON r.message_id = m.id WHERE m.held IS NOT NULL"
    ).fetchone()[0]
    found["waiting"] = connection.execute("SELECT count(*) FROM recipient").fetchone()[0] - found["held"]
    return found


def difference(tally: Mapping[str, int]) -> int:
    """How many recipients are missing (more than nought) or too many; nought where the balance holds."""
    return sum(tally[name] for name in IN) - sum(tally[name] for name in (*OUT, *HERE))
