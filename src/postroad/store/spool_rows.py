"""The spool's values as rows of its SQLite schema, both ways, and the statements that write a batch of them.

Knows the schema (migrations/spool) and nothing of threads or futures. Reading raises what `is_row_fault`
recognises when a record is damaged. Used by the SQLite spool, by adoption and by the operator's queue access.
"""

from __future__ import annotations

import json
import sys
import zlib
from typing import TYPE_CHECKING, Any

from postroad.message.envelope import BodyType, ByMode, DeliverBy, Envelope, Notify, Recipient, Return
from postroad.smtp.address import NULL, Address, NullPath
from postroad.store.spool import NEVER, Attempt, Deferred, Queued, SpooledMessage, Trace

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

Row = tuple[Any, ...]

MESSAGE_COLUMNS = (
    "id, received_at, expires_at, sender_local, sender_domain, body_type, smtputf8, ret, envid,"
    " peer, helo, protocol, user, priority, stream, held, options, size, crc, body"
)
RECIPIENT_COLUMNS = "id, message_id, local, domain, notify, orcpt, due_at, attempts, delay_notified, priority, stream"

_ROWS_A_STATEMENT = 64
"""So that the statements of every length, for both tables, stay prepared (`cached_statements`)."""


class RowInsert:
    """INSERT of many rows in few steps of SQLite: each step gives the interpreter lock away, and under load getting it
    back costs more than the insertion."""

    def __init__(self, table: str, columns: str, verb: str = "INSERT") -> None:
        self._places = f"({', '.join('?' * (columns.count(',') + 1))})"
        self._start = f"{verb} INTO {table} ({columns}) VALUES "
        self._statements: dict[int, str] = {}

    def run(self, connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
        for start in range(0, len(rows), _ROWS_A_STATEMENT):
            chunk = rows[start : start + _ROWS_A_STATEMENT]
            connection.execute(self._statement(len(chunk)), [field for row in chunk for field in row])

    def _statement(self, count: int) -> str:
        statement = self._statements.get(count)
        if statement is None:
            statement = self._statements[count] = self._start + ", ".join([self._places] * count)
        return statement


INSERT_MESSAGES = RowInsert("message", MESSAGE_COLUMNS)
INSERT_RECIPIENTS = RowInsert("recipient", RECIPIENT_COLUMNS)


def message_row(message: SpooledMessage) -> Row:
    envelope, trace, body = message.envelope, message.trace, message.body
    sender = envelope.reverse_path
    if isinstance(sender, NullPath):
        local = domain = None
    else:
        local, domain = sender.local, sender.domain
    return (
        message.id,
        message.received_at,
        message.expires_at,
        local,
        domain,
        envelope.body_type.value,
        1 if envelope.smtputf8 else 0,
        None if envelope.ret is None else envelope.ret.value,
        envelope.envid,
        trace.peer,
        trace.helo,
        trace.protocol,
        trace.user,
        envelope.priority,
        message.stream,
        message.held or None,
        _options(envelope),
        len(body),
        zlib.crc32(body),
        body,
    )


def _options(envelope: Envelope) -> str | None:
    """What few messages ask for, as JSON."""
    by = envelope.deliver_by
    if by is None and envelope.release_at is None and not envelope.require_tls:
        return None
    options: dict[str, object] = {}
    if by is not None:
        options["by"] = [by.deadline, by.mode.value, by.is_traced]
    if envelope.release_at is not None:
        options["release_at"] = envelope.release_at
    if envelope.require_tls:
        options["require_tls"] = True
    return json.dumps(options)


def _deliver_by(options: dict[str, Any]) -> DeliverBy | None:
    if "by" not in options:
        return None
    deadline, mode, is_traced = options["by"]
    return DeliverBy(float(deadline), ByMode(mode), bool(is_traced))


def recipient_row(queued: Queued) -> Row:
    recipient = queued.recipient
    address, notify = recipient.address, recipient.notify
    return (
        queued.id,
        queued.message_id,
        address.local,
        address.domain,
        None if notify is None else " ".join(sorted(notify)),
        recipient.original,
        None if queued.due_at == NEVER else queued.due_at,
        queued.attempts,
        1 if queued.delay_notified else 0,
        queued.priority,
        queued.stream,
    )


_NOTIFY: dict[str | None, frozenset[Notify] | None] = {None: None}


def _notify(text: str | None) -> frozenset[Notify] | None:
    found = _NOTIFY.get(text)
    if found is None and text is not None:
        found = frozenset(map(Notify, text.split()))
        _NOTIFY[text] = found  # at most 16 different sets exist
    return found


def recipient_from(local: str, domain: str, notify: str | None, original: str | None) -> Recipient:
    return Recipient(Address(local, sys.intern(domain)), _notify(notify), original)


def queued_from(row: Row) -> Queued:
    """From RECIPIENT_COLUMNS."""
    number, message_id, local, domain, notify, original, due_at, attempts, delay_notified, priority, stream = row
    return Queued(
        id=number,
        message_id=message_id,
        recipient=recipient_from(local, domain, notify, original),
        due_at=float(due_at),
        attempts=attempts,
        delay_notified=bool(delay_notified),
        priority=priority,
        stream=sys.intern(stream),
    )


def message_from(row: Row, recipients: Iterable[Recipient]) -> SpooledMessage:
    """From MESSAGE_COLUMNS and the recipients still to be settled. ValueError: the body is not what was written."""
    number, received_at, expires_at, local, domain, body_type, smtputf8, ret, envid = row[:9]
    peer, helo, protocol, user, priority, stream, held, written, size, crc, body = row[9:]
    if len(body) != size or zlib.crc32(body) != crc:
        raise ValueError("the body is not the one that was written")
    options = {} if written is None else json.loads(written)
    return SpooledMessage(
        id=number,
        envelope=Envelope(
            reverse_path=NULL if domain is None else Address(local, domain),
            recipients=tuple(recipients),
            body_type=BodyType(body_type),
            smtputf8=bool(smtputf8),
            ret=None if ret is None else Return(ret),
            envid=envid,
            priority=priority,
            deliver_by=_deliver_by(options),
            release_at=options.get("release_at"),
            require_tls=bool(options.get("require_tls")),
        ),
        body=body,
        received_at=float(received_at),
        expires_at=float(expires_at),
        trace=Trace(peer=peer, helo=helo, protocol=protocol, user=user),
        held=held or "",
        stream=stream,
    )


def read_message(connection: sqlite3.Connection, message_id: int) -> SpooledMessage | None:
    row = connection.execute(f"SELECT {MESSAGE_COLUMNS} FROM message WHERE id = ?", (message_id,)).fetchone()  # noqa: S608
    if row is None:
        return None
    recipients = read_recipients(connection, message_id)
    return message_from(row, [queued.recipient for queued in recipients])


def read_recipients(connection: sqlite3.Connection, message_id: int) -> list[Queued]:
    """Those still to be settled, in the order of the envelope (set-aside ones are due never)."""
    return [
        queued_from(row)
        for row in connection.execute(
            "SELECT id, message_id, local, domain, notify, orcpt, ifnull(due_at, 9e999), attempts, delay_notified,"
            " priority, stream FROM recipient WHERE message_id = ? ORDER BY id",
            (message_id,),
        )
    ]


def read_attempts(connection: sqlite3.Connection, message_id: int) -> dict[int, tuple[str, list[Attempt]]]:
    """By recipient row: its address as text, and its last attempts, oldest first."""
    found: dict[int, tuple[str, list[Attempt]]] = {}
    for recipient_id, address, at, host, phase, reply, meaning in connection.execute(
        "SELECT recipient_id, address, at, host, phase, reply, meaning FROM attempt"
        " WHERE message_id = ? ORDER BY recipient_id, number",
        (message_id,),
    ):
        attempt = Attempt(at=at, host=host, phase=phase, reply=reply, meaning=meaning)
        found.setdefault(recipient_id, (address, []))[1].append(attempt)
    return found


def defer(connection: sqlite3.Connection, deferred: Sequence[Deferred], *, kept: int, reply_chars: int) -> None:
    """Move recipients to their next time, each with its attempt; the `kept` last attempts stay."""
    connection.executemany(
        # What an operator held meanwhile is due no more.
        "UPDATE recipient SET due_at = CASE WHEN EXISTS (SELECT 1 FROM message m WHERE m.id = message_id"
        " AND m.held IS NOT NULL) THEN NULL ELSE ? END,"
        " attempts = attempts + ?, delay_notified = delay_notified OR ? WHERE id = ?",
        [(one.due_at, int(one.is_attempt), int(one.delay_notified), one.queued.id) for one in deferred],
    )
    connection.executemany(
        # Why nothing was tried has a number of its own, before all.
        "INSERT OR REPLACE INTO attempt SELECT message_id, id, CASE WHEN ? THEN attempts ELSE 0 END, ?, ?, ?, ?, ?, ?"
        " FROM recipient WHERE id = ?",
        [
            (
                int(one.is_attempt),
                f"{one.queued.recipient.address.local}@{one.queued.recipient.address.domain}",
                one.attempt.at,
                one.attempt.host,
                one.attempt.phase,
                one.attempt.reply[:reply_chars],
                one.attempt.meaning,
                one.queued.id,
            )
            for one in deferred
        ],
    )
    old = [
        (one.queued.message_id, one.queued.id, max(0, one.queued.attempts + 1 - kept))
        for one in deferred
        if one.is_attempt
    ]
    if old:
        connection.executemany("DELETE FROM attempt WHERE message_id = ? AND recipient_id = ? AND number <= ?", old)


def remove_recipients(connection: sqlite3.Connection, recipients: Iterable[int]) -> int:
    """Remove recipients; how many of them were there. `remove_empty` then removes messages that have none left."""
    numbers = _json(recipients)
    statement = "DELETE FROM recipient WHERE id IN (SELECT value FROM json_each(?))"
    return connection.execute(statement, (numbers,)).rowcount


def remove_empty(connection: sqlite3.Connection, messages: Iterable[int]) -> None:
    """Their attempts go with them, by a trigger."""
    connection.execute(
        "DELETE FROM message WHERE id IN (SELECT value FROM json_each(?))"
        " AND NOT EXISTS (SELECT 1 FROM recipient WHERE message_id = message.id)",
        (_json(messages),),
    )


def set_aside(connection: sqlite3.Connection, message_id: int, reason: str) -> None:
    """Never due again, until an operator says otherwise (D-03)."""
    connection.execute("INSERT OR REPLACE INTO damaged VALUES (?, ?)", (message_id, reason))
    connection.execute("UPDATE recipient SET due_at = NULL WHERE message_id = ?", (message_id,))


def _json(numbers: Iterable[int]) -> str:
    return f"[{','.join(map(str, numbers))}]"
