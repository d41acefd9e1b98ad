"""Mail for thousands of domains of every personality: each recipient's end, and that all records agree on it.

Real `postroad serve` with two workers between users who submit and the lab, on loopback. Each recipient must end
delivered (the lab host has the message, once), bounced (its sender has the right notification, once), returned (a host
took it and sent it back later), or waiting with a reason that the queue shows. `python -m bench deliver` runs
100,000 letters to 5,000 domains, and 10,000 more with a kill -9 in the middle. Each run is bounded in time.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bench.delivery_check import Judgement, gather, judge
from bench.delivery_lab import SERVER_NAME, DeliveryLab, LabOrder, delivery_world
from bench.delivery_load import Load, Submitted, deal
from bench.machine import print_machine, print_table
from peers.server import DOMAIN, Server
from postroad.lab.fate import Fate, fates
from postroad.store.queue_admin import QueueAdmin
from postroad.store.tally import difference

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from peers.server import Section
    from postroad.lab.world import World

POLL_S = 1.0
LOOKED_THROUGH = 40_000
"""So few recipients waiting are looked at one by one."""
START_S = 90.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One run. `settle_s`: after the load, how long is waited at most; `lifetime_s`: how long delivery is tried."""

    letters: int
    domains: int
    seed: int = 1
    sessions: int = 16
    users: int = 8
    settle_s: float
    lifetime_s: float
    retry_s: float = 3.0
    greylist_s: float = 4.0
    pace: float = 0.03
    is_killed: bool = False
    is_hasty: bool = False
    """It ends before all is settled that could be."""
    workers: int = 2


@dataclass(slots=True)
class Outcome:
    """What a run was."""

    submitted: Submitted
    judged: Judgement
    tally: dict[str, int]
    domains: int
    letters: int
    recipients: int
    wall_s: float
    first_s: float
    """From the first letter until all that can be settled soon was."""
    memory_mib: list[float]
    """The most that each process of the server had."""
    ledger_octets: int
    lab: dict[str, object] = field(default_factory=dict)

    @property
    def difference(self) -> int:
        """Recipients that the balance misses."""
        return difference(self.tally)


class _Server(Server):
    """Starts the lab when its own ports are known, and points its road there."""

    lab: DeliveryLab
    order: Order

    def configure(self, **changes: Section | Sequence[Section]) -> None:
        if not self.settings:
            self.lab.start(self.mx_port)
            self.settings = _settings(self.lab, self.order)
        super().configure(**changes)


def _settings(lab: DeliveryLab, order: Order) -> Mapping[str, Section]:
    """Times of hours become seconds; everything else as an operator finds it."""
    stages = ("greeting_s", "ehlo_s", "starttls_s", "mail_s", "rcpt_s", "data_s", "body_s", "rset_s")
    patience = dict.fromkeys(stages, 5.0)
    return {
        "server": {"hostname": SERVER_NAME, "drain_s": 5},
        "dns": {"nameserver": lab.dns, "timeout_s": 1.0, "tries": 2, "cache_size": 50_000},
        "delivery": {
            "port": lab.port,
            "allow_private": True,
            "first_retry_s": order.retry_s,
            "retry_factor": 1.5,
            "retry_ceiling_s": 60.0,
            "lifetime_s": order.lifetime_s,
            "delay_notice_s": 0,
            "window": 20_000,
        },
        "outgoing_timeouts": {"connect_s": 3.0, **patience},
        "queueing": {
            "greylisted_retry_s": order.retry_s,
            "mailbox_full_retry_s": 4 * order.retry_s,
            "rate_limited_retry_s": order.retry_s,
        },
        "returns": {"domain": "back.local.test"},
        "log": {"level": "error"},
    }


def run(order: Order) -> Outcome:
    """The whole run, with a server and a lab of its own; what it was is judged by the caller."""
    with tempfile.TemporaryDirectory(prefix="postroad-deliver-") as name:
        lab_order = LabOrder(
            seed=order.seed,
            addresses=round(order.letters * 1.4),
            per_domain=max(1, round(order.letters * 1.4 / order.domains)),
            record=str(Path(name) / "record"),
            greylist_s=order.greylist_s,
            pace=order.pace,
        )
        lab = DeliveryLab(lab_order)
        server = _Server(workers=order.workers)
        server.lab, server.order = lab, order
        try:
            with server:
                return _run(order, server, lab, delivery_world(lab_order))
        finally:
            lab.stop()


def _run(order: Order, server: _Server, lab: DeliveryLab, world: World) -> Outcome:
    users = [f"sender{number}" for number in range(order.users)]
    for user in users:
        server.add_user(f"{user}@{DOMAIN}")
    letters = deal(world.addresses(), users, order.letters, order.seed)
    memory: Counter[str] = Counter()
    begun = time.perf_counter()
    submitted = asyncio.run(_submit(order, server, Load(server.submissions_port, letters, order.sessions), memory))
    first_s = _settle(server, world, order.settle_s, begun, memory)
    server.stop(timeout_s=60)
    wall_s = time.perf_counter() - begun
    lab.stop()
    found = gather(server, users, lab.events())
    with QueueAdmin(server.state / "spool") as admin:
        tally = admin.tally()
    judged = judge(world, submitted, found, was_killed=order.is_killed, is_hasty=order.is_hasty)
    if tally["waiting"] != len(found.waiting) + found.on_their_way:
        found.fault(f"the balance has {tally['waiting']} waiting, the queue {len(found.waiting) + found.on_their_way}")
    return Outcome(
        submitted=submitted,
        judged=judged,
        tally=tally,
        domains=len({one.rpartition("@")[2] for letter in letters for one in letter.recipients}),
        letters=len(letters),
        recipients=sum(len(one.recipients) for one in submitted.accepted.values()),
        wall_s=wall_s,
        first_s=first_s,
        memory_mib=sorted(value / 1024 for value in memory.values()),
        ledger_octets=(server.state / "ledger.db").stat().st_size,
        lab=lab.told,
    )


async def _submit(order: Order, server: _Server, load: Load, memory: Counter[str]) -> Submitted:
    """The load; with a kill -9 of the whole process group when half of it was accepted, and a start anew."""

    async def watch() -> None:
        is_killed = not order.is_killed
        while True:
            await asyncio.sleep(POLL_S / 4)
            _measure(server, memory)
            if not is_killed and len(load.done.accepted) >= order.letters // 2:
                is_killed = True
                await asyncio.to_thread(server.kill)
                await asyncio.to_thread(server.start, timeout_s=START_S)

    watcher = asyncio.create_task(watch())
    try:
        return await load.run()
    finally:
        watcher.cancel()


def _measure(server: Server, memory: Counter[str]) -> None:
    """The resident memory of each process of the server's group, the most so far."""
    process = server.process
    if process is None:
        return
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            group = stat.read_text().rpartition(")")[2].split()[2]
            if int(group) == process.pid:
                status = stat.with_name("status").read_text()
                resident = int(status.partition("VmHWM:")[2].split()[0])
                memory[stat.parent.name] = max(memory[stat.parent.name], resident)
        except (OSError, IndexError):
            continue


def _settle(server: Server, world: World, settle_s: float, begun: float, memory: Counter[str]) -> float:
    """Wait until only those wait that may, or for so long; seconds from the beginning to then."""
    deadline = time.perf_counter() + settle_s
    while time.perf_counter() < deadline:
        looked = time.perf_counter()
        _measure(server, memory)
        with QueueAdmin(server.state / "spool") as admin:
            waiting = admin.counts(time.time()).recipients
        if waiting <= LOOKED_THROUGH and all(_may_wait(world, one) for one in server.queued_recipients()):
            break
        time.sleep(max(POLL_S, 5 * (time.perf_counter() - looked)))
    return time.perf_counter() - begun


def _may_wait(world: World, address: str) -> bool:
    return address in world.by_address and Fate.WAITING in fates(world, address)


# The tables ---------------------------------------------------------------------------------------------------------


def print_outcome(order: Order, outcome: Outcome) -> None:
    """What became of the recipients, by personality; how long it took; what it needed; what does not agree."""
    judged, submitted = outcome.judged, outcome.submitted
    names = sorted({name for name, _ in judged.by})
    rows = [(name, *(f"{judged.by[name, fate]:,}" for fate in Fate)) for name in names]
    rows.append(("in all", *(f"{sum(judged.by[name, fate] for name in names):,}" for fate in Fate)))
    killed = ", with a kill -9 in the middle" if order.is_killed else ""
    print_table(
        f"{outcome.letters:,} letters to {outcome.domains:,} domains{killed}: recipients by their end",
        ("personality", *Fate),
        rows,
    )
    print_table(
        "the run",
        ("what", "value"),
        [
            ("letters accepted", f"{len(submitted.accepted):,}"),
            ("  of so many recipients", f"{outcome.recipients:,}"),
            ("letters whose 250 never came", f"{len(submitted.unknown):,}"),
            ("recipients refused at submission", f"{len(submitted.refused):,}"),
            ("recipients who have it twice (cut after the dot)", f"{judged.twice:,}"),
            ("recipients waiting who were not tried yet", f"{judged.untried:,}"),
            ("letters accepted a second", f"{len(submitted.accepted) / submitted.seconds:,.0f}"),
            ("seconds of the load", f"{submitted.seconds:,.0f}"),
            ("seconds until all was settled that can be", f"{outcome.first_s:,.0f}"),
            ("letters a second, end to end", f"{len(submitted.accepted) / outcome.first_s:,.0f}"),
            ("memory of each process, MiB, the most", " ".join(f"{one:.0f}" for one in outcome.memory_mib)),
            ("ledger, MiB", f"{outcome.ledger_octets / 2**20:.0f}"),
            ("balance", "holds" if not outcome.difference else f"{outcome.difference} missing"),
            *((f"  {name}", f"{value:,}") for name, value in outcome.tally.items()),
            *((f"status {name}", f"{count:,}") for name, count in judged.statuses.most_common(12)),
            *((f"the lab: {name}", value) for name, value in outcome.lab.items() if name != "figures"),
            ("what does not agree", f"{len(judged.faults):,}"),
        ],
    )
    for fault in judged.faults[:30]:
        print(f"  {fault}"[:400])


WHOLE = Order(letters=100_000, domains=5_000, settle_s=240.0, lifetime_s=150.0)
KILLED = Order(letters=10_000, domains=1_000, seed=2, settle_s=120.0, lifetime_s=600.0, is_killed=True)


def main() -> None:
    print_machine(Path(tempfile.gettempdir()))
    faults = 0
    for order in (WHOLE, KILLED):
        outcome = run(order)
        print_outcome(order, outcome)
        faults += len(outcome.judged.faults) + abs(outcome.difference)
    if faults:
        raise SystemExit(f"{faults} faults: see above")
