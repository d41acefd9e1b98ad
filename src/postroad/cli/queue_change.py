"""The operator's hand in the queue: `postroad queue hold`, `release`, `retry`, `bounce`, `remove` and `export`.

Each takes ids, or the filters of `list`, or --all. What cannot be taken back is done to a selection only when somebody
said yes to how much it is. Changes are taken up by a running server within a second, and noted in the history.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import click

from postroad.cli.queue_filters import filtered, queue_id
from postroad.cli.queue_show import count_of, message_values, queue_of, spool_directory
from postroad.cli.settings import configured, fail
from postroad.clock import SystemClock
from postroad.deliver.examiner import PENDING
from postroad.message.envelope import Envelope, format_queue_id
from postroad.smtp.address import Address
from postroad.store.ledger import Ledger, Note
from postroad.store.queue_admin import Changed, QueueAdmin, QueueMessage
from postroad.store.queue_selection import Selection
from postroad.store.spool import SpoolError

MAX_WORDS = 200
PAGE = 200
Command = TypeVar("Command", bound=Callable[..., Any])


def _selecting(command: Command) -> Command:
    """Give a command ids, the filters and --all; it gets one `selection` in which all of that is."""

    @filtered
    @functools.wraps(command)
    def filled(selection: Selection, message_ids: tuple[int, ...], is_all: bool, **others: Any) -> Any:
        if message_ids and is_all:
            raise click.UsageError("give ids or --all, not both")
        if selection.is_everything and not message_ids and not is_all:
            raise click.UsageError("say which: ids, --domain DOMAIN or another filter, or --all")
        return command(selection=replace(selection, ids=message_ids or None), **others)

    whole = click.option("--all", "is_all", is_flag=True, help="Everything that waits.")(filled)
    return click.argument("message_ids", metavar="[ID]...", nargs=-1, type=queue_id)(whole)  # type: ignore[return-value]


_yes = click.option("--yes", "-y", is_flag=True, help="Do not ask, however much it is.")


def _words(_: click.Context, __: click.Parameter, text: str | None) -> str:
    if text is None:
        return ""
    if not text.isprintable() or len(text) > MAX_WORDS:
        raise click.BadParameter(f"write one line of at most {MAX_WORDS} characters")
    return text


def _confirm(admin: QueueAdmin, selection: Selection, would: str, *, is_sure: bool) -> None:
    """Ask whether so much is meant, where it was not named by its ids."""
    if is_sure or selection.ids is not None:
        return
    messages, recipients = admin.size(selection)
    if not recipients:
        fail("no such recipient is in the queue")
    much = f"{count_of(recipients, 'recipient')} of {count_of(messages, 'message')} would be {would}"
    if not sys.stdin.isatty():
        fail(f"{much}: say --yes if that is meant")
    if not click.confirm(f"{much}. Go on?", err=True):
        fail("nothing was changed")


@contextmanager
def _changing(config: Path | None, state: Path | None, what: str, said: str = "") -> Iterator[QueueAdmin]:
    """The queue; what is changed is noted in the history, where there is one."""
    spool = spool_directory(config, state)
    path = spool.parent / "ledger.db"

    def note(changed: Sequence[tuple[int, str]]) -> None:
        now = SystemClock().wall()
        try:
            with Ledger(path) as ledger:
                ledger.write(
                    [
                        Note(message_id=number, at=now, address=address, what=what, said=said)
                        for number, address in changed
                    ]
                )
        except SpoolError as error:
            click.echo(f"postroad: the history does not have it: {error}", err=True)

    with queue_of(spool, note if path.exists() else None) as admin:
        yield admin


def _tell(changed: Changed, done: str) -> None:
    if not changed.recipients:
        fail("no such recipient is in the queue")
    click.echo(f"{count_of(changed.recipients, 'recipient')} {done}")


@click.command("retry")
@_selecting
@configured
def retry(selection: Selection, config: Path | None, state: Path | None) -> None:
    """Try messages again now. What is held stays so: release it."""
    with _changing(config, state, "retried by the operator") as admin:
        changed = admin.retry(selection)
        if not changed.recipients and admin.size(replace(selection, is_held=True))[0]:
            fail("what you mean is held: `postroad queue release` lets it go")
    if selection.ids is None and not changed.recipients:
        click.echo("0 recipients due now")
        return
    _tell(changed, "due now")


@click.command("hold")
@_selecting
@click.option("--why", callback=_words, metavar="TEXT", help="Why, for whoever looks into the queue.")
@_yes
@configured
def hold(selection: Selection, why: str, yes: bool, config: Path | None, state: Path | None) -> None:
    """Keep messages without delivering them, until they are released: whole messages, with all their recipients."""
    why = why or "by the operator"
    with _changing(config, state, "held", why) as admin:
        _confirm(admin, replace(selection, is_held=False), "held", is_sure=yes)
        changed = admin.hold(selection, why)
    _tell(changed, "held")


@click.command("release")
@_selecting
@_yes
@configured
def release(selection: Selection, yes: bool, config: Path | None, state: Path | None) -> None:
    """Let held messages go. Those that wait for a hook to see them go only when they are named by their ids."""
    if selection.ids is None:
        selection = replace(selection, not_hold=PENDING)
    selection = replace(selection, is_held=True)
    with _changing(config, state, "released by the operator") as admin:
        _confirm(admin, selection, "released", is_sure=yes)
        changed = admin.release(selection)
    _tell(changed, "released, and due now")


@click.command("bounce")
@_selecting
@click.option("--why", callback=_words, metavar="TEXT", help="Why, for the sender: it stands in the notification.")
@_yes
@configured
def bounce(selection: Selection, why: str, yes: bool, config: Path | None, state: Path | None) -> None:
    """Give messages back to their senders, with a notification that they were not delivered.

    The server does it within a second, or as it starts. What it is delivering at this moment is given back only if it
    is not taken."""
    with _changing(config, state, "to be given back to its sender", why) as admin:
        _confirm(admin, selection, "given back", is_sure=yes)
        changed = admin.give_back(selection, why)
    _tell(changed, "to be given back to their senders")


@click.command("remove")
@_selecting
@_yes
@configured
def remove(selection: Selection, yes: bool, config: Path | None, state: Path | None) -> None:
    """Remove messages; nobody is told. What is being delivered at this moment may still arrive."""
    with _changing(config, state, "removed", "by the operator") as admin:
        _confirm(admin, selection, "removed, and nobody told", is_sure=yes)
        changed = admin.remove(selection)
    _tell(changed, "removed")


# Export ----------------------------------------------------------------------------------------------------------


@click.command("export")
@_selecting
@click.option(
    "--to",
    "directory",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="A directory; made where there is none.",
)
@configured
def export(selection: Selection, directory: Path, config: Path | None, state: Path | None) -> None:
    """Write messages to files: ID.eml as it will travel, ID.json with its envelope and what was tried. They stay in the
    queue."""
    written = 0
    after = 0
    with queue_of(spool_directory(config, state)) as admin:
        while page := admin.list(selection, limit=PAGE, after=after):
            after = page[-1].id
            for entry in page:
                found = admin.show(entry.id)
                if found is not None and found.message is not None:
                    _write(directory, found)
                    written += 1
                else:
                    click.echo(f"postroad: message {format_queue_id(entry.id)} cannot be read", err=True)
    if not written:
        fail("no such message is in the queue")
    click.echo(f"{count_of(written, 'message')} written to {directory}")


def _write(directory: Path, found: QueueMessage) -> None:
    assert found.message is not None
    name = format_queue_id(found.message.id)
    values = {**message_values(found), "envelope": _envelope_values(found.message.envelope), "body": f"{name}.eml"}
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        for suffix, content in ((".eml", found.message.body), (".json", json.dumps(values, indent=2).encode() + b"\n")):
            path = directory / f"{name}{suffix}"
            path.touch(mode=0o600)
            path.write_bytes(content)
    except OSError as error:
        fail(f"{directory / name}: {error.strerror}")


def _envelope_values(envelope: Envelope) -> dict[str, object]:
    """All that travels with the message, as SMTP says it."""
    by = envelope.deliver_by
    sender = envelope.reverse_path
    return {
        "sender": str(sender) if isinstance(sender, Address) else "",
        "body_type": envelope.body_type.value,
        "smtputf8": envelope.smtputf8,
        "ret": None if envelope.ret is None else envelope.ret.value,
        "envid": envelope.envid,
        "priority": envelope.priority,
        "require_tls": envelope.require_tls,
        "deliver_by": None if by is None else {"deadline": by.deadline, "mode": by.mode.value, "trace": by.is_traced},
        "recipients": [
            {
                "address": str(one.address),
                "notify": None if one.notify is None else sorted(one.notify),
                "orcpt": one.original,
            }
            for one in envelope.recipients
        ],
    }
