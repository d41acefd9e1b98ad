"""Big lists: one run of 100,000 addresses that is killed and resumed, and the memory and time that a million take.

`postroad verify` asks a `postroad lab` whose hosts answer at once and for good, gets SIGKILL a few times, and goes on
by `--resume`. Then every address has its verdict, and the lab's log is the witness of who was asked how often: nobody
twice, but for those whose answer was on its way into the store at the moment of a kill, and the made-up recipients of
domains that were under way. The million is read, planned and looked up in DNS, where none of its domains exists.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.lab_process import LabOrder, LabProcess
from bench.machine import print_machine, print_table
from bench.rivals import work_directory
from postroad.lab.log import What, read_events
from postroad.smtp.address import Address
from postroad.store.results import ResultStore
from postroad.verify.source import canonical

ADDRESSES = 100_000
KILLS = 4
MILLION = 1_000_000
PER_DOMAIN = 20
LONGEST_S = 900.0
MOST_MEMORY_MB = 500
"""The target for a million addresses."""
SETTLED = "honest,catch_all,bounces_later,no_mx,alias,null_mx,no_domain,no_host,no_pipelining"
"""Personalities whose first word is their last: who is asked again was asked twice."""
_CROWDED_OUT = 452
_LAB_TELLS = re.compile(r"on port (\d+), DNS on ([0-9.]+:\d+)")


@dataclass(slots=True)
class Stretch:
    """From a start to the kill, or to the end."""

    seconds: float
    asked: int
    """RCPT commands for addresses of the list, as the lab saw them."""
    verdicts: int
    """Recorded so far, by all stretches."""
    under_way: frozenset[str]
    """Asked about so far, and without a verdict in the store."""
    memory_mb: float


@dataclass(slots=True)
class Outcome:
    """A whole run over all kills."""

    stretches: list[Stretch] = field(default_factory=list)
    addresses: int = 0
    with_verdict: int = 0
    repeated: int = 0
    """Asked about more than once, having been under way at a kill."""
    asked_twice: list[str] = field(default_factory=list)
    """Asked about more often than the kills explain: there must be none."""
    made_up: int = 0
    made_up_again: int = 0
    """Domains whose made-up recipient was asked about in more than one stretch."""


class Log:
    """The lab's log, read as it grows."""

    def __init__(self, path: Path, listed: frozenset[str]) -> None:
        self._file = path.open(encoding="utf-8")
        self._rest = ""
        self._listed = listed
        self.asked: Counter[str] = Counter()
        """Address of the list → how often it was asked about, and heard."""
        self.made_up: Counter[str] = Counter()
        """Domain → made-up recipients."""

    def read(self) -> int:
        """Take what is new; addresses of the list asked about so far."""
        *lines, self._rest = (self._rest + self._file.read()).split("\n")
        for event in read_events(lines):
            if event.what is What.COMMAND and event.verb == "RCPT" and event.code != _CROWDED_OUT:
                text = event.argument.partition("<")[2].rpartition(">")[0]
                address = str(Address.parse(text, smtputf8=True))
                if address in self._listed:
                    self.asked[address] += 1
                else:
                    self.made_up[address.rpartition("@")[2]] += 1
        return self.asked.total()

    def close(self) -> None:
        self._file.close()


def _postroad(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "postroad", *arguments]


@contextmanager
def running_lab(base: Path, addresses: int) -> Iterator[tuple[int, str]]:
    """`postroad lab`; its port and DNS server. The list, the truth and the log are in `base`."""
    command = _postroad(
        "lab", "--addresses", str(addresses), "--personalities", SETTLED, "--latency", "5",
        "--list", str(base / "list.csv"), "--truth", str(base / "truth.csv"), "--log", str(base / "log.jsonl"),
    )  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=base) as process:
        assert process.stdout is not None
        try:
            told = _LAB_TELLS.search(process.stdout.readline())
            if told is None:
                raise RuntimeError("the lab did not start")
            yield int(told[1]), told[2]
        finally:
            process.send_signal(signal.SIGTERM)
            process.stdout.read()


def _verify(base: Path, port: int, dns: str, name: str) -> subprocess.Popen[bytes]:
    """`postroad verify` of that list, with no limits but the number of connections: the lab bears it."""
    command = _postroad(
        "verify", str(base / name), "--state", str(base / "state"), "--output", str(base / "result.csv"), "--resume",
        "--resolver", dns, "--port", str(port), "--allow-private", "--hello", "prober.example",
        "--mail-from", "probe@prober.example", "--per-site", "10", "--rate", "0", "--timeout", "20",
    )  # fmt: skip
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=(base / "told").open("ab"), cwd=base)


def _peak_mb(process: subprocess.Popen[bytes]) -> float:
    """The most memory that a process ever had resident; 0 once it is gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return 0.0


def _open_ones(base: Path) -> frozenset[str]:
    """Addresses of the last run without a verdict."""
    found: set[str] = set()
    with ResultStore(base / "state" / "verify.db") as store:
        run, after = store.runs()[-1], 0
        while pending := store.pending(run, limit=10_000, after=after):
            found.update(one.address for one in pending)
            after = pending[-1].place
    return frozenset(found)


def run_kills(base: Path, *, addresses: int = ADDRESSES, kills: int = KILLS) -> Outcome:
    """The whole run; the outcome is judged by the caller."""
    outcome = Outcome()
    with running_lab(base, addresses) as (port, dns):
        rows = (base / "list.csv").read_text().splitlines()[1:]
        listed = frozenset(canonical(row.split(",")[1]) for row in rows)
        log = Log(base / "log.jsonl", listed)
        for number in range(1, kills + 2):
            threshold = number * len(listed) * 7 // 10 // (kills + 1) if number <= kills else None
            outcome.stretches.append(_stretch(base, port, dns, log, listed, threshold))
        log.close()
    allowed: Counter[str] = Counter()
    for stretch in outcome.stretches[:-1]:
        allowed.update(stretch.under_way)
    outcome.addresses = len(listed)
    outcome.with_verdict = len(listed - _open_ones(base))
    outcome.repeated = sum(count > 1 for count in log.asked.values())
    outcome.asked_twice = [address for address, count in log.asked.items() if count > 1 + allowed[address]]
    outcome.made_up = len(log.made_up)
    outcome.made_up_again = sum(count > 1 for count in log.made_up.values())
    return outcome


def _stretch(base: Path, port: int, dns: str, log: Log, listed: frozenset[str], threshold: int | None) -> Stretch:
    """Start it, and kill it once so many were asked; without a threshold, let it end."""
    begun, before, peak = time.monotonic(), log.read(), 0.0
    process = _verify(base, port, dns, "list.csv")
    try:
        while process.poll() is None and (threshold is None or log.read() < threshold):
            if time.monotonic() - begun > LONGEST_S:
                raise RuntimeError(f"the run did not come so far in {LONGEST_S:.0f} s: {_told(base)}")
            peak = max(peak, _peak_mb(process))
            time.sleep(0.1)
    finally:
        process.kill()
        process.wait()
    seconds = time.monotonic() - begun
    if threshold is None and process.returncode:
        raise RuntimeError(f"postroad verify ended with status {process.returncode}: {_told(base)}")
    time.sleep(1.0)  # what the killed one had sent is still being heard
    asked = log.read()
    pending = _open_ones(base)
    under_way = frozenset(address for address in pending if log.asked[address])
    return Stretch(seconds, asked - before, len(listed) - len(pending), under_way, peak)


def _told(base: Path) -> str:
    return (base / "told").read_text(errors="replace")[-500:]


def print_outcome(outcome: Outcome) -> None:
    """Stretch by stretch, then the whole."""
    print_table(
        f"{outcome.addresses:,} addresses, killed by SIGKILL and resumed",
        ("stretch", "seconds", "asked", "verdicts in all", "under way when killed", "peak memory, MB"),
        [
            (
                "to the end" if number == len(outcome.stretches) else f"kill {number}",
                f"{one.seconds:.1f}",
                f"{one.asked:,}",
                f"{one.verdicts:,}",
                f"{len(one.under_way):,}",
                f"{one.memory_mb:.0f}",
            )
            for number, one in enumerate(outcome.stretches, 1)
        ],
    )
    print_table(
        "in all",
        ("what", "addresses"),
        [
            ("in the list, each once", f"{outcome.addresses:,}"),
            ("with a verdict", f"{outcome.with_verdict:,}"),
            ("asked again: under way when killed", f"{outcome.repeated:,}"),
            ("asked twice without that reason", f"{len(outcome.asked_twice):,}"),
            ("domains asked about a made-up recipient", f"{outcome.made_up:,}"),
            ("  of these more than once", f"{outcome.made_up_again:,}"),
        ],
    )


# A million ----------------------------------------------------------------------------------------------------------


def write_million(path: Path, rows: int = MILLION) -> None:
    """A list with names and columns, of domains that do not exist."""
    with path.open("w", encoding="utf-8") as file:
        file.write("name,email,signed_up\n")
        for number in range(rows):
            domain = number % (rows // PER_DOMAIN)
            file.write(f"Customer {number},user{number}@list{domain}.example,2024-05-{number % 28 + 1:02}\n")


def run_million(base: Path, rows: int = MILLION) -> None:
    """Read, plan and answer it from DNS; prints time and memory."""
    path = base / "million.csv"
    write_million(path, rows)
    moments: dict[str, tuple[float, float]] = {}
    with LabProcess(LabOrder(addresses=20, latency_s=0.0)) as lab:
        begun = time.monotonic()
        process = _verify(base, lab.port, lab.dns, path.name)
        try:
            while process.poll() is None and time.monotonic() - begun < LONGEST_S:
                _note(base / "state" / "verify.db", process, moments, time.monotonic() - begun)
                time.sleep(0.25)
            moments["all have their verdict, and the results are written"] = (
                time.monotonic() - begun,
                max(memory for _, memory in moments.values()),
            )
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
    if process.returncode:
        raise RuntimeError(f"postroad verify ended with status {process.returncode}: {_told(base)}")
    print_table(
        f"{rows:,} addresses of {rows // PER_DOMAIN:,} domains, {path.stat().st_size / 2**20:.0f} MB of CSV",
        ("until", "seconds", "peak memory, MB"),
        [
            (what, f"{seconds:.1f}", f"{memory:.0f}")
            for what, (seconds, memory) in sorted(moments.items(), key=lambda one: one[1])
        ],
    )
    peak = max(memory for _, memory in moments.values())
    print(f"target of {MOST_MEMORY_MB} MB: {'met' if peak < MOST_MEMORY_MB else 'missed'}")


def _note(store: Path, process: subprocess.Popen[bytes], moments: dict[str, tuple[float, float]], now: float) -> None:
    """How far it has come, with the memory so far; a moment keeps the time when it was first seen."""
    peak = _peak_mb(process)
    if not peak:
        return
    steps = ("all rows are in the store", "the first verdicts are recorded")
    reached = _progress(store)
    for name, is_there in zip(steps, reached, strict=True):
        if is_there and name not in moments:
            moments[name] = (now, peak)
    moments["the end of asking"] = (now, peak)


def _progress(store: Path) -> tuple[bool, bool]:
    """Whether all rows are in, and some verdicts are there; nothing while the file cannot be read."""
    with contextlib.suppress(sqlite3.Error):
        connection = sqlite3.connect(f"file:{store}?mode=ro", uri=True, timeout=0.1)
        try:
            rows = connection.execute("SELECT has_all_input FROM run").fetchall()
            found = connection.execute("SELECT 1 FROM address WHERE state IS NOT NULL LIMIT 1").fetchall()
            return bool(rows and rows[-1][0]), bool(found)
        finally:
            connection.close()
    return False, False


def main() -> None:
    """Kills first, then the million."""
    addresses = int(os.environ.get("POSTROAD_BENCH_ADDRESSES") or ADDRESSES)
    with work_directory() as base:
        print_machine(base)
        outcome = run_kills(base, addresses=addresses)
        print_outcome(outcome)
        if outcome.asked_twice or outcome.with_verdict < outcome.addresses:
            raise SystemExit(f"asked twice: {json.dumps(outcome.asked_twice[:10])}, or some have no verdict")
    with work_directory() as base:
        run_million(base)
