"""Aliases that are changed while the server runs, and the senders of forwarded mail who do not fit into an address.

One file, mailboxes.db, that workers and commands use at once. `targets` answers from memory, so it may be asked in the
event loop; `look`, called about once a second, sees whether somebody changed the file since. The changing verbs sync:
they belong in a thread or the command line. Raises SpoolError, and AliasError for what cannot be an alias.
Used by compose/mailboxes.py and `postroad alias`.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from postroad.smtp.address import Address, AddressError, to_a_labels
from postroad.store.sqlite import DatabaseSettings, explain, open_database, transaction

MAX_TARGETS = 1000
MAX_ALIASES = 1_000_000
MAX_NOTE_CHARS = 200
MAX_LONG_SENDERS = 500_000
"""Beyond it those used longest ago go."""
_CACHED = 20_000
_SCHEMA = "mailboxes"


class AliasError(Exception):
    """A name or target that cannot be, or an alias that is there already or is not; says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alias:
    """`name`: `user@domain` in small letters, what mail is addressed to; `targets`: where it goes."""

    name: str
    targets: tuple[Address, ...]
    note: str = ""


def alias_name(text: str) -> str:
    """The name under which an alias is kept. Raises AliasError."""
    try:
        address = Address.parse(text.strip(), smtputf8=True)
    except AddressError as error:
        raise AliasError(f"{text[:80]!r} is no address: {error}") from None
    if address.is_literal:
        raise AliasError(f"{text[:80]!r}: an alias has a domain name behind the @")
    return f"{unicodedata.normalize('NFC', address.local).casefold()}@{address.domain}"


def alias_target(text: str, domain: str) -> Address:
    """Where an alias at that domain goes: an address, or the name of a mailbox of its own domain. Raises AliasError."""
    try:
        return Address.parse(text.strip() if "@" in text else f"{text.strip()}@{domain}", smtputf8=True)
    except AddressError as error:
        raise AliasError(f"{text[:80]!r} is no address to go to: {error}") from None


def make_alias(name: str, targets: Sequence[str], note: str = "") -> Alias:
    """An alias as it is kept. Raises AliasError."""
    kept = alias_name(name)
    domain = to_a_labels(kept.rpartition("@")[2])
    found = tuple(dict.fromkeys(alias_target(target, domain) for target in targets))
    if not found:
        raise AliasError(f"{kept} goes nowhere: name at least one address")
    if len(found) > MAX_TARGETS:
        raise AliasError(f"{kept} has {len(found)} targets; at most {MAX_TARGETS} are taken")
    return Alias(name=kept, targets=found, note=note.strip()[:MAX_NOTE_CHARS])


class MailboxBook:
    """The file is made (mode 0600) where there is none. Usable from any thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._cache: dict[str, tuple[Address, ...]] = {}
        self._version = -1
        self._is_empty = True
        self._connection = open_database(path, _SCHEMA, DatabaseSettings(cache_kib=1024, checkpoint_pages=100))
        self.look()

    # Aliases ------------------------------------------------------------------------------------------------------

    def has_aliases(self) -> bool:
        """Whether there was any alias at the last look."""
        return not self._is_empty

    def look(self) -> None:
        """See whether aliases were changed since the last look."""
        with self._lock:
            try:
                version = self._connection.execute("PRAGMA data_version").fetchone()[0]
                if version != self._version:
                    self._forget()
                    self._version = version
            except sqlite3.Error as error:
                raise explain(error, self.path) from error

    def _forget(self) -> None:
        self._cache.clear()
        self._is_empty = self._connection.execute("SELECT 1 FROM alias LIMIT 1").fetchone() is None

    def targets(self, name: str) -> tuple[Address, ...]:
        """Where the alias of that canonical name goes; empty: there is none."""
        if self._is_empty:
            return ()
        found = self._cache.get(name)
        if found is not None:
            return found
        with self._lock:
            try:
                row = self._connection.execute("SELECT targets FROM alias WHERE name = ?", (name,)).fetchone()
            except sqlite3.Error as error:
                raise explain(error, self.path) from error
            found = () if row is None else _targets(row[0])
            if len(self._cache) >= _CACHED:
                self._cache.clear()
            self._cache[name] = found
        return found

    def get(self, name: str) -> Alias | None:
        """The alias of that name, as it is now."""
        with self._lock:
            try:
                row = self._connection.execute(
                    "SELECT name, targets, note FROM alias WHERE name = ?", (alias_name(name),)
                ).fetchone()
            except sqlite3.Error as error:
                raise explain(error, self.path) from error
        return None if row is None else Alias(name=row[0], targets=_targets(row[1]), note=row[2])

    def put(self, alias: Alias, *, replace: bool = False) -> None:
        """Keep an alias; one that exists is left as it is (AliasError), unless `replace`."""
        put = "INSERT OR REPLACE INTO alias" if replace else "INSERT OR IGNORE INTO alias"
        with self._lock, transaction(self._connection, self.path) as connection:
            if connection.execute("SELECT count(*) FROM alias").fetchone()[0] >= MAX_ALIASES:
                raise AliasError(f"there are {MAX_ALIASES} aliases already: remove some first")
            written = connection.execute(
                f"{put} VALUES (?, ?, ?)",
                (alias.name, json.dumps([str(one) for one in alias.targets], ensure_ascii=False), alias.note),
            ).rowcount
            self._forget()
        if not written:
            raise AliasError(f"there is an alias {alias.name} already: say --replace to change where it goes")

    def remove(self, name: str) -> bool:
        """Whether there was one."""
        with self._lock, transaction(self._connection, self.path) as connection:
            removed = connection.execute("DELETE FROM alias WHERE name = ?", (alias_name(name),)).rowcount
            self._forget()
        return removed > 0

    def aliases(self, after: str = "", limit: int = 1000) -> list[Alias]:
        """By name, those behind `after`, so many at a time."""
        with self._lock:
            try:
                rows = self._connection.execute(
                    "SELECT name, targets, note FROM alias WHERE name > ? ORDER BY name LIMIT ?", (after, limit)
                ).fetchall()
            except sqlite3.Error as error:
                raise explain(error, self.path) from error
        return [Alias(name=name, targets=_targets(targets), note=note) for name, targets, note in rows]

    # Senders of forwarded mail ------------------------------------------------------------------------------------

    def remember(self, name: str, sender: Address, now: float) -> None:
        """Keep who a sender is that stands in an address by that name. `now`: wall clock."""
        with self._lock, transaction(self._connection, self.path) as connection:
            connection.execute("INSERT OR REPLACE INTO long_sender VALUES (?, ?, ?)", (name, str(sender), now))

    def recall(self, name: str) -> Address | None:
        """The sender of that name, as long as he is remembered."""
        with self._lock:
            try:
                row = self._connection.execute("SELECT sender FROM long_sender WHERE name = ?", (name,)).fetchone()
            except sqlite3.Error as error:
                raise explain(error, self.path) from error
        try:
            return None if row is None else Address.parse(row[0], smtputf8=True)
        except AddressError:
            return None

    def forget_senders(self, before: float, most: int = MAX_LONG_SENDERS) -> int:
        """Drop those not seen since, and the oldest beyond `most`; how many went."""
        with self._lock, transaction(self._connection, self.path) as connection:
            gone = connection.execute("DELETE FROM long_sender WHERE seen_at < ?", (before,)).rowcount
            gone += connection.execute(
                "DELETE FROM long_sender WHERE name IN"
                " (SELECT name FROM long_sender ORDER BY seen_at DESC LIMIT -1 OFFSET ?)",
                (most,),
            ).rowcount
        return gone

    def close(self) -> None:
        """Give the file up."""
        with self._lock:
            self._connection.close()


def _targets(text: str) -> tuple[Address, ...]:
    """Those that can be read; one that cannot leads nowhere."""
    found = []
    try:
        written = json.loads(text)
    except ValueError:
        return ()
    for one in written if isinstance(written, list) else ():
        try:
            found.append(Address.parse(str(one), smtputf8=True))
        except AddressError:
            continue
    return tuple(found)
