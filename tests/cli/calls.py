"""Commands called as a person calls them, in this process, and peers in a thread for them to talk to."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

from click.testing import CliRunner

from net.scripted import Script, scripted
from postroad.cli import group
from postroad.events import configure
from postroad.library.server import Server


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended; `out` and `err` are what it wrote."""

    status: int
    out: str
    err: str

    @property
    def sentence(self) -> str:
        """What it said of its failure: one line on standard error, and nothing else."""
        (line,) = self.err.splitlines()
        assert not self.out
        assert line.isprintable()
        return line


def call(*arguments: object, stdin: str | bytes = "", environment: dict[str, str] | None = None) -> Done:
    """`postroad` with these arguments. An exception of any kind is a failure of the test, as a traceback would be."""
    configure(stream=io.StringIO())  # what a peer in this process logs is no output of the command
    result = CliRunner().invoke(
        group, [str(one) for one in arguments], input=stdin, env=environment or {}, prog_name="postroad"
    )
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Done(result.exit_code, result.stdout, result.stderr)


@contextmanager
def in_thread(peer: AbstractAsyncContextManager[int]) -> Iterator[int]:
    """A peer on an event loop of its own, since a command runs one itself; gives its port."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        port = asyncio.run_coroutine_threadsafe(peer.__aenter__(), loop).result(10)
        yield port
        asyncio.run_coroutine_threadsafe(peer.__aexit__(None, None, None), loop).result(10)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


@contextmanager
def serving(handler: object, **settings: Any) -> Iterator[int]:
    """The library's server with that handler."""

    @asynccontextmanager
    async def peer() -> AsyncIterator[int]:
        async with Server(handler, **settings) as server:
            yield server.port

    with in_thread(peer()) as port:
        yield port


@contextmanager
def playing(script: Script) -> Iterator[int]:
    """A peer that plays the script."""
    with in_thread(scripted(script)) as port:
        yield port
