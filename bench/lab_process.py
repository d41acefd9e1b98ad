"""A lab in a process of its own: `with LabProcess(...) as lab:`, and what its hosts bore when it has ended.

Its hosts are honest and alike: they offer PIPELINING, no TLS, and serve one domain each with so many addresses. They
and the DNS server stand on loopback. `python -m bench.lab_process SETTINGS` is the process.
"""

from __future__ import annotations

import asyncio
import json
import resource
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from types import TracebackType
from typing import Any, Self

from postroad.lab.build import build_world
from postroad.lab.host import Latency
from postroad.lab.log import LabLog
from postroad.lab.running import Lab, LabSettings
from postroad.lab.world import World

START_S = 60.0
STOP_S = 30.0
_SAME = {"tls": 0.0, "pipelining": 1.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class LabOrder:
    """What world, and how its hosts answer."""

    seed: int = 1
    addresses: int
    per_domain: int = 20
    latency_s: float = 0.05
    each_reply: bool = False


def even_world(order: LabOrder) -> World:
    """Honest hosts, each with a domain of its own and just so many addresses."""
    world = build_world(
        order.seed,
        addresses=order.addresses,
        personalities=("honest",),
        per_domain=order.per_domain,
        is_even=True,
        provider=0.0,
        hosting=0.0,
        again=0.0,
        bad=0.0,
        mistyped=0.0,
    )
    hosts = {name: replace(host, options={**host.options, **_SAME}) for name, host in world.hosts.items()}
    return replace(world, hosts=hosts)


class LabProcess:
    """The running lab. `port` of its mail hosts, `dns`: "ADDRESS:PORT"; `figures` once it has ended."""

    def __init__(self, order: LabOrder) -> None:
        self.order = order
        self.port = 0
        self.dns = ""
        self.figures: dict[str, Any] = {}
        self.cpu_s = 0.0

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "bench.lab_process", json.dumps(asdict(self.order))]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the lab did not start")
        told = json.loads(line)
        self.port, self.dns = told["port"], told["dns"]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            out, _ = self._process.communicate(timeout=STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            raise RuntimeError(f"the lab did not end within {STOP_S:.0f} s") from None
        told = json.loads(out)
        self.figures, self.cpu_s = told["figures"], told["cpu_s"]


async def _serve(order: LabOrder) -> None:
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    log = LabLog(keep=1)
    latency = Latency(order.latency_s, order.each_reply)
    async with Lab(even_world(order), LabSettings(latency=latency), log=log) as lab:
        print(json.dumps({"port": lab.port, "dns": lab.resolver}), flush=True)
        await stopped.wait()
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"figures": asdict(log.politeness().whole), "cpu_s": used.ru_utime + used.ru_stime}), flush=True)


if __name__ == "__main__":
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    asyncio.run(_serve(LabOrder(**json.loads(sys.argv[1]))))
