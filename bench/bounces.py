"""How well bounces are read: the public messages of the corpus beside this checkout, against what others say of them.

Expectations come from the tests of other projects, in their own vocabulary (see the corpus' SOURCE.md); reasons that
map to no class of ours, and status codes that those projects made up, are not scored. Nothing here is timed.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from postroad.meaning.bounce import BounceReport, ReportedRecipient, ReportKind, read_bounce

CORPUS = Path(__file__).parents[2] / "shared/corpora/bounces"

CLASSES: dict[str, str | None] = {
    "userunknown": "mailbox_unknown",
    "mailboxfull": "mailbox_full",
    "hostunknown": "domain_unknown",
    "notaccept": "domain_unknown",
    "hasmoved": "mailbox_disabled",
    "suspend": "mailbox_disabled",
    "norelaying": "relay_denied",
    "blocked": "blocked_reputation",
    "badreputation": "blocked_reputation",
    "requireptr": "blocked_reputation",
    **dict.fromkeys(("spamdetected", "policyviolation", "contenterror", "virusdetected"), "policy_content"),
    **dict.fromkeys(("authfailure", "securityerror", "rejected", "notcompliantrfc"), "policy_content"),
    **dict.fromkeys(("speeding", "toomanyconn"), "rate_limited"),
    **dict.fromkeys(("exceedlimit", "mesgtoobig"), "message_too_big"),
    **dict.fromkeys(("expired", "systemfull"), "system_temporary"),
    "syntaxerror": "system_permanent",
    "failedstarttls": "tls_required",
    "delivered": "accepted",
}
_BY_DIGIT = frozenset({"systemerror", "mailererror", "networkerror"})
_KINDS = {"feedback": "feedback", "vacation": "auto_reply", "delivered": "delivered", "not_a_bounce": "none"}
_PLACEHOLDER = "libsisimai.org.invalid"


def expected_class(row: dict[str, Any]) -> str | None:
    """Our class for the reason of a row, or None where it has none to score."""
    reason = row["reason"]
    if reason in _BY_DIGIT:
        first = (row["replycode"] or row["deliverystatus"] or " ")[0]
        return {"4": "system_temporary", "5": "system_permanent"}.get(first)
    return CLASSES.get(reason or "")


@dataclass
class Score:
    """What was counted."""

    counts: Counter[str] = field(default_factory=Counter)
    table: Counter[tuple[str, str]] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    disagreements: list[str] = field(default_factory=list)

    def rate(self, name: str) -> float:
        """The share of rows that agree, of those that were scored."""
        total = self.counts[f"{name}:all"]
        return self.counts[name] / total if total else 1.0

    def note(self, name: str, agrees: bool, line: str) -> None:
        self.counts[f"{name}:all"] += 1
        self.counts[name] += agrees
        if not agrees:
            self.disagreements.append(f"{name:<10} {line}")

    @property
    def meaning(self) -> float:
        """The share of rows whose class agrees."""
        return sum(count for (one, other), count in self.table.items() if one == other) / max(1, self.table.total())


def rows() -> dict[str, list[dict[str, Any]]]:
    """File → its rows."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in filter(None, (CORPUS / "expected.dev.jsonl").read_text("utf-8").split("\n")):
        row = json.loads(line)
        found[row["file"]].append(row)
    return found


def is_scored(row: dict[str, Any]) -> bool:
    """Whether somebody asserted this row; the output of another classifier is a second opinion only."""
    return not row["expected_from"].startswith(("none", "p5-sisimai run")) and row.get("agree") is not False


def score() -> Score:
    """Every message of the development half, read and compared."""
    made = Score()
    for name, expected in rows().items():
        report = read_bounce((CORPUS / "dev" / name).read_bytes())
        _compare_kind(made, name, expected[0], report)
        _compare_addresses(made, name, expected, report)
        for row, ours in _paired(expected, report.recipients):
            _compare_row(made, row, ours)
    return made


def _compare_kind(made: Score, name: str, row: dict[str, Any], report: BounceReport) -> None:
    if row["is_bounce"] is not None:
        made.note(
            "is_bounce", row["is_bounce"] == report.is_bounce, f"{name}: ours {report.kind}, theirs {row['reason']}"
        )
    kind = _KINDS.get(row["reason"] or "")
    if kind is not None:
        made.note("kind", kind == report.kind, f"{name}: ours {report.kind}, theirs {kind}")


def _compare_addresses(made: Score, name: str, expected: list[dict[str, Any]], report: BounceReport) -> None:
    theirs = {row["recipient"].lower() for row in expected if row["recipient"] and _PLACEHOLDER not in row["recipient"]}
    if not theirs or (report.kind is ReportKind.NONE and expected[0]["is_bounce"] is None):
        return
    ours = {one.address.lower() for one in report.recipients if one.address}
    made.found["theirs"] += len(theirs)
    made.found["ours"] += len(ours)
    made.found["both"] += len(theirs & ours)
    if theirs != ours:
        made.disagreements.append(f"{'address':<10} {name}: ours {sorted(ours)}, theirs {sorted(theirs)}")


def _paired(
    expected: list[dict[str, Any]], ours: tuple[ReportedRecipient, ...]
) -> Iterator[tuple[dict[str, Any], ReportedRecipient]]:
    """Rows with our recipient of the same address, or of the same place."""
    for index, row in enumerate(expected):
        wanted = (row["recipient"] or "").lower()
        same = [one for one in ours if (one.address or "").lower() == wanted]
        if same:
            yield row, same[min(index, len(same) - 1)] if len(same) > 1 else same[0]
        elif ours:
            yield row, ours[min(index, len(ours) - 1)]
        else:
            yield row, ReportedRecipient(address=None)


def _compare_row(made: Score, row: dict[str, Any], ours: ReportedRecipient) -> None:
    if not row["is_bounce"] or not is_scored(row):
        return
    where = f"{row['file']} {row['recipient']}"
    said = f"{ours.code} {ours.status} {ours.diagnostic[:160]!r}"
    status, code = row["deliverystatus"] or "", row["replycode"] or ""
    if status and ".0.9" not in status:
        made.note("status", status == ours.status, f"{where}: ours {ours.status}, theirs {status}: {said}")
    if code:
        made.note("code", code == str(ours.code), f"{where}: ours {ours.code}, theirs {code}: {said}")
    theirs = expected_class(row)
    if theirs is not None:
        made.table[theirs, str(ours.meaning)] += 1
        if theirs != ours.meaning:
            made.disagreements.append(f"{'meaning':<10} {where}: ours {ours.meaning}, theirs {theirs}: {said}")
    if row["expected_from"].startswith("flufl"):
        made.note(
            "hard", row["hard"] == (ours.bounce == "hard"), f"{where}: ours {ours.bounce}, theirs {row['hard']}: {said}"
        )
    elif row["hard"] is not None and row["reason"] not in ("filtered", "suspend", "onhold", "undefined"):
        made.note(
            "suppress", row["hard"] == ours.suppress, f"{where}: ours {ours.suppress}, theirs {row['hard']}: {said}"
        )


def main() -> None:
    if not CORPUS.exists():
        print(f"there is no corpus of bounces at {CORPUS}, which this benchmark reads")
        return
    made = score()
    for name in ("is_bounce", "kind", "status", "code", "suppress", "hard"):
        print(f"{name:<10} {made.counts[name]:4} of {made.counts[f'{name}:all']:4}  {made.rate(name):6.1%}")
    both, ours, theirs = made.found["both"], made.found["ours"], made.found["theirs"]
    print(f"{'addresses':<10} precision {both / max(1, ours):.1%}, recall {both / max(1, theirs):.1%}")
    print(f"{'meaning':<10} {made.meaning:.1%} of {made.table.total()}")
    for theirs_class in sorted({one for one, _ in made.table}):
        row = {other: count for (one, other), count in made.table.items() if one == theirs_class}
        total, right = sum(row.values()), row.get(theirs_class, 0)
        others = ", ".join(f"{name} {count}" for name, count in sorted(row.items()) if name != theirs_class)
        print(f"  {theirs_class:<20} {right:4} of {total:4}  {right / total:6.1%}  {others}")
    print(*sorted(made.disagreements), sep="\n")
