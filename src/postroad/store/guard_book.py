"""What the door remembers: who is banned, and who came again after greylisting. One SQLite file, shared by all workers.

Synchronous: call it in a thread; a lock lets one caller in at a time. What is lost in a power cut can be learnt again,
so commits are not synced each. Raises SpoolError. Used by receive/guard and by `postroad ban` and `postroad greylist`.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Literal, Self

from postroad.store.sqlite import DatabaseSettings, open_database, transaction

FOR_GOOD = 9e15
"""The end of a ban that has none, by the wall clock."""
MAX_BANS = 100_000
"""Bans at a time; beyond it the one that ends soonest goes."""
MAX_TRIPLETS = 2_000_000
"""Greylisted triplets at a time; beyond it those seen longest ago go, the ones that never came again first."""
BAN_REMEMBERED_S = 86_400.0
"""How long after its end a ban makes the next one of the same subject longer."""
_SETTINGS = DatabaseSettings(synchronous="NORMAL", cache_kib=8 * 1024, checkpoint_pages=4000)

BanKind = Literal["network", "account"]
Reach = Literal["auth", "all"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ban:
    """`subject`: a network, or an account's name in small letters. Times by the wall clock."""

    subject: str
    kind: BanKind
    reach: Reach
    """`auth`: it may not authenticate, nor connect to submission; `all`: it may not connect at all."""
    made_at: float
    until: float
    times: int = 1
    """How often in a row; each time it lasts twice as long."""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Triplet:
    """What greylisting remembers: the client's network, the sender, the recipient, as text."""

    network: str
    sender: str
    recipient: str


@dataclass(frozen=True, slots=True)
class Known:
    """What is remembered of a triplet; wall clock. `passed`: it has come again after its delay."""

    first_at: float
    last_at: float
    passed: bool


class Step(Enum):
    """What is written after a decision."""

    NOTHING = auto()
    BEGIN = auto()
    """Remember it, first seen now."""
    PASS = auto()
    """It came again: its network has one pass more."""
    SEEN = auto()
    """It was known, and is for longer."""


Decide = Callable[["Known | None", int], tuple[float, Step]]
"""What is known of a triplet and the passes of its network → seconds to put it off, and what is written."""


class GuardBook:
    """The file is made (mode 0600) where there is none."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._connection = open_database(path, "guard", _SETTINGS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    # Bans -----------------------------------------------------------------------------------------------------

    def revision(self) -> int:
        """Another number than before where the bans have changed since."""
        with self._lock:
            (number,) = self._connection.execute("SELECT number FROM revision").fetchone()
            return int(number)

    def bans(self, now: float) -> list[Ban]:
        """Those in force, by their subject."""
        with self._transaction() as connection:
            rows = connection.execute(
                "SELECT subject, kind, reach, made_at, until, times, reason FROM ban WHERE until > ?"
                " ORDER BY kind DESC, subject LIMIT ?",
                (now, MAX_BANS),
            ).fetchall()
        return [_ban(*row) for row in rows]

    def ban(self, ban: Ban) -> None:
        """Enter it, instead of an earlier one of its subject."""
        with self._transaction() as connection:
            self._enter(connection, ban)

    def ban_again(
        self, subject: str, kind: BanKind, *, now: float, first_s: float, longest_s: float, reason: str
    ) -> Ban:
        """Ban from AUTH for `first_s`, or twice as long as the last time where that was less than a day ago.

        A ban that reaches further, or lasts longer, stands as it is, and is returned."""
        with self._transaction() as connection:
            row = connection.execute(
                "SELECT subject, kind, reach, made_at, until, times, reason FROM ban WHERE subject = ?", (subject,)
            ).fetchone()
            last = None if row is None else _ban(*row)
            times = last.times + 1 if last is not None and now < last.until + BAN_REMEMBERED_S else 1
            until = now + min(first_s * 2 ** min(times - 1, 30), longest_s)
            if last is not None and last.until > now and (last.reach == "all" or last.until >= until):
                return last
            ban = Ban(subject=subject, kind=kind, reach="auth", made_at=now, until=until, times=times, reason=reason)
            self._enter(connection, ban)
            return ban

    def unban(self, subject: str) -> bool:
        """Lift it; whether there was one."""
        with self._transaction() as connection:
            is_gone = bool(connection.execute("DELETE FROM ban WHERE subject = ?", (subject,)).rowcount)
            connection.execute("UPDATE revision SET number = number + 1")
            return is_gone

    def _enter(self, connection: sqlite3.Connection, ban: Ban) -> None:
        connection.execute(
            "INSERT OR REPLACE INTO ban (subject, kind, reach, made_at, until, times, reason)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (ban.subject, ban.kind, ban.reach, ban.made_at, ban.until, ban.times, ban.reason),
        )
        (count,) = connection.execute("SELECT count(*) FROM ban").fetchone()
        if count > MAX_BANS:
            connection.execute(
                "DELETE FROM ban WHERE subject IN (SELECT subject FROM ban ORDER BY until LIMIT ?)", (count - MAX_BANS,)
            )
        connection.execute("UPDATE revision SET number = number + 1")

    # Greylisting ----------------------------------------------------------------------------------------------

    def greylist(self, triplets: Sequence[Triplet], decide: Decide, *, now: float) -> list[float]:
        """Seconds to put each off, in order; what `decide` says is written, all of it in one transaction."""
        with self._transaction() as connection:
            return [self._greylist(connection, one, decide, now) for one in triplets]

    def _greylist(self, connection: sqlite3.Connection, one: Triplet, decide: Decide, now: float) -> float:
        key = (one.network, one.sender, one.recipient)
        row = connection.execute(
            "SELECT first_at, last_at, passed FROM greylist WHERE network = ? AND sender = ? AND recipient = ?", key
        ).fetchone()
        passes = connection.execute("SELECT passes FROM greylist_network WHERE network = ?", key[:1]).fetchone()
        delay_s, step = decide(None if row is None else Known(row[0], row[1], bool(row[2])), passes[0] if passes else 0)
        match step:
            case Step.BEGIN:
                connection.execute("INSERT OR REPLACE INTO greylist VALUES (?, ?, ?, ?, ?, 0)", (*key, now, now))
            case Step.PASS | Step.SEEN:
                connection.execute(
                    "UPDATE greylist SET last_at = ?, passed = 1 WHERE network = ? AND sender = ? AND recipient = ?",
                    (now, *key),
                )
                connection.execute(
                    "INSERT INTO greylist_network VALUES (?1, ?2, ?3)"
                    " ON CONFLICT (network) DO UPDATE SET passes = passes + ?2, last_at = ?3",
                    (one.network, int(step is Step.PASS), now),
                )
        return delay_s

    def forget_triplets(self, *, waiting_before: float, passed_before: float) -> int:
        """Remove those that never came again and began before one time, and what was last seen before the other."""
        with self._transaction() as connection:
            removed = connection.execute(
                "DELETE FROM greylist WHERE passed = 0 AND last_at < ?", (waiting_before,)
            ).rowcount
            removed += connection.execute(
                "DELETE FROM greylist WHERE passed = 1 AND last_at < ?", (passed_before,)
            ).rowcount
            connection.execute("DELETE FROM greylist_network WHERE last_at < ?", (passed_before,))
            (count,) = connection.execute("SELECT count(*) FROM greylist").fetchone()
            if count > MAX_TRIPLETS:
                removed += connection.execute(
                    "DELETE FROM greylist WHERE (network, sender, recipient) IN"
                    " (SELECT network, sender, recipient FROM greylist ORDER BY passed, last_at LIMIT ?)",
                    (count - MAX_TRIPLETS,),
                ).rowcount
            return removed

    def clear_triplets(self, network: str | None = None) -> int:
        """Forget all of greylisting, or what is known of one network as it was kept; how many triplets."""
        where, values = ("", ()) if network is None else (" WHERE network = ?", (network,))
        with self._transaction() as connection:
            connection.execute(f"DELETE FROM greylist_network{where}", values)  # noqa: S608 - ours
            return connection.execute(f"DELETE FROM greylist{where}", values).rowcount  # noqa: S608 - ours

    def triplets(self, most: int) -> list[tuple[Triplet, Known]]:
        """So many of them, the last seen first."""
        with self._transaction() as connection:
            rows = connection.execute(
                "SELECT network, sender, recipient, first_at, last_at, passed FROM greylist"
                " ORDER BY last_at DESC LIMIT ?",
                (most,),
            ).fetchall()
        return [(Triplet(*row[:3]), Known(row[3], row[4], bool(row[5]))) for row in rows]

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, transaction(self._connection, self.path) as connection:
            yield connection


def _ban(subject: str, kind: str, reach: str, made_at: float, until: float, times: int, reason: str) -> Ban:
    return Ban(
        subject=subject,
        kind="account" if kind == "account" else "network",
        reach="all" if reach == "all" else "auth",
        made_at=made_at,
        until=until,
        times=times,
        reason=reason,
    )
