"""What `postroad verify` keeps while a list is worked through, so that a killed run goes on where it stopped.

A run has a key (of its input and options, or a name its user gave), its rows in input order, and one entry for each
distinct address: an address named a hundred times is asked once (V-07). A row is added once, by its position, so
reading the input again from the start after a kill is harmless. Memory stays flat for lists of any length.

Synchronous: call it in a thread, one call at a time (a lock sees to that). `synchronous=NORMAL`: a killed process
loses nothing, and after a power cut the last seconds of answers are asked for again, which costs little, where a
sync for each would cost much; nobody was promised them, unlike a message in the spool.
Used by verify; personal data goes by address or by age (V-10). Raises SpoolError.
"""

from __future__ import annotations

import sqlite3
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from postroad.store.mention import know_mentions
from postroad.store.spool import SpoolError
from postroad.store.sqlite import DatabaseSettings, open_database, transaction, wipe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path
    from typing import Self

CHUNK_ROWS = 10_000
TURN = 50
"""Addresses of one domain that follow each other in the order of asking."""
BATCH_ROWS = 1000
"""Rows whose addresses are looked up together."""
_SCHEMA = "results"
_SETTINGS = DatabaseSettings(synchronous="NORMAL", cache_kib=64 * 1024, checkpoint_pages=16_000)
"""The index of a million addresses is written all over while they come in: it should fit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run. `created_at`, `finished_at`: wall clock, seconds since 1970."""

    id: int
    key: str
    created_at: float
    rows: int
    """Rows added so far."""
    has_all_input: bool
    finished_at: float | None
    is_resumed: bool
    """It was there before this `open_run`."""


class InputRow(NamedTuple):
    """One row of the input. `text`: as it was given; `address`: the form under which equal ones are one."""

    position: int
    text: str
    address: str
    cells: str = ""
    """The whole row, in a form of the caller's own."""

    @property
    def kept_text(self) -> str:
        """The text as a column holds it: empty where it is the address, as it mostly is."""
        return "" if self.text == self.address else self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """An address without a verdict. `place`: in the order of asking, from 1."""

    id: int
    address: str
    place: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """The verdict on a pending address. `state`: a word to count by; `verdict`: JSON, the caller's own."""

    id: int
    state: str
    verdict: str


class ResultRow(NamedTuple):
    """One row of the input with what is known of it; `state` and `verdict` None: not yet asked."""

    position: int
    text: str
    address: str
    cells: str
    """Empty where none were kept."""
    state: str | None
    verdict: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCounts:
    rows: int
    addresses: int
    pending: int
    by_state: dict[str, int]
    """Distinct addresses by the state recorded."""


class ResultStore:
    """Runs in one SQLite file (mode 0600), made where there is none."""

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

    def open_run(self, key: str, *, now: float) -> Run:
        """The run of that key, begun now where there is none."""
        with self._transaction() as connection:
            is_new = connection.execute(
                "INSERT OR IGNORE INTO run (key, created_at) VALUES (?, ?)", (key, now)
            ).rowcount
            row = connection.execute(_RUN + " WHERE key = ?", (key,)).fetchone()
        return _run(row, is_resumed=not is_new)

    def runs(self) -> tuple[Run, ...]:
        """All runs, oldest first."""
        with self._transaction() as connection:
            return tuple(_run(row, is_resumed=True) for row in connection.execute(_RUN + " ORDER BY id"))

    def add_rows(self, run: Run, rows: Iterable[InputRow]) -> int:
        """Add rows as they come, by rising position, in transactions of `CHUNK_ROWS`; those up to the last that is
        there already are passed over. The number of rows that were new."""
        added = 0
        with self._transaction() as connection:
            (last,) = connection.execute("SELECT max(position) FROM input WHERE run = ?", (run.id,)).fetchone()
        iterator = iter(rows) if last is None else (row for row in rows if row.position > last)
        while chunk := list(islice(iterator, CHUNK_ROWS)):
            with self._transaction() as connection:
                new = 0
                for start in range(0, len(chunk), BATCH_ROWS):
                    new += _add_batch(connection, run.id, chunk[start : start + BATCH_ROWS])
                connection.execute("UPDATE run SET rows = rows + ? WHERE id = ?", (new, run.id))
            added += new
        return added

    def input_complete(self, run: Run, *, columns: str = "") -> None:
        """Note that the whole input was added, so that a resumed run need not read it again.

        `columns`: what the rows' cells are, in a form of the caller's own."""
        with self._transaction() as connection:
            connection.execute("UPDATE run SET has_all_input = 1, columns = ? WHERE id = ?", (columns, run.id))
            _put_in_order(connection, run.id)

    def columns(self, run: Run) -> str:
        """What `input_complete` noted of the columns; empty where it noted nothing."""
        with self._transaction() as connection:
            row = connection.execute("SELECT columns FROM run WHERE id = ?", (run.id,)).fetchone()
        return "" if row is None else str(row[0])

    def pending(self, run: Run, *, limit: int, after: int = 0) -> tuple[Pending, ...]:
        """Addresses without a verdict, in the order of asking. `after`: the last place already taken.

        Those of one domain come together, so that one session asks about many of them; but of a large domain only
        `TURN` at a time, so that it never fills the hands of whoever takes them."""
        with self._transaction() as connection:
            if not after:
                _put_in_order(connection, run.id)
            found = connection.execute(
                "SELECT address.id, address.address, place FROM work CROSS JOIN address ON address.id = work.address"
                " WHERE work.run = ? AND place > ? AND state IS NULL ORDER BY place LIMIT ?",
                (run.id, after, limit),
            ).fetchall()
        return tuple(Pending(id=number, address=address, place=place) for number, address, place in found)

    def record(self, run: Run, results: Sequence[Recorded]) -> int:
        """Keep verdicts, all or none. One that has a verdict already keeps it; how many were new."""
        with self._transaction() as connection:
            return connection.executemany(
                "UPDATE address SET state = ?, verdict = ? WHERE id = ? AND run = ? AND state IS NULL",
                [(one.state, one.verdict, one.id, run.id) for one in results],
            ).rowcount

    def counts(self, run: Run) -> RunCounts:
        with self._transaction() as connection:
            row = connection.execute("SELECT rows FROM run WHERE id = ?", (run.id,)).fetchone()
            states = dict(
                connection.execute("SELECT state, count(*) FROM address WHERE run = ? GROUP BY state", (run.id,))
            )
        pending = states.pop(None, 0)
        return RunCounts(
            rows=0 if row is None else row[0],
            addresses=pending + sum(states.values()),
            pending=pending,
            by_state={str(state): count for state, count in states.items()},
        )

    def results(self, run: Run) -> Iterator[ResultRow]:
        """Every row in input order. Read in pieces: recording may go on meanwhile."""
        position = -1
        while True:
            with self._transaction() as connection:
                rows = connection.execute(
                    "SELECT position, iif(text = '', address.address, text), address.address, cells, state, verdict"
                    " FROM input JOIN address ON address.id = input.address"
                    " WHERE input.run = ? AND position > ? ORDER BY position LIMIT ?",
                    (run.id, position, CHUNK_ROWS),
                ).fetchall()
            yield from map(ResultRow._make, rows)
            position = rows[-1][0] if rows else position
            if len(rows) < CHUNK_ROWS:
                return

    def verdicts(self, run: Run) -> Iterator[str]:
        """The verdict of each distinct address that has one, in the order of their first rows; read in pieces."""
        after = 0
        while True:
            with self._transaction() as connection:
                rows = connection.execute(
                    "SELECT id, verdict FROM address WHERE run = ? AND id > ? AND verdict IS NOT NULL"
                    " ORDER BY id LIMIT ?",
                    (run.id, after, CHUNK_ROWS),
                ).fetchall()
            yield from (verdict for _, verdict in rows)
            after = rows[-1][0] if rows else after
            if len(rows) < CHUNK_ROWS:
                return

    def finish(self, run: Run, *, now: float) -> None:
        """Note that the run is done; its results stay until they are forgotten."""
        with self._transaction() as connection:
            connection.execute("UPDATE run SET finished_at = ? WHERE id = ?", (now, run.id))

    def forget(self, run: Run) -> None:
        """Remove a run with all its rows."""
        with self._transaction() as connection:
            self._forget(connection, run.id)

    def forget_before(self, wall: float) -> int:
        """Remove the runs begun before that time; how many."""
        with self._transaction() as connection:
            old = [row[0] for row in connection.execute("SELECT id FROM run WHERE created_at < ?", (wall,))]
            for number in old:
                self._forget(connection, number)
        return len(old)

    def forget_address(self, address: str, *, mailbox_of: Callable[[str], str] = str.lower) -> int:
        """Remove an address with its rows from every run; how many rows. Addresses of which `mailbox_of` makes the same
        are other spellings of it, and go too.

        Rows of other addresses that mention it in another column lose their own columns, and verdicts of others that
        mention it (as what was meant) are removed, so that they are asked about again when the run goes on."""
        with self._transaction() as connection:
            know_mentions(connection, address, mailbox_of)
            numbers = connection.execute("SELECT id, run FROM address WHERE is_spelling(address)").fetchall()
            removed = 0
            for number, run in numbers:
                rows = connection.execute("DELETE FROM input WHERE address = ?", (number,)).rowcount
                connection.execute("UPDATE run SET rows = rows - ? WHERE id = ?", (rows, run))
                connection.execute("DELETE FROM address WHERE id = ?", (number,))
                removed += rows
            connection.execute("UPDATE input SET cells = '' WHERE mentions(cells)")
            connection.execute("UPDATE address SET state = NULL, verdict = NULL WHERE mentions(verdict)")
        return removed

    def wipe(self) -> None:
        """Leave nothing in the file of what was removed: see `sqlite.wipe`."""
        with self._lock:
            wipe(self._connection, self.path)

    @staticmethod
    def _forget(connection: sqlite3.Connection, number: int) -> None:
        for statement in (
            "DELETE FROM work WHERE run = ?",
            "DELETE FROM input WHERE run = ?",
            "DELETE FROM address WHERE run = ?",
            "DELETE FROM run WHERE id = ?",
        ):
            connection.execute(statement, (number,))

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, transaction(self._connection, self.path) as connection:
            yield connection


def _add_batch(connection: sqlite3.Connection, run: int, rows: Sequence[InputRow]) -> int:
    """Add some rows with the addresses that are new among them; how many."""
    distinct = list(dict.fromkeys(row.address for row in rows))
    (before,) = connection.execute("SELECT coalesce(max(id), 0) FROM address").fetchone()
    new = connection.executemany(
        "INSERT OR IGNORE INTO address (run, address) VALUES (?, ?)", [(run, address) for address in distinct]
    ).rowcount
    if new == len(distinct):
        # All were new, so SQLite numbered them on from the largest: to look each up would take as long again.
        numbers = dict(zip(distinct, range(before + 1, before + new + 1), strict=True))
        return connection.executemany(
            "INSERT OR IGNORE INTO input (run, position, text, address, cells) VALUES (?, ?, ?, ?, ?)",
            [(run, row.position, row.kept_text, numbers[row.address], row.cells) for row in rows],
        ).rowcount
    return connection.executemany(
        "INSERT OR IGNORE INTO input (run, position, text, address, cells)"
        " SELECT ?1, ?2, ?3, id, ?5 FROM address WHERE run = ?1 AND address = ?4",
        [(run, row.position, row.kept_text, row.address, row.cells) for row in rows],
    ).rowcount


def _put_in_order(connection: sqlite3.Connection, run: int) -> None:
    """Give every address of the run its place. Once for a run: those that it has are kept."""
    if connection.execute("SELECT 1 FROM work WHERE run = ? LIMIT 1", (run,)).fetchone():
        return
    connection.create_function("domain_of", 1, _domain_of, deterministic=True)
    connection.execute(
        "INSERT INTO work (run, place, address)"
        " SELECT ?1, row_number() OVER (ORDER BY (turn - 1) / ?2, domain, turn), id FROM ("
        "  SELECT id, domain, row_number() OVER (PARTITION BY domain ORDER BY id) AS turn"
        "  FROM (SELECT id, domain_of(address) AS domain FROM address WHERE run = ?1))",
        (run, TURN),
    )


def _domain_of(address: str) -> str:
    return address[address.rfind("@") + 1 :]


_RUN = "SELECT id, key, created_at, rows, has_all_input, finished_at FROM run"


def _run(row: tuple[object, ...] | None, *, is_resumed: bool) -> Run:
    if row is None:
        raise SpoolError("the run is gone: begin it again")
    number, key, created_at, rows, has_all_input, finished_at = row
    return Run(
        id=int(str(number)),
        key=str(key),
        created_at=float(str(created_at)),
        rows=int(str(rows)),
        has_all_input=bool(has_all_input),
        finished_at=None if finished_at is None else float(str(finished_at)),
        is_resumed=is_resumed,
    )
