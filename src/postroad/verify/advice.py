"""What to do after a verification, as sentences made from its numbers, the most useful first. Pure.

Each piece of advice leads to the addresses it is about: `filters` is what the page's table is to show. Used by
report_page.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from postroad.verify.markup import clean, counted, number
from postroad.verify.report_tally import Tally
from postroad.verify.report_values import AGAIN, NOT_TO_MAIL, TAKES_ALL, US, Summary, reason_words
from postroad.verify.verdict import Judgement

TYPOS_TOLD = 20
_OURS = ("hello", "mail_from", "source_address")


@dataclass(frozen=True, slots=True)
class Advice:
    """`headline` and `detail` are plain text. `filters`: as in the page's address after #; empty for no link."""

    headline: str
    detail: str
    filters: str = ""
    lines: tuple[str, ...] = ()
    """Told one below the other: mistyped domains and what was meant."""


def advice(summary: Summary, found: Tally) -> list[Advice]:
    """All that the numbers give reason for."""
    told = [
        *_left_open(summary),
        *_mail(summary, found),
        *_typos(found),
        *_remove(summary),
        *_full(summary),
        *_takes_all(summary),
        *_not_to_mail(summary),
        *_again(summary),
        *_us(summary),
        *_others(summary),
        *_kinds(found),
    ]
    return told or [Advice("There is nothing to do.", "No address was given a verdict.")]


def _addresses(count: int, kind: str = "") -> str:
    kind = f"{kind} " if kind else ""
    return counted(count, f"{kind}address", f"{kind}addresses")


def _left_open(summary: Summary) -> Iterator[Advice]:
    left = summary.addresses - sum(summary.by_verdict.values())
    if left > 0:
        yield Advice(
            f"Go on with the run: {_addresses(left)} not reached.",
            "The run ended before they were asked about. The same command with --resume asks only about them.",
        )


def _mail(summary: Summary, found: Tally) -> Iterator[Advice]:
    count = summary.count(Judgement.DELIVERABLE)
    if count:
        doubtful = found.marked("disposable", Judgement.DELIVERABLE)
        more = f" {_addresses(doubtful)} of them may soon be gone: see disposable, below." if doubtful else ""
        yield Advice(
            f"Mail the {_addresses(count, 'deliverable')}.",
            f"Their hosts took the recipient.{more}",
            "verdict=deliverable",
        )


def _typos(found: Tally) -> Iterator[Advice]:
    count = found.marked("suggestion")
    if count:
        pairs = sorted(found.typos.items(), key=lambda item: (-item[1], item[0]))
        more = len(pairs) - TYPOS_TOLD
        lines = [f"{clean(wrong, 80)} → {clean(meant, 80)}: {number(times)}" for (wrong, meant), times in pairs]
        rest = (f"and {number(more)} more",) if more > 0 else ()
        yield Advice(
            f"Correct {counted(count, 'address that looks', 'addresses that look')} mistyped.",
            "Look at each before you change it: a rare domain may be right. Then verify the corrected ones.",
            "flag=suggestion",
            (*lines[:TYPOS_TOLD], *rest),
        )


def _remove(summary: Summary) -> Iterator[Advice]:
    count = summary.count(Judgement.UNDELIVERABLE)
    if count:
        yield Advice(
            f"Remove {_addresses(count, 'undeliverable')}.",
            "Mail to them would bounce, and bounces make mail hosts distrust whoever sends.",
            "verdict=undeliverable",
        )


def _full(summary: Summary) -> Iterator[Advice]:
    count = sum(count for _, reason, count in summary.states() if reason == "mailbox_full")
    if count:
        yield Advice(
            f"Try {counted(count, 'full mailbox', 'full mailboxes')} again in a week.",
            "The mailboxes exist and take nothing now. One that stays full has most likely been left behind:"
            " remove it.",
            "reason=mailbox_full",
        )


def _takes_all(summary: Summary) -> Iterator[Advice]:
    count = summary.count(Judgement.RISKY, TAKES_ALL)
    if count:
        yield Advice(
            f"Send to {_addresses(count, 'risky catch-all')} in small batches, and watch the bounces.",
            "Their hosts take every recipient, so nobody can say beforehand which of them exist. Stop at a domain"
            " that bounces.",
            "verdict=risky&reason=takes-all",
        )


def _not_to_mail(summary: Summary) -> Iterator[Advice]:
    count = sum(count for _, reason, count in summary.states() if reason in NOT_TO_MAIL)
    if count:
        yield Advice(
            f"Do not mail {_addresses(count)} on your own lists.",
            "They are on the list of suppressed addresses, of opt-outs or of blocked domains.",
            "reason=not-to-mail",
        )


def _again(summary: Summary) -> Iterator[Advice]:
    count = summary.count(Judgement.UNKNOWN, AGAIN)
    if count:
        yield Advice(
            f"Run again later: {_addresses(count)} may still be answered.",
            f"{_reasons(summary, AGAIN)}. Wait an hour or more. --resume goes on with this run; --fresh asks about"
            " every address anew.",
            "verdict=unknown&reason=worth-asking-again",
        )


def _us(summary: Summary) -> Iterator[Advice]:
    count = summary.count(Judgement.UNKNOWN, US)
    sites = len({trouble.site for trouble in summary.sites})
    if not count and not sites:
        return
    told = []
    if sites:
        told.append(f"{counted(sites, 'site', 'sites')} slowed or refused us")
    if count:
        told.append(f"{_addresses(count)} {'is' if count == 1 else 'are'} unknown for it")
    given = {name: value for name, value in summary.settings if name in _OURS and value}
    named = "; now: " + ", ".join(f"{name} {clean(value, 80)}" for name, value in given.items()) if given else ""
    yield Advice(
        f"Check how we present ourselves: {', '.join(told)}.",
        "See that the hello name leads to this machine and its address back to that name (PTR), that the sender's"
        f" domain takes mail, and that the source address is on no block list{named}. Then ask more slowly.",
        "verdict=unknown&reason=about-us" if count else "",
    )


def _others(summary: Summary) -> Iterator[Advice]:
    spoken = {*NOT_TO_MAIL, "mailbox_full"}
    for verdict, known, why in (
        (Judgement.RISKY, {*TAKES_ALL, "disposable"}, "Their hosts took them, and something else speaks against them"),
        (Judgement.UNKNOWN, {*AGAIN, *US}, "Nothing speaks against the mailboxes, and nothing for them"),
    ):
        reasons = {reason for judged, reason, _ in summary.states() if judged == verdict}
        others = sorted(reasons - known - spoken)
        count = summary.count(verdict, others) if others else 0
        if count:
            yield Advice(
                f"Leave {_addresses(count, f'other {verdict}')} out of a first mailing.",
                f"{_reasons(summary, others, verdict)}. {why}.",
                f"verdict={verdict}" + (f"&reason={quote(clean(others[0], 80))}" if len(others) == 1 else ""),
            )


def _kinds(found: Tally) -> Iterator[Advice]:
    alive = (Judgement.DELIVERABLE, Judgement.RISKY, Judgement.UNKNOWN)
    disposable = found.marked("disposable", *alive)
    if disposable:
        yield Advice(
            f"Leave out {_addresses(disposable, 'disposable')}.",
            "Such mailboxes are made for an hour or a day, and nobody reads them afterwards.",
            "verdict=deliverable,risky,unknown&flag=disposable",
        )
    role = found.marked("role", *alive)
    if role:
        yield Advice(
            f"Think twice about {_addresses(role, 'role')}.",
            "An office such as info or sales reads them, often several people. Mail them only where they asked for it.",
            "verdict=deliverable,risky,unknown&flag=role",
        )


def _reasons(summary: Summary, wanted: Sequence[str], verdict: Judgement = Judgement.UNKNOWN) -> str:
    """`120 greylisted, 30 timed out`: those of that verdict by reason, the five most frequent."""
    counts = [(group.counts.get(str(verdict), 0), group.name) for group in summary.by_reason if group.name in wanted]
    found = sorted(((count, reason) for count, reason in counts if count), key=lambda item: (-item[0], item[1]))
    told = ", ".join(f"{number(count)} {clean(reason_words(reason), 60)}" for count, reason in found[:5])
    return told if len(found) <= 5 else f"{told} and others"
