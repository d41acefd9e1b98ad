"""`Sink`: a real server in a thread that takes every message and holds it, for tests of programs that send mail."""

from __future__ import annotations

import asyncio
import email
import threading
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import default
from types import TracebackType

from postroad.library.server import Server
from postroad.message.envelope import Envelope
from postroad.receive.caller import Caller
from postroad.smtp.address import Address
from postroad.smtp.reply import Reply, reply


@dataclass(frozen=True, slots=True)
class Received:
    """One message as it came."""

    sender: str
    recipients: tuple[str, ...]
    body: bytes
    hello: str

    @property
    def parsed(self) -> EmailMessage:
        """The message as Python's email package reads it."""
        parsed = email.message_from_bytes(self.body, policy=default)
        assert isinstance(parsed, EmailMessage)
        return parsed

    @property
    def subject(self) -> str:
        """Its Subject; empty where there is none."""
        return str(self.parsed.get("Subject", ""))


class Sink:
    """Listens on a free port of loopback while `with` lasts."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.host = host
        self.port = 0
        self.messages: list[Received] = []
        self._refusals: dict[str, Reply] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="postroad sink", daemon=True)
        self._started = threading.Event()
        self._arrived = threading.Condition()
        self._failure: Exception | None = None
        self._stop: asyncio.Event | None = None

    def refuse(self, address: str, answer: Reply | None = None) -> None:
        """Refuse this recipient from now on; 550 5.1.1 unless another reply is given. Raises AddressError."""
        self._refusals[str(Address.parse(address, smtputf8=True))] = answer or reply(550, "No such mailbox", "5.1.1")

    def clear(self) -> None:
        """Forget what was received, and the refusals."""
        self.messages.clear()
        self._refusals.clear()

    def wait_for(self, count: int, timeout_s: float = 10.0) -> list[Received]:
        """The messages, once there are that many. Raises TimeoutError."""
        with self._arrived:
            if not self._arrived.wait_for(lambda: len(self.messages) >= count, timeout_s):
                raise TimeoutError(f"{len(self.messages)} of {count} messages came within {timeout_s} s")
        return self.messages

    # The hooks of library.Server ------------------------------------------------------------------------------

    def rcpt(self, caller: Caller, address: Address) -> Reply | None:
        return self._refusals.get(str(address))

    def message(self, caller: Caller, envelope: Envelope, body: bytes) -> None:
        recipients = tuple(str(recipient.address) for recipient in envelope.recipients)
        with self._arrived:
            self.messages.append(Received(str(envelope.reverse_path), recipients, body, caller.hello))
            self._arrived.notify_all()

    def __enter__(self) -> Sink:
        self._thread.start()
        self._started.wait()
        if self._failure is not None:
            self._thread.join()
            raise self._failure
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        try:
            async with Server(self, host=self.host) as server:
                self.port = server.port
                self._started.set()
                await self._stop.wait()
        except Exception as error:
            self._failure = error  # raised where the sink was entered
        finally:
            self._started.set()
