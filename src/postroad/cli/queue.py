"""`postroad queue`: what waits, why, and the operator's hand in it. Works beside a running server, or without one.

Everything that came from outside (addresses, replies) is escaped before it reaches a terminal. Times are UTC.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from postroad.cli.settings import configured, fail, settings
from postroad.clock import SystemClock
from postroad.events import escaped
from postroad.message.envelope import format_queue_id, parse_queue_id
from postroad.smtp.address import Address, AddressError, to_a_labels
from postroad.store.queue_admin import QueueAdmin, QueueEntry, QueueMessage
from postroad.store.spool import Attempt, SpoolError

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

_format = click.option(
    "--format", "style", type=click.Choice(["table", "jsonl"]), default="table", show_default=True, help="How to print."
)


def queue_id(text: str) -> int:
    """The 13 characters by which the server's 250 and the log name a message. Raises click.BadParameter."""
    number = parse_queue_id(text)
    if number is None:
        raise click.BadParameter(f"{text!r} is no queue id: those have 13 characters, as `postroad queue list` shows")
    return number


def domain_name(text: str) -> str:
    """A domain in the form the queue keeps. Raises click.BadParameter."""
    try:
        return to_a_labels(text.removesuffix("."))
    except AddressError as error:
        raise click.BadParameter(f"{text!r} is no domain: {error}") from None


def sender_filter(text: str) -> str:
    """`<>`, `@domain` or an address in the form the queue keeps. Raises click.BadParameter."""
    local, at, domain = text.rpartition("@")
    if text == "<>":
        return text
    if not at:
        raise click.BadParameter(f"write ann@example.org, @example.org or <>, not {text!r}")
    return f"{local}@{domain_name(domain)}"


@contextmanager
def _queue(config: Path | None, state: Path | None) -> Iterator[QueueAdmin]:
    try:
        with QueueAdmin(Path(settings(config, state).server.state_dir) / "spool") as admin:
            yield admin
    except SpoolError as error:
        fail(str(error))


@click.group("queue")
def command() -> None:
    """Look into the queue, retry, remove."""


@command.command("list")
@click.option("--domain", type=domain_name, metavar="DOMAIN", help="Only messages with a recipient there.")
@click.option(
    "--sender",
    type=sender_filter,
    metavar="SENDER",
    help="Only messages from this address, @domain, or <> for bounces.",
)
@click.option("--limit", type=click.IntRange(1, 100_000), default=100, show_default=True, help="At most so many.")
@click.option("--after", type=queue_id, metavar="ID", help="Only messages after this id: the next page.")
@_format
@configured
def list_entries(
    domain: str | None,
    sender: str | None,
    limit: int,
    after: int | None,
    style: str,
    config: Path | None,
    state: Path | None,
) -> None:
    """List the messages that wait, oldest first."""
    now = SystemClock().wall()
    with _queue(config, state) as admin:
        entries = admin.list(limit=limit, after=after or 0, domain=domain, sender=sender)
        counts = admin.counts(now)
    if style == "jsonl":
        for entry in entries:
            click.echo(json.dumps(entry_values(entry)))
        return
    if entries:
        _print(_list_table(entries, now))
    click.echo(
        f"{_count(counts.messages, 'message')} in the queue, {_count(counts.recipients, 'recipient')}, "
        f"{counts.due} due now" + (f", {_count(counts.damaged, 'message')} set aside" if counts.damaged else "")
    )
    if len(entries) == limit:
        click.echo(f"the next page: --after {format_queue_id(entries[-1].id)}")


@command.command("show")
@click.argument("message_id", metavar="ID", type=queue_id)
@click.option("--message", "is_raw", is_flag=True, help="Print the message itself, as it will travel.")
@_format
@configured
def show(message_id: int, is_raw: bool, style: str, config: Path | None, state: Path | None) -> None:
    """Show one message with its recipients and attempts."""
    with _queue(config, state) as admin:
        found = admin.show(message_id)
    if found is None:
        fail(f"there is no message {format_queue_id(message_id)} in the queue")
    if is_raw:
        _print_message(found)
    elif style == "jsonl":
        click.echo(json.dumps(message_values(found)))
    else:
        click.echo("\n".join(_described(found, SystemClock().wall())))


@command.command("retry")
@click.argument("message_ids", metavar="[ID]...", nargs=-1, type=queue_id)
@click.option("--domain", type=domain_name, metavar="DOMAIN", help="Every recipient there.")
@click.option("--all", "is_all", is_flag=True, help="Everything that waits.")
@configured
def retry(
    message_ids: tuple[int, ...], domain: str | None, is_all: bool, config: Path | None, state: Path | None
) -> None:
    """Try messages again now: those of the ids, those for a domain, or all."""
    if not message_ids and not domain and not is_all:
        raise click.UsageError("say which: ids, --domain DOMAIN, or --all")
    if message_ids and is_all:
        raise click.UsageError("give ids or --all, not both")
    with _queue(config, state) as admin:
        due = sum(admin.retry(message_id, domain=domain) for message_id in message_ids or (None,))
    if message_ids and not due:
        fail("no such recipient is in the queue")
    click.echo(f"{_count(due, 'recipient')} due now")


@command.command("remove")
@click.argument("message_ids", metavar="ID...", nargs=-1, required=True, type=queue_id)
@click.option("--recipient", help="Only this recipient, an address.")
@configured
def remove(message_ids: tuple[int, ...], recipient: str | None, config: Path | None, state: Path | None) -> None:
    """Remove messages; nobody is told. What is being delivered at this moment may still arrive."""
    local = domain = None
    if recipient is not None:
        try:
            address = Address.parse(recipient, smtputf8=True)
        except AddressError as error:
            fail(f"--recipient {recipient!r}: {error}; write it as ann@example.org")
        local, domain = address.local, address.domain
    with _queue(config, state) as admin:
        removed = sum(admin.remove(message_id, local=local, domain=domain) for message_id in message_ids)
    if not removed:
        fail("no such recipient is in the queue")
    click.echo(f"{_count(removed, 'recipient')} removed")


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
                "due_at": _iso(one.queued.due_at),
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
    for name in ("id", "age", "size", "from", "to go", "tries", "next try"):
        table.add_column(name, justify="right" if name in ("age", "size", "to go", "tries") else "left")
    for entry in entries:
        table.add_row(
            format_queue_id(entry.id),
            _span(now - entry.received_at),
            _size(entry.size_bytes),
            _plain(entry.sender or "<>"),
            str(entry.recipients),
            str(entry.attempts),
            _plain(f"set aside: {entry.damaged}" if entry.damaged else _when(entry.next_due_at, now)),
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
    if entry.damaged is not None:
        yield f"set aside  {escaped(entry.damaged)}"
    for one in found.recipients:
        tries = _count(one.queued.attempts, "try", "tries")
        yield ""
        yield f"to         {escaped(str(one.queued.recipient.address))}: {tries}, next {_when(one.queued.due_at, now)}"
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


def _print(table: Table) -> None:
    from rich.console import Console

    # Cut columns would hide what scripts and eyes look for: where there is no terminal, lines may be long.
    Console(width=None if sys.stdout.isatty() else 500, highlight=False).print(table)


def _iso(wall: float) -> str:
    return f"{datetime.fromtimestamp(wall, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _when(wall: float | None, now: float) -> str:
    if wall is None:
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


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"
