"""`postroad verify`: a few addresses or a whole list, asked about by the SMTP handshake; never sends a message.

A list goes through the result store of the state directory, so that a stopped or killed run can go on by `--resume`.
Results go to standard output or `--output`; progress, notices and the summary of a list to standard error.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import random
import secrets
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from postroad.cli.settings import fail
from postroad.clock import SystemClock
from postroad.config.judge import is_ip, split_host_port
from postroad.events import escaped
from postroad.net.endpoint import Egress, PhaseTimeouts, TlsMode
from postroad.net.hostname import machine_name
from postroad.net.listen import ListenError, check_source
from postroad.net.resolver import DnsResolver
from postroad.smtp.address import NULL, Address, AddressError
from postroad.store.results import ResultStore, Run
from postroad.store.spool import SpoolError, SpoolLocked
from postroad.store.sqlite import FileLock
from postroad.verify.job import Job, doubts
from postroad.verify.lines import ListError
from postroad.verify.lists import ListReader
from postroad.verify.report import FORMATS, evidence_line, summary
from postroad.verify.rows import BadRow
from postroad.verify.settings import VerifySettings
from postroad.verify.source import MemorySource, Source, StoredSource, add_list, stored_verdicts
from postroad.verify.verdict import Judgement, Verdict

if TYPE_CHECKING:
    from rich.progress import Progress

FEW = 50
"""Rows of a list that are shown as a table where nobody asked for a file."""
BAD_ROWS_TOLD = 20
DAY_S = 86_400.0
STOPPED = 130
"""Status after Ctrl-C, as shells have it."""
_COLOURS = {
    Judgement.DELIVERABLE: "green",
    Judgement.RISKY: "yellow",
    Judgement.UNDELIVERABLE: "red",
    Judgement.UNKNOWN: "cyan",
}


def _server(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    if value is None:
        return None
    text = f"[{value}]:53" if is_ip(value) and ":" in value else value if ":" in value else f"{value}:53"
    found = split_host_port(text)
    if found is None:
        raise click.BadParameter(f"write ADDRESS:PORT, such as 127.0.0.1:53 or [::1]:53, not {value!r}")
    return text


def _source_address(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    if value is not None and not is_ip(value):
        raise click.BadParameter(f"write an IP address of this machine, not {value!r}")
    return value


def _mail_from(_context: click.Context, _option: click.Parameter, value: str) -> Any:
    if value in ("", "<>"):
        return NULL
    try:
        return Address.parse(value, smtputf8=True)
    except AddressError as error:
        raise click.BadParameter(f"{value!r}: {error}") from None


@click.command("verify")
@click.argument("subjects", metavar="ADDRESS... | FILE", nargs=-1, required=True)
@click.option("--format", "style", type=click.Choice(["table", *FORMATS]), help="How to write the results.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="File for the results; - for none.")
@click.option("--column", help="Name or number (from 1) of the column with the addresses; found by itself otherwise.")
@click.option("--resume", is_flag=True, help="Go on with the last run of this list: ask only what it left open.")
@click.option("--state", type=click.Path(file_okay=False, path_type=Path), help="Directory for runs of lists.")
@click.option(
    "--keep-days", type=click.IntRange(0, 3650), default=30, show_default=True, help="How long runs are kept."
)
@click.option("--resolver", metavar="ADDRESS:PORT", callback=_server, help="DNS server; the system's by default.")
@click.option("--port", type=click.IntRange(1, 65_535), default=25, show_default=True, help="Port of the mail hosts.")
@click.option("--source-address", metavar="IP", callback=_source_address, help="Local address to connect from.")
@click.option("--allow-private", is_flag=True, help="Contact hosts with loopback, private or link-local addresses too.")
@click.option("--hello", help="Name to give in EHLO, which should lead to this machine; its own by default.")
@click.option("--mail-from", default="", callback=_mail_from, help="Sender to name; the null one (<>) by default.")
@click.option(
    "--tls",
    type=click.Choice(["none", "opportunistic", "required", "verified"]),
    default="opportunistic",
    show_default=True,
    help="STARTTLS: never, where offered, always, or always with a valid certificate.",
)
@click.option("--connections", type=click.IntRange(1, 5000), default=50, show_default=True, help="In all, at a time.")
@click.option("--per-site", type=click.IntRange(1, 100), default=2, show_default=True, help="Connections to one site.")
@click.option(
    "--recipients", type=click.IntRange(1, 1000), default=50, show_default=True, help="Addresses asked in one session."
)
@click.option(
    "--timeout", type=click.FloatRange(0.1, 600), default=60.0, show_default=True, help="Seconds for each answer."
)
@click.option("--connect-timeout", type=click.FloatRange(0.1, 600), default=15.0, show_default=True, help="To connect.")
def command(subjects: tuple[str, ...], style: str | None, output: Path | None, **options: Any) -> None:
    """Verify addresses by the SMTP handshake; never sends a message.

    FILE is a list: CSV, TSV, or one address a line; - reads it from standard input. Needs no server and no
    configuration.
    """
    hello = options["hello"] or machine_name()
    settings = VerifySettings(
        hello=hello,
        mail_from=options["mail_from"],
        port=options["port"],
        tls=TlsMode(options["tls"]),
        egress=(Egress(source_address=options["source_address"]),),
        allow_private=options["allow_private"],
        connections=options["connections"],
        per_site=options["per_site"],
        recipients_per_session=options["recipients"],
        timeouts=PhaseTimeouts.all(options["timeout"], connect_s=options["connect_timeout"]),
    )
    if not hello.isascii() or not hello.isprintable() or " " in hello:
        raise click.BadParameter("a name in EHLO is one word of printable ASCII", param_hint="--hello")
    if options["source_address"] is not None:
        try:
            check_source(options["source_address"])
        except ListenError as error:
            fail(str(error))
    asking = Asking(settings, options["resolver"])
    if _is_list(subjects):
        _verify_list(subjects[0], asking, _Writing(style, output), options)
    else:
        _verify_few(subjects, asking, _Writing(style, output))


def _is_list(subjects: tuple[str, ...]) -> bool:
    """Whether the one argument names a list; ends the command where what is given can be neither."""
    if len(subjects) == 1 and (subjects[0] == "-" or Path(subjects[0]).exists()):
        if Path(subjects[0]).is_dir():
            fail(f"{subjects[0]} is a directory: name the list itself")
        return True
    for subject in subjects:
        if "@" in subject:
            continue
        if Path(subject).exists():
            fail(f"{subject} is a list: give one list alone, or only addresses")
        fail(f"{subject!r} is neither a file that is there nor an address: an address has an @")
    return False


# Asking ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Asking:
    """How hosts are asked."""

    settings: VerifySettings
    resolver: str | None

    def run(self, source: Source, on_progress: Callable[[int], None], total: int) -> Job:
        """Ask, until all is asked or Ctrl-C; `Job.is_stopping` tells which."""
        return asyncio.run(self._ask(source, on_progress, total))

    async def _ask(self, source: Source, on_progress: Callable[[int], None], total: int) -> Job:
        dns = DnsResolver(self.resolver)
        job = Job(
            self.settings,
            dns,
            source,
            rng=random.Random(secrets.randbits(64)),  # noqa: S311 - chance, not secrecy
            on_progress=on_progress,
            on_notice=_say,
        )
        loop = asyncio.get_running_loop()
        doubting = (
            asyncio.ensure_future(doubts(self.settings, dns)) if total and not self.settings.allow_private else None
        )
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, _stop, job, doubting)
        try:
            if doubting is not None:
                await asyncio.wait([doubting])
                for doubt in () if doubting.cancelled() else doubting.result():
                    _say(doubt)
            await job.run()
        finally:
            await dns.close()
        return job


def _stop(job: Job, doubting: asyncio.Future[list[str]] | None) -> None:
    if doubting is not None:
        doubting.cancel()
    if job.is_stopping:
        job.stop(0.0)
        return
    _say("stopping: what is being asked may end, for 5 seconds (Ctrl-C again stops at once)")
    job.stop()


def _say(sentence: str) -> None:
    click.echo(f"postroad: {escaped(sentence)}", err=True)


def _verify_few(addresses: tuple[str, ...], asking: Asking, writing: _Writing) -> None:
    writing.check()
    source = MemorySource(addresses)
    try:
        job = asking.run(source, lambda count: None, len(addresses))
    except KeyboardInterrupt:
        sys.exit(STOPPED)
    writing.write(source.verdicts, is_table=True)
    if job.is_stopping:
        left_out = len(addresses) - sum(1 for _ in source.verdicts())
        _say(f"stopped: {left_out} of {len(addresses)} addresses were not asked about, or gave no answer")
        sys.exit(STOPPED)


# Lists -----------------------------------------------------------------------------------------------------------


def _verify_list(name: str, asking: Asking, writing: _Writing, options: dict[str, Any]) -> None:
    writing.check()
    now = SystemClock().wall()
    try:
        with _opened(name) as file, ResultStore(_state_file(options["state"])) as store:
            store.forget_before(now - options["keep_days"] * DAY_S)
            run = _find_run(store, file, options["column"], is_resuming=options["resume"], now=now)
            with _owned(store, run):
                if not run.has_all_input:
                    _read_list(store, run, file, options["column"])
                counts = store.counts(run)
                with _progress(counts.addresses, counts.addresses - counts.pending) as advance:
                    job = asking.run(StoredSource(store, run), advance, counts.pending)
                counts = store.counts(run)
                if not counts.pending:
                    store.finish(run, now=SystemClock().wall())
                writing.write(lambda: stored_verdicts(store, run), is_table=counts.rows <= FEW)
                for line in summary(counts.by_state):
                    click.echo(line, err=True)
    except (ListError, SpoolError) as error:
        fail(f"{name}: {error}" if isinstance(error, ListError) else str(error))
    except OSError as error:
        fail(f"{error.filename or name}: {error.strerror}")
    except KeyboardInterrupt:
        _say("stopped; go on with --resume")
        sys.exit(STOPPED)
    if job.is_stopping and counts.pending:
        _say(f"stopped with {counts.pending:,} of {counts.addresses:,} addresses open; go on with --resume")
        sys.exit(STOPPED)
    if writing.is_lost:
        _say("the results are kept: write them with --output FILE --resume, which asks nobody again")


@contextmanager
def _opened(name: str) -> Iterator[io.BufferedIOBase]:
    """The list as a file that can be read twice: once to know it again, once to take it in."""
    if name != "-":
        with Path(name).open("rb") as file:
            if file.seekable():
                yield file
                return
            with _copied(file) as copy:
                yield copy
        return
    with _copied(cast(io.BufferedIOBase, sys.stdin.buffer)) as copy:
        yield copy


@contextmanager
def _copied(stream: io.BufferedIOBase) -> Iterator[io.BufferedIOBase]:
    with tempfile.TemporaryFile() as copy:
        shutil.copyfileobj(stream, copy)
        copy.seek(0)
        yield cast(io.BufferedIOBase, copy)  # what it is at runtime, though typeshed only says IO


def _state_file(state: Path | None) -> Path:
    if state is None:
        from platformdirs import user_data_path

        state = user_data_path("postroad", appauthor=False)
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    return state / "verify.db"


def _find_run(store: ResultStore, file: io.BufferedIOBase, column: str | None, *, is_resuming: bool, now: float) -> Run:
    """A new run; or with --resume the last one of the same content, whatever the file was called then."""
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    file.seek(0)
    prefix = f"{digest}:{column or ''}:"
    earlier = [run for run in store.runs() if run.key.startswith(prefix)]
    if is_resuming:
        if earlier:
            return earlier[-1]
        _say("there is no earlier run of this list to go on with: it is begun")
    elif earlier and earlier[-1].finished_at is None:
        _say("an earlier run of this list was not finished; this one begins anew, --resume would have gone on with it")
    return store.open_run(f"{prefix}{now:.6f}:{secrets.token_hex(4)}", now=now)


@contextmanager
def _owned(store: ResultStore, run: Run) -> Iterator[None]:
    """Meanwhile this process alone works on the run: two would ask everybody twice."""
    try:
        lock = FileLock(store.path.with_name(f"run-{run.id}"))
    except SpoolLocked as error:
        raise SpoolError(f"another process works on this list already: {error}") from None
    try:
        yield
    finally:
        lock.path.unlink(missing_ok=True)
        lock.release()


def _read_list(store: ResultStore, run: Run, file: io.BufferedIOBase, column: str | None) -> None:
    bad = 0

    def tell(row: BadRow) -> None:
        nonlocal bad
        bad += 1
        if bad <= BAD_ROWS_TOLD:
            _say(f"line {row.line}: {row.fault}: left out")

    add_list(store, run, ListReader(file, column=column), tell)
    if not store.counts(run).rows:
        raise ListError("the list holds no addresses")
    if bad > BAD_ROWS_TOLD:
        _say(f"{bad - BAD_ROWS_TOLD:,} more rows were left out")


@contextmanager
def _progress(total: int, done: int) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, silence elsewhere."""
    if not sys.stderr.isatty():
        yield lambda count: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("asking"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar: Progress = Progress(*columns, console=Console(stderr=True), transient=True)
    with bar:
        task = bar.add_task("asking", total=total, completed=done)
        yield lambda count: bar.advance(task, count)


# Writing ---------------------------------------------------------------------------------------------------------


class _Writing:
    """Where the results go, and in what form."""

    def __init__(self, style: str | None, output: Path | None) -> None:
        self._output = None if output is None or str(output) == "-" else output
        if style is None and self._output is not None:
            style = "jsonl" if self._output.suffix.lower() in (".jsonl", ".ndjson", ".json") else "csv"
        if style == "table" and self._output is not None:
            fail("--output takes --format jsonl or csv: a table is for the eye")
        self._style = style or "table"
        self.is_lost = False
        """Whether there were too many results for a table, and nothing else was asked for."""

    def check(self) -> None:
        """End the command now where the file could not be written after hours of asking."""
        if self._output is not None:
            directory = self._output.absolute().parent
            if not os.access(self._output if self._output.exists() else directory, os.W_OK):
                fail(f"{self._output} cannot be written: choose another file for --output")

    def write(self, verdicts: Callable[[], Iterable[Verdict]], *, is_table: bool) -> None:
        """Write them; a file is replaced once the new one is whole."""
        if self._style == "table":
            self.is_lost = not is_table
            if is_table:
                _print_table(verdicts())
            return
        lines = FORMATS[self._style](verdicts())
        if self._output is None:
            for line in lines:
                click.echo(line, nl=False)
        elif self._output.exists() and not self._output.is_file():
            with self._output.open("w", encoding="utf-8") as device:
                device.writelines(lines)
        else:
            _replace(self._output, lines)


def _replace(path: Path, lines: Iterable[str]) -> None:
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", newline="", dir=path.absolute().parent, prefix=f".{path.name}.", delete=False
    ) as file:
        try:
            file.writelines(lines)
            file.flush()
            umask = os.umask(0)
            os.umask(umask)
            Path(file.name).chmod(0o666 & ~umask)
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


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
        table.add_row(
            Text(escaped(verdict.address)),
            Text(str(verdict.verdict), style=_COLOURS[verdict.verdict]),
            verdict.reason,
            Text(evidence_line(verdict.proof)),
        )
    # Folded cells would break what scripts look for: where there is no terminal, lines may be long.
    Console(width=None if sys.stdout.isatty() else 500, highlight=False).print(table)
