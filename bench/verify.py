"""Addresses a second, and processor time for each, against verifiers that open a connection for each address.

A lab of honest hosts in a process of its own takes 50 ms for every reply: once with a pipelined batch answered at
once, once with each reply of a batch waiting for its own. Every prober is one process with the same number of
connections; they take turns, and the first of a round changes. Ours asks about a made-up recipient of each domain
beside the list, which the others do not; its limits for each site are raised to what the others do, who know none.
"""

from __future__ import annotations

import os
import statistics
from collections import defaultdict
from pathlib import Path

from bench.lab_process import LabOrder, LabProcess, even_world
from bench.machine import print_machine, print_table, spread
from bench.probers import Order, Prober, Round, node_peer, ours, python_peer
from bench.rivals import work_directory
from postroad.lab.truth import Kind

ADDRESSES = 10_000
PEERS_SHARE = 0.1
PER_DOMAIN = 20
CONNECTIONS = (50, 200)
ROUNDS = 3
LATENCY_S = 0.05
TARGETS = {False: 10.0, True: 3.0}
"""Each reply of a batch waits → how many times the best of the others ours should be."""
OURS = "Postroad"


def _raised(connections: int) -> Order:
    return {"per_site": connections, "recipients_per_minute": None}


def _polite(connections: int) -> Order:
    return {}


def probers(base: Path) -> list[Prober]:
    """All that can be had here; says who cannot."""
    found = [
        ours(OURS, _raised),
        ours("Postroad, polite defaults", _polite),
    ]
    for peer in (node_peer(base, PEERS_SHARE), python_peer(base, PEERS_SHARE)):
        if isinstance(peer, Prober):
            found.append(peer)
        else:
            print(peer)
    return found


def measure(everyone: list[Prober], order: LabOrder, connections: tuple[int, ...]) -> dict[int, dict[str, list[Round]]]:
    """Connections → name → its rounds, all against one lab."""
    world = even_world(order)
    addresses = world.addresses()
    exist = {truth.address for truth in world.by_address.values() if truth.kind is Kind.EXISTS}
    found: dict[int, dict[str, list[Round]]] = {}
    with LabProcess(order) as lab:
        for count in connections:
            rounds: defaultdict[str, list[Round]] = defaultdict(list)
            for number in range(ROUNDS):
                for prober in everyone[number % len(everyone) :] + everyone[: number % len(everyone)]:
                    one = prober.ask(addresses, port=lab.port, dns=lab.dns, connections=count)
                    rounds[prober.name].append(one)
                    if not one.good <= exist:
                        print(f"{prober.name} took {len(one.good - exist)} addresses for good that are not")
            found[count] = dict(rounds)
    print(f"the lab's hosts bore {lab.figures['recipients']:,} recipients, and used {lab.cpu_s:.0f} s of a processor")
    return found


def print_rounds(title: str, rounds: dict[str, list[Round]]) -> float:
    """The table of one set of rounds; ours to the best of the others."""
    others = [name for name in rounds if not name.startswith(OURS)]
    speeds = {name: [one.per_second for one in all_] for name, all_ in rounds.items()}
    best = max(others, key=lambda name: statistics.median(speeds[name]), default=OURS)
    rows = [
        (
            name,
            rounds[name][0].addresses,
            spread(speeds[name]),
            spread([one.cpu_us for one in rounds[name]]),
            f"{statistics.median(speeds[name]) / statistics.median(speeds[best]):.2f}",
        )
        for name in rounds
    ]
    head = ("prober", "addresses a round", "addresses a second", "processor time each, µs", f"times {best}")
    print_table(f"{title}: median of {ROUNDS} rounds [lowest..highest]", head, rows)
    return statistics.median(speeds[OURS]) / statistics.median(speeds[best])


def main() -> None:
    """Both ways of answering, all numbers of connections."""
    addresses = int(os.environ.get("POSTROAD_BENCH_ADDRESSES") or ADDRESSES)
    with work_directory() as base:
        print_machine(base)
        everyone = probers(base)
        for each_reply, target in TARGETS.items():
            order = LabOrder(addresses=addresses, per_domain=PER_DOMAIN, latency_s=LATENCY_S, each_reply=each_reply)
            way = "each reply of a batch waits 50 ms" if each_reply else "a batch is answered at once after 50 ms"
            for count, rounds in measure(everyone, order, CONNECTIONS).items():
                ratio = print_rounds(f"{way}, {count} connections", rounds)
                print(f"target {target:g} times the best of the others: {'met' if ratio >= target else 'missed'}")
