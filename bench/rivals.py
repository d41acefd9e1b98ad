"""The two servers that are compared, each started in the same way for the same work.

Postfix keeps its defaults (process limit 100, fsync, its usual daemons, no chroot as on most systems),
less two that would only slow it here: the pause when mail comes in faster than it leaves, and the
look-up of the client's host name. Postroad runs its default configuration, with a worker for each core and the
route under test.
Both keep their queues in directories side by side on one file system.
"""

from __future__ import annotations

import os
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from peers.postfix import Postfix
from peers.processes import free_ports
from peers.server import DOMAIN as LOCAL
from peers.server import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from peers.server import Settings

ROUNDS = 5
RECIPIENT_DOMAIN = "bench.test"
RECIPIENT = f"user@{RECIPIENT_DOMAIN}"
LONGEST_DRAIN_S = 300.0

POSTFIX_SETTINGS = {
    "default_process_limit": "100",
    "in_flow_delay": "0",
    "smtpd_peername_lookup": "no",
    "smtpd_client_connection_count_limit": "0",
}


@dataclass(frozen=True)
class Rival:
    name: str
    port: int
    is_idle: Callable[[], bool]

    def wait_until_idle(self) -> None:
        """Return when its queue has run empty, so a round starts from nothing."""
        deadline = time.monotonic() + LONGEST_DRAIN_S
        while not self.is_idle():
            if time.monotonic() > deadline:
                raise RuntimeError(f"the queue of {self.name} did not run empty in {LONGEST_DRAIN_S:.0f} s")
            time.sleep(0.1)


def workers() -> int:
    """How many workers our server gets: one a core, as an operator would have; POSTROAD_BENCH_WORKERS says otherwise.

    Postfix has as many processes as it likes.
    """
    return int(os.environ.get("POSTROAD_BENCH_WORKERS") or os.cpu_count() or 1)


@contextmanager
def work_directory() -> Iterator[Path]:
    """Where both queues live: POSTROAD_BENCH_DIRECTORY, or the machine's temporary directory."""
    chosen = os.environ.get("POSTROAD_BENCH_DIRECTORY")
    with tempfile.TemporaryDirectory(prefix="postroad-bench-", dir=chosen) as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


@contextmanager
def rivals(base: Path, *, relay_port: int | None = None) -> Iterator[tuple[Rival, Rival]]:
    """Postfix and Postroad: discarding what they accept, or relaying it on to that loopback port."""
    (postfix_port,) = free_ports(1)
    settings = dict(POSTFIX_SETTINGS)
    if relay_port is None:
        settings["default_transport"] = "discard:"
    relay_host = f"[127.0.0.1]:{relay_port}" if relay_port is not None else ""
    with ExitStack() as stack:
        postfix = stack.enter_context(Postfix(port=postfix_port, relay_host=relay_host, settings=settings, base=base))
        ours = stack.enter_context(Server(settings=_our_settings(relay_port), base=base, workers=workers()))
        yield (
            Rival("Postfix", postfix_port, lambda: postfix.queue_length() == 0),
            Rival("Postroad", ours.mx_port, lambda: ours.queued() == 0),
        )


def _our_settings(relay_port: int | None) -> Settings:
    route: dict[str, object] = {"domain": RECIPIENT_DOMAIN, "host": "127.0.0.1", "port": relay_port}
    if relay_port is None:
        route = {"domain": RECIPIENT_DOMAIN, "discard": True}
    # The MX port takes mail for local domains only; the route then says where it goes on to.
    return {"domains": {"local": [LOCAL, RECIPIENT_DOMAIN], "mailboxes": "any"}, "route": [route]}


def in_turn(pair: tuple[Rival, Rival], number: int) -> tuple[Rival, Rival]:
    """Who goes first changes from round to round."""
    return pair if number % 2 == 0 else (pair[1], pair[0])
