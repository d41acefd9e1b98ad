"""What is remembered of sites: what an operator wants of them for now, how workers last saw them, and what each source
address has sent. One SQLite file, shared by all workers and the command line.

Synchronous: call it in a thread; a lock lets one caller in at a time. What is lost in a power cut can be learnt again,
so commits are not synced each. Raises SpoolError. Used by compose/shaping.py and by `postroad site`.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from postroad.store.sqlite import DatabaseSettings, open_database, transaction

FOR_GOOD = 9e15
"""The end of what an operator wants until further notice, by the wall clock."""
MAX_WISHES = 10_000
MAX_SEEN = 20_000
"""Rows of what workers saw; beyond it the oldest go."""
SEEN_S = 7 * 86_400.0
"""How long what a worker saw is remembered."""
MAX_DAYS = 400
_SETTINGS = DatabaseSettings(synchronous="NORMAL", cache_kib=4 * 1024, checkpoint_pages=1000)
_WISH = "key, limits, until, paused_until, resumed_at"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What an operator wants of a site. Times by the wall clock; 0: never."""

    key: str
    limits: Mapping[str, float] = field(default_factory=dict)
    """By their names in `[[site]]`."""
    until: float = FOR_GOOD
    """When the limits end."""
    paused_until: float = 0.0
    resumed_at: float = 0.0
    """When what was learnt of the site was to be forgotten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """How one worker last saw a site, from one source."""

    worker: int
    key: str
    source: str
    at: float
    state: Mapping[str, Any]
    """As compose/shaping.py writes it down."""


class SiteBook:
    """The file is made (mode 0600) where there is none."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._connection = open_database(path, "sites", _SETTINGS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, transaction(self._connection, self.path) as connection:
            yield connection

    # What is wanted -----------------------------------------------------------------------------------------------

    def wishes(self, now: float) -> dict[str, Wish]:
        """Those in force, by their sites' keys; of one whose limits have ended, without these."""
        with self._transaction() as connection:
            rows = connection.execute(f"SELECT {_WISH} FROM wish LIMIT ?", (MAX_WISHES,)).fetchall()  # noqa: S608
        return {row[0]: _wish(row, now) for row in rows}

    def want(self, key: str, limits: Mapping[str, float], until: float, now: float) -> Wish:
        """These limits beside those that were wanted before, all of them until then."""
        with self._transaction() as connection:
            before = self._wish(connection, key, now)
            wish = replace(before, limits={**before.limits, **limits}, until=until)
            self._write(connection, wish, now)
        return wish

    def clear(self, key: str, now: float) -> bool:
        """No limits are wanted any more; whether some were."""
        with self._transaction() as connection:
            before = self._wish(connection, key, now)
            self._write(connection, replace(before, limits={}, until=FOR_GOOD), now)
        return bool(before.limits)

    def pause(self, key: str, until: float, now: float) -> None:
        """The site is to be left alone until then."""
        with self._transaction() as connection:
            self._write(connection, replace(self._wish(connection, key, now), paused_until=until), now)

    def resume(self, key: str, now: float) -> None:
        """The site is to be used, as if nothing had been learnt of it."""
        with self._transaction() as connection:
            self._write(connection, replace(self._wish(connection, key, now), paused_until=0.0, resumed_at=now), now)

    def _wish(self, connection: sqlite3.Connection, key: str, now: float) -> Wish:
        row = connection.execute(f"SELECT {_WISH} FROM wish WHERE key = ?", (key,)).fetchone()  # noqa: S608
        return Wish(key=key) if row is None else _wish(row, now)

    def _write(self, connection: sqlite3.Connection, wish: Wish, now: float) -> None:
        connection.execute(
            "DELETE FROM wish WHERE (limits = '{}' OR until <= ?1) AND paused_until <= ?1 AND resumed_at < ?1 - ?2",
            (now, SEEN_S),
        )
        connection.execute(
            f"INSERT OR REPLACE INTO wish ({_WISH}) VALUES (?, ?, ?, ?, ?)",  # noqa: S608
            (wish.key, json.dumps(dict(wish.limits)), wish.until, wish.paused_until, wish.resumed_at),
        )
        connection.execute(
            "DELETE FROM wish WHERE key IN (SELECT key FROM wish ORDER BY resumed_at DESC LIMIT -1 OFFSET ?)",
            (MAX_WISHES,),
        )

    # What was seen ------------------------------------------------------------------------------------------------

    def note(self, seen: Sequence[Seen]) -> None:
        """How sites are seen now."""
        with self._transaction() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO seen (worker, key, source, at, state) VALUES (?, ?, ?, ?, ?)",
                [(one.worker, one.key, one.source, one.at, json.dumps(dict(one.state))) for one in seen],
            )
            newest = max((one.at for one in seen), default=0.0)
            connection.execute("DELETE FROM seen WHERE at < ?", (newest - SEEN_S,))
            (count,) = connection.execute("SELECT count(*) FROM seen").fetchone()
            if count > MAX_SEEN:
                connection.execute(
                    "DELETE FROM seen WHERE (worker, key, source) IN"
                    " (SELECT worker, key, source FROM seen ORDER BY at LIMIT ?)",
                    (count - MAX_SEEN,),
                )

    def begin(self, worker: int) -> None:
        """The worker has begun anew: nothing of what was under way or waited is there any more."""
        with self._transaction() as connection:
            connection.execute(
                "UPDATE seen SET state = json_set(state, '$.connections', 0, '$.waiting', 0) WHERE worker = ?",
                (worker,),
            )

    def seen(self, key: str | None = None) -> list[Seen]:
        """How sites were last seen, the latest first; of all or of one."""
        with self._transaction() as connection:
            rows = connection.execute(
                "SELECT worker, key, source, at, state FROM seen WHERE ? IS NULL OR key = ? ORDER BY at DESC LIMIT ?",
                (key, key, MAX_SEEN),
            ).fetchall()
        return [
            Seen(worker=worker, key=name, source=source, at=at, state=json.loads(state))
            for worker, name, source, at, state in rows
        ]

    # What was sent ------------------------------------------------------------------------------------------------

    def add_used(self, day: str, counts: Mapping[tuple[str, str], int]) -> None:
        """So many more messages went that day; by source and site."""
        with self._transaction() as connection:
            self._add(connection, day, counts)
            connection.execute(
                "DELETE FROM used WHERE site <> '' AND day < ? OR day IN (SELECT day FROM used WHERE site = ''"
                " GROUP BY day ORDER BY day DESC LIMIT -1 OFFSET ?)",
                (day, MAX_DAYS),
            )

    @staticmethod
    def _add(connection: sqlite3.Connection, day: str, counts: Mapping[tuple[str, str], int]) -> None:
        connection.executemany(
            "INSERT INTO used (day, source, site, messages) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (day, source, site) DO UPDATE SET messages = messages + excluded.messages",
            [(day, source, site, count) for (source, site), count in counts.items()],
        )

    def claim(self, day: str, wants: Mapping[tuple[str, str], tuple[int, int]]) -> dict[tuple[str, str], int]:
        """Take so many messages for one worker, in as far as all workers have not taken that most; by source and site
        ('' is all sites). What is not sent is given back by `add_used`, of `claimed(site)`. Returns what was got."""
        got = {}
        with self._transaction() as connection:
            for (source, site), (wanted, most) in wants.items():
                row = connection.execute(
                    "SELECT messages FROM used WHERE day = ? AND source = ? AND site = ?", (day, source, claimed(site))
                ).fetchone()
                taken = 0 if row is None else int(row[0])
                if taken < most:
                    got[source, site] = min(wanted, most - taken)
            self._add(connection, day, {(source, claimed(site)): number for (source, site), number in got.items()})
        return got

    def used(self, day: str) -> dict[tuple[str, str], int]:
        """Messages of a day, by source and site; site '' is all of them."""
        with self._transaction() as connection:
            rows = connection.execute(
                "SELECT source, site, messages FROM used WHERE day = ? AND site NOT LIKE '*%'", (day,)
            ).fetchall()
        return {(source, site): messages for source, site, messages in rows}

    def totals(self, day: str) -> dict[tuple[str, str], int]:
        """Messages of a day from each source; site '' is all of them, `claimed(site)` what workers have taken."""
        with self._transaction() as connection:
            rows = connection.execute(
                "SELECT source, site, messages FROM used WHERE day = ? AND (site = '' OR site LIKE '*%')", (day,)
            ).fetchall()
        return {(source, site): messages for source, site, messages in rows}

    def first_days(self) -> dict[str, str]:
        """The first day on which each source was used."""
        with self._transaction() as connection:
            rows = connection.execute("SELECT source, min(day) FROM used WHERE site = '' GROUP BY source").fetchall()
        return dict(rows)


def claimed(site: str) -> str:
    """The name under which is counted what workers have taken of a quota, to send it to that site."""
    return f"*{site}"


def _wish(row: tuple[str, str, float, float, float], now: float) -> Wish:
    key, limits, until, paused_until, resumed_at = row
    kept = json.loads(limits) if until > now else {}
    return Wish(key=key, limits=kept, until=until, paused_until=paused_until, resumed_at=resumed_at)
