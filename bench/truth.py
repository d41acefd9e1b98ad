"""How true the verdicts are: worlds of the lab, all personalities in them, verified in the simulated loop.

Nothing here is timed: minutes of greylisting pass in milliseconds. The prober names a sender, has a name in DNS, and
waits as long as `postroad verify` does by default; what cannot be found out even so must be `unknown`. Ends with an
error where somebody who has a mailbox was called undeliverable, or too few of the decidable addresses were decided.
"""

from __future__ import annotations

import random
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from bench.machine import print_table
from postroad.lab.build import build_world
from postroad.lab.host import Latency
from postroad.lab.log import LabLog
from postroad.lab.running import LabSettings, SimulatedLab, simulate
from postroad.lab.truth import UNDELIVERABLE, UNKNOWN, VERDICTS, Kind, Prober, Score, Truth, score
from postroad.lab.world import World
from postroad.smtp.address import Address
from postroad.verify.job import Job
from postroad.verify.settings import VerifySettings
from postroad.verify.source import MemorySource

SEEDS = (1, 2, 3, 4, 5)
ADDRESSES = 10_000
LEAST_DECIDED = 0.99
"""Of the decidable addresses: the target."""
SETTINGS = VerifySettings(hello="prober.example", mail_from=Address("probe", "prober.example"), allow_private=True)
"""The defaults, with a name and a sender that are known in the lab's DNS."""
HAS_MAILBOX = frozenset({Kind.EXISTS, Kind.FULL})


@dataclass(slots=True)
class Tally:
    """Addresses of one personality."""

    addresses: int = 0
    decidable: int = 0
    decided: int = 0
    """Decidable, and the verdict is right."""
    left_open: int = 0
    """Decidable, and `unknown`."""
    wrong: int = 0


@dataclass(slots=True)
class Measured:
    """One world and what was said of it."""

    world: World
    prober: Prober
    log: LabLog
    verdicts: dict[str, str]
    """Address as the list has it → verdict."""
    score: Score
    took_s: float
    virtual_s: float
    by_personality: dict[str, Tally] = field(default_factory=dict)

    @property
    def written_off(self) -> list[str]:
        """Mailboxes that exist and were called undeliverable: there must be none."""
        truths = self.world.by_address.values()
        return [
            truth.address
            for truth in truths
            if truth.kind in HAS_MAILBOX and self.verdicts[truth.address] == UNDELIVERABLE
        ]

    @property
    def decidable(self) -> int:
        """Addresses that this prober can find out about."""
        return sum(tally.decidable for tally in self.by_personality.values())

    @property
    def decided(self) -> int:
        """Those among them whose verdict is right."""
        return sum(tally.decided for tally in self.by_personality.values())


def measure(seed: int, addresses: int = ADDRESSES, settings: VerifySettings = SETTINGS) -> Measured:
    """Verify the world of that seed, all personalities in it, in the simulated loop."""
    world = build_world(seed, addresses=addresses)
    log = LabLog(keep=100 * addresses)
    source = MemorySource(world.addresses())
    begun = time.perf_counter()

    async def main(lab: SimulatedLab) -> float:
        await Job(settings, lab.resolver, source, rng=random.Random(seed)).run()
        return lab.loop.time()

    virtual_s = simulate(main, world, LabSettings(latency=Latency(0.05), link_s=0.001), log=log)
    took_s = time.perf_counter() - begun
    prober = Prober(
        patience_s=settings.wait_s, has_sender=isinstance(settings.mail_from, Address), has_name=bool(settings.hello)
    )
    verdicts = {verdict.address: str(verdict.verdict) for verdict in source.verdicts()}
    truths = list(world.by_address.values())
    measured = Measured(world, prober, log, verdicts, score(truths, verdicts, prober), took_s, virtual_s)
    measured.by_personality = _by_personality(truths, verdicts, prober)
    return measured


def _by_personality(truths: list[Truth], verdicts: dict[str, str], prober: Prober) -> dict[str, Tally]:
    found: defaultdict[str, Tally] = defaultdict(Tally)
    for truth in truths:
        tally, said = found[truth.personality], verdicts[truth.address]
        can_know = truth.is_decidable_by(prober)
        is_right = said in truth.right_for(prober) or said in truth.right
        tally.addresses += 1
        tally.decidable += can_know
        tally.decided += can_know and is_right
        tally.left_open += can_know and said == UNKNOWN
        tally.wrong += not is_right and said != UNKNOWN and said not in truth.also
    return dict(found)


def print_measured(runs: list[Measured]) -> None:
    """All runs together: per verdict, per personality; then seed by seed."""
    print_table(
        f"per verdict, {len(runs)} worlds of {ADDRESSES:,} addresses",
        ("verdict", "said", "precision", "recall"),
        list(_verdict_rows(runs)),
    )
    print_table(
        "what it is, and what was said",
        ("truth", *VERDICTS),
        [(str(kind), *(f"{_said(runs, kind, verdict):,}" for verdict in VERDICTS)) for kind in Kind],
    )
    print_table(
        "per personality of the hosts, or fault of the domain",
        ("personality", "addresses", "decidable", "decided rightly", "left unknown", "wrong"),
        list(_personality_rows(runs)),
    )
    print_table(
        "seed by seed",
        (
            "seed",
            "decidable",
            "decided",
            "share",
            "existing called undeliverable",
            "wrong",
            "seconds",
            "of virtual time",
        ),
        [
            (
                run.world.seed,
                f"{run.decidable:,}",
                f"{run.decided:,}",
                f"{run.decided / run.decidable:.3%}",
                len(run.written_off),
                len(run.score.wrong),
                f"{run.took_s:.1f}",
                f"{run.virtual_s:,.0f}",
            )
            for run in runs
        ],
    )


def _verdict_rows(runs: list[Measured]) -> Iterator[tuple[str, ...]]:
    whole = Score()
    for run in runs:
        for truth in run.world.by_address.values():
            whole.add(truth, run.verdicts[truth.address], run.prober)
    for verdict in VERDICTS:
        said = sum(count for (_, given), count in whole.counts.items() if given == verdict)
        yield verdict, f"{said:,}", f"{whole.precision(verdict):.3%}", f"{whole.recall(verdict):.3%}"


def _said(runs: list[Measured], kind: Kind, verdict: str) -> int:
    return sum(run.score.counts[kind, verdict] for run in runs)


def _personality_rows(runs: list[Measured]) -> Iterator[tuple[str, ...]]:
    names = Counter(name for run in runs for name in run.by_personality)
    for name in sorted(names):
        tallies = [run.by_personality[name] for run in runs if name in run.by_personality]
        counts = [
            sum(getattr(tally, column) for tally in tallies)
            for column in ("addresses", "decidable", "decided", "left_open", "wrong")
        ]
        yield name, *(f"{count:,}" for count in counts)


def main() -> None:
    """The table for several seeds, and every wrong verdict by name."""
    runs = [measure(seed) for seed in SEEDS]
    print_measured(runs)
    for run in runs:
        for truth, said in run.score.wrong[:20]:
            print(f"WRONG seed {run.world.seed}: {truth.address} is {truth.kind} ({truth.personality}), called {said}")
    if any(run.written_off for run in runs):
        raise SystemExit("mailboxes that exist were called undeliverable")
    if any(run.decided < LEAST_DECIDED * run.decidable for run in runs):
        raise SystemExit(f"fewer than {LEAST_DECIDED:.0%} of the decidable addresses were decided rightly")
