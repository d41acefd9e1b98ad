"""Where the results of `postroad verify` go: standard output, files, the report page, the parts to import."""

from __future__ import annotations

import os
import stat
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from postroad.cli.settings import fail
from postroad.events import escaped
from postroad.verify.columns import OwnColumns
from postroad.verify.lines import ListError
from postroad.verify.report import evidence_line
from postroad.verify.report_page import report_page
from postroad.verify.report_values import Group, Row, Summary
from postroad.verify.split import PARTS, is_written_into, replaced, replacement, split_list
from postroad.verify.tables import TEXT_FORMATS, JudgedRow, write_parquet
from postroad.verify.verdict import Judgement, Verdict

STYLES = ("table", *TEXT_FORMATS, "parquet")
_BY_ENDING = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".parquet": "parquet",
}
_NOT_WRITTEN = (".xlsx", ".xls", ".xlsb", ".ods", ".html", ".htm", ".zip", ".gz")
_COLOURS = {
    Judgement.DELIVERABLE: "green",
    Judgement.RISKY: "yellow",
    Judgement.UNDELIVERABLE: "red",
    Judgement.UNKNOWN: "cyan",
}
GROUPS_SHOWN = 50
GROUPS_COUNTED = 100_000
"""Domains counted at a time: beyond it the rarest are dropped, which can only miscount what no chart shows."""


class NotWritten(Exception):
    """What was found could not be written there: which file, and why. `option`: the one that names another place."""

    def __init__(self, sentence: str, option: str) -> None:
        super().__init__(sentence)
        self.option = option


class Output:
    """Where results go, and in what form."""

    def __init__(self, style: str | None, output: Path | None, report: Path | None, parts: Path | None) -> None:
        self._output = None if output is None or str(output) == "-" else output
        if style is None and self._output is not None:
            ending = self._output.suffix.lower()
            if ending in _NOT_WRITTEN:
                fail(f"{ending} cannot be written: let --output end in .csv, .tsv, .jsonl or .parquet")
            style = _BY_ENDING.get(ending, "csv")
        if style == "table" and self._output is not None:
            fail("--output takes --format jsonl, csv, tsv or parquet: a table is for the eye")
        if style == "parquet" and self._output is None:
            fail("--format parquet goes to a file: name it by --output")
        self._style = style or "table"
        self.report = report
        self._parts = parts
        self.is_lost = False
        """Whether there were too many results for a table, and nothing else was asked for."""

    def check(self, name: str | None = None) -> None:
        """End the command now where a file could not be written after hours of asking, or would destroy the list.

        `name`: the list; - for standard input.
        """
        self._keep_apart(None if name is None else _content(name))
        for path, option in ((self._output, "--output"), (self.report, "--report")):
            if path is not None and not _is_writable(path):
                fail(f"{path} cannot be written: choose another file for {option}")
        if self._parts is not None:
            try:
                self._parts.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                fail(f"{self._parts} cannot be made: {error.strerror}; choose another directory for --split")
            if not os.access(self._parts, os.W_OK):
                fail(f"{self._parts} cannot be written: choose another directory for --split")

    def _keep_apart(self, content: os.stat_result | None) -> None:
        """End the command where two things would go to one file, or one of them to the list."""
        files = [(path, "--output", "file") for path in (self._output,) if path is not None]
        files += [(path, "--report", "file") for path in (self.report,) if path is not None]
        if self._parts is not None:
            files += [(self._parts / f"{name}.csv", "--split", "directory") for name in PARTS]
        taken: dict[Path, str] = {}
        for path, option, what in files:
            found = _found(path)
            if found is not None and not stat.S_ISREG(found.st_mode):
                continue
            if found is not None and content is not None and os.path.samestat(found, content):
                fail(f"{path} is the list itself, which would be lost: choose another {what} for {option}")
            earlier = next((one for one in taken if _is_same(one, path)), None)
            if earlier is not None:
                fail(f"{path} is for both {taken[earlier]} and {option}: choose another {what} for one of them")
            taken[path] = option

    def write(self, rows: Callable[[], Iterable[JudgedRow]], columns: OwnColumns, *, is_table: bool) -> None:
        """Write them; a file is replaced once the new one is whole. Raises NotWritten."""
        if self._style == "table":
            self.is_lost = not is_table and self.report is None and self._parts is None
            verdicts = [row.verdict for row in rows() if row.verdict is not None] if is_table else []
            if verdicts:
                with _naming("standard output", "--output"):
                    _print_table(verdicts)
        elif self._output is None:
            with _naming("standard output", "--output"):
                for line in TEXT_FORMATS[self._style](rows(), columns):
                    click.echo(line, nl=False)
        elif self._style == "parquet":
            try:
                with _naming(self._output, "--output"), replacement(self._output) as beside:
                    write_parquet(beside, rows(), columns)
            except ListError as error:
                fail(str(error))
        else:
            with _naming(self._output, "--output"), replaced(self._output) as file:
                file.writelines(TEXT_FORMATS[self._style](rows(), columns))
        if self._parts is not None:
            with _naming(self._parts, "--split"):
                counts = split_list(self._parts, rows(), columns)
            told = ", ".join(f"{name}.csv {count:,}" for name, count in counts.items())
            click.echo(f"postroad: in {escaped(str(self._parts))}: {told}", err=True)

    def write_report(self, summary: Summary, verdicts: Iterable[Verdict]) -> None:
        """The report page. Raises NotWritten."""
        assert self.report is not None
        with _naming(self.report, "--report"), replaced(self.report) as file:
            file.writelines(report_page(summary, (Row.of(verdict) for verdict in verdicts)))
        click.echo(f"postroad: the report is in {escaped(str(self.report))}", err=True)

    @property
    def name(self) -> str:
        """The file of the results, or nothing."""
        return "" if self._output is None else str(self._output)


@contextmanager
def _naming(place: Path | str, option: str) -> Iterator[None]:
    """A fault of writing names the place that was to be written, whatever file of ours it came from."""
    try:
        yield
    except OSError as error:
        if isinstance(error, BrokenPipeError) and isinstance(place, str):
            raise  # who listened has had enough
        why = os.strerror(error.errno) if error.errno else str(error)
        raise NotWritten(f"{place} could not be written: {why}", option) from None


def _content(name: str) -> os.stat_result | None:
    """The file that the list is, also where a shell opened it as standard input."""
    try:
        return os.fstat(sys.stdin.fileno()) if name == "-" else os.stat(name)  # noqa: PTH116 - beside fstat
    except (OSError, ValueError):
        return None


def _found(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


def _is_same(one: Path, other: Path) -> bool:
    """Whether both are one file, or would be."""
    first, second = _found(one), _found(other)
    if first is not None and second is not None:
        return os.path.samestat(first, second)
    return first is second and os.path.realpath(one) == os.path.realpath(other)


def _is_writable(path: Path) -> bool:
    """Whether it could be written now: in place, or by another file beside it that takes its place."""
    try:
        if is_written_into(path):
            return os.access(path, os.W_OK)
        target = path.resolve()
        return os.access(target.parent, os.W_OK) and (not target.exists() or os.access(target, os.W_OK))
    except OSError:
        return False


def grouped(verdicts: Iterable[Verdict]) -> tuple[list[Group], list[Group]]:
    """Providers and domains of distinct addresses, the largest first."""
    providers: dict[str, Counter[str]] = {}
    domains: dict[str, Counter[str]] = {}
    for verdict in verdicts:
        word = str(verdict.verdict)
        if verdict.mx or verdict.provider:
            providers.setdefault(verdict.provider, Counter())[word] += 1
        domain = verdict.traits.normalised.rpartition("@")[2]
        if domain:
            domains.setdefault(domain, Counter())[word] += 1
            if len(domains) > GROUPS_COUNTED:
                kept = sorted(domains, key=lambda name: -domains[name].total())[: GROUPS_COUNTED // 2]
                domains = {name: domains[name] for name in kept}
    return list(_largest(providers)), list(_largest(domains))


def _largest(groups: dict[str, Counter[str]]) -> Iterator[Group]:
    for name in sorted(groups, key=lambda one: (-groups[one].total(), one))[:GROUPS_SHOWN]:
        yield Group(name, dict(groups[name]))


def _print_table(verdicts: Iterable[Verdict]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("address", overflow="fold")
    table.add_column("verdict", no_wrap=True)
    table.add_column("reason", no_wrap=True)
    table.add_column("evidence", overflow="fold")
    for verdict in verdicts:
        told = evidence_line(verdict.proof)
        if verdict.traits.suggestion:
            told = f"{told} (did you mean {escaped(verdict.traits.suggestion)}?)"
        table.add_row(
            Text(escaped(verdict.address)),
            Text(str(verdict.verdict), style=_COLOURS[verdict.verdict]),
            verdict.reason,
            Text(told),
        )
    # Folded cells would break what scripts look for: where there is no terminal, lines may be long.
    Console(width=None if sys.stdout.isatty() else 500, highlight=False).print(table)
