"""One connection to a lab host: an asyncio.Protocol that carries out what the conversation decides, with its delays.

Every reply takes the lab's latency: a batch of commands that came together is answered at once after one, or each
reply waits for its own (`Latency.each_reply`). The connection is logged from its opening to its end. Works on any event
loop, the real one and the simulated one.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from postroad.lab.conversation import Conversation, Turn
from postroad.lab.letter import Letter
from postroad.lab.log import Ending, Event, LabLog, What
from postroad.lab.personality import Action, Then

IDLE_S = 300.0
MAX_AHEAD = 1_048_576
"""Octets that a client may send ahead before it is read no further."""
ENDLESS_LINE = b"250-and there is still more to say about this\r\n" * 20
ENDLESS_S = 0.05
SILENT_S = 3600.0
"""After so long a silent or endless host drops a client that still listens."""
NO_TLS = b"500 what you hear is no TLS record\r\n"


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds before each reply; `each_reply`: those of a batch wait one after another, not together."""

    seconds: float = 0.0
    each_reply: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """Where a host stands in the log."""

    host: str
    site: str


class HostProtocol(asyncio.Protocol):
    """Made for each connection. `converse` begins the conversation with a client of that address. `give_back` gets
    what the host of that name sends back to its sender."""

    def __init__(
        self,
        place: Place,
        converse: Callable[[str], Conversation],
        log: LabLog,
        latency: Latency,
        tls: ssl.SSLContext | None,
        on_end: Callable[[HostProtocol], None],
        give_back: Callable[[str, Letter], None] | None = None,
    ) -> None:
        self._place = place
        self._converse = converse
        self._log = log
        self._latency = latency
        self._tls = tls
        self._on_end = on_end
        self._give_back = give_back
        self._loop = asyncio.get_running_loop()
        self._session = log.new_session()
        self._peer = ""
        self._transport: asyncio.Transport | None = None
        self._talk: Conversation | None = None
        self._ending = Ending.LEFT
        self._is_ended = False
        self._is_over = False
        """No more commands are taken."""
        self._is_breaking_tls = False
        """The client's handshake is to be answered by what is no TLS."""
        self._is_busy = False
        """A reply is on its way: what comes meanwhile waits."""
        self._arrived_at = 0.0
        self._is_first = True
        """Whether the next command is the first since the client had its last reply."""
        self._out: list[bytes] = []
        self._is_paused = False
        self._is_reading = True
        self._handshake: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._idle: asyncio.TimerHandle | None = None

    # Called by the event loop ---------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._peer = str(transport.get_extra_info("peername")[0])
        self._note(What.OPEN)
        self._talk = self._converse(self._peer)
        self._arrived_at = self._loop.time()
        action = self._talk.greet(self._arrived_at)
        self._is_busy = True
        self._after(self._latency.seconds + action.delay_s, self._answer, action, Turn("", "", action))

    def data_received(self, data: bytes) -> None:
        if self._is_breaking_tls:
            self._is_breaking_tls = False
            self._the_transport().write(NO_TLS)
            self._the_transport().close()
        if self._talk is None or self._is_over:
            return
        self._talk.buffer += data
        self._arrived_at = self._loop.time()
        if not self._is_busy:
            self._is_first = True
            self._work()
        elif len(self._talk.buffer) > MAX_AHEAD and self._is_reading:
            self._is_reading = False
            self._the_transport().pause_reading()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if self._is_ended:
            return
        self._is_ended = self._is_over = True
        for timer in (self._timer, self._idle):
            if timer is not None:
                timer.cancel()
        if self._talk is not None:
            self._talk.end()
        self._note(What.CLOSE, ending=self._ending)
        self._on_end(self)

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False

    # Conversation ---------------------------------------------------------------------------------------------

    def _work(self) -> None:
        """Answer what has come, as far as nothing has to be waited for."""
        assert self._talk is not None
        while not self._is_over and not self._is_busy:
            now = self._loop.time()
            turn = self._talk.next_turn(now, is_ahead=not self._is_first)
            if turn is None:
                break
            self._is_first = False
            self._note(What.COMMAND, verb=turn.verb, argument=turn.argument, code=turn.action.code)
            if turn.verb == "QUIT":
                self._ending = Ending.QUIT
            elif turn.letter is not None and turn.letter.is_kept:
                self._keep(turn.letter)
            wait = turn.action.delay_s
            wait += self._latency.seconds if self._latency.each_reply else self._left_of_latency(now, turn.action)
            if wait > 0:
                self._is_busy = True
                self._after(wait, self._answer, turn.action, turn)
            else:
                self._carry_out(turn.action)
        if not self._is_busy:
            self._flush()
            self._watch()

    def _left_of_latency(self, now: float, action: Action) -> float:
        """A batch waits once; its replies leave together where nothing else delays or ends them."""
        left = self._arrived_at + self._latency.seconds - now
        if left <= 0:
            return 0.0
        if self._is_plain(action) and self._has_more():
            return 0.0  # held back in _out until the last of the batch
        return left

    @staticmethod
    def _is_plain(action: Action) -> bool:
        return action.then is Then.GO_ON and not action.delay_s

    def _has_more(self) -> bool:
        assert self._talk is not None
        return b"\n" in self._talk.buffer

    def _answer(self, action: Action, turn: Turn) -> None:
        self._is_busy = False
        if not turn.verb and action.code == 220:
            self._note(What.GREETED)
        self._carry_out(action)
        self._flush()
        if not self._is_over and not self._is_busy:
            self._work()

    def _carry_out(self, action: Action) -> None:
        if action.said:
            self._out.append(action.said)
        elif action.then is Then.GO_ON:
            self._blame_host()  # a reply left out
        match action.then:
            case Then.GO_ON | Then.TAKE_BODY:
                return
            case Then.CLOSE:
                self._blame_host()
                self._is_over = True
                self._flush()
                if self._ending is Ending.QUIT:
                    self._note(What.FAREWELL)
                self._the_transport().close()
            case Then.RESET:
                self._blame_host()
                self._is_over = True
                self._flush()
                _reset(self._the_transport())
            case Then.STAY_SILENT:
                self._blame_host()
                self._is_over = True
                self._flush()
                self._after(SILENT_S, self._the_transport().abort)
            case Then.ENDLESS:
                self._blame_host()
                self._is_over = True
                self._ramble(round(SILENT_S / ENDLESS_S))
            case Then.BREAK_TLS:
                self._blame_host()
                self._is_over = self._is_breaking_tls = True
                self._flush()
            case Then.START_TLS:
                self._flush()
                self._is_busy = True
                self._handshake = self._loop.create_task(self._secure())

    async def _secure(self) -> None:
        assert self._tls is not None and self._talk is not None
        self._talk.buffer.clear()  # what came in the clear; a client may say EHLO beside its last word of the handshake
        try:
            secured = await self._loop.start_tls(self._the_transport(), self, self._tls, server_side=True)
        except (OSError, asyncio.CancelledError):
            secured = None
        if secured is None or self._is_ended:
            self._blame_host()  # nobody can say QUIT within a handshake
            self._the_transport().abort()
            self.connection_lost(None)
            return
        self._transport = secured
        self._talk.tls_started()
        self._is_busy = False
        self._is_first = True
        self._work()

    def _ramble(self, left: int) -> None:
        if self._is_ended:
            return
        if not left:
            self._the_transport().abort()
            return
        if not self._is_paused:
            self._the_transport().write(ENDLESS_LINE)
        self._after(ENDLESS_S, self._ramble, left - 1)

    def _flush(self) -> None:
        if self._out and self._transport is not None:
            self._transport.write(b"".join(self._out))
            self._out.clear()
        if not self._is_reading and not self._is_busy:
            self._is_reading = True
            self._the_transport().resume_reading()

    # Endings and the log --------------------------------------------------------------------------------------

    def _blame_host(self) -> None:
        if self._ending is Ending.LEFT:
            self._ending = Ending.HOST

    def _the_transport(self) -> asyncio.Transport:
        assert self._transport is not None
        return self._transport

    def _after(self, seconds: float, work: Callable[..., None], *arguments: object) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        self._timer = self._loop.call_later(seconds, work, *arguments)

    def _watch(self) -> None:
        """A client that says nothing more is told so, and the connection ends."""
        if self._idle is not None:
            self._idle.cancel()
        self._idle = None if self._is_over else self._loop.call_later(IDLE_S, self._close_idle)

    def _close_idle(self) -> None:
        if self._talk is not None and not self._is_over:
            self._carry_out(self._talk.idle())

    def _note(self, what: What, **details: object) -> None:
        place = self._place
        self._log.add(
            Event(
                at=round(self._loop.time(), 6),
                session=self._session,
                what=what,
                host=place.host,
                site=place.site,
                peer=self._peer,
                **details,  # type: ignore[arg-type]
            )
        )

    def _keep(self, letter: Letter) -> None:
        for recipient in letter.recipients:
            self._note(What.TOOK, argument=recipient, code=letter.code, message_id=letter.message_id)
        for recipient in letter.bouncing:
            self._note(What.BOUNCE, argument=recipient, message_id=letter.message_id)
        if letter.bouncing and self._give_back is not None:
            self._give_back(self._place.host, letter)

    def stop(self) -> None:
        """The lab shuts down."""
        if self._ending is Ending.LEFT:
            self._ending = Ending.LAB
        if self._handshake is not None:
            self._handshake.cancel()
        if self._transport is not None:
            self._transport.abort()


def _reset(transport: asyncio.Transport) -> None:
    """End the connection by a reset, as a crashed host or a firewall does."""
    reset = transport.get_extra_info("reset")
    if reset is not None:
        reset()
        return
    connected = transport.get_extra_info("socket")
    if connected is not None:
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
