"""`postroad forget`: what verification and the history of messages know of addresses is removed, from the files too
(V-10)."""

from __future__ import annotations

from pathlib import Path

import click

from postroad.cli.settings import fail, verify_state
from postroad.cli.suppress_lists import suppressed_name
from postroad.clock import SystemClock
from postroad.events import escaped
from postroad.store.facts import FactStore
from postroad.store.ledger import Ledger
from postroad.store.results import ResultStore
from postroad.store.spool import SpoolBusy, SpoolError
from postroad.verify.address import bare_text
from postroad.verify.source import canonical
from postroad.verify.traits import mailbox

DAY_S = 86_400.0


@click.command("forget")
@click.argument("addresses", metavar="[ADDRESS...]", nargs=-1)
@click.option(
    "--older-than",
    "days",
    metavar="DAYS",
    type=click.FloatRange(0, 36_500),
    help="Remove lists begun, and facts found, more than so many days ago.",
)
@click.option("--suppressed", is_flag=True, help="Take each ADDRESS off the suppression list too.")
@click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory of what verification keeps; that of `postroad verify` by default.",
)
def command(addresses: tuple[str, ...], days: float | None, suppressed: bool, state: Path | None) -> None:
    """Remove what verification knows: of each ADDRESS, or all that is old.

    Goes through the rows and results of lists, the verdicts kept to be used again, what bounces told, and the history
    of messages that the server carried; what waits in its queue stays. The databases are written anew, so that nothing
    of it stays in them. Capital and small letters are the same, and other spellings of the same mailbox go too. What
    you had written by --output, --split and --report is yours to remove.

    An address stays on the suppression list, where you promised not to mail it, unless --suppressed is given.
    """
    if not addresses and days is None:
        raise click.UsageError("name an ADDRESS, or an age by --older-than DAYS")
    if suppressed and not addresses:
        raise click.UsageError("--suppressed goes with an ADDRESS: entries of the list have no age at which they end")
    directory = verify_state(state)
    wanted = list(dict.fromkeys(canonical(bare_text(text)) for text in addresses))
    for text in wanted:
        try:
            text.encode()
        except UnicodeEncodeError:
            fail(f"{text!a} is no text in UTF-8: write the address as it stands in the list")
    try:
        lines = _forget(directory, wanted, days, is_suppressed_too=suppressed)
    except SpoolBusy as error:
        fail(f"{error}, and forget again: parts may still stand in the file")
    except SpoolError as error:
        fail(str(error))
    for line in lines:
        click.echo(escaped(line))


def _forget(directory: Path, addresses: list[str], days: float | None, *, is_suppressed_too: bool) -> list[str]:
    """Remove it; a line on each thing that was meant. Raises SpoolError."""
    rows = dict.fromkeys(addresses, 0)
    facts = dict.fromkeys(addresses, 0)
    entries = dict.fromkeys(addresses, "")
    history = dict.fromkeys(addresses, 0)
    old_runs = old_facts = old_messages = 0
    now = SystemClock().wall()
    since = now - (days or 0.0) * DAY_S
    if (directory / "verify.db").exists():
        with ResultStore(directory / "verify.db") as results:
            for address in addresses:
                rows[address] = results.forget_address(address, mailbox_of=mailbox)
            if days is not None:
                old_runs = results.forget_before(since)
            results.wipe()
    if (directory / "ledger.db").exists():
        with Ledger(directory / "ledger.db") as ledger:
            for address in addresses:
                history[address] = ledger.forget_address(address, mailbox_of=mailbox)
            if days is not None:
                old_messages = ledger.prune(since)
            ledger.wipe()
    if (directory / "facts.db").exists():
        with FactStore(directory / "facts.db", mailbox_of=mailbox) as store:
            for address in addresses:
                facts[address] = store.forget_address(address)
                entries[address] = _entry(store, address, is_suppressed_too=is_suppressed_too)
            if days is not None:
                old_facts = store.forget_before(now=now, since=since)
            store.wipe()
    lines = [
        f"{address}: {_count(rows[address], 'row')} of lists and {_count(facts[address], 'fact')}"
        + (f" and {_count(history[address], 'entry', 'entries')} of the history" if history[address] else "")
        + " removed"
        f"{entries[address]}"
        for address in addresses
    ]
    if days is not None:
        lines.append(
            f"older than {days:g} days, or expired: {_count(old_runs, 'list')} and {_count(old_facts, 'fact')}"
            + (f" and {_count(old_messages, 'message')} of the history" if old_messages else "")
            + " removed"
        )
    return lines


def _entry(store: FactStore, address: str, *, is_suppressed_too: bool) -> str:
    """What became of its place on the suppression list, as the end of a sentence."""
    name = suppressed_name(address)
    if not isinstance(name, str) or "@" not in name or not store.suppressed([name]):
        return ""
    if not is_suppressed_too:
        return "; it stays on the suppression list (--suppressed removes it there too)"
    store.release(name)
    return ", and its entry on the suppression list"


def _count(number: int, what: str, many: str = "") -> str:
    return f"{number:,} {what if number == 1 else many or what + 's'}"
