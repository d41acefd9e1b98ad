"""`postroad log`: the log of the server, read or followed, and the lines that are asked for.

The log of JSON lines: its file (`[log] file`), another file, standard input, or the journal of systemd. What stands in
it is escaped again before it reaches a terminal (H-11).
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click

from postroad.cli.settings import configured, fail, settings
from postroad.clock import SystemClock
from postroad.events import EVENTS, escaped, plain_line, shown
from postroad.log.read import Record, Tail, Wanted, files, lines, moment, record
from postroad.message.envelope import parse_queue_id

POLL_S = 0.2
_OWN = ("event", "level", "timestamp")


@click.command("log")
@click.option("--follow", "-f", is_flag=True, help="Go on as the log grows, until Ctrl-C.")
@click.option(
    "--event",
    "events",
    multiple=True,
    metavar="NAME",
    help="Only these events, `*` for any part: --event 'delivery.*'; may be given several times.",
)
@click.option("--queue-id", metavar="ID", help="Only what tells of this message.")
@click.option(
    "--level", type=click.Choice(["debug", "info", "warning", "error"]), help="Only this level and what is graver."
)
@click.option("--since", metavar="WHEN", help="Only what is newer: 2h, 30m, 1d, or 2026-11-24T21:15Z.")
@click.option("--json", "as_json", is_flag=True, help="The lines as they are in the log.")
@click.option(
    "--file",
    "file",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    help="Another file; - for stdin.",
)
@click.option("--unit", metavar="UNIT", help="The journal of this systemd unit.")
@configured
def command(
    follow: bool,
    events: tuple[str, ...],
    queue_id: str | None,
    level: str | None,
    since: str | None,
    as_json: bool,
    file: Path | None,
    unit: str | None,
    config: Path | None,
    state: Path | None,
) -> None:
    """Show the log of the server, or follow it."""
    if file is not None and unit is not None:
        raise click.UsageError("give --file or --unit, not both")
    wanted = _wanted(events, queue_id, level, since)
    if unit is not None:
        found = _journal(unit, follow=follow, since=wanted.since)
    elif file is not None and str(file) == "-":
        found = lines(sys.stdin.buffer)
    else:
        path = file or _configured_file(config, state)
        found = _followed(path, wanted) if follow else _read(path, wanted)
    for line in found:
        told = record(line)
        if told is not None and wanted.takes(told):
            click.echo(_plain(told) if not as_json else json.dumps(told, ensure_ascii=True))
            sys.stdout.flush()


def _wanted(events: tuple[str, ...], queue_id: str | None, level: str | None, since: str | None) -> Wanted:
    for one in events:
        if "*" not in one and one not in EVENTS:
            raise click.BadParameter(f"there is no event {one!r}: docs/reference/events.md lists them")
    if queue_id is not None and parse_queue_id(queue_id) is None:
        raise click.BadParameter(f"{queue_id!r} is no queue id: those have 13 characters")
    at = None
    if since is not None:
        at = moment(since, SystemClock().wall())
        if at is None:
            raise click.BadParameter(f"--since {since!r}: write 2h, 30m, 1d, or a time such as 2026-11-24T21:15Z")
    return Wanted(events=events, queue_id=(queue_id or "").strip().lower(), level=level or "", since=at)


def _configured_file(config: Path | None, state: Path | None) -> Path:
    from postroad.compose.log import log_path

    path = log_path(settings(config, state))
    if path is None:
        fail(
            "the log goes to standard error: set [log] file to have it in a file, or name --unit UNIT where systemd"
            ' keeps it in its journal (with [log] format = "json"), or --file -'
        )
    return path


def _read(path: Path, wanted: Wanted) -> Iterator[bytes]:
    there = files(path)
    if not there:
        fail(f"there is no log {path}: the server makes it when it starts")
    yield from _whole(there, wanted)


def _whole(there: list[Path], wanted: Wanted) -> Iterator[bytes]:
    for one in there:
        try:
            if wanted.since is not None and one.stat().st_mtime < wanted.since:
                continue
            with one.open("rb") as opened:
                yield from lines(opened)
        except FileNotFoundError:
            continue  # renamed or removed while others were read
        except OSError as error:
            fail(f"{one} cannot be read: {error.strerror}")


def _followed(path: Path, wanted: Wanted) -> Iterator[bytes]:
    """What is new; with --since, first what was."""
    tail = Tail(path, from_start=wanted.since is not None)
    try:
        if wanted.since is not None:
            yield from _whole([one for one in files(path) if not tail.reads(one)], wanted)
        while True:
            new = tail.more()
            yield from new
            if not new:
                time.sleep(POLL_S)
    finally:
        tail.close()


def _journal(unit: str, *, follow: bool, since: float | None) -> Iterator[bytes]:
    command = ["journalctl", f"--unit={unit}", "--output=cat", "--no-pager", "--quiet"]
    command += ["--follow", "--lines", "0" if since is None else "all"] if follow else []
    command += [f"--since=@{since:.0f}"] if since is not None else []
    try:
        reading = subprocess.Popen(command, stdout=subprocess.PIPE)  # noqa: S603 - the words above, and no shell
    except OSError as error:
        fail(f"journalctl cannot be run ({error.strerror}): there is no systemd here; name a file by --file")
    assert reading.stdout is not None
    try:
        yield from lines(reading.stdout)
        if reading.wait() != 0:
            fail(f"journalctl ended with status {reading.returncode}")
    finally:
        reading.terminate()
        reading.wait()
        reading.stdout.close()


def _plain(told: Record) -> str:
    values = {escaped(str(key)): shown(str(key), value) for key, value in told.items() if key not in _OWN}
    stamp, level, name = (escaped(str(told.get(key, "-"))) for key in ("timestamp", "level", "event"))
    return plain_line(stamp, level, name, values).rstrip("\n")
