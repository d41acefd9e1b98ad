"""A list split by its verdicts into files that go back where the list came from: clean, risky, remove.

Each has the list's own header and columns and nothing else. Used by the verify command.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
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
MAX_LINKS = 40
"""Links that are followed from one to the next, as Linux has it."""
MAX_PREFIX_CHARS = 40
"""Of a file's name in that of the one beside it, which may not be too long."""
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
        unchecked = directory / "unchecked.csv"
        if not is_written_into(unchecked):
            unchecked.unlink(missing_ok=True)
        del counts["unchecked"]
    return counts


@contextmanager
def replaced(path: Path) -> Iterator[IO[str]]:
    """A file to write in the place of that one, which it takes when it is whole; left as it was on an exception.

    A device, a pipe, or what stands for an open file (`/dev/stdout`) is written into, as nothing can take its place.
    Raises OSError.
    """
    if is_written_into(path):
        # An open file keeps what it holds: "w" would empty what a shell's >> is to be added to.
        with path.open("a" if path.is_file() else "w", encoding="utf-8", newline="") as place:
            yield place
        return
    with replacement(path) as beside, beside.open("w", encoding="utf-8", newline="") as file:
        yield file


@contextmanager
def replacement(path: Path) -> Iterator[Path]:
    """A path to write a file at, which takes the place of that one afterwards, with its mode and owner.

    A link stays, and what it leads to is replaced. What `is_written_into` gets a copy instead. Raises OSError.
    """
    is_into = is_written_into(path)
    target = path.resolve()
    directory = None if is_into else target.parent
    handle, name = tempfile.mkstemp(dir=directory, prefix=f".{target.name[:MAX_PREFIX_CHARS]}.")
    os.close(handle)
    beside = Path(name)
    try:
        yield beside
        if is_into:
            with beside.open("rb") as file, path.open("ab" if path.is_file() else "wb") as place:
                shutil.copyfileobj(file, place)
            beside.unlink()
        else:
            _like(target, beside)
            beside.replace(target)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def is_written_into(path: Path) -> bool:
    """Whether it is there and no regular file, or is a name in /proc of an open file. Raises OSError."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return True
    except FileNotFoundError:
        return False
    for _ in range(MAX_LINKS):
        if path.parent.resolve().parts[:2] == ("/", "proc"):
            return True
        if not path.is_symlink():
            return False
        path = path.parent / path.readlink()
    return False


def _like(target: Path, file: Path) -> None:
    """Give the file the mode and, where that is allowed, the owner of the target; those of a new file if none is."""
    try:
        found = target.stat()
    except FileNotFoundError:
        umask = os.umask(0)
        os.umask(umask)
        file.chmod(0o666 & ~umask)
        return
    with suppress(PermissionError):
        os.chown(file, found.st_uid, found.st_gid)
    file.chmod(found.st_mode & 0o777)


def _begun(
    stack: ExitStack, path: Path, columns: OwnColumns, line: Callable[[Iterable[str]], str]
) -> Callable[[str], int]:
    file = stack.enter_context(replaced(path))
    if columns.names:
        file.write(line(map(own_cell, columns.names)))
    return file.write


def _own_cells(cells: tuple[Cell, ...], width: int) -> list[str]:
    return [*map(own_cell, cells), *[""] * (width - len(cells))]
