"""How `postroad verify` asks: a few addresses from memory, a list through the result store, Ctrl-C, progress."""

from __future__ import annotations

import asyncio
import hashlib
import io
import random
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from postroad.cli import STOPPED
from postroad.cli.settings import fail
from postroad.cli.verify_output import NotWritten, Output, grouped
from postroad.clock import SystemClock
from postroad.events import escaped
from postroad.net.proxy import proxy_name
from postroad.net.resolver import DnsResolver
from postroad.store.facts import FactStore
from postroad.store.results import ResultStore, Run, RunCounts
from postroad.store.spool import SpoolError, SpoolLocked
from postroad.store.sqlite import FileLock
from postroad.verify.columns import OwnColumns
from postroad.verify.data_lists import DataLists
from postroad.verify.doubts import doubts
from postroad.verify.job import Job
from postroad.verify.lines import ListError
from postroad.verify.lists import ListReader
from postroad.verify.memory import DAY_S, FactMemory, TimeToLive
from postroad.verify.report import summary
from postroad.verify.report_values import SiteTrouble, Summary
from postroad.verify.rows import BadRow
from postroad.verify.settings import VerifySettings
from postroad.verify.source import (
    MemorySource,
    Source,
    StoredSource,
    add_list,
    stored_columns,
    stored_distinct,
    stored_rows,
)
from postroad.verify.tables import judged
from postroad.verify.traits import describe
from postroad.verify.verdict import Verdict

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

FEW = 50
"""Rows of a list that are shown as a table where nobody asked for a file."""
BAD_ROWS_TOLD = 20
PORT_CLOSED = 3
"""Status when nobody could be reached at all."""
TOLD_EVERY_S = 15.0
"""How often progress is told where there is no terminal."""
INTERVAL_S = 5.0
"""Of the report's chart of time."""


def say(sentence: str) -> None:
    """Tell the user something on standard error."""
    click.echo(f"postroad: {escaped(sentence)}", err=True)


@dataclass(slots=True)
class Asking:
    """How hosts are asked, and what is known beforehand."""

    settings: VerifySettings
    resolver: str | None
    lists: DataLists
    facts: FactStore
    is_reusing: bool
    """Verdicts found earlier are used again, and those found now are kept."""
    max_age_days: float | None = None

    def run(self, source: Source, progress: Progressing, total: int) -> Job:
        """Ask, until all is asked or Ctrl-C; `Job.is_stopping` tells which."""
        return asyncio.run(self._ask(source, progress, total))

    async def _ask(self, source: Source, progress: Progressing, total: int) -> Job:
        dns = DnsResolver(self.resolver)
        memory = FactMemory(
            self.facts,
            clock=SystemClock(),
            describe=lambda address: describe(address, self.lists),
            time_to_live=self._time_to_live(),
            is_fresh=not self.is_reusing,
        )
        job = Job(
            self.settings,
            dns,
            source,
            rng=random.Random(secrets.randbits(64)),  # noqa: S311 - chance, not secrecy
            lists=self.lists,
            memory=memory,
            on_progress=progress.found,
            on_notice=say,
        )
        progress.begin(job)
        loop = asyncio.get_running_loop()
        doubting = (
            asyncio.ensure_future(doubts(self.settings, dns)) if total and not self.settings.allow_private else None
        )
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, _stop, job, doubting)
        telling = loop.create_task(progress.keep_telling())
        try:
            if doubting is not None:
                await asyncio.wait([doubting])
                for doubt in () if doubting.cancelled() else doubting.result():
                    say(doubt)
            await job.run()
        finally:
            telling.cancel()
            await asyncio.wait([telling])
            await dns.close()
        return job

    def _time_to_live(self) -> TimeToLive:
        if not self.is_reusing:
            return TimeToLive(deliverable_s=0, risky_s=0, undeliverable_s=0)
        usual = TimeToLive()
        if self.max_age_days is None:
            return usual
        age = self.max_age_days * DAY_S
        return TimeToLive(
            deliverable_s=min(age, usual.deliverable_s),
            risky_s=min(age, usual.risky_s),
            undeliverable_s=min(age, usual.undeliverable_s),
            domain_s=min(age, usual.domain_s),
        )


def _stop(job: Job, doubting: asyncio.Future[list[str]] | None) -> None:
    if doubting is not None:
        doubting.cancel()
    if job.is_stopping:
        job.stop(0.0)
        return
    say("stopping: what is being asked may end, for 5 seconds (Ctrl-C again stops at once)")
    job.stop()


# A few addresses -------------------------------------------------------------------------------------------------


def verify_few(addresses: tuple[str, ...], asking: Asking, output: Output) -> None:
    """Ask about them, and write what was found."""
    output.check()
    source = MemorySource(addresses)
    began = datetime.now(UTC)
    progress = Progressing(len(addresses), 0, is_shown=False)
    job = asking.run(source, progress, len(addresses))
    try:
        output.write(lambda: map(judged, source.verdicts()), OwnColumns(), is_table=True)
        if output.report is not None:
            found = list(source.distinct())
            counts = RunCounts(rows=len(addresses), addresses=len(found), pending=0, by_state=dict(job.counts))
            told = _summary("addresses", began, counts, asking, progress, job, found, output.name)
            output.write_report(told, found)
    except NotWritten as error:
        fail(f"{error}; choose another place by {error.option}, and ask again")
    if job.is_port_closed:
        sys.exit(PORT_CLOSED)
    if job.is_stopping:
        left_out = len(addresses) - sum(1 for _ in source.verdicts())
        say(f"stopped: {left_out} of {len(addresses)} addresses were not asked about, or gave no answer")
        sys.exit(STOPPED)


# Lists -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ListOptions:
    """How a list is read, and which run is meant."""

    state: Path
    column: str | None
    encoding: str | None
    is_resuming: bool
    keep_days: int


def verify_list(name: str, asking: Asking, output: Output, options: ListOptions) -> None:
    """Take the list in, ask about it, and write what was found beside its own columns."""
    output.check(name)
    now = SystemClock().wall()
    try:
        with ExitStack() as stack:
            file = stack.enter_context(_opened(name))
            store = stack.enter_context(ResultStore(options.state / "verify.db"))
            store.forget_before(now - options.keep_days * DAY_S)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
            stack.enter_context(_owned(store, digest))
            run = _find_run(store, digest, options, now=now)
            if not run.has_all_input:
                _read_list(store, run, file, options)
            counts = store.counts(run)
            with Progressing(counts.addresses, counts.addresses - counts.pending, by_state=counts.by_state) as progress:
                job = asking.run(StoredSource(store, run), progress, counts.pending)
            counts = store.counts(run)
            if not counts.pending:
                store.finish(run, now=SystemClock().wall())
            columns = stored_columns(store, run)
            output.write(lambda: stored_rows(store, run), columns, is_table=counts.rows <= FEW)
            if output.report is not None:
                began = datetime.fromtimestamp(run.created_at, UTC)
                title = "standard input" if name == "-" else Path(name).name
                found = stored_distinct(store, run)
                told = _summary(title, began, counts, asking, progress, job, found, output.name)
                output.write_report(told, stored_distinct(store, run))
            for line in summary(counts.by_state):
                click.echo(line, err=True)
    except (ListError, SpoolError) as error:
        fail(f"{name}: {error}" if isinstance(error, ListError) else str(error))
    except NotWritten as error:
        rest = "writes them, and asks nobody again" if not counts.pending else "writes them, and asks for the rest"
        fail(f"{error}; the results are kept, and the same command with --resume {error.option} ELSEWHERE {rest}")
    except BrokenPipeError:
        raise  # nobody listens any more, which is no fault of the list
    except OSError as error:
        fail(f"{error.filename or name}: {error.strerror}")
    except KeyboardInterrupt:
        say("stopped; go on with --resume")
        sys.exit(STOPPED)
    if job.is_port_closed and counts.pending:
        say(f"{counts.pending:,} of {counts.addresses:,} addresses were not asked about; go on with --resume")
        sys.exit(PORT_CLOSED)
    if job.is_stopping and counts.pending:
        say(f"stopped with {counts.pending:,} of {counts.addresses:,} addresses open; go on with --resume")
        sys.exit(STOPPED)
    if output.is_lost:
        say("the results are kept: write them with --output FILE --resume, which asks nobody again")


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


def _find_run(store: ResultStore, digest: str, options: ListOptions, *, now: float) -> Run:
    """A new run; or with --resume the last one of the same content, whatever the file was called then."""
    encoding = f" {options.encoding}" if options.encoding else ""
    prefix = f"{digest}:{options.column or ''}{encoding}:"
    earlier = [run for run in store.runs() if run.key.startswith(prefix)]
    if options.is_resuming:
        if earlier:
            return earlier[-1]
        say("there is no earlier run of this list to go on with: it is begun")
    elif earlier and earlier[-1].finished_at is None:
        say("an earlier run of this list was not finished; this one begins anew, --resume would have gone on with it")
    return store.open_run(f"{prefix}{now:.6f}:{secrets.token_hex(4)}", now=now)


@contextmanager
def _owned(store: ResultStore, digest: str) -> Iterator[None]:
    """Meanwhile this process alone works on lists of that content: two would ask everybody twice."""
    try:
        lock = FileLock(store.path.with_name(f"list-{digest[:32]}"))
    except SpoolLocked:
        raise SpoolError(
            "another process works on this list already: wait until it ends, or stop it and go on with --resume"
        ) from None
    try:
        yield
    finally:
        lock.path.unlink(missing_ok=True)
        lock.release()


def _read_list(store: ResultStore, run: Run, file: io.BufferedIOBase, options: ListOptions) -> None:
    bad = 0

    def tell(row: BadRow) -> None:
        nonlocal bad
        bad += 1
        if bad <= BAD_ROWS_TOLD:
            say(f"line {row.line} was left out: {row.fault}")

    add_list(store, run, ListReader(file, column=options.column, encoding=options.encoding), tell)
    if not store.counts(run).rows:
        raise ListError("the list holds no addresses")
    if bad > BAD_ROWS_TOLD:
        say(f"{bad - BAD_ROWS_TOLD:,} more rows were left out")


# Progress --------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Progressing:
    """What is told while a list is worked through: a bar on a terminal, a line now and then elsewhere."""

    total: int
    done: int
    by_state: Mapping[str, int] = field(default_factory=dict)
    is_shown: bool = True
    found_at: Counter[int] = field(default_factory=Counter)
    """Verdicts found by interval since the beginning."""
    _began: float = field(default_factory=time.monotonic)
    _found: int = 0
    _job: Job | None = None
    _bar: Progress | None = None
    _task: TaskID | None = None

    def __enter__(self) -> Progressing:
        if self.is_shown and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._bar.start()
            self._task = self._bar.add_task("", total=self.total, completed=self.done)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def begin(self, job: Job) -> None:
        """It is that job's progress."""
        self._job = job
        self._began = time.monotonic()

    def found(self, count: int) -> None:
        """So many more verdicts."""
        self._found += count
        self.found_at[int((time.monotonic() - self._began) / INTERVAL_S)] += count
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, advance=count, description=self._described())

    async def keep_telling(self) -> None:
        """A line now and then, until cancelled."""
        while True:
            await asyncio.sleep(1.0 if self._bar is not None else TOLD_EVERY_S)
            if self._bar is not None and self._task is not None:
                self._bar.update(self._task, description=self._described())
            elif self.is_shown and self.done + self._found < self.total:
                say(self._line())

    def _line(self) -> str:
        done = self.done + self._found
        rate = self._found / max(0.001, time.monotonic() - self._began)
        waiting = 0 if self._job is None else self._job.waiting
        is_known = rate > 0.01 and self.total - done > waiting  # those that wait keep a time of their own
        left = f", about {_duration((self.total - done) / rate)} left" if is_known else ""
        return f"{done:,} of {self.total:,} ({done / self.total:.0%}), {rate:,.0f} a second{left}; {self._described()}"

    def _described(self) -> str:
        counts: Counter[str] = Counter()
        for states in (self.by_state, {} if self._job is None else self._job.counts):
            for state, count in states.items():
                counts[state.partition(":")[0]] += count
        told = ", ".join(f"{verdict} {count:,}" for verdict, count in counts.most_common())
        waiting = 0 if self._job is None else self._job.waiting
        return f"{told}; {waiting:,} wait to be asked again" if waiting else told


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _summary(
    title: str,
    began: datetime,
    counts: RunCounts,
    asking: Asking,
    progress: Progressing,
    job: Job,
    verdicts: Iterable[Verdict],
    whole: str,
) -> Summary:
    settings = asking.settings
    intervals = max(progress.found_at, default=-1) + 1
    ways = [proxy_name(one.proxy) if one.proxy else one.source_address or "" for one in settings.egress]
    rate = "no limit" if settings.recipients_per_minute is None else f"{settings.recipients_per_minute:g}"
    providers, domains = grouped(verdicts)
    return Summary(
        title=title,
        began=began,
        ended=datetime.now(UTC),
        rows=counts.rows,
        addresses=counts.addresses,
        by_state=counts.by_state,
        providers=providers,
        domains=domains,
        found=[progress.found_at[number] for number in range(intervals)],
        interval_s=INTERVAL_S,
        sites=[SiteTrouble(*trouble) for trouble in job.troubles()],
        settings=(
            ("hello", settings.hello),
            ("mail_from", str(settings.mail_from) or "<>"),
            ("source_address", ", ".join(filter(None, ways)) or "as the system chooses"),
            ("connections", f"{settings.connections}"),
            ("connections to a site", f"{settings.per_site}"),
            ("recipients in a session", f"{settings.recipients_per_session}"),
            ("recipients a minute at a site", rate),
            ("wait", _duration(settings.wait_s)),
        ),
        whole=whole,
    )
