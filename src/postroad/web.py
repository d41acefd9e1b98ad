"""The process of the web listener: configuration → application → uvicorn, until it is told to stop.

A process of its own, so that whatever is read here takes no time from mail. It ends with the supervisor, as workers do.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Iterator

import uvicorn

from postroad.api.site import application
from postroad.clock import SystemClock
from postroad.compose import server, web
from postroad.config import Config, ConfigMistake
from postroad.events import emit
from postroad.net.resolver import DnsResolver
from postroad.supervisor import EXIT_CANNOT_START, Assignment

GRACE_S = 5


class _Server(uvicorn.Server):
    """Signals are ours to take."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def run_web(config: Config, reload: Callable[[], Config | list[ConfigMistake]], assignment: Assignment) -> int:
    """Serve until told to stop; returns the exit status."""
    try:
        asyncio.run(_serve(config, assignment))
    except OSError as error:
        emit("worker.failed", worker="web", error=str(error))
        return EXIT_CANNOT_START
    return 0


async def _serve(config: Config, assignment: Assignment) -> None:
    resolver = DnsResolver(
        config.dns.nameserver or None, timeout_s=config.dns.timeout_s, tries=config.dns.tries, cache_size=0
    )
    secret = server.secret_path(config).read_bytes()
    app = application(web.parts(config, secret, resolver, SystemClock()))
    settings = uvicorn.Config(
        app,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
        limit_concurrency=200,
        h11_max_incomplete_event_size=32_768,
    )
    serving = _Server(settings)

    def stop() -> None:
        serving.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    loop.add_signal_handler(signal.SIGHUP, lambda: None)
    loop.add_reader(assignment.lifeline, stop)
    os.write(assignment.ready, b".")
    emit("worker.serving", worker="web", pid=os.getpid())
    await serving.serve(sockets=list(assignment.sockets))
    await resolver.close()
