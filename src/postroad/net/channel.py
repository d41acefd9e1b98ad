"""A plain connection to a helper of this server, over TCP or a UNIX socket: octets to and fro, nothing else."""

from __future__ import annotations

import asyncio
import re

_TCP = re.compile(r"(?:tcp:|inet:)?(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):(?P<port>[0-9]{1,5})")


class Channel:
    """Made by `open_channel`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self, octets: int) -> bytes:
        """At most so many octets; none at the end."""
        return await self._reader.read(octets)

    def write(self, octets: bytes) -> None:
        """Have them sent."""
        self._writer.write(octets)

    async def drain(self) -> None:
        """Wait until not too much waits to be sent."""
        await self._writer.drain()

    def close(self) -> None:
        """End the connection."""
        self._writer.close()


def channel_fault(place: str) -> str | None:
    """What is wrong with the name of a place; None where it names one."""
    if place.startswith("unix:"):
        return None if place.removeprefix("unix:").startswith("/") else "write unix:/path/of/socket"
    found = _TCP.fullmatch(place)
    if found is None or not 1 <= int(found["port"]) <= 65_535:
        return "write HOST:PORT, or unix:/path/of/socket"
    return None


async def open_channel(place: str) -> Channel:
    """A connection to `HOST:PORT` or `unix:/path`. Raises OSError, ValueError."""
    fault = channel_fault(place)
    if fault is not None:
        raise ValueError(fault)
    if place.startswith("unix:"):
        return Channel(*await asyncio.open_unix_connection(place.removeprefix("unix:")))
    found = _TCP.fullmatch(place)
    assert found is not None
    return Channel(*await asyncio.open_connection(found["host"].strip("[]"), int(found["port"])))
