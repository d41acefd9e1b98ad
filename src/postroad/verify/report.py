"""Verdicts as text: JSON lines, CSV, and what a table or a summary shows of them.

JSON holds everything, in ASCII. CSV is safe to open in a spreadsheet: a cell that one would take for a formula begins
with an apostrophe, and control characters are written out (H-11). Prints nothing. Used by the verify command.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from postroad.events import escaped
from postroad.verify.verdict import Evidence, Judgement, Verdict

COLUMNS = ("address", "verdict", "reason", "normalised", "mx", "confidence", "host", "phase", "reply", "rule", "detail")
"""Of the CSV form. `host` to `detail` are of the evidence that decided."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def jsonl(verdicts: Iterable[Verdict]) -> Iterator[str]:
    """A line for each."""
    return (verdict.to_json() + "\n" for verdict in verdicts)


def csv_lines(verdicts: Iterable[Verdict]) -> Iterator[str]:
    """A header, and a line for each."""
    yield _csv_line(COLUMNS)
    for verdict in verdicts:
        yield _csv_line([safe_cell(value) for value in _cells(verdict)])


def safe_cell(text: str) -> str:
    """The text on one line, and as nothing that a spreadsheet would run."""
    text = escaped(text)
    return f"'{text}" if text.startswith(_FORMULA) else text


def _csv_line(cells: Iterable[str]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow(cells)
    return out.getvalue()


def _cells(verdict: Verdict) -> list[str]:
    proof = verdict.proof
    return [
        verdict.address,
        str(verdict.verdict),
        verdict.reason,
        verdict.traits.normalised,
        " ".join(verdict.mx),
        f"{verdict.confidence:g}",
        proof.host,
        proof.phase,
        " / ".join(proof.reply),
        proof.rule,
        proof.detail,
    ]


FORMATS = {"jsonl": jsonl, "csv": csv_lines}


def evidence_line(evidence: Evidence) -> str:
    """The evidence that decided on one line, safe for a terminal: `mx.example.org: 550 5.1.1 No such user`."""
    said = " / ".join(evidence.reply) or evidence.detail
    return escaped(f"{evidence.host}: {said}" if evidence.host else said)


def summary(counts: Mapping[str, int]) -> Iterator[str]:
    """One line for each judgement with its reasons, the most frequent first. `counts`: by `Verdict.state`."""
    total = sum(counts.values())
    reasons: dict[str, Counter[str]] = {str(judgement): Counter() for judgement in Judgement}
    for state, count in counts.items():
        verdict, _, reason = state.partition(":")
        reasons.setdefault(verdict, Counter())[reason] += count
    for verdict, found in reasons.items():
        count = sum(found.values())
        if count:
            told = ", ".join(f"{reason} {number:,}" for reason, number in found.most_common())
            yield f"{verdict:<14} {count:>9,} {count / total:>6.1%}  {told}"
