"""Verdicts in a few words: the evidence that decided on one line, and a run's counts. Used by the verify command and by
the report page.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from postroad.events import escaped
from postroad.verify.verdict import Evidence, Judgement


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
