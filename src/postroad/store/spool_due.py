"""Which recipients are due: a page of them from the spool's database, whatever rows are damaged.

Used by `sqlite_spool` alone, on its reading thread.
"""

from __future__ import annotations

import sqlite3

from postroad.store.spool import Queued
from postroad.store.spool_rows import RECIPIENT_COLUMNS, queued_from
from postroad.store.sqlite import is_row_fault

Page = tuple[float, int, "tuple[float, int] | None", tuple[int, int]]
"""Due before, how many, after which (due_at, id), and priorities from and to."""


def read_due(
    connection: sqlite3.Connection, page: Page, known: frozenset[int]
) -> tuple[list[Queued], list[tuple[int, int, str]]]:
    """A page of recipients, earliest first, and the damaged rows in it: their number, their message, and why.

    `known`: damaged rows to pass over, which were told before."""
    before, limit, after, priorities = page
    where = "WHERE due_at < ? AND (due_at, id) > (?, ?) AND priority BETWEEN ? AND ? ORDER BY due_at, id LIMIT ?"
    parameters = (before, *(after or (-9e999, 0)), *priorities, limit)
    try:
        rows = connection.execute(f"SELECT {RECIPIENT_COLUMNS} FROM recipient {where}", parameters).fetchall()  # noqa: S608
        return [queued_from(row) for row in rows], []
    except Exception as error:
        if not is_row_fault(error):
            raise
    found: list[Queued] = []
    damaged: list[tuple[int, int, str]] = []
    for (number,) in connection.execute(f"SELECT id FROM recipient {where}", parameters).fetchall():  # noqa: S608
        if number in known:
            continue
        try:
            row = connection.execute(f"SELECT {RECIPIENT_COLUMNS} FROM recipient WHERE id = ?", (number,)).fetchone()  # noqa: S608
            found.append(queued_from(row))
        except Exception as error:
            if not is_row_fault(error):
                raise
            damaged.append((number, _message_of(connection, number), str(error)))
    return found, damaged


def _message_of(connection: sqlite3.Connection, recipient_id: int) -> int:
    """The message of an unreadable recipient, from the index; 0 where that is damaged too."""
    try:
        row = connection.execute(
            "SELECT message_id FROM recipient INDEXED BY recipient_message WHERE +id = ?", (recipient_id,)
        ).fetchone()
    except sqlite3.DatabaseError:
        return 0
    return 0 if row is None or not isinstance(row[0], int) else row[0]
