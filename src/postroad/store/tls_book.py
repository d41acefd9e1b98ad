"""What is known of other domains' TLS: MTA-STS policies kept for their time, sessions counted by day, reports made.

One SQLite file, shared by all workers. Synchronous: call it in a thread; a lock lets one caller in at a time. What is
lost in a power cut can be fetched or counted again, so commits are not synced each. Raises SpoolError.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from postroad.message.mta_sts import KeptPolicy
from postroad.message.tls_report import AppliedPolicy, PolicyKind, TlsSession
from postroad.store.sqlite import DatabaseSettings, explain, open_database, transaction

MAX_POLICIES = 100_000
"""Policies kept; beyond it those that end soonest go."""
MAX_DAY_ROWS = 200_000
"""Different sessions counted of one day; beyond it new ones are not."""
KEPT_DAYS = 30
"""How long counts and reports are kept."""
_SETTINGS = DatabaseSettings(synchronous="NORMAL", cache_kib=4 * 1024)


class TlsBook:
    """The file is made (mode 0600) where there is none."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._connection = open_database(path, "tls", _SETTINGS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    # Policies -------------------------------------------------------------------------------------------------

    def policy(self, domain: str) -> KeptPolicy | None:
        """The policy of a domain, also one that has ended."""
        with self._reading() as connection:
            row = connection.execute(
                "SELECT domain, record_id, content, fetched_at, expires_at FROM policy WHERE domain = ?", (domain,)
            ).fetchone()
        return None if row is None else _kept(row)

    def policies(self, most: int) -> list[KeptPolicy]:
        """So many of them, by domain."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT domain, record_id, content, fetched_at, expires_at FROM policy ORDER BY domain LIMIT ?", (most,)
            ).fetchall()
        return [_kept(row) for row in rows]

    def keep(self, policy: KeptPolicy) -> None:
        """Enter it, instead of an earlier one of its domain."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO policy VALUES (?, ?, ?, ?, ?)",
                (policy.domain, policy.record_id, policy.content, policy.fetched_at, policy.expires_at),
            )
            (count,) = connection.execute("SELECT count(*) FROM policy").fetchone()
            if count > MAX_POLICIES:
                connection.execute(
                    "DELETE FROM policy WHERE domain IN (SELECT domain FROM policy ORDER BY expires_at LIMIT ?)",
                    (count - MAX_POLICIES,),
                )

    def stale(self, *, fetched_before: float, now: float, most: int) -> list[str]:
        """Domains whose policy still holds and was fetched before that, the oldest first."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT domain FROM policy WHERE fetched_at < ? AND expires_at > ? ORDER BY fetched_at LIMIT ?",
                (fetched_before, now, most),
            ).fetchall()
        return [str(row[0]) for row in rows]

    # Sessions and reports -------------------------------------------------------------------------------------

    def count(self, counted: Mapping[tuple[int, TlsSession], int]) -> None:
        """Add sessions, each with its day, to those counted already."""
        with self._transaction() as connection:
            room = {day: self._room(connection, day) for day in {day for day, _ in counted}}
            for (day, session), count in counted.items():
                key = (day, session.domain, _policy_text(session.policy), session.host, session.address)
                row = (*key, session.source_address, session.result, session.reason, int(session.is_enforced))
                changed = connection.execute(
                    "UPDATE session SET count = count + ? WHERE day = ? AND domain = ? AND policy = ? AND host = ?"
                    " AND address = ? AND source_address = ? AND result = ? AND reason = ? AND enforced = ?",
                    (count, *row),
                ).rowcount
                if not changed and room[day] > 0:
                    connection.execute("INSERT INTO session VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (*row, count))
                    room[day] -= 1

    @staticmethod
    def _room(connection: sqlite3.Connection, day: int) -> int:
        (rows,) = connection.execute("SELECT count(*) FROM session WHERE day = ?", (day,)).fetchone()
        return MAX_DAY_ROWS - int(rows)

    def sessions(self, day: int, domain: str) -> list[tuple[TlsSession, int]]:
        """What was counted of a domain on a day."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT domain, policy, host, address, source_address, result, reason, enforced, count FROM session"
                " WHERE day = ? AND domain = ?",
                (day, domain),
            ).fetchall()
        return [(_session(row), int(row[8])) for row in rows]

    def domains(self, day: int, most: int) -> list[tuple[str, int, int]]:
        """Domains of a day with their sessions, those that succeeded and those that failed; the most failures first."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT domain, sum(count * (result = '')), sum(count * (result <> '')) AS failed FROM session"
                " WHERE day = ? GROUP BY domain ORDER BY failed DESC, domain LIMIT ?",
                (day, most),
            ).fetchall()
        return [(str(row[0]), int(row[1]), int(row[2])) for row in rows]

    def to_report(self, day: int, most: int) -> list[str]:
        """Domains of a day that were not told yet."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT DISTINCT domain FROM session WHERE day = ?1 AND domain NOT IN"
                " (SELECT domain FROM report WHERE day = ?1) ORDER BY domain LIMIT ?2",
                (day, most),
            ).fetchall()
        return [str(row[0]) for row in rows]

    def reported(self, day: int, outcomes: Iterable[tuple[str, str]], at: float) -> None:
        """Domains were told of a day, or need not be: each with what was done."""
        with self._transaction() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO report VALUES (?, ?, ?, ?)",
                [(day, domain, at, outcome) for domain, outcome in outcomes],
            )

    def report_outcomes(self, day: int) -> dict[str, str]:
        """What was done about each domain of a day."""
        with self._reading() as connection:
            return dict(connection.execute("SELECT domain, outcome FROM report WHERE day = ?", (day,)).fetchall())

    def forget(self, *, today: int, now: float) -> None:
        """Remove policies that ended a month ago, and counts and reports of days longer ago."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM policy WHERE expires_at < ?", (now - KEPT_DAYS * 86_400.0,))
            connection.execute("DELETE FROM session WHERE day < ?", (today - KEPT_DAYS,))
            connection.execute("DELETE FROM report WHERE day < ?", (today - KEPT_DAYS,))

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                yield self._connection
            except sqlite3.Error as error:
                raise explain(error, self.path) from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, transaction(self._connection, self.path) as connection:
            yield connection


def _kept(row: tuple[str, str, bytes, float, float]) -> KeptPolicy:
    domain, record_id, content, fetched_at, expires_at = row
    return KeptPolicy(domain=domain, record_id=record_id, content=content, fetched_at=fetched_at, expires_at=expires_at)


def _policy_text(policy: AppliedPolicy | None) -> str:
    return "" if policy is None else json.dumps([policy.kind, policy.domain, policy.lines, policy.mx])


def _session(row: tuple[str, str, str, str, str, str, str, int, int]) -> TlsSession:
    domain, policy, host, address, source_address, result, reason, enforced, _ = row
    applied = None
    if policy:
        kind, name, lines, mx = json.loads(policy)
        applied = AppliedPolicy(PolicyKind(kind), name, tuple(lines), tuple(mx))
    return TlsSession(
        domain=domain,
        policy=applied,
        host=host,
        address=address,
        source_address=source_address,
        result=result,
        reason=reason,
        is_enforced=bool(enforced),
    )
