"""What the sessions of a listener share (`Station`), and who of them is there (`Roll`)."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Protocol

from postroad.events import emit
from postroad.receive.auth import Authority
from postroad.receive.caller import Caller, Role
from postroad.receive.checks import Amended, Checks
from postroad.receive.limits import Budget, Gate
from postroad.smtp.reply import Reply
from postroad.smtp.server_events import MessageReceived, ServerSettings

Accept = Callable[[Caller, MessageReceived, "Amended | None"], "Reply | Awaitable[Reply | None] | None"]
"""Keeps a message (and does what the checks amended); 250 (or None) only once it is safe."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionTimeouts:
    """Seconds the client may take (RFC 5321 §4.5.3.2.7 asks for 5 minutes a command)."""

    command_s: float = 300.0
    block_s: float = 180.0
    tls_handshake_s: float = 30.0
    session_s: float = 3600.0


@dataclass(slots=True, kw_only=True)
class Station:
    """What all the sessions of one listener share; replaced whole when the configuration is reloaded."""

    settings: ServerSettings
    role: Role
    checks: Checks
    accept: Accept
    spawn: Callable[[Coroutine[Any, Any, None]], object]
    """Runs a coroutine under the worker's task group."""
    nonce: Callable[[], str]
    authenticator: Authority | None = None
    tls: ssl.SSLContext | None = None
    timeouts: SessionTimeouts = field(default_factory=SessionTimeouts)
    wall: Callable[[], float] = time.time
    """The wall clock; times that clients ask for are counted from it."""
    greeting_delay: Callable[[Caller], float] | None = None
    """Seconds to let a caller wait for the greeting; None: nobody waits."""
    refuses_early_talk: bool = False
    """Whether one who does not wait for it is told 554 instead of it (H-04)."""
    recipient_refused: Callable[[Caller], None] | None = None
    """Told of each recipient that was refused for good."""
    gate: Gate = field(default_factory=lambda: Gate(10_000, 10_000))
    budget: Budget = field(default_factory=lambda: Budget(1 << 28))


class Session(Protocol):
    """What the roll knows of a connection. `deadline` and `until`: loop time, of the phase and of the whole."""

    deadline: float
    until: float

    def expire(self, now: float) -> None: ...

    def drain(self) -> None: ...

    def abort(self) -> None: ...


class Roll:
    """The sessions now open in a worker: for sweeping out the late ones, and for draining."""

    def __init__(self) -> None:
        self.sessions: set[Session] = set()
        self.is_draining = False
        self._time: Callable[[], float] | None = None

    def now(self) -> float:
        """The loop's clock, bound at the first call: asking which loop runs costs a system call."""
        if self._time is None:
            self._time = asyncio.get_running_loop().time
        return self._time()

    def sweep(self, now: float) -> None:
        """Close every session whose deadline has passed; called once a second or so."""
        for session in [session for session in self.sessions if session.deadline < now or session.until < now]:
            try:
                session.expire(now)
            except Exception as error:
                # One connection in a state nobody thought of must not keep the others from being closed.
                emit("internal.error", where="sweep", error=f"{type(error).__name__}: {error}", exception=error)
                self.sessions.discard(session)

    def drain(self) -> None:
        """Close the sessions between transactions now, the others as their transaction ends."""
        self.is_draining = True
        for session in list(self.sessions):
            session.drain()

    def abort(self) -> None:
        """Close whatever is still open."""
        for session in list(self.sessions):
            session.abort()
