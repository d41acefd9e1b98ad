"""A peer that plays a script on a real socket: what it says, what it waits for, how it ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def scripted(script: Script) -> AsyncIterator[int]:
    """A server on a free port of 127.0.0.1 that runs the script for each connection; yields the port."""
    tasks: set[asyncio.Task[None]] = set()

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await script(reader, writer)
        writer.transport.abort()

    server = await asyncio.start_server(run, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


def plays(*lines: bytes | None, ehlo: bytes = b"250-mx.test\r\n250 PIPELINING\r\n") -> Script:
    """Greets, answers EHLO, then each further line of input with the next of `lines`; None closes, b"" falls silent."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mx.test ESMTP\r\n")
        await reader.readline()
        writer.write(ehlo)
        for line in lines:
            await reader.readline()
            if line is None:
                return
            if not line:
                await reader.read()
            writer.write(line)
            if line.startswith(b"354"):
                while await reader.readline() not in (b".\r\n", b""):
                    pass
                reader.feed_data(b"\r\n")
        while await reader.readline():
            writer.write(b"221 bye\r\n")

    return script
