"""`postroad bounce`: messages that came back, and what they say, one JSON line each; `postroad verify` can learn it."""

from __future__ import annotations

import json
import os
import re
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import click

from postroad.cli.settings import fact_store
from postroad.cli.suppress_lists import MAX_NOTE_CHARS, suppressed_name
from postroad.clock import SystemClock
from postroad.events import escaped
from postroad.meaning.bounce import BounceReport, ReportedRecipient, ReportKind, read_bounce
from postroad.meaning.bounce_mime import MAX_OCTETS
from postroad.meaning.rule import Kind
from postroad.smtp.address import Address
from postroad.store.facts import Cause, Delivered, DeliveryOutcome, FactStore, Suppressed
from postroad.verify.address import check
from postroad.verify.rows import storable
from postroad.verify.verdict import Judgement, Verdict

_REMOTE = re.compile(rb"^remote-mta[ \t]*:|^remote host said:|from remote mail server", re.IGNORECASE | re.MULTILINE)
"""Who tells of the bounce was itself refused by another host: that one took nothing."""
_NO_COMPLAINT = re.compile(rb"^feedback-type[ \t]*:[ \t]*(?:not-spam|auth-failure)", re.IGNORECASE | re.MULTILINE)
"""Feedback that blames nobody (RFC 6430, RFC 6591)."""


@click.command("bounce")
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option(
    "--learn",
    "is_learning",
    is_flag=True,
    help="Let `postroad verify` know: addresses that are gone, recipients who complained.",
)
@click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    help="With --learn: directory of what verification knows; that of `postroad verify` by default.",
)
def command(files: tuple[str, ...], is_learning: bool, state: Path | None) -> None:
    """Read bounces: of each FILE, a message, one JSON line says whether it is one, for whom, and why.

    - reads a message from standard input. Of a message longer than a megabyte the beginning is read. A file that
    cannot be read is told on standard error; the others are still read, and the exit status is 1.

    Anybody can write a bounce: --learn is for messages that came to the sender address of your mailings.
    """
    if state is not None and not is_learning:
        raise click.UsageError("--state goes with --learn: without it nothing is kept")
    is_whole = True
    with ExitStack() as stack:
        lesson = _Lesson(stack.enter_context(fact_store(state))) if is_learning else None
        try:
            for name in files:
                try:
                    octets = _octets(name)
                except (OSError, ValueError) as error:
                    why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
                    click.echo(
                        f"postroad: {escaped(name)} cannot be read: {escaped(why)}; give files that hold one message"
                        " each",
                        err=True,
                    )
                    is_whole = False
                    continue
                report = read_bounce(octets)
                if lesson is not None:
                    lesson.learn(report, octets)
                click.echo(json.dumps({"file": name, **report.to_dict()}))
                sys.stdout.flush()
        except BrokenPipeError:
            # Nobody listens any more; Python would complain when it flushes at the end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if lesson is not None:
            click.echo(f"postroad: {lesson.summary}", err=True)
    if not is_whole:
        sys.exit(1)


def _octets(name: str) -> bytes:
    """The beginning of the message. Raises OSError, or ValueError for a name that can be no file's."""
    if name == "-":
        return sys.stdin.buffer.read(MAX_OCTETS)
    with Path(name).open("rb") as file:
        return file.read(MAX_OCTETS)


# What verification learns -----------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Lesson:
    """What the bounces teach, put where `postroad verify` finds it."""

    facts: FactStore
    gone: set[str] = field(default_factory=set)
    taken_first: set[str] = field(default_factory=set)
    complained: set[str] = field(default_factory=set)

    @property
    def summary(self) -> str:
        first = len(self.taken_first)
        came_back = f" ({first:,} of them taken first, and sent back)" if first else ""
        complained = len(self.complained)
        return (
            f"learned of {len(self.gone):,} undeliverable address{_es(len(self.gone))}{came_back}"
            f" and {complained:,} complaint{'' if complained == 1 else 's'}"
        )

    def learn(self, report: BounceReport, octets: bytes) -> None:
        """Note what one message teaches; most teach nothing."""
        if report.kind is ReportKind.BOUNCE:
            self._note_gone([one for one in report.recipients if one.suppress], has_remote=bool(_REMOTE.search(octets)))
        elif report.kind is ReportKind.FEEDBACK and not _NO_COMPLAINT.search(octets):
            self._note_complaint(report)

    def _note_gone(self, recipients: list[ReportedRecipient], *, has_remote: bool) -> None:
        found = {}
        for one in recipients:
            address = check(one.address or "")
            if isinstance(address, Address):
                found[str(address)] = (address, one)
        if not found:
            return
        now = SystemClock().wall()
        taken = self._taken(list(found), now)
        deliveries = []
        for text, (address, one) in found.items():
            is_refused = one.meaning is Kind.DOMAIN_UNKNOWN or (has_remote and text not in taken)
            outcome = DeliveryOutcome.BOUNCED if is_refused else DeliveryOutcome.BOUNCED_LATER
            said = storable(one.diagnostic)
            deliveries.append(Delivered(address=text, domain=address.domain, at=now, outcome=outcome, said=said))
            if not is_refused:
                self.taken_first.add(text)
        self.facts.note_deliveries(deliveries)
        self.gone |= found.keys()

    def _taken(self, addresses: list[str], now: float) -> set[str]:
        """Those that their host took before, as verification or an earlier bounce found."""
        verdicts = self.facts.verdicts(addresses, now=now)
        kept = {address: Verdict.from_json(one.verdict) for address, one in verdicts.items()}
        taken = {address for address, verdict in kept.items() if verdict.verdict is Judgement.DELIVERABLE}
        earlier = self.facts.deliveries(addresses)
        return taken | {text for text, one in earlier.items() if one.outcome is not DeliveryOutcome.BOUNCED}

    def _note_complaint(self, report: BounceReport) -> None:
        names = [suppressed_name(one.address) for one in report.recipients if one.address]
        known = [name for name in names if isinstance(name, str) and "@" in name]
        listed = self.facts.suppressed(known)
        note = "a complaint" + (f" about {report.original_message_id}" if report.original_message_id else "")
        now = SystemClock().wall()
        self.facts.suppress(
            Suppressed(name=name, cause=Cause.DO_NOT_MAIL, added_at=now, note=storable(note)[:MAX_NOTE_CHARS])
            for name in known
            if name not in listed
        )
        self.complained.update(known)


def _es(number: int) -> str:
    return "" if number == 1 else "es"
