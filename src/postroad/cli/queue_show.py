"""What waits in the queue, and why: `postroad queue list`, `show` and `summary`.

Everything that came from outside (addresses, replies) is escaped before it reaches a terminal (H-11). Times are UTC.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from postroad.cli.queue_filters import filtered, queue_id
from postroad.cli.settings import configured, fail, settings
from postroad.clock import SystemClock
from postroad.events import escaped
from postroad.message.envelope import format_queue_id
from postroad.road.provider import providers
from postroad.road.site import site_key
from postroad.store.queue_admin import QueueAdmin, QueueEntry, QueueGroup, QueueMessage
from postroad.store.queue_selection import Selection
from postroad.store.spool import NEVER, Attempt, SpoolError

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

WHY_CHARS = 100
"""Of the reason in a table; `show` has the whole."""

_format = click.option(
    "--format", "style", type=click.Choice(["table", "jsonl"]), default="table", show_default=True, help="How to print."
)


def site_of(host: str) -> str:
    """The site of a host: its operator, where that is known, else its registrable domain."""
    known = providers().mail_operator([host])
    return known[0] if known is not None else site_key(host)


def spool_directory(config: Path | None, state: Path | None) -> Path:
    """Where the queue is."""
    return Path(settings(config, state).server.state_dir) / "spool"


@contextmanager
def queue_of(
    directory: Path, on_change: Callable[[Sequence[tuple[int, str]]], None] | None = None
) -> Iterator[QueueAdmin]:
    """The queue; what goes wrong with it ends the command in one sentence."""
    try:
        with QueueAdmin(directory, site_of=site_of, on_change=on_change) as admin:
            yield admin
    except SpoolError as error:
        fail(str(error))


@click.command("list")
@filtered
@click.option("--limit", type=click.IntRange(1, 100_000), default=100, show_default=True, help="At most so many.")
@click.option("--after", type=queue_id, metavar="ID", help="Only messages after this id: the next page.")
@_format
@configured
def list_entries(
    selection: Selection, limit: int, after: int | None, style: str, config: Path | None, state: Path | None
) -> None:
    """List the messages that wait, oldest first."""
    now = SystemClock().wall()
    with queue_of(spool_directory(config, state)) as admin:
        entries = admin.list(selection, limit=limit, after=after or 0)
        counts = admin.counts(now)
    if style == "jsonl":
        for entry in entries:
            click.echo(json.dumps(entry_values(entry)))
        return
    if entries:
        print_table(_list_table(entries, now))
    click.echo(
        f"{count_of(counts.messages, 'message')} in the queue, {count_of(counts.recipients, 'recipient')}, "
        f"{counts.due} due now"
        + (f", {count_of(counts.held, 'message')} held" if counts.held else "")
        + (f", {count_of(counts.damaged, 'message')} set aside" if counts.damaged else "")
    )
    if len(entries) == limit:
        click.echo(f"the next page: --after {format_queue_id(entries[-1].id)}")


@click.command("summary")
@filtered
@click.option(
    "--by",
    type=click.Choice(["domain", "site", "reason", "sender"]),
    default="domain",
    show_default=True,
    help="What to put together.",
)
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="At most so many.")
@_format
@configured
def summary(selection: Selection, by: str, limit: int, style: str, config: Path | None, state: Path | None) -> None:
    """Show what waits for whom, for how long, and why; the most recipients first."""
    now = SystemClock().wall()
    with queue_of(spool_directory(config, state)) as admin:
        groups = admin.summary(by, selection, now=now)
    if style == "jsonl":
        for one in groups[:limit]:
            click.echo(json.dumps(_group_values(one, by)))
        return
    if groups:
        print_table(_summary_table(groups[:limit], by, now))
    left = len(groups) - limit
    click.echo(count_of(len(groups), by) + (f", {left:,} of them not shown: --limit" if left > 0 else ""))


@click.command("show")
@click.argument("message_id", metavar="ID", type=queue_id)
@click.option("--message", "is_raw", is_flag=True, help="Print the message itself, as it will travel.")
@_format
@configured
def show(message_id: int, is_raw: bool, style: str, config: Path | None, state: Path | None) -> None:
    """Show one message with its recipients and attempts."""
    with queue_of(spool_directory(config, state)) as admin:
        found = admin.show(message_id)
    if found is None:
        fail(f"there is no message {format_queue_id(message_id)} in the queue")
    if is_raw:
        _print_message(found)
    elif style == "jsonl":
        click.echo(json.dumps(message_values(found)))
    else:
        click.echo("\n".join(_described(found, SystemClock().wall())))


def entry_values(entry: QueueEntry) -> dict[str, object]:
    """A message as one JSON object; times in ISO 8601."""
    return {
        **asdict(entry),
        "id": format_queue_id(entry.id),
        "received_at": _iso(entry.received_at),
        "expires_at": _iso(entry.expires_at),
        "next_due_at": None if entry.next_due_at is None else _iso(entry.next_due_at),
    }


def message_values(found: QueueMessage) -> dict[str, object]:
    """A message with its recipients and attempts as one JSON object."""
    trace = found.message.trace if found.message is not None else None
    return {
        **entry_values(found.entry),
        "trace": None if trace is None else asdict(trace),
        "recipients": [
            {
                "address": str(one.queued.recipient.address),
                "due_at": None if one.queued.due_at == NEVER else _iso(one.queued.due_at),
                "tried": one.queued.attempts,
                "attempts": [_attempt_values(attempt) for attempt in one.attempts],
            }
            for one in found.recipients
        ],
        "settled": [
            {"address": address, "attempts": [_attempt_values(attempt) for attempt in attempts]}
            for address, attempts in found.settled
        ],
    }


def _attempt_values(attempt: Attempt) -> dict[str, object]:
    return {**asdict(attempt), "at": _iso(attempt.at)}


def _list_table(entries: tuple[QueueEntry, ...], now: float) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("id", "age", "size", "from", "to go", "tries", "next try", "why"):
        table.add_column(name, justify="right" if name in ("age", "size", "to go", "tries") else "left")
    for entry in entries:
        table.add_row(
            format_queue_id(entry.id),
            _span(now - entry.received_at),
            _size(entry.size_bytes),
            _plain(entry.sender or "<>"),
            str(entry.recipients),
            str(entry.attempts),
            _when(entry.next_due_at, now),
            _plain(_why(entry)),
        )
    return table


def _why(entry: QueueEntry) -> str:
    """Why it is still here, shortly."""
    if entry.damaged:
        return f"set aside: {entry.damaged}"
    if entry.is_given_back:
        return "goes back to its sender"
    if entry.held:
        return f"held: {entry.held}"
    if not entry.reason:
        return ""
    words = f"{entry.host}: {entry.reason}" if entry.host else entry.reason
    return words if len(words) <= WHY_CHARS else words[: WHY_CHARS - 1] + "…"


def _group_values(group: QueueGroup, by: str) -> dict[str, object]:
    return {
        by: group.key,
        **{name: value for name, value in asdict(group).items() if name != "key"},
        "oldest_at": _iso(group.oldest_at),
        "next_due_at": None if group.next_due_at is None else _iso(group.next_due_at),
    }


def _summary_table(groups: Sequence[QueueGroup], by: str, now: float) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in (by, "messages", "recipients", "due", "held", "oldest", "next try", "last heard"):
        table.add_column(name, justify="left" if name in (by, "next try", "last heard") else "right")
    for one in groups:
        table.add_row(
            _plain(one.key or "not tried yet"),
            f"{one.messages:,}",
            f"{one.recipients:,}",
            f"{one.due:,}",
            f"{one.held:,}",
            _span(now - one.oldest_at),
            _when(one.next_due_at, now),
            _plain(one.reason[:WHY_CHARS]),
        )
    return table


def _plain(text: str) -> Text:
    """A cell that neither the terminal nor rich reads as more than text (H-11)."""
    from rich.text import Text

    return Text(escaped(text))


def _described(found: QueueMessage, now: float) -> Iterator[str]:
    entry = found.entry
    yield f"message    {format_queue_id(entry.id)}, {_size(entry.size_bytes)}"
    yield f"from       {escaped(entry.sender) or '<> (a bounce, or another message that asks for none)'}"
    yield f"received   {_iso(entry.received_at)}, {_span(now - entry.received_at)} ago"
    if found.message is not None:
        trace = found.message.trace
        by = f", user {trace.user}" if trace.user else ""
        yield f"by         {escaped(f'{trace.protocol} from {trace.helo} ({trace.peer}){by}')}"
    yield f"expires    {_iso(entry.expires_at)}, {_when(entry.expires_at, now)}"
    if entry.held:
        yield f"held       {escaped(entry.held)}; `postroad queue release` lets it go"
    if entry.is_given_back:
        yield "given back as soon as the server runs, with a notification to its sender"
    if entry.priority:
        yield f"priority   {entry.priority}"
    if entry.damaged is not None:
        yield f"set aside  {escaped(entry.damaged)}"
    for one in found.recipients:
        tries = count_of(one.queued.attempts, "try", "tries")
        yield ""
        due = "held" if entry.held else f"next {_when(one.queued.due_at, now)}"
        yield f"to         {escaped(str(one.queued.recipient.address))}: {tries}, {due}"
        yield from map(_attempt_line, one.attempts)
    for address, attempts in found.settled:
        yield ""
        yield f"done       {escaped(address)}"
        yield from map(_attempt_line, attempts)


def _attempt_line(attempt: Attempt) -> str:
    return escaped(f"  {_iso(attempt.at)}  {attempt.host}  {attempt.phase}: {attempt.reply}  ({attempt.meaning})")


def _print_message(found: QueueMessage) -> None:
    if found.message is None:
        fail(f"message {format_queue_id(found.entry.id)} cannot be read: {found.entry.damaged or 'it is damaged'}")
    body = found.message.body
    if sys.stdout.isatty():
        for line in body.decode("utf-8", "backslashreplace").split("\r\n"):
            click.echo(escaped(line))
    else:
        sys.stdout.buffer.write(body)


def print_table(table: Table) -> None:
    """Print it, whole where nobody sees it."""
    from rich.console import Console

    # Cut columns would hide what scripts and eyes look for: where there is no terminal, lines may be long.
    Console(width=None if sys.stdout.isatty() else 500, highlight=False).print(table)


def _iso(wall: float) -> str:
    return f"{datetime.fromtimestamp(wall, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _when(wall: float | None, now: float) -> str:
    if wall is None or wall == NEVER:
        return "never"
    return "now" if wall <= now else f"in {_span(wall - now)}"


def _span(seconds: float) -> str:
    """`4d 3h`, `3h 12m`, `12m 5s`: the two largest units."""
    whole = timedelta(seconds=max(0, int(seconds)))
    hours, rest = divmod(whole.seconds, 3600)
    parts = [(whole.days, "d"), (hours, "h"), (rest // 60, "m"), (rest % 60, "s")]
    while len(parts) > 1 and not parts[0][0]:
        parts.pop(0)
    return " ".join(f"{number}{unit}" for number, unit in parts[:2])


def _size(octets: int) -> str:
    for unit, size in (("MiB", 1 << 20), ("KiB", 1 << 10)):
        if octets >= size:
            return f"{octets / size:.1f} {unit}"
    return f"{octets} B"


def count_of(number: int, one: str, many: str = "") -> str:
    """`1 message`, `2,000 messages`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
