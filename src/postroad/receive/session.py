"""One receiving connection on the event loop: bytes to the protocol core, its events to the checks, answers back.

An asyncio.Protocol with no coroutine of its own: checks that need no waiting are asked at once, and what one chunk of
input brings is answered by one write. An idle session holds no task and no timer; `Station.sweep` ends the late ones.
Used by app.py for the server and by the library's Server; what is accepted, and where it goes, comes from the Station.
"""

from __future__ import annotations

import asyncio
import inspect
import ssl
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, assert_never, cast

from postroad.events import emit
from postroad.net.fault import explain_fault
from postroad.receive.auth import Authority
from postroad.receive.caller import Caller, Role
from postroad.receive.checks import Checks, Decision
from postroad.receive.limits import Budget, Gate
from postroad.smtp.reply import Reply, reply
from postroad.smtp.server import ServerSession, State
from postroad.smtp.server_events import (
    Authenticated,
    AuthFailed,
    Event,
    HelloReceived,
    MailReceived,
    MessageReceived,
    PasswordReceived,
    RcptReceived,
    ScramKeysWanted,
    ServerSettings,
    StartTlsReceived,
)

_SHUTTING_DOWN = reply(421, "Service shutting down", "4.3.2")
_TIMED_OUT = reply(421, "Timeout exceeded", "4.4.2")
_TOO_LONG = reply(421, "Session lasts too long", "4.4.2")
_LOCAL_ERROR = reply(451, "Local error in processing", "4.3.0")
_NO_TLS = reply(454, "TLS not available", "4.7.0")

Accept = Callable[[Caller, MessageReceived], "Reply | Awaitable[Reply | None] | None"]
"""Keeps a message; 250 (or None) only once it is safe."""


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
    gate: Gate = field(default_factory=lambda: Gate(10_000, 10_000))
    budget: Budget = field(default_factory=lambda: Budget(1 << 28))


def _now() -> float:
    return asyncio.get_running_loop().time()


class Roll:
    """The sessions now open in a worker: for sweeping out the late ones, and for draining."""

    def __init__(self) -> None:
        self.sessions: set[Reception] = set()
        self.is_draining = False
        self.time: Callable[[], float] = _now
        """The loop's clock, bound at the first connection: asking which loop runs costs a system call."""

    def sweep(self, now: float) -> None:
        """Close every session whose deadline has passed; called once a second or so."""
        for session in [session for session in self.sessions if session.deadline < now or session.until < now]:
            session.expire(now)

    def drain(self) -> None:
        """Close the sessions between transactions now, the others as their transaction ends."""
        self.is_draining = True
        for session in list(self.sessions):
            session.drain()

    def abort(self) -> None:
        """Close whatever is still open."""
        for session in list(self.sessions):
            session.abort()


class Reception(asyncio.Protocol):
    """One connection."""

    __slots__ = (
        "_held",
        "_is_gone",
        "_is_implicit_tls",
        "_session",
        "_transport",
        "caller",
        "deadline",
        "roll",
        "station",
        "until",
    )

    def __init__(self, station: Station, roll: Roll, *, is_implicit_tls: bool = False) -> None:
        self.station = station
        self.roll = roll
        self.deadline = 0.0
        self.until = 0.0
        self._is_implicit_tls = is_implicit_tls
        self._held = 0
        self._is_gone = True
        self._transport: asyncio.Transport | None = None
        self._session = ServerSession(station.settings, nonce=station.nonce, is_tls=is_implicit_tls)
        self.caller = Caller("", 0, station.role, is_tls=is_implicit_tls)

    # Called by the event loop ---------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transports are no subclasses of it
        if not self._is_gone:
            return
        peer = transport.get_extra_info("peername") or ("unknown", 0)
        self.caller.peer, self.caller.peer_port = str(peer[0]).removeprefix("::ffff:"), int(peer[1])
        refusal = self.station.gate.enter(self.caller.peer)
        if refusal is not None:
            emit("session.refused", peer=self.caller.peer, reason=refusal)
            self._session.greet(reply(421, f"{refusal}, try again later", "4.7.0"))
            self._transport.write(self._session.take_output())
            self._transport.close()
            return
        self._is_gone = False
        if self.roll.time is _now:
            self.roll.time = asyncio.get_running_loop().time
        now = self.roll.time()
        self.until = now + self.station.timeouts.session_s
        self.roll.sessions.add(self)
        self._session.greet()
        self._flush(now)

    def data_received(self, data: bytes) -> None:
        session = self._session
        if self._is_gone:
            return
        session.receive(data)
        if session.is_waiting:
            # A client that sends on while its command is decided is not read from until then.
            if session.buffered_octets > 1 << 16 and self._transport is not None:
                self._transport.pause_reading()
            return
        self._go_on()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if self._is_gone:
            return
        self._is_gone = True
        self.roll.sessions.discard(self)
        self.station.gate.leave(self.caller.peer)
        self.station.budget.change(-self._held)
        self._held = 0
        emit("session.closed", peer=self.caller.peer, messages=self._session.messages, errors=self._session.errors)

    def pause_writing(self) -> None:
        """The client does not read its replies: no more of it is read either."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._transport is not None and not self._is_gone:
            self._transport.resume_reading()

    # Events and answers ---------------------------------------------------------------------------------------

    def _go_on(self) -> None:
        """Read events until one must wait, then write all the replies at once."""
        session = self._session
        while (event := session.next_event()) is not None:
            try:
                is_settled = self._decide(event)
            except Exception as error:
                self._report(error)
                is_settled = self._settle(event, _LOCAL_ERROR)
            if not is_settled:
                break
        now = self.roll.time()
        if session.is_in_body or self._held:
            self._account()
        self._flush(now)

    def _decide(self, event: Event) -> bool:
        """Answer it now (True), or see to it that it is answered later (False)."""
        match event:
            case RcptReceived():
                return self._ask(event, self.station.checks.rcpt)
            case MailReceived():
                self.caller.reverse_path = event.reverse_path
                self.caller.smtputf8 = event.parameters.smtputf8
                return self._ask(event, self.station.checks.mail)
            case MessageReceived():
                return self._ask(event, self.station.checks.message)
            case HelloReceived():
                self.caller.hello = event.name
                self.caller.is_extended = event.is_extended
                return self._ask(event, self.station.checks.hello)
            case StartTlsReceived():
                if self.station.tls is None:
                    self._session.answer(_NO_TLS)
                    return True
                self._session.answer(None)
                self.station.spawn(self._start_tls(self.station.tls))
                return False
            case PasswordReceived():
                self.station.spawn(self._check_password(event))
                return False
            case ScramKeysWanted():
                return self._give_keys(event)
            case Authenticated():
                self._take_account(event.username)
                return True
            case AuthFailed():
                emit("auth.failed", peer=self.caller.peer, user=event.username, mechanism=event.mechanism)
                if self.station.authenticator is not None:
                    self.station.spawn(self.station.authenticator.failed(event.username, self.caller.peer))
                return True
            case _:
                assert_never(event)

    def _ask(self, event: Event, checks: tuple[Callable[[Caller, Any], Decision], ...]) -> bool:
        for index, check in enumerate(checks):
            decision = check(self.caller, event)
            if decision is None:
                continue
            if isinstance(decision, Reply):
                return self._settle(event, decision)
            self.station.spawn(self._await_checks(event, decision, checks[index + 1 :]))
            return False
        return self._conclude(event)

    async def _await_checks(
        self, event: Event, first: Awaitable[Reply | None], rest: tuple[Callable[[Caller, Any], Decision], ...]
    ) -> None:
        try:
            refusal = await first
            for check in rest:
                if refusal is not None:
                    break
                decision = check(self.caller, event)
                refusal = await decision if inspect.isawaitable(decision) else decision
            is_settled = self._conclude(event) if refusal is None else self._settle(event, refusal)
        except Exception as error:
            self._report(error)
            is_settled = self._settle(event, _LOCAL_ERROR)
        if is_settled:
            self._resume()

    def _conclude(self, event: Event) -> bool:
        """No check objects: a message is now to be kept, everything else is simply accepted."""
        if not isinstance(event, MessageReceived):
            return self._settle(event, None)
        outcome = self.station.accept(self.caller, event)
        if outcome is None or isinstance(outcome, Reply):
            return self._settle(event, outcome)
        if isinstance(outcome, asyncio.Future):
            outcome.add_done_callback(self._accepted)
        else:
            self.station.spawn(self._await_accept(outcome))
        return False

    def _accepted(self, future: asyncio.Future[Reply | None]) -> None:
        error = None if future.cancelled() else future.exception()
        if error is not None or future.cancelled():
            if error is not None:
                self._report(error)
            decision: Reply | None = _LOCAL_ERROR
        else:
            decision = future.result()
        if not self._is_gone and self._session.is_waiting:
            self._session.answer(decision)
            self._resume()

    async def _await_accept(self, outcome: Awaitable[Reply | None]) -> None:
        future: asyncio.Future[Reply | None] = asyncio.ensure_future(outcome)
        await asyncio.wait([future])
        self._accepted(future)

    def _settle(self, event: Event, decision: Reply | None) -> bool:
        if not self._is_gone and self._session.is_waiting:
            if decision is not None and not decision.is_positive:
                emit("session.rejected", peer=self.caller.peer, event_kind=type(event).__name__, reply=str(decision))
            self._session.answer(decision)
        return True

    def _resume(self) -> None:
        """After an answer that was waited for: go on with what the client has sent meanwhile."""
        if self._is_gone or self._transport is None:
            return
        self._go_on()
        if not self._is_gone and not self._session.is_closed:
            self._transport.resume_reading()

    def _flush(self, now: float) -> None:
        session = self._session
        transport = self._transport
        if transport is None:
            return
        data = session.take_output()
        if data:
            transport.write(data)
            self.deadline = now + (
                self.station.timeouts.block_s if session.is_in_body else self.station.timeouts.command_s
            )
        elif session.is_in_body:
            self.deadline = now + self.station.timeouts.block_s
        if self.roll.is_draining and not session.is_closed:
            self.drain()
        if session.is_closed:
            transport.close()

    def _account(self) -> None:
        """Count what is held of an unfinished message against the worker's budget."""
        held = self._session.buffered_octets
        is_within = self.station.budget.change(held - self._held)
        self._held = held
        if not is_within:
            emit("limit.reached", limit="body_memory_octets", peer=self.caller.peer)
            self._session.refuse_body()
            self.station.budget.change(-self._held)
            self._held = 0

    def _report(self, error: BaseException) -> None:
        emit("internal.error", where="receive", error=f"{type(error).__name__}: {error}", exception=error)

    # Authentication and TLS -----------------------------------------------------------------------------------

    async def _check_password(self, event: PasswordReceived) -> None:
        authenticator = self.station.authenticator
        try:
            if authenticator is None:
                refusal: Reply | None = _LOCAL_ERROR
            else:
                refusal = await authenticator.check_password(
                    event.username, event.authzid, event.password, self.caller.peer
                )
        except Exception as error:
            self._report(error)
            refusal = _LOCAL_ERROR
        if self._is_gone or not self._session.is_waiting:
            return
        if refusal is None:
            self._take_account(event.username)
        else:
            emit("auth.failed", peer=self.caller.peer, user=event.username, mechanism="password")
        self._session.answer(refusal)
        self._resume()

    def _give_keys(self, event: ScramKeysWanted) -> bool:
        authenticator = self.station.authenticator
        if authenticator is None:
            self._session.close(_LOCAL_ERROR)
            return True
        barred = authenticator.bar(event.username, self.caller.peer)
        if barred is not None:
            self._session.close(Reply(421, barred.lines, barred.enhanced))
            return True
        self._session.answer_keys(authenticator.scram_keys(event.username, event.authzid))
        return True

    def _take_account(self, username: str) -> None:
        authenticator = self.station.authenticator
        if authenticator is not None:
            self.caller.account = authenticator.account(username)
            authenticator.succeeded(username, self.caller.peer)
        emit("auth.succeeded", peer=self.caller.peer, user=username)

    async def _start_tls(self, context: ssl.SSLContext) -> None:
        plain = self._transport
        if plain is None or self._is_gone:
            return
        self.deadline = self.roll.time() + 2 * self.station.timeouts.tls_handshake_s
        try:
            secured = await asyncio.get_running_loop().start_tls(
                plain,
                self,
                context,
                server_side=True,
                ssl_handshake_timeout=self.station.timeouts.tls_handshake_s,
                ssl_shutdown_timeout=5.0,
            )
        except (OSError, TimeoutError) as error:
            emit("tls.failed", peer=self.caller.peer, reason=explain_fault(error))
            plain.abort()
            return
        if secured is None or self._is_gone:
            plain.abort()
            return
        self._transport = secured
        self.caller.is_tls = True
        self.caller.hello = ""
        self._session.tls_started()
        self._go_on()

    # Endings --------------------------------------------------------------------------------------------------

    def expire(self, now: float) -> None:
        """The client was too slow, or has stayed too long."""
        if self._session.is_closed and self._transport is not None:
            self._transport.abort()  # it does not even take its goodbye
        else:
            self._say_goodbye(_TIMED_OUT if now < self.until else _TOO_LONG)

    def drain(self) -> None:
        """Close now if that loses nothing."""
        if self._session.state in (State.STRANGER, State.READY, State.REFUSING) and not self._session.is_waiting:
            self._say_goodbye(_SHUTTING_DOWN)

    def abort(self) -> None:
        """Close although something is unfinished: it was not acknowledged, so nothing is lost."""
        self._say_goodbye(_SHUTTING_DOWN)
        if self._transport is not None:
            self._transport.abort()

    def _say_goodbye(self, farewell: Reply) -> None:
        if self._is_gone or self._transport is None:
            return
        self._session.close(farewell)
        self._transport.write(self._session.take_output())
        self._transport.close()
        self.deadline = self.roll.time() + 5.0
        self.until = self.deadline
