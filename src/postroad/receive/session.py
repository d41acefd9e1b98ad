"""One receiving connection on the event loop: bytes to the protocol core, its events to the checks, answers back.

An asyncio.Protocol with no coroutine of its own: checks that need no waiting are asked at once, and what one chunk of
input brings is answered by one write. An idle session holds no task and no timer; `Roll.sweep` ends the late ones.
Used by app.py for the server and by the library's Server; what is accepted, and where it goes, comes from the Station.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, assert_never, cast

from postroad.events import emit
from postroad.net.fault import explain_fault
from postroad.receive.caller import Caller, peer_of, secured_by
from postroad.receive.checks import Amended, ask_on
from postroad.receive.greeting import LOCAL_ERROR, TALKED_EARLY, Greeting
from postroad.receive.station import Roll, Station
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
    StartTlsReceived,
)

MAX_AHEAD_OCTETS = 1 << 16
"""What a client may send on while its command is decided."""
_SHUTTING_DOWN = reply(421, "Service shutting down", "4.3.2")
_TIMED_OUT = reply(421, "Timeout exceeded", "4.4.2")
_TOO_LONG = reply(421, "Session lasts too long", "4.4.2")
_NO_TLS = reply(454, "TLS not available", "4.7.0")
_BETWEEN = (State.SILENT, State.STRANGER, State.READY, State.REFUSING)
"""Nothing is lost by closing."""


class Reception(Greeting):
    """One connection."""

    __slots__ = (
        "_early",
        "_has_ended",
        "_held",
        "_is_choked",
        "_is_implicit_tls",
        "deadline",
        "has_begun",
        "until",
    )

    def __init__(self, station: Station, roll: Roll, *, is_implicit_tls: bool = False) -> None:
        self.station = station
        self.roll = roll
        self.deadline = 0.0
        self.until = 0.0
        self._is_implicit_tls = is_implicit_tls
        """The handshake is done, and the gate passed, before this session begins (receive/door.py)."""
        self.has_begun = False
        self._held = 0
        self._early: bytes | None = None
        """What came through TLS before we were told that the handshake is done; None where there is none under way."""
        self._is_gone = True
        self._has_ended = False
        self._is_choked = False
        """The client does not take its replies: nothing more is read from it."""
        self._is_holding_back = False
        self._transport: asyncio.Transport | None = None
        self._session = ServerSession(
            station.settings, nonce=station.nonce, is_tls=is_implicit_tls, wall=station.wall()
        )
        self.caller = Caller("", 0, station.role, is_tls=is_implicit_tls)

    # Called by the event loop ---------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transports are no subclasses of it
        if not self._is_gone:
            return
        self.has_begun = True
        self.caller.peer, self.caller.peer_port = peer_of(transport.get_extra_info("peername"))
        if self._is_implicit_tls:
            self.caller.secured = secured_by(transport)
        refusal = None if self._is_implicit_tls else self.station.gate.enter(self.caller.peer)
        if refusal is not None:
            emit("session.refused", peer=self.caller.peer, reason=refusal)
            self._session.greet(reply(421, f"{refusal}, try again later", "4.7.0"))
            self._transport.write(self._session.take_output())
            self._transport.close()
            return
        self._is_gone = False
        now = self.roll.now()
        self.until = now + self.station.timeouts.session_s
        self.roll.sessions.add(self)
        self.deadline = now + self.station.timeouts.command_s
        self._welcome(self.station.checks.connect)
        self._flush(now)

    def data_received(self, data: bytes) -> None:
        session = self._session
        if self._is_gone:
            return
        if self._early is not None:
            self._early += data
            return
        if session.state is State.SILENT:
            self.caller.talked_early = True
            if self.station.refuses_early_talk:
                self._is_holding_back = False
                self._greet(TALKED_EARLY)
                self._flush(self.roll.now())
                return
        if session.state is State.SASL and self._is_barred_now():
            return
        session.receive(data)
        if session.is_waiting or self._is_holding_back:
            # A client that sends on while its command is decided is not read from until then.
            if session.buffered_octets > MAX_AHEAD_OCTETS and self._transport is not None:
                self._transport.pause_reading()
            return
        self._go_on()

    def eof_received(self) -> bool:
        """The client has said all it will: what it waits for is still answered (plain TCP can close one half)."""
        self._has_ended = self._session.is_waiting and not self.caller.is_tls and not self._is_gone
        return self._has_ended

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
        self._is_choked = True
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._is_choked = False
        self._read_on()

    def _read_on(self) -> None:
        """Read more, unless there is enough: a client may send ahead, but only so far."""
        if self._is_gone or self._is_choked or self._session.is_closed or self._transport is None:
            return
        is_busy = self._session.is_waiting or self._is_holding_back
        if not is_busy or self._session.buffered_octets <= MAX_AHEAD_OCTETS:
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
                is_settled = self._settle(event, LOCAL_ERROR)
            if not is_settled:
                break
        if session.refusals:
            self._tell_refusals()
        now = self.roll.now()
        if session.is_in_body or self._held:
            self._account()
        self._flush(now)

    def _decide(self, event: Event) -> bool:
        """Answer it now (True), or see to it that it is answered later (False)."""
        match event:
            case RcptReceived():
                self.caller.recipients += 1
                return self._ask(event, self.station.checks.rcpt)
            case MailReceived():
                self.caller.recipients = 0
                self.caller.reverse_path = event.reverse_path
                self.caller.smtputf8 = event.parameters.smtputf8
                return self._ask(event, self.station.checks.mail)
            case MessageReceived():
                return self._ask(event, self.station.checks.message)
            case HelloReceived():
                self.caller.hello = event.name
                self.caller.is_extended = event.is_extended
                if self._session.buffered_octets:
                    self.caller.talked_ahead = True
                return self._ask(event, self.station.checks.hello)
            case StartTlsReceived():
                if self.station.tls is None:
                    self._session.answer(_NO_TLS)
                    return True
                # Before the 220 leaves: what follows it belongs to the handshake.
                if self._transport is not None:
                    self._transport.pause_reading()
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
                if self.station.authenticator is None:
                    return True
                self._is_holding_back = True
                self.station.spawn(self._hold_back(self.station.authenticator.failed(event.username, self.caller.peer)))
                return False
            case _:
                assert_never(event)

    def _ask(self, event: Event, checks: tuple[Callable[[Caller, Any], Any], ...]) -> bool:
        amended: Amended | None = None
        for index, check in enumerate(checks):
            decision = check(self.caller, event)
            if decision is None:
                continue
            if isinstance(decision, Reply):
                return self._settle(event, decision)
            if isinstance(decision, Amended):
                amended = decision.after(amended)
                event = amended.event
                continue
            self.station.spawn(self._await_checks(event, amended, decision, checks[index + 1 :]))
            return False
        return self._conclude(event, amended)

    async def _await_checks(
        self,
        event: Event,
        amended: Amended | None,
        first: Awaitable[Reply | Amended | None],
        rest: tuple[Callable[[Caller, Any], Any], ...],
    ) -> None:
        try:
            refusal, amended = await ask_on([partial(check, self.caller) for check in rest], first, event, amended)
            if refusal is not None:
                is_settled = self._settle(event, refusal)
            else:
                is_settled = self._conclude(event if amended is None else amended.event, amended)
        except Exception as error:
            self._report(error)
            is_settled = self._settle(event, LOCAL_ERROR)
        if is_settled:
            self._resume()

    def _conclude(self, event: Event, amended: Amended | None) -> bool:
        """No check objects: a message is now to be kept, everything else is simply accepted."""
        if not isinstance(event, MessageReceived):
            return self._settle(event, None)
        outcome = self.station.accept(self.caller, event, amended)
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
            decision: Reply | None = LOCAL_ERROR
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
                if isinstance(event, RcptReceived) and decision.is_permanent and self.station.recipient_refused:
                    self.station.recipient_refused(self.caller)
            self._session.answer(decision)
        return True

    def _tell_refusals(self) -> None:
        """Log what the protocol alone refused: syntax, order, sizes, bare line ends."""
        for refusal in self._session.refusals:
            emit("session.rejected", peer=self.caller.peer, event_kind="protocol", reply=str(refusal))
        self._session.refusals.clear()

    def _resume(self) -> None:
        """After an answer that was waited for: go on with what the client has sent meanwhile."""
        if self._is_gone or self._transport is None:
            return
        self._go_on()
        self._read_on()

    def _flush(self, now: float) -> None:
        session = self._session
        transport = self._transport
        if transport is None or self._is_holding_back:
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
        if session.is_closed or (self._has_ended and not session.is_waiting):
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

    # Authentication and TLS -----------------------------------------------------------------------------------

    async def _check_password(self, event: PasswordReceived) -> None:
        authenticator = self.station.authenticator
        try:
            if authenticator is None:
                refusal: Reply | None = LOCAL_ERROR
            else:
                check = authenticator.check_token if event.is_token else authenticator.check_password
                refusal = await check(event.username, event.authzid, event.password, self.caller.peer)
        except Exception as error:
            self._report(error)
            refusal = LOCAL_ERROR
        if self._is_gone or not self._session.is_waiting:
            return
        if refusal is None:
            self._take_account(event.username)
        else:
            emit(
                "auth.failed",
                peer=self.caller.peer,
                user=event.username,
                mechanism="token" if event.is_token else "password",
            )
        self._session.answer(refusal)
        self._resume()

    async def _hold_back(self, counted: Awaitable[None]) -> None:
        """Say the refusal that is ready once the failure is counted and its time is over (S-25)."""
        try:
            await counted
        finally:
            self._is_holding_back = False
        self._resume()

    def _give_keys(self, event: ScramKeysWanted) -> bool:
        authenticator = self.station.authenticator
        if authenticator is None:
            self._session.close(LOCAL_ERROR)
            return True
        barred = authenticator.bar(event.username, self.caller.peer)
        if barred is not None:
            self._session.close(Reply(421, barred.lines, barred.enhanced))
            return True
        self._session.answer_keys(authenticator.scram_keys(event.username, event.authzid))
        return True

    def _is_barred_now(self) -> bool:
        """Whether guesses of this peer, running beside this exchange, have used up what is heard: then it ends."""
        authenticator = self.station.authenticator
        barred = None if authenticator is None else authenticator.bar(self._session.claimed_user, self.caller.peer)
        if barred is None:
            return False
        self._session.close(Reply(421, barred.lines, barred.enhanced))
        self._flush(self.roll.now())
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
        self.deadline = self.roll.now() + 2 * self.station.timeouts.tls_handshake_s
        self._early = b""
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
            secured = None
        if secured is None or self._is_gone:
            plain.abort()
            self.connection_lost(None)  # a connection that ends within the handshake is not told to us
            return
        self._transport = secured
        self.caller.is_tls = True
        self.caller.secured = secured_by(secured)
        self.caller.hello = ""
        self._session.tls_started()
        early, self._early = self._early, None
        self._session.receive(early)
        self._go_on()

    # Endings --------------------------------------------------------------------------------------------------

    def expire(self, now: float) -> None:
        """The client was too slow, or has stayed too long."""
        if self._session.is_waiting and not self._session.is_closed:
            # It waits for us: what is being kept now must not be refused and then be there.
            self.deadline = self.until = now + self.station.timeouts.command_s
            return
        if self._session.is_closed and self._transport is not None:
            self._transport.abort()  # it does not even take its goodbye
        else:
            self._say_goodbye(_TIMED_OUT if now < self.until else _TOO_LONG)

    def drain(self) -> None:
        """Close now if that loses nothing."""
        if self._session.state in _BETWEEN and not self._session.is_waiting:
            self._say_goodbye(_SHUTTING_DOWN)

    def abort(self) -> None:
        """Close although something is unfinished: it was not acknowledged, so nothing is lost."""
        self._say_goodbye(_SHUTTING_DOWN)
        if self._transport is not None:
            self._transport.abort()

    def _say_goodbye(self, farewell: Reply) -> None:
        if self._is_gone or self._transport is None:
            return
        if self._early is not None:  # within a handshake there is no way to say it
            self._transport.abort()
            return
        self._session.close(farewell)
        self._transport.write(self._session.take_output())
        self._transport.close()
        self.deadline = self.roll.now() + 5.0
        self.until = self.deadline
