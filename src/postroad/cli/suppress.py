"""`postroad suppress`: those who are not to be mailed, which `postroad verify` knows without asking."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO

import click

from postroad.cli import STOPPED
from postroad.cli.settings import fact_store, fail
from postroad.cli.suppress_lists import (
    CAUSES,
    MAX_NOTE_CHARS,
    csv_lines,
    entries_of,
    entry_of,
    jsonl,
    reader_of,
    scope_of,
    stamp,
    suppressed_name,
    table,
)
from postroad.clock import SystemClock
from postroad.events import escaped
from postroad.store.facts import EVERYBODY, Delivered, DeliveryOutcome, FactStore, Suppressed
from postroad.verify.address import MAX_TEXT, BadAddress
from postroad.verify.lines import ListError
from postroad.verify.rows import BadRow
from postroad.verify.split import replaced

BAD_ROWS_TOLD = 20
ADDED_TOGETHER = 1000
"""Rows of an imported list that are written at a time."""
PRINTED_TOGETHER = 500

_FILE = click.Path(dir_okay=False, path_type=Path)

_state = click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory that holds the list; that of `postroad verify` by default.",
)
_cause = click.option(
    "--cause",
    type=click.Choice(CAUSES),
    help="Why; do_not_mail for an address and blocked_domain for a domain by default.",
)


def _names(texts: Iterable[str]) -> list[str]:
    """The names that arguments mean; the first that means none ends the command before anything is done."""
    found = []
    for text in texts:
        name = suppressed_name(text)
        if isinstance(name, BadAddress):
            fail(f"{text[:MAX_TEXT]!r} is neither an address nor a domain: {name.fault}")
        found.append(name)
    return list(dict.fromkeys(found))


def _note(_context: click.Context, _option: click.Parameter, value: str) -> str:
    if len(value) > MAX_NOTE_CHARS:
        raise click.BadParameter(f"a note has at most {MAX_NOTE_CHARS} characters, and this one has {len(value):,}")
    return value


def _scope_named(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    if value is None:
        return None
    scope = scope_of(value)
    if isinstance(scope, BadAddress):
        raise click.BadParameter(f"{value[:80]!r} is no sender's address, domain or list:NAME: {scope.fault}")
    return scope


_scope = click.option(
    "--scope",
    callback=_scope_named,
    help="Whose mail alone it is about: a sender's address, a sender's domain, or list:NAME.",
)


def _rows(number: int) -> str:
    return f"{number:,} row{'' if number == 1 else 's'}"


@click.group("suppress")
def command() -> None:
    """Keep the list of those not to be mailed.

    `postroad verify` never asks about an address that is on it, or whose domain is, and says why: do_not_mail (a
    complaint, a spam trap, a decision of yours), opt_out (its owner wants no mail), blocked_domain, bounced. Capital
    and small letters are the same, and so are all spellings of a mailbox whose provider's rules are known.
    """


@command.command("add", short_help="Put addresses or domains on the list.")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@_cause
@click.option("--note", default="", callback=_note, help="Words to remember it by.")
@_scope
@click.option("--days", type=click.FloatRange(0, 36_500, min_open=True), help="For so long; without end by default.")
@_state
def add(
    names: tuple[str, ...], cause: str | None, note: str, scope: str | None, days: float | None, state: Path | None
) -> None:
    """Put addresses or domains on the list; an earlier entry of the same name and scope is replaced.

    NAME is an address, or a domain for every address at it (its subdomains are domains of their own).
    """
    now = SystemClock().wall()
    entries = []
    ends = None if days is None else now + days * 86_400
    for name in _names(names):
        entry = entry_of(name, cause, note, now, scope=scope or EVERYBODY, expires_at=ends)
        if isinstance(entry, BadAddress):
            fail(entry.fault)
        entries.append(entry)
    with fact_store(state) as facts:
        facts.suppress(entries)
    for entry in entries:
        whose = f", for mail of {escaped(entry.scope)}" if entry.scope else ""
        click.echo(f"{escaped(entry.name)}: on the list as {entry.cause}{whose}")


@command.command("remove", short_help="Take addresses or domains off the list.")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@_scope
@_state
def remove(names: tuple[str, ...], scope: str | None, state: Path | None) -> None:
    """Take addresses or domains off the list, in every spelling of a mailbox. Status 1 where one was not on it.

    Without --scope whatever stops mail to them goes, and that mail to them came back is forgotten.
    """
    wanted = _names(names)
    with fact_store(state) as facts:
        listed = facts.listed(wanted, scope=scope)
        for name in wanted:
            facts.release(name, scope=scope)
    for name in wanted:
        if name in listed:
            click.echo(f"{escaped(name)}: off the list")
        else:
            click.echo(f"postroad: {escaped(name)} is not on the list", err=True)
    if len(listed) < len(wanted):
        sys.exit(1)


@command.command("check", short_help="Say whether addresses may be mailed, by the status too.")
@click.argument("names", metavar="ADDRESS...", nargs=-1, required=True)
@_scope
@_state
def check_names(names: tuple[str, ...], scope: str | None, state: Path | None) -> None:
    """Say of each address or domain whether it may be mailed: status 0 where all may, 1 where one may not.

    An address may not where it is on the list, its domain is, or mail to it came back.
    """
    wanted = _names(names)
    with fact_store(state) as facts:
        asked = [*wanted, *(_domain(name) for name in wanted)]
        entries = facts.suppressed(asked, scopes=_scopes(scope), now=SystemClock().wall())
        bounced = _bounced(facts, wanted)
    is_free = True
    for name in wanted:
        entry = entries.get(name) or entries.get(_domain(name))
        told = "may be mailed"
        if entry is not None:
            whose = "" if entry.name == name else f"its {_kind(entry.name)} {entry.name} is on the list: "
            told = whose + _told(str(entry.cause), entry.added_at, entry.note)
        elif name in bounced:
            told = _told("mail came back", bounced[name].at, bounced[name].said)
        is_free = is_free and entry is None and name not in bounced
        click.echo(escaped(f"{name}: {told}"))
    if not is_free:
        sys.exit(1)


def _scopes(scope: str | None) -> list[str]:
    """Everybody's, that one, and that of its domain where it is an address."""
    return [EVERYBODY] if not scope else list(dict.fromkeys([EVERYBODY, scope, scope.rpartition("@")[2]]))


def _domain(name: str) -> str:
    return name.rpartition("@")[2]


def _kind(name: str) -> str:
    """What the name of an entry is to another spelling of it, or to an address at it."""
    return "mailbox" if "@" in name else "domain"


def _told(why: str, since: float, words: str) -> str:
    return f"{why} since {stamp(since)}" + (f": {words}" if words else "")


def _bounced(facts: FactStore, names: Sequence[str]) -> dict[str, Delivered]:
    """Those of the addresses that mail came back from."""
    found = facts.deliveries(names)
    return {name: one for name, one in found.items() if one.outcome is not DeliveryOutcome.DELIVERED}


# The list written out ---------------------------------------------------------------------------------------------


@command.command("list")
@click.option(
    "--format",
    "style",
    type=click.Choice(["table", "jsonl", "csv"]),
    default="table",
    show_default=True,
    help="How to print.",
)
@_state
def print_list(style: str, state: Path | None) -> None:
    """Print the whole list, by name."""
    with fact_store(state) as facts:
        entries = facts.suppressions()
        _print(csv_lines(entries) if style == "csv" else jsonl(entries) if style == "jsonl" else table(entries))


def _print(lines: Iterator[str]) -> None:
    """Many at a time: each write to the terminal or the pipe costs."""
    while some := list(islice(lines, PRINTED_TOGETHER)):
        click.echo("".join(some), nl=False)


@command.command("export", short_help="Write the whole list as CSV.")
@click.option("--output", type=_FILE, help="File to write; standard output by default.")
@_state
def export(output: Path | None, state: Path | None) -> None:
    """Write the whole list as CSV, which `postroad suppress import` reads again."""
    with fact_store(state) as facts:
        if output is None or str(output) == "-":
            _print(csv_lines(facts.suppressions()))
            return
        try:
            with replaced(output) as file:
                file.writelines(csv_lines(facts.suppressions()))
        except OSError as error:
            fail(f"{output} cannot be written: {error.strerror}; choose another file for --output")


# The list taken in ------------------------------------------------------------------------------------------------


@command.command("import", short_help="Put all names of a file on the list.")
@click.argument("name", metavar="FILE")
@click.option("--column", help="Name or number (from 1) of the column with the names; found by itself otherwise.")
@click.option("--encoding", help="Encoding of a list of text; found by itself otherwise.")
@_cause
@_state
def import_list(name: str, column: str | None, encoding: str | None, cause: str | None, state: Path | None) -> None:
    """Put every address and domain of a list on the list of those not to be mailed.

    FILE is CSV, one name a line, JSON lines, a spreadsheet or Parquet; - reads it from standard input. Columns `cause`
    and `note` are used where there are any. A row that cannot be read is told with its line and left out; the others
    are added, and the status is 1.
    """
    added = bad = 0
    now = SystemClock().wall()
    batch: list[Suppressed] = []
    with fact_store(state) as facts:
        try:
            with _opened(name) as file:
                for found in entries_of(reader_of(file, column, encoding), cause, now):
                    if isinstance(found, BadRow):
                        bad += 1
                        if bad <= BAD_ROWS_TOLD:
                            click.echo(escaped(f"postroad: line {found.line} was left out: {found.fault}"), err=True)
                        continue
                    batch.append(found)
                    if len(batch) >= ADDED_TOGETHER:
                        added += facts.suppress(batch)
                        batch = []
                added += facts.suppress(batch)
        except ListError as error:
            added += facts.suppress(batch)
            fail(f"{name}: {error}" + (f"; before that, {_rows(added)} were added" if added else ""))
        except OSError as error:
            fail(f"{name} cannot be read: {error.strerror}")
        except KeyboardInterrupt:
            click.echo(f"postroad: stopped; before that, {_rows(added)} were added", err=True)
            sys.exit(STOPPED)
    if bad > BAD_ROWS_TOLD:
        click.echo(f"postroad: {bad - BAD_ROWS_TOLD:,} more rows were left out", err=True)
    if not added and not bad:
        fail(f"{name}: the list holds no addresses and no domains")
    click.echo(f"{_rows(added)} added, {bad:,} left out")
    if bad:
        sys.exit(1)


@contextmanager
def _opened(name: str) -> Iterator[IO[bytes]]:
    """The list as a file that can be read again from its beginning."""
    if name != "-":
        with Path(name).open("rb") as file:
            if file.seekable():
                yield file
                return
            with tempfile.TemporaryFile() as copy:
                shutil.copyfileobj(file, copy)
                copy.seek(0)
                yield copy
        return
    with tempfile.TemporaryFile() as copy:
        shutil.copyfileobj(sys.stdin.buffer, copy)
        copy.seek(0)
        yield copy
