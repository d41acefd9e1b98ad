"""A list split by its verdicts into files that go back where the list came from: clean, risky, remove.

Each has the list's own header and columns and nothing else. Used by the verify command.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from postroad.verify.columns import OwnColumns
from postroad.verify.rows import Cell
from postroad.verify.tables import JudgedRow, csv_line, own_cell
from postroad.verify.verdict import Verdict

PARTS: Mapping[str, str] = {
    "clean": "Deliverable: send.",
    "risky": "Risky or unknown: send a few at a time, or ask again later.",
    "remove": "Undeliverable, or not to be mailed: take out.",
    "unchecked": "Not reached when the run was stopped; there only then.",
}
"""File name without `.csv` → what it holds."""
NOT_TO_BE_MAILED = frozenset({"do_not_mail", "opt_out", "blocked_domain", "bounced"})
"""Reasons that take a row out, whatever the verdict."""
_BY_VERDICT = {"deliverable": "clean", "undeliverable": "remove"}


def part(verdict: Verdict | None) -> str:
    """The key of `PARTS` where a row of that verdict goes."""
    if verdict is None:
        return "unchecked"
    return "remove" if verdict.reason in NOT_TO_BE_MAILED else _BY_VERDICT.get(str(verdict.verdict), "risky")


def split_list(directory: Path, rows: Iterable[JudgedRow], columns: OwnColumns) -> dict[str, int]:
    """Write `clean.csv`, `risky.csv`, `remove.csv`, and `unchecked.csv` if rows were not reached; rows in each.

    They replace those of an earlier run only when all are whole; an `unchecked.csv` of then goes. Made where the
    directory is not there. Raises OSError.
    """
    directory.mkdir(parents=True, exist_ok=True)
    line = csv_line(";" if columns.delimiter == ";" else ",")
    # A row of a CSV list has the cells that it had; one of another format has them all.
    width = 0 if columns.delimiter else len(columns.titles)
    counts = dict.fromkeys(PARTS, 0)
    with ExitStack() as stack:
        writes: dict[str, Callable[[str], int]] = {}
        for name in PARTS:
            if name != "unchecked":
                writes[name] = _begun(stack, directory / f"{name}.csv", columns, line)
        for row in rows:
            name = part(row.verdict)
            if name not in writes:
                writes[name] = _begun(stack, directory / f"{name}.csv", columns, line)
            writes[name](line(_own_cells(row.cells, width)))
            counts[name] += 1
    if not counts["unchecked"]:
        (directory / "unchecked.csv").unlink(missing_ok=True)
        del counts["unchecked"]
    return counts


@contextmanager
def replaced(path: Path) -> Iterator[IO[str]]:
    """A file to write in the place of that one, which it takes when it is whole; left as it was on an exception."""
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", newline="", dir=path.absolute().parent, prefix=f".{path.name}.", delete=False
    ) as file:
        try:
            yield file
            file.flush()
            umask = os.umask(0)
            os.umask(umask)
            Path(file.name).chmod(0o666 & ~umask)
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def _begun(
    stack: ExitStack, path: Path, columns: OwnColumns, line: Callable[[Iterable[str]], str]
) -> Callable[[str], int]:
    file = stack.enter_context(replaced(path))
    if columns.names:
        file.write(line(map(own_cell, columns.names)))
    return file.write


def _own_cells(cells: tuple[Cell, ...], width: int) -> list[str]:
    return [*map(own_cell, cells), *[""] * (width - len(cells))]
