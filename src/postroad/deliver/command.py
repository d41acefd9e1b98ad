"""Delivery to a program: the message on its standard input, the envelope in its environment, its status the answer.

No shell is in between: what a sender wrote is never an argument. One run for each recipient. Statuses are those of
sysexits: 0 delivered, 75 (and whatever is not known) later, 67 no such user, and so on; what the program printed last
is told with it. A run is bounded in time and output, and is killed with all that it started.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO

from postroad.message.envelope import format_queue_id
from postroad.message.headers import delivered_to_header, return_path_header
from postroad.smtp.address import Address
from postroad.smtp.reply import Reply, reply
from postroad.store.spool import Queued, SpooledMessage

MAX_TOLD_CHARS = 200
_BLOCK = 65_536
_KEPT_OCTETS = 4096
"""The end of what was printed."""

_STATUSES: Mapping[int, tuple[int, str, str]] = {
    64: (554, "5.3.5", "was used wrongly"),
    65: (554, "5.6.0", "says that the message is wrong in itself"),
    66: (554, "5.3.0", "says that something to read is missing"),
    67: (550, "5.1.1", "knows no such user"),
    68: (550, "5.1.2", "knows no such host"),
    69: (554, "5.3.0", "says that a service is not available"),
    70: (554, "5.3.0", "failed"),
    71: (451, "4.3.0", "was failed by the system"),
    72: (554, "5.3.5", "says that a system file is missing"),
    73: (550, "5.2.0", "cannot make the file it delivers to"),
    74: (451, "4.3.0", "could not read or write"),
    75: (451, "4.3.0", "asks to try again later"),
    76: (554, "5.5.0", "saw a protocol broken"),
    77: (550, "5.7.1", "has not the right to deliver it"),
    78: (554, "5.3.5", "is configured wrongly"),
}
"""Exit statuses of sysexits: reply code, enhanced status, words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandSettings:
    """`argv`: the program's whole path and its arguments. `separator`: between user and detail, by domain."""

    argv: tuple[str, ...]
    timeout_s: float = 30.0
    output_octets: int = 65_536
    at_once: int = 4
    environment: Mapping[str, str] = field(default_factory=lambda: {"PATH": "/usr/local/bin:/usr/bin:/bin"})
    """What it gets beside the envelope; nothing of our own environment."""


class CommandDelivery:
    """A transport."""

    def __init__(self, settings: CommandSettings, separator_of: Mapping[str, str] | None = None) -> None:
        self._settings = settings
        self._separator_of = separator_of or {}
        self._room = asyncio.Semaphore(settings.at_once)

    async def deliver(self, message: SpooledMessage, queued: Sequence[Queued]) -> Sequence[Reply]:
        """Run the program for each recipient; the fate of each as a reply, in order."""
        return [await self._run(message, one) for one in queued]

    async def _run(self, message: SpooledMessage, queued: Queued) -> Reply:
        settings = self._settings
        address = queued.recipient.address
        content = return_path_header(message.envelope.reverse_path) + delivered_to_header(address) + message.body
        async with self._room:
            # A file, and a pipe of our own: a program may read nothing, or leave others who hold its output open.
            given = await asyncio.to_thread(_file_of, content)
            reading, writing = os.pipe()
            try:
                process = await asyncio.create_subprocess_exec(
                    *settings.argv,
                    stdin=given,
                    stdout=writing,
                    stderr=writing,
                    env={**settings.environment, **self._envelope(message, address)},
                    cwd="/",
                    start_new_session=True,
                )
            except (OSError, ValueError) as error:
                os.close(reading)
                why = (error.strerror or "").lower() if isinstance(error, OSError) else "its arguments cannot be passed"
                return reply(451, f"{self._name} cannot be started: {why}", "4.3.5")
            finally:
                os.close(writing)
                given.close()
            printed = _Printed(reading, settings.output_octets)
            try:
                return await self._follow(process, printed)
            finally:
                printed.close()
                _kill_group(process)
                await process.wait()

    async def _follow(self, process: asyncio.subprocess.Process, printed: _Printed) -> Reply:
        settings = self._settings
        ending = asyncio.create_task(process.wait())
        too_much = asyncio.create_task(printed.overflow.wait())
        try:
            async with asyncio.timeout(settings.timeout_s):
                await asyncio.wait({ending, too_much}, return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            return reply(451, f"{self._name} had not ended after {settings.timeout_s:g} seconds", "4.3.0")
        finally:
            too_much.cancel()
            ending.cancel()
        if printed.overflow.is_set():
            return reply(451, f"{self._name} printed more than {settings.output_octets} octets", "4.3.0")
        printed.read()
        return self._answer(ending.result(), bytes(printed.end))

    def _answer(self, status: int, printed: bytes) -> Reply:
        if status == 0:
            return reply(250, f"Delivered to {self._name}", "2.0.0")
        last = [line.strip() for line in printed.decode("utf-8", "replace").splitlines() if line.strip()][-1:]
        told = "".join(one if one.isprintable() else "?" for one in "".join(last)[:MAX_TOLD_CHARS])
        what = f": {told}" if told else ""
        if status < 0:
            return reply(451, f"{self._name} was ended by signal {-status}{what}", "4.3.0")
        code, enhanced, words = _STATUSES.get(status, (451, "4.3.0", "failed"))
        return reply(code, f"{self._name} {words} (status {status}){what}", enhanced)

    @property
    def _name(self) -> str:
        return self._settings.argv[0].rpartition("/")[2]

    def _envelope(self, message: SpooledMessage, address: Address) -> dict[str, str]:
        """The envelope in words that hold whatever an address may."""
        separator = self._separator_of.get(address.domain, "+")
        user, _, detail = address.local.partition(separator) if separator else (address.local, "", "")
        values = {
            "SENDER": str(message.envelope.reverse_path),
            "RECIPIENT": str(address),
            "ORIGINAL_RECIPIENT": _original(message, address),
            "USER": user,
            "DETAIL": detail,
            "DOMAIN": address.domain,
            "QUEUE_ID": format_queue_id(message.id),
            "CLIENT_ADDRESS": message.trace.peer,
            "CLIENT_USER": message.trace.user or "",
        }
        return {name: value.encode("utf-8", "replace").decode("utf-8") for name, value in values.items()}


def _original(message: SpooledMessage, address: Address) -> str:
    """The address that the sender wrote, where an alias led here; else the address itself."""
    for one in message.envelope.recipients:
        if one.address == address and one.original:
            return one.original.partition(";")[2] or str(address)
    return str(address)


def _file_of(content: bytes) -> IO[bytes]:
    """A file without a name, to be read from its beginning."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    file.write(content)
    file.seek(0)
    return file


class _Printed:
    """What a program prints: `end` is the last of it; `overflow` is set once it is more than it may."""

    def __init__(self, descriptor: int, most: int) -> None:
        os.set_blocking(descriptor, False)
        self.overflow = asyncio.Event()
        self.end = bytearray()
        self._descriptor = descriptor
        self._left = most
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(descriptor, self.read)

    def read(self) -> None:
        """Take what is there now."""
        while not self.overflow.is_set():
            try:
                piece = os.read(self._descriptor, _BLOCK)
            except BlockingIOError:
                return
            if not piece:
                break
            self._left -= len(piece)
            self.end += piece
            del self.end[:-_KEPT_OCTETS]
            if self._left < 0:
                self.overflow.set()
        self._loop.remove_reader(self._descriptor)

    def close(self) -> None:
        """Read no more."""
        self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)


def _kill_group(process: asyncio.subprocess.Process) -> None:
    """End it and all that it started, if anything is left."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
