"""Where a job takes its addresses from and leaves its verdicts: memory for a few, the result store for a list.

Either asks about each distinct address once (V-07), and gives the verdicts back for every row, in the order of the
input and with the address as that row had it. The store is synchronous, so `StoredSource` calls it in a thread.
Used by the verify command and by library.verification.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

from postroad.smtp.address import MAX_LOCAL_OCTETS, Address
from postroad.store.results import InputRow, Recorded, ResultStore, Run
from postroad.verify.address import check
from postroad.verify.columns import OwnColumns
from postroad.verify.lists import ListReader
from postroad.verify.rows import BadRow, pack, unpack
from postroad.verify.tables import JudgedRow
from postroad.verify.verdict import Verdict

Result = TypeVar("Result")

_CANONICAL = re.compile(r"[A-Za-z0-9_+-]+(?:\.[A-Za-z0-9_+-]+)*@(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,}")
"""The usual address, in its canonical form already: told at a tenth of the price, which counts for a million."""


class Source(Protocol):
    """Where addresses come from, each once, and where their verdicts go."""

    is_resumable: bool
    """What has no verdict when the run ends can be asked about by another run."""

    async def take(self, limit: int) -> Sequence[tuple[int, str]]:
        """The next addresses, with numbers of their own; empty when there are no more."""
        ...

    async def record(self, verdicts: Sequence[tuple[int, Verdict]]) -> None:
        """Keep verdicts."""
        ...


def canonical(text: str) -> str:
    """The form under which equal addresses are one; what is no address is its own."""
    if len(text) <= MAX_LOCAL_OCTETS and _CANONICAL.fullmatch(text) and "xn--" not in text:
        return text
    checked = check(text)
    return str(checked) if isinstance(checked, Address) else text


class MemorySource:
    """A few addresses, and their verdicts once they are found."""

    is_resumable = False

    def __init__(self, addresses: Iterable[str]) -> None:
        self._rows = [(text, canonical(text)) for text in addresses]
        self._wanted = list(dict.fromkeys(address for _, address in self._rows))
        self._taken = 0
        self._found: dict[str, Verdict] = {}

    async def take(self, limit: int) -> Sequence[tuple[int, str]]:
        start, self._taken = self._taken, min(self._taken + limit, len(self._wanted))
        return list(enumerate(self._wanted[start : self._taken], start))

    async def record(self, verdicts: Sequence[tuple[int, Verdict]]) -> None:
        self._found.update((self._wanted[number], verdict) for number, verdict in verdicts)

    def distinct(self) -> Iterator[Verdict]:
        """The verdict of each address that has one, once."""
        return iter(self._found.values())

    def verdicts(self) -> Iterator[Verdict]:
        """What was found, row by row; rows that were not reached are left out."""
        for text, address in self._rows:
            if address in self._found:
                yield self._found[address].given_as(text)


class StoredSource:
    """The addresses of a run that have no verdict yet."""

    is_resumable = True

    def __init__(self, store: ResultStore, run: Run) -> None:
        self._store = store
        self._run = run
        self._after = 0

    async def take(self, limit: int) -> Sequence[tuple[int, str]]:
        after = self._after
        pending = await _in_thread(lambda: self._store.pending(self._run, limit=limit, after=after))
        if pending:
            self._after = pending[-1].place
        return [(one.id, one.address) for one in pending]

    async def record(self, verdicts: Sequence[tuple[int, Verdict]]) -> None:
        rows = [Recorded(id=number, state=verdict.state, verdict=verdict.to_json()) for number, verdict in verdicts]
        await _in_thread(lambda: self._store.record(self._run, rows))


async def _in_thread(work: Callable[[], Result]) -> Result:
    return await asyncio.get_running_loop().run_in_executor(None, work)


def add_list(store: ResultStore, run: Run, rows: ListReader, on_bad: Callable[[BadRow], None]) -> None:
    """Put every row of a list into the run, with all its cells. A row that cannot be read goes to `on_bad`."""

    def readable() -> Iterator[InputRow]:
        for row in rows:
            if isinstance(row, BadRow):
                on_bad(row)
            else:
                line, text, cells = row
                yield InputRow(line, text, canonical(text), "" if cells == (text,) else pack(cells))

    store.add_rows(run, readable())
    store.input_complete(run, columns=rows.columns.to_json())


def stored_columns(store: ResultStore, run: Run) -> OwnColumns:
    """The own columns of the list of that run; none for a run of an older version."""
    return OwnColumns.from_json(store.columns(run))


def stored_rows(store: ResultStore, run: Run) -> Iterator[JudgedRow]:
    """Every row of the list, with its verdict where one was found."""
    before = ("",) * stored_columns(store, run).column
    for row in store.results(run):
        verdict = None if row.verdict is None else Verdict.from_json(row.verdict).given_as(row.text)
        yield JudgedRow(row.text, unpack(row.cells) if row.cells else (*before, row.text), verdict)


def stored_distinct(store: ResultStore, run: Run) -> Iterator[Verdict]:
    """The verdict of each address that has one, once, however many rows name it."""
    return map(Verdict.from_json, store.verdicts(run))
