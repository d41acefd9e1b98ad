"""Our side of `bench.verify`, as a process: reads an order from standard input, verifies, prints what it took.
What is loaded once for all addresses (lists of domains, rules) is there before the clock runs, as others import theirs.
The loop is the one that `postroad verify` runs on.
"""

from __future__ import annotations

import asyncio
import json
import random
import resource
import sys
import time
from collections import Counter
from typing import Any

from postroad.meaning.rule import rules
from postroad.net.resolver import DnsResolver
from postroad.smtp.address import Address
from postroad.verify.data_lists import DataLists
from postroad.verify.job import Job
from postroad.verify.settings import VerifySettings
from postroad.verify.source import MemorySource


def cpu_s() -> float:
    """Processor time of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def ask(order: dict[str, Any], source: MemorySource, lists: DataLists) -> None:
    """Verify the list of the order."""
    settings = VerifySettings(
        hello="prober.example",
        mail_from=Address("probe", "prober.example"),
        port=order["port"],
        allow_private=True,
        connections=order["connections"],
        **order["settings"],
    )
    dns = DnsResolver(order["dns"])
    try:
        await Job(settings, dns, source, rng=random.Random(1), lists=lists).run()
    finally:
        await dns.close()


def main() -> None:
    """Read the order, verify, tell."""
    order = json.load(sys.stdin)
    lists = DataLists.load()
    rules()
    source = MemorySource(order["addresses"])
    begun, cpu = time.perf_counter(), cpu_s()
    asyncio.run(ask(order, source, lists))
    took = {"seconds": time.perf_counter() - begun, "cpu_s": cpu_s() - cpu}
    said = Counter(str(verdict.verdict) for verdict in source.verdicts())
    good = [verdict.address for verdict in source.verdicts() if str(verdict.verdict) == "deliverable"]
    print(json.dumps({**took, "said": said, "good": good}))


if __name__ == "__main__":
    main()
