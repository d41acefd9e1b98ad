"""Who asks about addresses in `bench.verify`: us, and two verifiers from the registries, each as one process.

Every one gets the same order on standard input (the list, the lab's port and DNS server, how many connections) and
prints what it took. The two others are installed into the work directory of the benchmark, at fixed versions. They
know only port 25 and the system's DNS servers, so a few lines around them lead them to the lab; what they send and wait
for stays theirs. Their own checks without network that would stop at names of the lab (mistyped, throw-away) are off.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LONGEST_S = 600.0
INSTALL_S = 300.0
PYTHON_PEER = "py3-validate-email==1.0.5.post2"
NODE_PEER = "deep-email-validator@0.1.27"
Order = dict[str, Any]

_PYTHON_DRIVER = """
import json, resource, smtplib, socket, sys, time
from concurrent.futures import ThreadPoolExecutor
import dns.resolver
from validate_email import validate_email

order = json.load(sys.stdin)
resolver = dns.resolver.Resolver(configure=False)
host, _, port = order["dns"].rpartition(":")
resolver.nameservers, resolver.port = [host], int(port)
dns.resolver.default_resolver = resolver

def get_socket(self, host, port, timeout):
    address = resolver.resolve(host, "A")[0].to_text()
    return socket.create_connection((address, order["port"]), timeout)

smtplib.SMTP._get_socket = get_socket

def ask(address):
    return validate_email(
        address, check_blacklist=False, smtp_helo_host="prober.example", smtp_from_address="probe@prober.example"
    )

def cpu_s():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime

begun, cpu = time.perf_counter(), cpu_s()
with ThreadPoolExecutor(order["connections"]) as threads:
    found = list(threads.map(ask, order["addresses"]))
took = {"seconds": time.perf_counter() - begun, "cpu_s": cpu_s() - cpu}
print(json.dumps({**took, "good": [one for one, said in zip(order["addresses"], found) if said]}))
"""

_NODE_DRIVER = """
import dns from "dns";
import fs from "fs";
import net from "net";

const order = JSON.parse(fs.readFileSync(0, "utf8"));
dns.setServers([order.dns]);
const lookup = (name, options, done) =>
  dns.resolve4(name, (error, found) => {
    if (error) return done(error);
    return options.all ? done(null, found.map((address) => ({ address, family: 4 }))) : done(null, found[0], 4);
  });
const connect = net.createConnection;
net.createConnection = (_port, host) => connect({ host, port: order.port, lookup });
const { validate } = await import("deep-email-validator");

const good = [];
let next = 0;
const ask = async () => {
  while (next < order.addresses.length) {
    const email = order.addresses[next++];
    const found = await validate({
      email, sender: "probe@prober.example", validateTypo: false, validateDisposable: false,
    });
    if (found.valid) good.push(email);
  }
};
const begun = process.hrtime.bigint(), cpu = process.cpuUsage();
await Promise.all(Array.from({ length: order.connections }, ask));
const used = process.cpuUsage(cpu);
const seconds = Number(process.hrtime.bigint() - begun) / 1e9;
console.log(JSON.stringify({ seconds, cpu_s: (used.user + used.system) / 1e6, good }));
"""


@dataclass(frozen=True, slots=True)
class Round:
    """What one list took, and who was found to have a mailbox."""

    addresses: int
    seconds: float
    cpu_s: float
    good: frozenset[str]

    @property
    def per_second(self) -> float:
        return self.addresses / self.seconds

    @property
    def cpu_us(self) -> float:
        """Microseconds of processor time for each address."""
        return self.cpu_s / self.addresses * 1e6


@dataclass(frozen=True, slots=True)
class Prober:
    """One that asks. `share`: of the list that it gets, so that each takes about as long."""

    name: str
    command: tuple[str, ...]
    directory: Path
    share: float = 1.0
    settings: Callable[[int], Order] = lambda connections: {}
    """Connections → what is added to the order."""

    def ask(self, addresses: list[str], *, port: int, dns: str, connections: int) -> Round:
        """One round. Raises RuntimeError where the process fails."""
        mine = addresses[: max(1, round(len(addresses) * self.share))]
        order = {"port": port, "dns": dns, "connections": connections, "addresses": mine}
        done = subprocess.run(
            self.command,
            input=json.dumps({**order, **self.settings(connections)}),
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=LONGEST_S,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{self.name} failed: {done.stderr.strip()[-800:]}")
        told = json.loads(done.stdout)
        return Round(len(mine), told["seconds"], told["cpu_s"], frozenset(told["good"]))


def ours(name: str, settings: Callable[[int], Order]) -> Prober:
    """Our verifier with such settings (fields of VerifySettings)."""
    return Prober(
        name,
        (sys.executable, "-m", "bench.verify_ours"),
        Path(__file__).parents[1],
        settings=lambda connections: {"settings": settings(connections)},
    )


def python_peer(base: Path, share: float) -> Prober | str:
    """py3-validate-email: threads, one connection for each address; or why it is not there."""
    home = base / "python-peer"
    venv.create(home, with_pip=True)
    program = home / "bin" / "python"
    why = _install([str(program), "-m", "pip", "install", "--quiet", PYTHON_PEER], base)
    if why:
        return f"{PYTHON_PEER} could not be installed: {why}"
    driver = home / "driver.py"
    driver.write_text(_PYTHON_DRIVER)
    return Prober(PYTHON_PEER, (str(program), str(driver)), home, share)


def node_peer(base: Path, share: float) -> Prober | str:
    """deep-email-validator: one event loop, one connection for each address; or why it is not there."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        return f"{NODE_PEER} needs node and npm, which are not on this machine"
    home = base / "node-peer"
    home.mkdir()
    (home / "package.json").write_text('{"private": true, "type": "module"}')
    why = _install([npm, "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", NODE_PEER], home)
    if why:
        return f"{NODE_PEER} could not be installed: {why}"
    (home / "driver.js").write_text(_NODE_DRIVER)
    return Prober(NODE_PEER, (node, "driver.js"), home, share)


def _install(command: list[str], directory: Path) -> str:
    """Run an installer; what it says where it fails, else nothing."""
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=INSTALL_S, check=False)
    if done.returncode == 0:
        return ""
    return (done.stderr.strip() or done.stdout.strip() or f"status {done.returncode}").splitlines()[-1]
