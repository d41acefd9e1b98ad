"""The lab that 100,000 messages are delivered into, in a process of its own, with the record of what its hosts took.

`with DeliveryLab(order, returns_port) as lab:`; what the hosts keep and send back is written to `order.record` as
events of the lab, one JSON line each. `python -m bench.delivery_lab ORDER` is the process.
"""

from __future__ import annotations

import asyncio
import json
import resource
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from postroad.lab.build import build_world
from postroad.lab.catalogue import EVERY, Pace
from postroad.lab.host import Latency
from postroad.lab.log import Event, LabLog, What
from postroad.lab.running import Lab, LabSettings
from postroad.lab.world import World

if TYPE_CHECKING:
    from typing import TextIO

SERVER_NAME = "mx.local.test"
"""What the server under test is called, in the lab's DNS too."""
STOP_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LabOrder:
    """What world, how its hosts answer, where the record goes."""

    seed: int
    addresses: int
    per_domain: int
    record: str
    greylist_s: float
    pace: float
    latency_s: float = 0.005


def delivery_world(order: LabOrder) -> World:
    """Every personality, those at DATA too; each address once, and the server has a name."""
    return build_world(
        order.seed,
        addresses=order.addresses,
        personalities=EVERY,
        per_domain=order.per_domain,
        again=0.0,
        bad=0.0,
        mistyped=0.005,
        pace=Pace(greylist_s=(order.greylist_s / 2, order.greylist_s), factor=order.pace),
        probers={"127.0.0.1": SERVER_NAME},
    )


class _Record(LabLog):
    """Writes what was taken and what comes back alone: of the other events the figures are enough."""

    def __init__(self, file: TextIO) -> None:
        super().__init__(keep=1)
        self._record = file

    def add(self, event: Event) -> None:
        super().add(event)
        if event.what in (What.TOOK, What.BOUNCE):
            self._record.write(event.to_json() + "\n")


class DeliveryLab:
    """The running lab. `port` of its mail hosts, `dns`: "ADDRESS:PORT"; `told` when it has ended: the figures of what
    its hosts bore, bounces sent back and lost, seconds of CPU."""

    def __init__(self, order: LabOrder) -> None:
        self.order = order
        self.port = 0
        self.dns = ""
        self.told: dict[str, Any] = {}
        self._process: subprocess.Popen[str] | None = None

    def start(self, returns_port: int) -> None:
        """Start it; bounces go to that port of 127.0.0.1."""
        command = [sys.executable, "-m", "bench.delivery_lab", json.dumps(asdict(self.order)), str(returns_port)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the lab did not start")
        told = json.loads(line)
        self.port, self.dns = told["port"], told["dns"]

    def stop(self) -> None:
        """End it; harmless when it does not run. The record is whole then."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            out, _ = process.communicate(timeout=STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise RuntimeError(f"the lab did not end within {STOP_S:.0f} s") from None
        self.told = json.loads(out)

    def events(self) -> list[Event]:
        """The record so far."""
        found = []
        with Path(self.order.record).open(encoding="utf-8") as file:
            for line in file:
                data = json.loads(line)
                found.append(Event(**{**data, "what": What(data["what"])}))
        return found


async def _serve(order: LabOrder, returns_port: int, file: TextIO) -> None:
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    log = _Record(file)
    settings = LabSettings(latency=Latency(order.latency_s), returns=("127.0.0.1", returns_port))
    async with Lab(delivery_world(order), settings, log=log) as lab:
        print(json.dumps({"port": lab.port, "dns": lab.resolver}), flush=True)
        await stopped.wait()
        returned = lab.given_back
    assert returned is not None
    used = resource.getrusage(resource.RUSAGE_SELF)
    told = {
        "figures": asdict(log.politeness().whole),
        "returned": returned.sent,
        "lost": returned.lost + returned.waiting,
        "cpu_s": used.ru_utime + used.ru_stime,
    }
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    ordered = LabOrder(**json.loads(sys.argv[1]))
    with Path(ordered.record).open("w", encoding="utf-8", buffering=1 << 16) as record:
        asyncio.run(_serve(ordered, int(sys.argv[2]), record))
