"""What is known of addresses and domains beyond one run: verdicts used again, suppression, outcomes of deliveries.

Suppression and deliveries are found by every spelling of a mailbox: which these are, its opener says.
Synchronous: call it in a thread; a lock lets one caller in at a time. Personal data goes by address or by age (V-10).
Facts can be found again, so they are written without a sync for each. Raises SpoolError. Used by verify and by the
suppress, bounce and verify commands.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from pathlib import Path
from typing import Any, Self

from postroad.store.mention import know_mentions
from postroad.store.sqlite import DatabaseSettings, open_database, transaction, wipe

ASKED_TOGETHER = 500
"""Names looked up by one statement."""
FILLED_TOGETHER = 1000
"""Rows that get their mailbox in one transaction."""
_SCHEMA = "facts"
_SETTINGS = DatabaseSettings(synchronous="NORMAL", cache_kib=16 * 1024, checkpoint_pages=8000)


EVERYBODY = ""
"""The scope of what stops everybody's mail."""


class Cause(StrEnum):
    """Why an address, or everything at a domain, is not to be mailed."""

    BOUNCED = "bounced"
    """Mail to it came back as undeliverable for good."""
    DO_NOT_MAIL = "do_not_mail"
    """A complaint, a spam trap, or a decision of ours."""
    OPT_OUT = "opt_out"
    """Its owner does not want mail."""
    BLOCKED_DOMAIN = "blocked_domain"
    """Nothing at this domain is to be mailed, nor asked about."""


class DeliveryOutcome(StrEnum):
    """What became of a message to an address."""

    DELIVERED = "delivered"
    BOUNCED = "bounced"
    """Refused for good in the dialogue."""
    BOUNCED_LATER = "bounced_later"
    """Accepted, and sent back afterwards."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suppressed:
    """`name`: an address, or a domain. Times by the wall clock."""

    name: str
    cause: Cause
    added_at: float
    note: str = ""
    scope: str = EVERYBODY
    """Whose mail it stops: everybody's, or that of a sender (`news@example.org`), of a sender's domain, or of a list
    (`list:offers`)."""
    expires_at: float | None = None
    """When it ends by itself; None: never."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedVerdict:
    """`verdict`: JSON, the caller's own. Times by the wall clock."""

    address: str
    found_at: float
    expires_at: float
    verdict: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """What became of the last message to an address. `said`: the host's or the report's words."""

    address: str
    domain: str
    at: float
    outcome: DeliveryOutcome
    said: str = ""


class FactStore:
    """Facts in one SQLite file (mode 0600), made where there is none."""

    def __init__(self, path: Path, *, mailbox_of: Callable[[str], str] | None = None) -> None:
        """`mailbox_of`: address → what is the same for all spellings of its mailbox. Without it, a name is found as it
        is spelt, in capital or small letters."""
        self.path = path
        self._mailbox_of = mailbox_of
        self._lock = threading.Lock()
        self._connection = open_database(path, _SCHEMA, _SETTINGS)
        try:
            self._fill_mailboxes()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    # Verdicts -------------------------------------------------------------------------------------------------

    def keep_verdicts(self, verdicts: Iterable[CachedVerdict]) -> None:
        """Keep them instead of what was known of their addresses."""
        with self._transaction() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO verdict (address, found_at, expires_at, verdict) VALUES (?, ?, ?, ?)",
                [(one.address, one.found_at, one.expires_at, one.verdict) for one in verdicts],
            )

    def verdicts(self, addresses: Sequence[str], *, now: float) -> dict[str, CachedVerdict]:
        """Address → verdict, of those that have one which has not expired."""
        statement = "SELECT address, found_at, expires_at, verdict FROM verdict WHERE expires_at > ?"
        return {
            address: CachedVerdict(address=address, found_at=found_at, expires_at=expires_at, verdict=verdict)
            for address, found_at, expires_at, verdict in self._by_names(statement, "address", addresses, now)
        }

    # Domains --------------------------------------------------------------------------------------------------

    def keep_domain(self, domain: str, *, catch_all: bool | None, now: float) -> None:
        """Note whether a domain takes every recipient."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO domain (domain, found_at, catch_all) VALUES (?, ?, ?)", (domain, now, catch_all)
            )

    def catch_all(self, domains: Sequence[str], *, since: float) -> dict[str, bool]:
        """Domain → whether it takes every recipient, of those where that was found after `since`."""
        found = self._by_names(
            "SELECT domain, catch_all FROM domain WHERE catch_all IS NOT NULL AND found_at > ?",
            "domain",
            domains,
            since,
        )
        return {domain: bool(catch_all) for domain, catch_all in found}

    # Suppression ----------------------------------------------------------------------------------------------

    def suppress(self, entries: Iterable[Suppressed]) -> int:
        """Add them; one of the same name and scope replaces the earlier. How many there were."""
        rows = [
            (one.name, one.scope, str(one.cause), one.added_at, one.expires_at, one.note, self._mailbox(one.name))
            for one in entries
        ]
        with self._transaction() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO suppression (name, scope, cause, added_at, expires_at, note, mailbox)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                rows,
            )
        return len(rows)

    def release(self, name: str, *, scope: str | None = None) -> bool:
        """Take an entry off the list, with those of other spellings of its mailbox, in that scope or in all; whether
        there was one. Where it stopped everybody's mail, bounces of the past are forgotten too: mail may go again."""
        mailbox = self._mailbox(name)
        with self._transaction() as connection:
            gone = connection.execute(
                "DELETE FROM suppression WHERE (name = ?1 OR mailbox = ?2) AND (?3 IS NULL OR scope = ?3)",
                (name, mailbox, scope),
            ).rowcount
            if not scope:
                gone += connection.execute(
                    "DELETE FROM delivery WHERE (address = ?1 OR mailbox = ?2) AND outcome <> 'delivered'",
                    (name, mailbox),
                ).rowcount
        return bool(gone)

    def listed(self, names: Iterable[str], *, scope: str | None = None) -> set[str]:
        """Those that `release` would take off the list, by any spelling."""
        statement = (
            "SELECT 1 FROM suppression WHERE (name = ?1 OR mailbox = ?2) AND (?3 IS NULL OR scope = ?3)"
            " UNION ALL SELECT 1 FROM delivery WHERE ifnull(?3, '') = '' AND (address = ?1 OR mailbox = ?2)"
            " AND outcome <> 'delivered'"
        )
        with self._transaction() as connection:
            return {
                name for name in names if connection.execute(statement, (name, self._mailbox(name), scope)).fetchone()
            }

    def has_suppressions(self) -> bool:
        """Whether there is any entry at all."""
        with self._transaction() as connection:
            return connection.execute("SELECT 1 FROM suppression LIMIT 1").fetchone() is not None

    def expire_suppressions(self, now: float) -> int:
        """Remove those whose time is over; how many."""
        with self._transaction() as connection:
            return connection.execute("DELETE FROM suppression WHERE expires_at <= ?", (now,)).rowcount

    def suppressed(
        self, names: Sequence[str], *, scopes: Sequence[str] = (EVERYBODY,), now: float = 0.0
    ) -> dict[str, Suppressed]:
        """Name → entry, of the addresses and domains that are on the list for one of the scopes: as they stand, in
        small letters, or under another spelling of the mailbox (of several, the last that was added).

        `now`: entries that ended before are passed over."""
        wanted = list(dict.fromkeys(chain.from_iterable((name, name.lower()) for name in names)))
        statement = (
            "SELECT {}, name, cause, added_at, note, scope, expires_at FROM suppression"
            " WHERE (expires_at IS NULL OR expires_at > ?1)"
        )

        def entries_by(column: str, values: Sequence[str]) -> dict[str, Suppressed]:
            chosen: dict[str, Suppressed] = {}
            for value, *rest in self._by_names(statement.format(column), column, values, now):
                entry = _suppressed(*rest)
                if entry.scope in scopes and (value not in chosen or chosen[value].added_at < entry.added_at):
                    chosen[value] = entry
            return chosen

        found = entries_by("name", wanted)
        mailboxes = self._mailboxes(name for name in names if name not in found and name.lower() not in found)
        alike = entries_by("mailbox", _distinct(mailboxes))
        entries = (
            (name, found.get(name) or found.get(name.lower()) or alike.get(mailboxes.get(name, ""))) for name in names
        )
        return {name: entry for name, entry in entries if entry is not None}

    def suppressions(self) -> Iterator[Suppressed]:
        """The whole list by name and scope, read in pieces."""
        after = ("", "")
        while True:
            with self._transaction() as connection:
                rows = connection.execute(
                    "SELECT name, cause, added_at, note, scope, expires_at FROM suppression"
                    " WHERE (name, scope) > (?, ?) ORDER BY name, scope LIMIT 1000",
                    after,
                ).fetchall()
            for row in rows:
                yield _suppressed(*row)
                after = (row[0], row[4])
            if len(rows) < 1000:
                return

    # Deliveries -----------------------------------------------------------------------------------------------

    def note_deliveries(self, deliveries: Iterable[Delivered]) -> None:
        """Note what became of messages; a verdict that says otherwise is forgotten."""
        rows = [
            (one.address, one.domain, one.at, str(one.outcome), one.said, self._mailbox(one.address))
            for one in deliveries
        ]
        with self._transaction() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO delivery (address, domain, at, outcome, said, mailbox)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                rows,
            )
            connection.executemany("DELETE FROM verdict WHERE address = ?", [(row[0],) for row in rows])

    def deliveries(self, addresses: Sequence[str]) -> dict[str, Delivered]:
        """Address → the last outcome, of those that mail was sent to, under any spelling of the mailbox."""
        statement = "SELECT {}, address, domain, at, outcome, said FROM delivery WHERE ?1 = ?1"
        named = self._by_names(statement.format("address"), "address", addresses, 0)
        found = {address: _delivered(*rest) for address, *rest in named}
        mailboxes = self._mailboxes(addresses)
        alike: dict[str, Delivered] = {}
        for mailbox, *rest in self._by_names(statement.format("mailbox"), "mailbox", _distinct(mailboxes), 0):
            one = _delivered(*rest)
            if mailbox not in alike or alike[mailbox].at < one.at:
                alike[mailbox] = one
        for address, mailbox in mailboxes.items():
            last = alike.get(mailbox)
            if last is not None and (address not in found or found[address].at < last.at):
                found[address] = last
        return found

    def bounced_later(self, domains: Sequence[str]) -> dict[str, int]:
        """Domain → mailboxes whose mail it took and then sent back."""
        statement = "SELECT domain, count(DISTINCT coalesce(mailbox, address)) FROM delivery WHERE outcome = ?1"
        return dict(self._by_names(statement, "domain", domains, "bounced_later", "GROUP BY 1"))

    # Forgetting -----------------------------------------------------------------------------------------------

    def forget_address(self, address: str) -> int:
        """Remove what is known of an address and of other spellings of its mailbox, but for its place on the
        suppression list; how many facts. Facts about others that mention it go too."""
        with self._transaction() as connection:
            know_mentions(connection, address, self._mailbox_of or str.lower)
            removed = connection.execute("DELETE FROM verdict WHERE is_spelling(address)").rowcount
            removed += connection.execute("DELETE FROM delivery WHERE is_spelling(address)").rowcount
            connection.execute("DELETE FROM verdict WHERE mentions(verdict)")
            connection.execute("UPDATE delivery SET said = '' WHERE mentions(said)")
        return removed

    def forget_before(self, *, now: float, since: float) -> int:
        """Remove verdicts that have expired, and what was found of addresses, domains and deliveries before `since`."""
        with self._transaction() as connection:
            removed = connection.execute(
                "DELETE FROM verdict WHERE expires_at <= ? OR found_at < ?", (now, since)
            ).rowcount
            removed += connection.execute("DELETE FROM domain WHERE found_at < ?", (since,)).rowcount
            return removed + connection.execute("DELETE FROM delivery WHERE at < ?", (since,)).rowcount

    def wipe(self) -> None:
        """Leave nothing in the file of what was removed: see `sqlite.wipe`."""
        with self._lock:
            wipe(self._connection, self.path)

    # ----------------------------------------------------------------------------------------------------------

    def _mailbox(self, name: str) -> str | None:
        """What the row of a name keeps beside it; a domain is its own."""
        if self._mailbox_of is None:
            return None
        return self._mailbox_of(name) if "@" in name else name

    def _mailboxes(self, names: Iterable[str]) -> dict[str, str]:
        """Address → mailbox, of the addresses among the names; nothing where mailboxes are not known."""
        mailbox_of = self._mailbox_of
        return {} if mailbox_of is None else {name: mailbox_of(name) for name in names if "@" in name}

    def _fill_mailboxes(self) -> None:
        """Rows from before mailboxes were kept get theirs, once."""
        if self._mailbox_of is None:
            return
        for table, column in (("suppression", "name"), ("delivery", "address")):
            wanted = f"SELECT DISTINCT {column} FROM {table} WHERE mailbox IS NULL LIMIT {FILLED_TOGETHER}"  # noqa: S608 - ours
            filled = f"UPDATE {table} SET mailbox = ? WHERE {column} = ?"  # noqa: S608 - ours
            names = [""]
            while names:
                with self._transaction() as connection:
                    names = [name for (name,) in connection.execute(wanted)]
                    connection.executemany(filled, [(self._mailbox(name), name) for name in names])

    def _by_names(
        self, statement: str, column: str, names: Sequence[str], value: object, end: str = ""
    ) -> Iterator[tuple[Any, ...]]:
        with self._transaction() as connection:
            for start in range(0, len(names), ASKED_TOGETHER):
                some = names[start : start + ASKED_TOGETHER]
                marks = ", ".join("?" * len(some))
                yield from connection.execute(f"{statement} AND {column} IN ({marks}) {end}", (value, *some)).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, transaction(self._connection, self.path) as connection:
            yield connection


def _distinct(mailboxes: dict[str, str]) -> list[str]:
    return list(dict.fromkeys(mailboxes.values()))


def _delivered(address: str, domain: str, at: float, outcome: str, said: str) -> Delivered:
    return Delivered(address=address, domain=domain, at=at, outcome=DeliveryOutcome(outcome), said=said)


def _suppressed(name: str, cause: str, added_at: float, note: str, scope: str, expires_at: float | None) -> Suppressed:
    return Suppressed(name=name, cause=Cause(cause), added_at=added_at, note=note, scope=scope, expires_at=expires_at)
