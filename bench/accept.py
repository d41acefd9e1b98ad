"""How fast messages are accepted: messages a second, and the time from the final dot to the 250.

smtp-source sends 4 KB messages in 20 sessions, with a new connection for each message and with sessions
kept; both servers make a message durable before they answer and then deliver it to nowhere (discard).
Rounds alternate between the two servers in one run; a server's queue is empty before its round begins.
"""

from __future__ import annotations

import statistics
from collections import defaultdict

from bench.load import MESSAGE_BYTES, SESSIONS, final_dot_times, percentile, smtp_source
from bench.machine import print_machine, print_table, spread
from bench.rivals import RECIPIENT, ROUNDS, Rival, in_turn, rivals, work_directory, workers

MESSAGES = 4_000
MODES = {"a connection for each message": False, "sessions reused": True}


def main() -> None:
    rates: dict[tuple[str, str], list[float]] = defaultdict(list)
    halves: dict[str, list[float]] = defaultdict(list)
    tails: dict[str, list[float]] = defaultdict(list)
    with work_directory() as base, rivals(base) as pair:
        print_machine(base)
        print(f"Postroad with workers = {workers()}; {MESSAGES} messages a round, {SESSIONS} sessions", flush=True)
        for rival in pair:
            _round(rival, reuse=False, messages=SESSIONS * 10)
        for number in range(ROUNDS):
            for rival in in_turn(pair, number):
                for mode, reuse in MODES.items():
                    rates[mode, rival.name].append(_round(rival, reuse=reuse, messages=MESSAGES))
                times = final_dot_times(rival.port, RECIPIENT, messages=MESSAGES // 2)
                halves[rival.name].append(percentile(times, 0.5) * 1000)
                tails[rival.name].append(percentile(times, 0.99) * 1000)
                rival.wait_until_idle()
    names = [rival.name for rival in pair]
    print_rates(f"accepted and discarded, messages a second ({MESSAGE_BYTES} bytes)", list(MODES), names, rates)
    print_table(
        f"from the final dot to the 250, {SESSIONS} sessions kept, ms: median of {ROUNDS} rounds [lowest..highest]",
        ("server", "p50", "p99"),
        [(name, spread(halves[name], 2), spread(tails[name], 2)) for name in names],
    )


def _round(rival: Rival, *, reuse: bool, messages: int) -> float:
    """Messages a second of one load."""
    taken = smtp_source(rival.port, RECIPIENT, messages=messages, reuse=reuse)
    rival.wait_until_idle()
    return messages / taken


def print_rates(title: str, modes: list[str], names: list[str], rates: dict[tuple[str, str], list[float]]) -> None:
    """One row a mode: both medians with their spread, and the ratio of neighbouring rounds."""
    rows = []
    for mode in modes:
        theirs, ours = (rates[mode, name] for name in names)
        ratios = [own / other for own, other in zip(ours, theirs, strict=True)]
        rows.append(
            (
                mode,
                spread(theirs),
                spread(ours),
                f"{statistics.median(ours) / statistics.median(theirs):.2f}",
                spread(ratios, 2),
            )
        )
    head = ("", *names, "ratio of medians", "ratio by round")
    print_table(f"{title}: median of {ROUNDS} rounds [lowest..highest]", head, rows)
