"""The ledger: the history of messages after they left the queue, for `postroad trace` and bounces that come later.

One SQLite file for all workers. It is history, not mail: written soon after (store/behind.py), without a sync for each,
and what the last moment before a crash noted may be missing; what became of how many is counted in the spool itself
(store/tally.py). Personal data goes by age and by address. Synchronous: call it in a thread. Raises SpoolError.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from postroad.store.mention import know_mentions
from postroad.store.spool_rows import RowInsert
from postroad.store.sqlite import DatabaseSettings, open_database, transaction, wipe

_SCHEMA = "ledger"
_SETTINGS = DatabaseSettings(synchronous="NORMAL", cache_kib=16 * 1024, checkpoint_pages=4000)
MAX_DIALOGUE_CHARS = 20_000
MAX_REPLY_CHARS = 2000
ATTEMPTS_KEPT = 50
"""Of one recipient; the oldest go."""
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
    listener: str = ""
    secured: str = ""
    """TLS version and cipher of the session it came in, or empty."""
    subject: str | None = None
    about: int | None = None
    """The message that this notification is about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """One attempt for one recipient. `outcome`: delivered, bounced, dropped, or deferred until `due_at`."""

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
    source: str = ""
    """The address it was made from, where that was chosen."""
    told_with: str | None = None
    """The recipient with which the dialogue stands, where several had one."""


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
        accepted: list[tuple[object, ...]] = []
        recipients: dict[tuple[int, str], tuple[int | None, str | None, float]] = {}
        tried: list[tuple[object, ...]] = []
        old: list[tuple[int, str, int]] = []
        notes: list[Note] = []
        for one in entries:
            if isinstance(one, Tried):
                address = _plain(one.address)
                fate = None if one.outcome == "deferred" else one.outcome
                recipients[one.message_id, address] = (one.row, fate, one.at)
                tried.append(_attempt_row(one))
                if one.number > ATTEMPTS_KEPT:
                    old.append((one.message_id, address, one.number - ATTEMPTS_KEPT))
            elif isinstance(one, Accepted):
                accepted.append(_message_row(one))
                for row, address in one.recipients:
                    recipients.setdefault((one.id, _plain(address)), (row, None, one.at))
            else:
                notes.append(one)
        with self._transaction() as connection:
            _MESSAGES.run(connection, accepted)
            # Workers write apart from each other: an attempt may be noted before its message, or after its bounce.
            connection.executemany(
                "INSERT INTO recipient VALUES (?, ?, ?, ?, ?) ON CONFLICT (message_id, address) DO UPDATE SET"
                " row = coalesce(excluded.row, row), at = max(excluded.at, at), fate ="
                " CASE WHEN excluded.at < at THEN coalesce(fate, excluded.fate) ELSE coalesce(excluded.fate, fate) END",
                [(*key, *value) for key, value in recipients.items()],
            )
            _ATTEMPTS.run(connection, tried)
            if old:
                connection.executemany("DELETE FROM attempt WHERE message_id = ? AND address = ? AND number <= ?", old)
            if notes:
                _write_notes(connection, notes)

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
            for told in tried.values():
                told[:] = [_with_dialogue(one, tried) for one in told]
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
                "SELECT message_id FROM recipient WHERE address = ?1 COLLATE NOCASE"
                " UNION SELECT id FROM message WHERE header_id = ?1 OR header_id = '<' || ?1 || '>'"
                " UNION SELECT id FROM message WHERE sender = ?1 COLLATE NOCASE"
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

    def fates(self) -> dict[str, int]:
        """How many recipients on record came to what end; `waiting`: to none so far."""
        with self._transaction() as connection:
            return dict(
                connection.execute("SELECT ifnull(fate, 'waiting'), count(*) FROM recipient GROUP BY fate").fetchall()
            )

    # After a crash (ledger_mend.py) ---------------------------------------------------------------------------------

    def missing(self, ids: Sequence[int]) -> list[int]:
        """Those that it knows nothing of."""
        with self._transaction() as connection:
            rows = connection.execute(
                "SELECT value FROM json_each(?) WHERE NOT EXISTS (SELECT 1 FROM message WHERE id = value)",
                (json.dumps(ids),),
            ).fetchall()
        return [number for (number,) in rows]

    def open_recipients(self, *, before: float, after: tuple[int, str], limit: int) -> list[tuple[int, str]]:
        """Message and address of recipients that came to no end and were last heard of before that time, a page."""
        with self._transaction() as connection:
            return connection.execute(
                "SELECT message_id, address FROM recipient WHERE (message_id, address) > (?, ?) AND fate IS NULL"
                " AND at < ? ORDER BY message_id, address LIMIT ?",
                (*after, before, limit),
            ).fetchall()

    def mark_unknown(self, recipients: Sequence[tuple[int, str]]) -> int:
        """What became of these is not on record; how many there were."""
        with self._transaction() as connection:
            return connection.executemany(
                "UPDATE recipient SET fate = 'unknown' WHERE message_id = ? AND address = ? AND fate IS NULL",
                recipients,
            ).rowcount

    # Forgetting ---------------------------------------------------------------------------------------------------

    def prune(self, before: float, most: int | None = None) -> int:
        """Remove messages accepted before that time, and the oldest where there are more than so many; how many it
        were. A page at a time, so that nobody who writes waits long."""
        removed = 0
        while True:
            with self._transaction() as connection:
                page = connection.execute(
                    "SELECT id, accepted_at FROM message ORDER BY id LIMIT ?", (PRUNED_TOGETHER,)
                ).fetchall()
                # Ids rise with time, so what is old stands at the beginning.
                spare = 0 if most is None else connection.execute("SELECT count(*) FROM message").fetchone()[0] - most
                ids = [(number,) for place, (number, at) in enumerate(page) if at < before or place < spare]
                for table, column in (("recipient", "message_id"), ("attempt", "message_id"), ("note", "message_id")):
                    connection.executemany(f"DELETE FROM {table} WHERE {column} = ?", ids)  # noqa: S608 - our tables
                connection.executemany("DELETE FROM message WHERE id = ?", ids)
            removed += len(ids)
            if len(ids) < PRUNED_TOGETHER:
                return removed

    def forget_address(self, address: str, *, mailbox_of: Callable[[str], str] = str.lower) -> int:
        """Remove an address, and other spellings of its mailbox, from the history: as a recipient with all that was
        said of it, as a sender by name; how many entries. Dialogues and words of others that mention it go too."""
        with self._transaction() as connection:
            know_mentions(connection, address, mailbox_of)
            removed = connection.execute("DELETE FROM attempt WHERE is_spelling(address)").rowcount
            removed += connection.execute("DELETE FROM note WHERE is_spelling(address)").rowcount
            removed += connection.execute("DELETE FROM recipient WHERE is_spelling(address)").rowcount
            removed += connection.execute("UPDATE message SET sender = '' WHERE is_spelling(sender)").rowcount
            removed += connection.execute("UPDATE message SET user = NULL WHERE is_spelling(user)").rowcount
            connection.execute("UPDATE message SET subject = NULL WHERE mentions(subject)")
            connection.execute("UPDATE attempt SET dialogue = NULL WHERE mentions(dialogue)")
            connection.execute("UPDATE attempt SET told_with = NULL WHERE is_spelling(told_with)")
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


_MESSAGES = RowInsert(
    "message",
    "id, accepted_at, sender, user, peer, helo, protocol, listener, secured, size, header_id, subject, held, about",
    "INSERT OR IGNORE",
)
_ATTEMPTS = RowInsert(
    "attempt",
    "message_id, address, number, at, outcome, host, phase, reply, meaning, rule, due_at,"
    " source, secured, told_with, dialogue",
)


def _plain(text: str) -> str:
    """The text as the database can hold it: octets that were no UTF-8 are shown as such."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _message_row(one: Accepted) -> tuple[object, ...]:
    return (
        *(one.id, one.at, _plain(one.sender), one.user, one.peer, _plain(one.helo), one.protocol),
        *(one.listener, one.secured, one.size, None if one.header_id is None else _plain(one.header_id)),
        *(None if one.subject is None else _plain(one.subject), one.held or None, one.about),
    )


def _attempt_row(one: Tried) -> tuple[object, ...]:
    return (
        *(one.message_id, _plain(one.address), one.number, one.at, one.outcome, one.host, one.phase),
        *(_plain(one.reply[:MAX_REPLY_CHARS]), one.meaning, one.rule, one.due_at, one.source, one.secured),
        *(one.told_with, None if one.dialogue is None else _plain(one.dialogue[:MAX_DIALOGUE_CHARS])),
    )


def _write_notes(connection: sqlite3.Connection, notes: Sequence[Note]) -> None:
    connection.executemany(
        "INSERT INTO note VALUES (?, ?, ?, ?, ?)",
        [(one.message_id, one.at, _plain(one.address), one.what, _plain(one.said[:MAX_REPLY_CHARS])) for one in notes],
    )
    connection.executemany(
        "UPDATE recipient SET fate = ?, at = ? WHERE message_id = ? AND address = ?",
        [
            (one.what, one.at, one.message_id, _plain(one.address))
            for one in notes
            if one.what in ("bounced", "removed")
        ],
    )


def _tried(row: tuple[object, ...]) -> Tried:
    names = ("message_id", "address", "number", "at", "outcome", "host", "phase", "reply", "meaning", "rule", "due_at")
    return Tried(
        **dict(zip((*names, "source", "secured", "told_with", "dialogue"), row, strict=True)),  # type: ignore[arg-type]
        row=0,
    )


def _with_dialogue(one: Tried, tried: Mapping[str, Sequence[Tried]]) -> Tried:
    """The attempt with the dialogue that stands with another recipient of it."""
    if one.told_with is None:
        return one
    found = (other.dialogue for other in tried.get(one.told_with, ()) if other.at == one.at)
    return replace(one, dialogue=next(found, None))


def _accepted(row: tuple[object, ...], recipients: tuple[tuple[int | None, str], ...]) -> Accepted:
    names = ("id", "at", "sender", "user", "peer", "helo", "protocol", "listener", "secured", "size", "header_id")
    values = dict(zip((*names, "subject", "held", "about"), row, strict=True))
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
