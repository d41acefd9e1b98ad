"""Where a job takes its addresses from and leaves its verdicts: memory for a few, the result store for a list.

Either asks about each distinct address once (V-07), and gives the verdicts back for every row, in the order of the
input and with the address as that row had it. The store is synchronous, so `StoredSource` calls it in a thread.
Used by the verify command and by library.verification.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

from postroad.smtp.address import Address
from postroad.store.results import InputRow, Recorded, ResultStore, Run
from postroad.verify.address import check
from postroad.verify.lists import BadRow, ListRow
from postroad.verify.verdict import Verdict

Result = TypeVar("Result")


class Source(Protocol):
    """Where addresses come from, each once, and where their verdicts go."""

    async def take(self, limit: int) -> Sequence[tuple[int, str]]:
        """The next addresses, with numbers of their own; empty when there are no more."""
        ...

    async def record(self, verdicts: Sequence[tuple[int, Verdict]]) -> None:
        """Keep verdicts."""
        ...


def canonical(text: str) -> str:
    """The form under which equal addresses are one; what is no address is its own."""
    checked = check(text)
    return str(checked) if isinstance(checked, Address) else text


class MemorySource:
    """A few addresses, and their verdicts once they are found."""

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

    def verdicts(self) -> Iterator[Verdict]:
        """What was found, row by row; rows that were not reached are left out."""
        for text, address in self._rows:
            if address in self._found:
                yield self._found[address].given_as(text)


class StoredSource:
    """The addresses of a run that have no verdict yet."""

    def __init__(self, store: ResultStore, run: Run) -> None:
        self._store = store
        self._run = run
        self._after = 0

    async def take(self, limit: int) -> Sequence[tuple[int, str]]:
        after = self._after
        pending = await _in_thread(lambda: self._store.pending(self._run, limit=limit, after=after))
        if pending:
            self._after = pending[-1].id
        return [(one.id, one.address) for one in pending]

    async def record(self, verdicts: Sequence[tuple[int, Verdict]]) -> None:
        rows = [Recorded(id=number, state=verdict.state, verdict=verdict.to_json()) for number, verdict in verdicts]
        await _in_thread(lambda: self._store.record(self._run, rows))


async def _in_thread(work: Callable[[], Result]) -> Result:
    return await asyncio.get_running_loop().run_in_executor(None, work)


def add_list(store: ResultStore, run: Run, rows: Iterable[ListRow | BadRow], on_bad: Callable[[BadRow], None]) -> None:
    """Put every row of a list into the run. A row that cannot be read goes to `on_bad`."""

    def readable() -> Iterator[InputRow]:
        for row in rows:
            if isinstance(row, BadRow):
                on_bad(row)
            else:
                yield InputRow(position=row.line, text=row.text, address=canonical(row.text))

    store.add_rows(run, readable())
    store.input_complete(run)


def stored_verdicts(store: ResultStore, run: Run) -> Iterator[Verdict]:
    """What was found, row by row; rows that were not reached are left out."""
    for row in store.results(run):
        if row.verdict is not None:
            yield Verdict.from_json(row.verdict).given_as(row.text)
