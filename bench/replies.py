"""How well replies are read: the public lines of the corpus beside this checkout, against the classes given there.

Only rows that the corpus calls scorable count (its SOURCE.md says why). The mean time of one reply stands below.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

from postroad.meaning import classify
from postroad.meaning.explain import Said, meaning_of, read

CORPUS = Path(__file__).parents[2] / "shared/corpora/replies/replies.dev.jsonl"
ROUNDS = 5


def rows() -> list[tuple[int, dict[str, Any]]]:
    """The scorable rows, each with the number of its line."""
    lines = CORPUS.read_text("utf-8").splitlines()
    found = [(number, json.loads(line)) for number, line in enumerate(lines, 1)]
    return [(number, row) for number, row in found if row["scorable"]]


def said(row: dict[str, Any]) -> Said:
    """The reply of a row, as `postroad explain` would read it."""
    return read([json.dumps({name: row[name] for name in ("code", "enhanced", "text")})])


def main() -> None:
    if not CORPUS.exists():
        print(f"the corpus of replies is not on this machine: {CORPUS}")
        return
    scored = rows()
    replies = [(number, row, said(row)) for number, row in scored]
    read_as = [(number, row, meaning_of(reply)) for number, row, reply in replies]
    table = Counter((row["class"], meaning.kind.value) for _, row, meaning in read_as)
    classes = sorted({name for pair in table for name in pair})
    _print_table(table, classes)
    for number, row, meaning in read_as:
        if meaning.kind != row["class"]:
            where = f"{CORPUS.name}:{number}"
            print(f"{where}: ours {meaning.kind} ({meaning.rule}), theirs {row['class']}: {row['line'][:140]!r}")
    agreed = sum(count for (theirs, ours), count in table.items() if theirs == ours)
    print(f"\n{agreed} of {len(scored)} agree: {agreed / len(scored):.1%}")
    print(f"{_microseconds([reply for _, _, reply in replies]):.0f} microseconds a reply on average")


def _print_table(table: Counter[tuple[str, str]], classes: list[str]) -> None:
    """Rows: their class; columns, by number: ours."""
    print(
        f"{'theirs, ours':25}" + "".join(f"{index:>4}" for index in range(1, len(classes) + 1)) + "  recall precision"
    )
    for index, theirs in enumerate(classes, 1):
        counts = [table[theirs, ours] for ours in classes]
        right = table[theirs, theirs]
        called = sum(table[other, theirs] for other in classes)
        recall = f"{right / sum(counts):7.0%}" if sum(counts) else "      -"
        precision = f"{right / called:9.0%}" if called else "        -"
        print(f"{index:>2} {theirs:22}" + "".join(f"{count or '.':>4}" for count in counts) + f" {recall} {precision}")
    print()


def _microseconds(replies: list[Said]) -> float:
    """Processor time for one reply that was not read before, the mean over the corpus."""
    start = time.process_time()
    for _ in range(ROUNDS):
        classify._read.cache_clear()
        for reply in replies:
            meaning_of(reply)
    return (time.process_time() - start) / ROUNDS / len(replies) * 1e6


if __name__ == "__main__":
    main()
