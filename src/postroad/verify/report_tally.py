"""One pass over all rows: which of them the page shows, and what only rows can tell: flags and suggestions.

Memory is bounded by `MOST_ROWS` rows of each verdict and `MOST_TYPOS` pairs of domains, however long the list is. Pure.
Used by report_page.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from postroad.verify.report_values import Row
from postroad.verify.verdict import Judgement

MOST_ROWS = 10_000
"""Rows in the page."""
MOST_TYPOS = 1_000
"""Different pairs of a mistyped and a meant domain that are counted."""
ORDER = (Judgement.UNDELIVERABLE, Judgement.RISKY, Judgement.UNKNOWN, Judgement.DELIVERABLE)
"""Which rows are chosen first where there are too many: those with which something is to be done."""


@dataclass(slots=True)
class Tally:
    """What was counted."""

    rows: int = 0
    chosen: list[Row] = field(default_factory=list)
    """By `ORDER`, and within a verdict in the order in which they came."""
    marks: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By verdict and flag."""
    typos: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By domain as written and as suggested."""

    def marked(self, flag: str, *verdicts: Judgement) -> int:
        """Addresses with that flag and one of those verdicts, or any."""
        return sum(self.marks[str(verdict), flag] for verdict in verdicts or Judgement)


def tally(rows: Iterable[Row]) -> Tally:
    """Count them all, and choose at most `MOST_ROWS`."""
    found = Tally()
    by_verdict: dict[str, list[Row]] = {str(verdict): [] for verdict in ORDER}
    for row in rows:
        found.rows += 1
        kept = by_verdict[row.judged]
        if len(kept) < MOST_ROWS:
            kept.append(row)
        for mark in row.marks:
            found.marks[row.judged, mark] += 1
        if row.suggestion:
            pair = (_domain(row.address), _domain(row.suggestion))
            if pair in found.typos or len(found.typos) < MOST_TYPOS:
                found.typos[pair] += 1
    for verdict in ORDER:
        found.chosen += by_verdict[str(verdict)][: MOST_ROWS - len(found.chosen)]
    return found


def _domain(address: str) -> str:
    """The part after the last @, short enough to keep; all of it where there is none."""
    return address.rpartition("@")[2].casefold()[:255]
