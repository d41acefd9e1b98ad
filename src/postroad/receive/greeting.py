"""How a session begins: the checks of the connection, the delay that shows who does not wait, the greeting.

The part of a receiving session (receive/session.py) before its first command.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from postroad.events import emit
from postroad.receive.caller import Caller
from postroad.receive.checks import Decision, ask_on
from postroad.receive.station import Roll, Station
from postroad.smtp.reply import Reply, reply
from postroad.smtp.server import ServerSession, State

LOCAL_ERROR = reply(451, "Local error in processing", "4.3.0")
TALKED_EARLY = reply(554, "You talked before our greeting", "5.5.1")


def _of_connection(check: Callable[[Caller], Decision], caller: Caller, _: object) -> Decision:
    return check(caller)


class Greeting(asyncio.Protocol):
    """What a session has from its first moment, and how it greets."""

    __slots__ = ("_is_gone", "_is_holding_back", "_session", "_transport", "caller", "roll", "station")

    caller: Caller
    roll: Roll
    station: Station
    _is_gone: bool
    _is_holding_back: bool
    """A refusal, or the greeting, waits for its time: nothing is read or said until then."""
    _session: ServerSession
    _transport: asyncio.Transport | None

    def _resume(self) -> None:
        raise NotImplementedError

    def _report(self, error: BaseException) -> None:
        emit("internal.error", where="receive", error=f"{type(error).__name__}: {error}", exception=error)

    def _welcome(self, checks: tuple[Callable[[Caller], Decision], ...]) -> None:
        """Greet, or refuse, once the checks of the connection are through."""
        for index, check in enumerate(checks):
            try:
                decision = check(self.caller)
            except Exception as error:
                self._report(error)
                decision = LOCAL_ERROR
            if isinstance(decision, Reply):
                self._greet(decision)
                return
            if decision is not None:
                self._is_holding_back = True
                self.station.spawn(self._await_welcome(decision, checks[index + 1 :]))
                return
        self._greet_in_time()

    async def _await_welcome(
        self, first: Awaitable[Reply | None], rest: tuple[Callable[[Caller], Decision], ...]
    ) -> None:
        try:
            refusal, _ = await ask_on([partial(_of_connection, check, self.caller) for check in rest], first, None)
        except Exception as error:
            self._report(error)
            refusal = LOCAL_ERROR
        self._is_holding_back = False
        if self._is_gone or self._session.state is not State.SILENT:
            return
        if refusal is not None:
            self._greet(refusal)
        else:
            self._greet_in_time()
        self._resume()

    def _greet_in_time(self) -> None:
        """Greet, after the delay that shows who does not wait for it; a timer is all that a waiting caller costs."""
        delay = self.station.greeting_delay
        delay_s = 0.0 if delay is None else delay(self.caller)
        if delay_s > 0:
            self._is_holding_back = True
            asyncio.get_running_loop().call_later(delay_s, self._greet_late)
        else:
            self._greet(None)

    def _greet_late(self) -> None:
        if self._is_gone or self._session.state is not State.SILENT:
            return
        self._is_holding_back = False
        self._greet(None)
        self._resume()

    def _greet(self, refusal: Reply | None) -> None:
        if refusal is not None:
            emit("session.refused", peer=self.caller.peer, reason=str(refusal))
            # A greeting that refuses is 554, or 421 where the client may come again (RFC 5321 §3.1, §3.8).
            refusal = Reply(421 if 400 <= refusal.code < 500 else 554, refusal.lines, refusal.enhanced)
        self._session.greet(refusal)
