"""How fast the spool keeps messages: each session commits one of 4 KB, waits until it is durable, settles it.

    python bench/spool.py DIRECTORY [--seconds 3] [--loop uvloop|asyncio] [--profile]

Prints, for 1 to 64 sessions at once, commits a second with and without settlement, and the commit's p50 and p99.
DIRECTORY must be on the disk that is to be measured. `--profile` tells where each thread's time goes.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import uvloop

from postroad.message.envelope import Envelope, Recipient
from postroad.smtp.address import Address
from postroad.store.spool import Settled, SpooledMessage, Trace
from postroad.store.sqlite_spool import SqliteSpool

BODY = b"x" * 4096
ENVELOPE = Envelope(reverse_path=Address("ann", "example.org"), recipients=(Recipient(Address("bob", "example.net")),))
TRACE = Trace(peer="192.0.2.1", helo="mail.example.org", protocol="ESMTP")


async def measure(directory: Path, sessions: int, seconds: float, *, settles: bool) -> tuple[float, list[float]]:
    """Commits a second and the time each took, in milliseconds."""
    spool = SqliteSpool.open(directory / f"spool-{sessions}-{settles}.db", shard=0)
    took: list[float] = []
    end = time.perf_counter() + seconds

    async def session() -> None:
        while (begun := time.perf_counter()) < end:
            wall = time.time()
            message = SpooledMessage(
                id=spool.new_id(wall),
                envelope=ENVELOPE,
                body=BODY,
                received_at=wall,
                expires_at=wall + 432_000,
                trace=TRACE,
            )
            (queued,) = await spool.commit(message, wall)
            took.append((time.perf_counter() - begun) * 1000)
            if settles:
                await spool.settle([Settled(queued=queued)])

    await asyncio.gather(*[session() for _ in range(sessions)])
    await spool.close()
    return len(took) / seconds, sorted(took)


class Sampler(threading.Thread):
    """Looks every millisecond at the innermost line of each thread."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seen: Counter[str] = Counter()
        self.is_done = threading.Event()

    def run(self) -> None:
        names = {}
        while not self.is_done.wait(0.001):
            names.update({thread.ident: thread.name for thread in threading.enumerate()})
            for ident, frame in sys._current_frames().items():
                if ident != self.ident:
                    where = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno} {frame.f_code.co_name}"
                    self.seen[f"{names.get(ident, '?').split()[0]:12} {where}"] += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--loop", choices=["uvloop", "asyncio"], default="uvloop")
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    factory = uvloop.new_event_loop if options.loop == "uvloop" else None
    directory = Path(tempfile.mkdtemp(dir=options.directory))
    try:
        for settles in (False, True):
            for sessions in (1, 4, 16, 64):
                sampler = Sampler()
                if options.profile:
                    sampler.start()
                before = resource.getrusage(resource.RUSAGE_SELF)
                with asyncio.Runner(loop_factory=factory) as runner:
                    rate, took = runner.run(measure(directory, sessions, options.seconds, settles=settles))
                after = resource.getrusage(resource.RUSAGE_SELF)
                cpu = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / len(took) * 1e6
                p50, p99 = took[len(took) // 2], took[len(took) * 99 // 100]
                print(
                    f"{'commit+settle' if settles else 'commit':14} {sessions:3} sessions {rate:8.0f}/s"
                    f"  p50 {p50:6.2f} ms  p99 {p99:6.2f} ms  max {took[-1]:6.2f} ms  cpu {cpu:5.0f} µs"
                )
                if options.profile:
                    sampler.is_done.set()
                    sampler.join()
                    for where, count in sampler.seen.most_common(8):
                        print(f"    {count:6} {where}")
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
