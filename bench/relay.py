"""How fast messages are relayed: taken from smtp-source, made durable, and handed on to smtp-sink.

The clock runs from the first connection until smtp-sink has the last message of the round, so it holds
the whole way through the server. 4 KB messages, 20 sessions, with a connection for each message and with
sessions kept. Rounds alternate between the two servers in one run, both with the one sink.
"""

from __future__ import annotations

import time
from collections import defaultdict

from bench.accept import MODES, print_rates
from bench.load import MESSAGE_BYTES, SESSIONS, Sink, smtp_source
from bench.machine import print_machine
from bench.rivals import RECIPIENT, ROUNDS, Rival, in_turn, rivals, work_directory, workers

MESSAGES = 3_000


def main() -> None:
    rates: dict[tuple[str, str], list[float]] = defaultdict(list)
    with work_directory() as base, Sink() as sink, rivals(base, relay_port=sink.port) as pair:
        print_machine(base)
        print(f"Postroad with workers = {workers()}; {MESSAGES} messages a round, {SESSIONS} sessions", flush=True)
        for rival in pair:
            _round(rival, sink, reuse=False, messages=SESSIONS * 10)
        for number in range(ROUNDS):
            for rival in in_turn(pair, number):
                for mode, reuse in MODES.items():
                    rates[mode, rival.name].append(_round(rival, sink, reuse=reuse, messages=MESSAGES))
    names = [rival.name for rival in pair]
    print_rates(
        f"relayed to smtp-sink, messages a second end to end ({MESSAGE_BYTES} bytes)", list(MODES), names, rates
    )


def _round(rival: Rival, sink: Sink, *, reuse: bool, messages: int) -> float:
    """Messages a second from the first connection until the sink has the last message."""
    before = sink.count
    begun = time.perf_counter()
    smtp_source(rival.port, RECIPIENT, messages=messages, reuse=reuse)
    sink.wait_for(before + messages)
    taken = time.perf_counter() - begun
    rival.wait_until_idle()
    return messages / taken
