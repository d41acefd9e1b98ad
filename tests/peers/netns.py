"""A network namespace with one veth pair: a host of our own making, where a peer may have port 25.

`Namespace` is a context manager: the namespace and both ends of the pair are gone when it closes,
whatever happened inside. Addresses are a /30 out of 10.99.0.0/16 that no interface of this machine has.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
from typing import TYPE_CHECKING, Any, Self

from peers.need import need_netns, need_program

if TYPE_CHECKING:
    from types import TracebackType

_numbers = itertools.count(1)


def _ip(*arguments: str) -> str:
    done = subprocess.run([need_program("ip"), *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def _free_subnet() -> tuple[str, str]:
    """Both host addresses of a /30 that nothing here uses."""
    interfaces: list[dict[str, Any]] = json.loads(_ip("-j", "address", "show"))
    taken = {info.get("local", "") for interface in interfaces for info in interface.get("addr_info", [])}
    start = os.getpid() * 64
    for offset in range(16_384):
        third, fourth = divmod((start + offset) % 16_384 * 4, 256)
        ours, theirs = f"10.99.{third}.{fourth + 1}", f"10.99.{third}.{fourth + 2}"
        if ours not in taken:
            return ours, theirs
    raise RuntimeError("every /30 of 10.99.0.0/16 is in use on this machine")


class Namespace:
    """`with Namespace() as host: ...`; `host.address` inside, `host.gateway` our end of the pair."""

    def __init__(self) -> None:
        need_netns()
        number = next(_numbers)
        self.name = f"postroad-{os.getpid()}-{number}"
        self._ours = f"pr{os.getpid() % 1_000_000}h{number}"
        self._theirs = f"pr{os.getpid() % 1_000_000}n{number}"
        self.gateway = ""
        self.address = ""

    def __enter__(self) -> Self:
        self.gateway, self.address = _free_subnet()
        try:
            _ip("netns", "add", self.name)
            _ip("link", "add", self._ours, "type", "veth", "peer", "name", self._theirs, "netns", self.name)
            _ip("address", "add", f"{self.gateway}/30", "dev", self._ours)
            _ip("link", "set", self._ours, "up")
            _ip("-n", self.name, "address", "add", f"{self.address}/30", "dev", self._theirs)
            _ip("-n", self.name, "link", "set", self._theirs, "up")
            _ip("-n", self.name, "link", "set", "lo", "up")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Take the pair and the namespace away; harmless when they never came to be."""
        ip = need_program("ip")
        for arguments in (["link", "delete", self._ours], ["netns", "delete", self.name]):
            subprocess.run([ip, *arguments], capture_output=True, check=False)

    def command(self, *arguments: str) -> list[str]:
        """That command, run inside the namespace."""
        return [need_program("ip"), "netns", "exec", self.name, *arguments]
