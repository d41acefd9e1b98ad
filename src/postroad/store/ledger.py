"""The ledger: the history of messages after they left the queue, for `postroad trace` and bounces that come later.

One SQLite file for all workers. It is history, not mail: written soon after (store/behind.py), without a sync for each,
and what the last moment before a crash noted may be missing; what became of how many is counted in the spool itself
(store/tally.py). Personal data goes by age and by address. Synchronous: call it in a thread. Raises SpoolError.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from postroad.store.mention import know_mentions
from postroad.store.sqlite import DatabaseSettings, open_database, transaction, wipe

_SCHEMA = "ledger"
_SETTINGS = DatabaseSettings(synchronous="NORMAL", cache_kib=16 * 1024, checkpoint_pages=4000)
MAX_DIALOGUE_CHARS = 20_000
MAX_REPLY_CHARS = 2000
ATTEMPTS_KEPT = 50
"""Of one recipient; later ones replace the last."""
PRUNED_TOGETHER = 2000
FOUND_AT_MOST = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A message that is safe in the spool. `recipients`: row (None where it is not known) and address."""

    id: int
    at: float
    sender: str
    user: str | None
    peer: str
    helo: str
    protocol: str
    size: int
    header_id: str | None
    recipients: tuple[tuple[int | None, str], ...]
    held: str = ""
    about: int | None = None
    """The message that this notification is about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """One attempt for one recipient. `fate`: delivered, bounced, dropped; None: it waits until `due_at`."""

    message_id: int
    row: int
    address: str
    number: int
    at: float
    outcome: str
    host: str
    phase: str
    reply: str
    meaning: str
    rule: str
    due_at: float | None
    secured: str
    """TLS version and cipher, or empty."""
    dialogue: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Something that happened to a message beside deliveries."""

    message_id: int
    at: float
    address: str
    what: str
    said: str


Entry = Accepted | Tried | Note


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipientStory:
    """`fate` None: not settled, so far as the ledger knows."""

    address: str
    fate: str | None
    at: float
    attempts: tuple[Tried, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """A message's whole life. `notices`: the notifications made about it, by id."""

    accepted: Accepted
    recipients: tuple[RecipientStory, ...]
    notes: tuple[Note, ...]
    notices: tuple[int, ...]


class Ledger:
    """History in one SQLite file (mode 0600), made where there is none."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._connection = open_database(path, _SCHEMA, _SETTINGS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    # Writing ------------------------------------------------------------------------------------------------------

    def write(self, entries: Sequence[Entry]) -> None:
        """Note them, in their order."""
        accepted = [one for one in entries if isinstance(one, Accepted)]
        tried = [one for one in entries if isinstance(one, Tried)]
        notes = [one for one in entries if isinstance(one, Note)]
        with self._transaction() as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO message VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (
                        *(one.id, one.at, one.sender, one.user, one.peer, one.helo, one.protocol),
                        *(one.size, one.header_id, one.held or None, one.about),
                    )
                    for one in accepted
                ],
            )
            # An attempt may be noted before its message: workers write apart from each other.
            connection.executemany(
                "INSERT INTO recipient VALUES (?, ?, ?, NULL, ?)"
                " ON CONFLICT (message_id, address) DO UPDATE SET row = coalesce(row, excluded.row)",
                [(one.id, address, row, one.at) for one in accepted for row, address in one.recipients],
            )
            connection.executemany(
                "INSERT INTO recipient VALUES (?, ?, ?, ?, ?) ON CONFLICT (message_id, address)"
                " DO UPDATE SET fate = excluded.fate, at = excluded.at, row = excluded.row",
                [(one.message_id, one.address, one.row, _fate(one), one.at) for one in tried],
            )
            connection.executemany(
                "INSERT OR REPLACE INTO attempt VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [_attempt_row(one) for one in tried],
            )
            connection.executemany(
                "INSERT INTO note VALUES (?, ?, ?, ?, ?)",
                [(one.message_id, one.at, one.address, one.what, one.said[:MAX_REPLY_CHARS]) for one in notes],
            )
            connection.executemany(
                "UPDATE recipient SET fate = ?, at = ? WHERE message_id = ? AND address = ?",
                [
                    (one.what, one.at, one.message_id, one.address)
                    for one in notes
                    if one.what in ("bounced", "removed")
                ],
            )

    # Reading ------------------------------------------------------------------------------------------------------

    def story(self, message_id: int) -> Story | None:
        """Everything about one message; None where nothing is known of it."""
        with self._transaction() as connection:
            row = connection.execute("SELECT * FROM message WHERE id = ?", (message_id,)).fetchone()
            recipients = connection.execute(
                "SELECT address, row, fate, at FROM recipient WHERE message_id = ? ORDER BY row, address", (message_id,)
            ).fetchall()
            if row is None and not recipients:
                return None
            tried: dict[str, list[Tried]] = {}
            for one in connection.execute(
                "SELECT * FROM attempt WHERE message_id = ? ORDER BY address, number", (message_id,)
            ):
                tried.setdefault(one[1], []).append(_tried(one))
            notes = connection.execute(
                "SELECT at, address, what, said FROM note WHERE message_id = ? ORDER BY at", (message_id,)
            ).fetchall()
            notices = connection.execute("SELECT id FROM message WHERE about = ? ORDER BY id", (message_id,)).fetchall()
        addresses = tuple((number, address) for address, number, _, _ in recipients)
        return Story(
            accepted=_accepted(row, addresses) if row is not None else _unknown(message_id, addresses),
            recipients=tuple(
                RecipientStory(address=address, fate=fate, at=at, attempts=tuple(tried.get(address, ())))
                for address, _, fate, at in recipients
            ),
            notes=tuple(
                Note(message_id=message_id, at=at, address=address, what=what, said=said)
                for at, address, what, said in notes
            ),
            notices=tuple(number for (number,) in notices),
        )

    def find(self, text: str, *, limit: int = FOUND_AT_MOST) -> list[int]:
        """Messages from or to an address, or with that Message-ID header; the newest first."""
        with self._transaction() as connection:
            rows = connection.execute(
                "SELECT message_id FROM recipient WHERE lower(address) = lower(?1)"
                " UNION SELECT id FROM message WHERE header_id = ?1 OR header_id = '<' || ?1 || '>'"
                " UNION SELECT id FROM message WHERE lower(sender) = lower(?1)"
                " ORDER BY 1 DESC LIMIT ?2",
                (text, limit),
            ).fetchall()
        return [number for (number,) in rows]

    def by_header(self, header_id: str) -> int | None:
        """The newest message with that Message-ID header."""
        with self._transaction() as connection:
            row = connection.execute(
                "SELECT max(id) FROM message WHERE header_id = ? AND about IS NULL", (header_id,)
            ).fetchone()
        return None if row is None else row[0]

    # Forgetting ---------------------------------------------------------------------------------------------------

    def prune(self, before: float) -> int:
        """Remove messages accepted before that time, a page at a time; how many."""
        removed = 0
        while True:
            with self._transaction() as connection:
                ids = connection.execute(
                    "SELECT id FROM message WHERE accepted_at < ? LIMIT ?", (before, PRUNED_TOGETHER)
                ).fetchall()
                for table, column in (("recipient", "message_id"), ("attempt", "message_id"), ("note", "message_id")):
                    connection.executemany(f"DELETE FROM {table} WHERE {column} = ?", ids)  # noqa: S608 - our tables
                connection.executemany("DELETE FROM message WHERE id = ?", ids)
            removed += len(ids)
            if len(ids) < PRUNED_TOGETHER:
                return removed

    def forget_address(self, address: str) -> int:
        """Remove an address from the history: as a recipient with all that was said of it, as a sender by name; how
        many facts. Dialogues and words of others that mention it go too."""
        with self._transaction() as connection:
            know_mentions(connection, address, str.lower)
            removed = connection.execute("DELETE FROM attempt WHERE is_spelling(address)").rowcount
            removed += connection.execute("DELETE FROM note WHERE is_spelling(address)").rowcount
            removed += connection.execute("DELETE FROM recipient WHERE is_spelling(address)").rowcount
            removed += connection.execute("UPDATE message SET sender = '' WHERE is_spelling(sender)").rowcount
            removed += connection.execute("UPDATE message SET user = NULL WHERE is_spelling(user)").rowcount
            connection.execute("UPDATE attempt SET dialogue = NULL WHERE mentions(dialogue)")
            connection.execute("UPDATE attempt SET reply = '' WHERE mentions(reply)")
            connection.execute("UPDATE note SET said = '' WHERE mentions(said)")
        return removed

    def wipe(self) -> None:
        """Leave nothing in the file of what was removed: see `sqlite.wipe`."""
        with self._lock:
            wipe(self._connection, self.path)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, transaction(self._connection, self.path) as connection:
            yield connection


def _fate(one: Tried) -> str | None:
    return None if one.outcome == "deferred" else one.outcome


def _attempt_row(one: Tried) -> tuple[object, ...]:
    dialogue = None if one.dialogue is None else one.dialogue[:MAX_DIALOGUE_CHARS]
    return (
        *(one.message_id, one.address, min(one.number, ATTEMPTS_KEPT), one.at, one.outcome, one.host, one.phase),
        *(one.reply[:MAX_REPLY_CHARS], one.meaning, one.rule, one.due_at, one.secured, dialogue),
    )


def _tried(row: tuple[object, ...]) -> Tried:
    names = ("message_id", "address", "number", "at", "outcome", "host", "phase", "reply", "meaning", "rule")
    return Tried(**dict(zip((*names, "due_at", "secured", "dialogue"), row, strict=True)), row=0)  # type: ignore[arg-type]


def _accepted(row: tuple[object, ...], recipients: tuple[tuple[int | None, str], ...]) -> Accepted:
    names = ("id", "at", "sender", "user", "peer", "helo", "protocol", "size", "header_id", "held", "about")
    values = dict(zip(names, row, strict=True))
    values["held"] = values["held"] or ""
    return Accepted(**values, recipients=recipients)  # type: ignore[arg-type]


def _unknown(message_id: int, recipients: tuple[tuple[int | None, str], ...]) -> Accepted:
    """What is known of a message whose acceptance was lost in a crash."""
    return Accepted(
        id=message_id,
        at=0.0,
        sender="",
        user=None,
        peer="",
        helo="",
        protocol="",
        size=0,
        header_id=None,
        recipients=recipients,
    )
