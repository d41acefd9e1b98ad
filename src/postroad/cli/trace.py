"""`postroad trace`: one message's whole life, in sentences: who brought it, each try with its dialogue, what came back.

From the ledger (STATE/ledger.db) and, for what still waits, from the queue. Everything from outside is escaped (H-11).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from postroad.cli.settings import configured, fail, settings
from postroad.clock import SystemClock
from postroad.events import escaped
from postroad.message.envelope import format_queue_id, parse_queue_id
from postroad.store.ledger import Ledger, Note, RecipientStory, Story, Tried
from postroad.store.ledger_mend import story as as_the_queue_knows
from postroad.store.queue_admin import QueueAdmin
from postroad.store.spool import SpoolError
from postroad.store.tally import HERE, IN, OUT, difference

if TYPE_CHECKING:
    from postroad.store.queue_admin import QueueMessage


@click.command("trace")
@click.argument("what", metavar="[ID|ADDRESS|MESSAGE-ID]...", nargs=-1)
@click.option(
    "--dialogue/--no-dialogue", default=True, help="Show what was said in each attempt, or only what came of it."
)
@click.option("--limit", type=click.IntRange(1, 100), default=10, show_default=True, help="At most so many messages.")
@click.option("--json", "is_json", is_flag=True, help="One JSON object a message.")
@click.option("--balance", "is_balance", is_flag=True, help="Count what came in and what became of it, in all.")
@configured
def command(
    what: tuple[str, ...],
    dialogue: bool,
    limit: int,
    is_json: bool,
    is_balance: bool,
    config: Path | None,
    state: Path | None,
) -> None:
    """Tell a message's whole life: by its queue id, by an address (the newest messages from or to it), or by the
    Message-ID in its header. Status 1 where nothing is known.

    --balance compares the recipients that came in with what became of them; status 1 where one is missing.
    """
    if bool(what) == is_balance:
        raise click.UsageError("say which message: its id, an address or a Message-ID; or ask for --balance")
    directory = Path(settings(config, state).server.state_dir)
    if is_balance:
        _balance(directory, is_json=is_json)
        return
    path = directory / "ledger.db"
    if not path.exists() and not (directory / "spool").is_dir():
        fail(f"there is no history in {directory}: name the directory that the server uses by --state or --config")
    found = False
    try:
        with closing(Ledger(path)) if path.exists() else nullcontext() as ledger:
            numbers = [number for text in what for number in _numbers(ledger, text, limit)]
            for number in dict.fromkeys(numbers):
                waiting = _in_queue(directory, number)
                story = None if ledger is None else ledger.story(number)
                if story is None and waiting is not None:
                    story = as_the_queue_knows(waiting)  # not written down yet, or no history is kept
                if story is None:
                    continue
                if is_json:
                    click.echo(json.dumps(_values(story)))
                else:
                    click.echo(("\n" if found else "") + "\n".join(_told(story, waiting, with_dialogue=dialogue)))
                found = True
    except SpoolError as error:
        fail(str(error))
    if not found:
        fail(
            f"nothing is known of {', '.join(what)}: the history goes back as far as [history] days, and is written"
            " within a second"
        )


def _numbers(ledger: Ledger | None, text: str, limit: int) -> list[int]:
    number = parse_queue_id(text)
    if number is not None:
        return [number]
    return [] if ledger is None else ledger.find(text, limit=limit)


def _in_queue(directory: Path, number: int) -> QueueMessage | None:
    try:
        with QueueAdmin(directory / "spool") as admin:
            return admin.show(number)
    except SpoolError:
        return None


# The story as people read it -------------------------------------------------------------------------------------


def _told(story: Story, waiting: QueueMessage | None, *, with_dialogue: bool) -> Iterator[str]:
    accepted = story.accepted
    yield f"message {format_queue_id(accepted.id)}" + (f", {accepted.size:,} octets" if accepted.size else "")
    sender = accepted.sender or "<>"
    if accepted.about is not None:
        yield f"  {_at(accepted.at)}  made here, to tell of message {format_queue_id(accepted.about)}"
    elif accepted.peer:
        by = f", user {accepted.user}" if accepted.user else ""
        yield escaped(
            f"  {_at(accepted.at)}  accepted from {accepted.helo} [{accepted.peer}] by {accepted.protocol}"
            + (f" over {accepted.secured}" if accepted.secured else "")
            + (f" at the listener {accepted.listener}" if accepted.listener else "")
            + f"{by}, sender {sender}"
        )
    else:
        yield "  its acceptance is not on record: the server was stopped hard at that moment"
    if accepted.header_id:
        yield escaped(f"  Message-ID {accepted.header_id}")
    if accepted.subject:
        yield escaped(f"  Subject {accepted.subject}")
    if accepted.held:
        yield escaped(f"  {_at(accepted.at)}  held: {accepted.held}")
    due = (
        {} if waiting is None else {str(one.queued.recipient.address): one.queued.due_at for one in waiting.recipients}
    )
    for one in story.recipients:
        yield ""
        notes = [note for note in story.notes if note.address.lower() == one.address.lower()]
        yield from _recipient(
            one, notes, due.get(one.address), is_waiting=one.address in due, with_dialogue=with_dialogue
        )
    addresses = {one.address.lower() for one in story.recipients}
    others = [note for note in story.notes if note.address.lower() not in addresses]
    if others:
        yield ""
        yield from _notes(iter(others))
    for number in story.notices:
        yield f"  its sender was told by message {format_queue_id(number)}"


def _recipient(
    one: RecipientStory, notes: Sequence[Note], due_at: float | None, *, is_waiting: bool, with_dialogue: bool
) -> Iterator[str]:
    if is_waiting and due_at is not None:
        fate = "held" if due_at == float("inf") else f"waits, next try {_when(due_at)}"
    elif one.fate == "unknown":
        fate = "no longer in the queue; what became of it is not on record, since the server was stopped hard"
    elif one.fate is not None:
        fate = f"{one.fate} {_at(one.at)}"
    else:
        fate = "left the queue; what became of it is not on record yet"
    yield escaped(f"to {one.address}: {fate}")
    life: list[Tried | Note] = [*one.attempts, *notes]
    for tried in sorted(life, key=lambda happened: happened.at):
        if isinstance(tried, Note):
            yield from _notes(iter((tried,)))
            continue
        yield escaped(f"  {_at(tried.at)}  {_attempt(tried)}")
        if with_dialogue and tried.told_with:
            yield escaped(f"      the dialogue is the one with {tried.told_with}, above or below")
        elif with_dialogue and tried.dialogue:
            yield from (escaped(f"      {line}") for line in tried.dialogue.splitlines())


def _attempt(tried: Tried) -> str:
    where = f" at {tried.host}" if tried.host else ""
    secured = (f" over {tried.secured}" if tried.secured else "") + (f" from {tried.source}" if tried.source else "")
    words = f": {tried.reply}" if tried.reply else ""
    if tried.outcome == "delivered":
        return f"delivered{where}{secured}{words}"
    meaning = tried.meaning.replace("_", " ")
    later = f"; to be tried again {_at(tried.due_at)}" if tried.due_at is not None else ""
    return f"{tried.outcome}{where}{secured}, in the phase {tried.phase}{words} ({meaning}){later}"


def _notes(notes: Iterator[Note]) -> Iterator[str]:
    words = {
        "bounced": "came back later",
        "complained": "was complained of",
        "delayed": "is delayed further on",
        "delivered": "arrived, as a host further on told",
    }
    for note in notes:
        said = f": {note.said}" if note.said else ""
        yield escaped(f"  {_at(note.at)}  {words.get(note.what, note.what)}{said}")


def _at(wall: float) -> str:
    return f"{datetime.fromtimestamp(wall, UTC):%Y-%m-%d %H:%M:%S}" if wall else "-"


def _when(wall: float) -> str:
    return "now" if wall <= SystemClock().wall() else _at(wall)


def _values(story: Story) -> dict[str, object]:
    return {
        **asdict(story.accepted),
        "id": format_queue_id(story.accepted.id),
        "about": None if story.accepted.about is None else format_queue_id(story.accepted.about),
        "recipients": [
            {
                "address": one.address,
                "fate": one.fate,
                "at": one.at,
                "attempts": [
                    {key: value for key, value in asdict(tried).items() if key not in ("message_id", "row", "address")}
                    for tried in one.attempts
                ],
            }
            for one in story.recipients
        ],
        "notes": [{"at": one.at, "address": one.address, "what": one.what, "said": one.said} for one in story.notes],
        "notices": [format_queue_id(number) for number in story.notices],
    }


# The balance -----------------------------------------------------------------------------------------------------


def _fates(directory: Path) -> dict[str, int]:
    if not (directory / "ledger.db").exists():
        return {}
    with Ledger(directory / "ledger.db") as ledger:
        return ledger.fates()


def _balance(directory: Path, *, is_json: bool) -> None:
    try:
        with QueueAdmin(directory / "spool") as admin:
            tally = admin.tally()
        fates = _fates(directory)
    except SpoolError as error:
        fail(str(error))
    missing = difference(tally)
    if is_json:
        click.echo(json.dumps({**tally, "difference": missing, "history": fates}))
    else:
        width = max(len(f"{value:,}") for value in tally.values())
        for name in (*IN, *OUT, *HERE):
            click.echo(f"{name:<10} {tally[name]:>{width},}")
        told = "the balance holds" if not missing else f"{abs(missing):,} {'missing' if missing > 0 else 'too many'}"
        click.echo(f"recipients: {told}")
        if fates:
            counted = ", ".join(f"{fates[name]:,} {name}" for name in sorted(fates))
            click.echo(f"on record in the history, as far back as it goes: {counted}")
    if missing:
        sys.exit(1)
