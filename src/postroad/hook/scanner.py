"""Hooks as the server asks them: each with a time limit, a defined answer where it fails, and a rest when it is dead.

`scan` never raises: a plugin with a fault, a milter that is gone and an rspamd that is slow are answered for by
`on_failure`. After BREAK_AFTER failures in a row a hook is left alone for BREAK_S, so that a dead scanner does not hold
every sender for its whole time limit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import httpx

from postroad.events import emit
from postroad.hook import plugin as plugins
from postroad.hook import rspamd
from postroad.hook.amend import HookFault
from postroad.hook.milter import ask_milter
from postroad.hook.milter_packet import MilterError
from postroad.hook.vocabulary import Answer, Arrived, Client, Defer, EarlyAnswer, Hold, Settled
from postroad.net.channel import open_channel
from postroad.smtp.address import Address, NullPath
from postroad.smtp.reply import reply

BREAK_AFTER = 5
BREAK_S = 30.0
OnFailure = Literal["accept", "defer", "hold"]
_NOT_NOW = reply(451, "The message cannot be examined now: try again later", "4.7.1")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScannerSettings:
    """`is_after`: asked when the message is in the queue, not while its sender waits."""

    name: str
    timeout_s: float = 30.0
    on_failure: OnFailure = "accept"
    is_after: bool = False
    max_octets: int = 1 << 26
    """Larger messages are not examined."""
    listeners: frozenset[str] = frozenset({"mx", "submission", "submissions"})


class Asked(Protocol):
    """What a kind of hook does: an answer on a message. May raise whatever goes wrong."""

    async def message(self, arrived: Arrived) -> Answer: ...

    async def early(self, stage: str, *values: object) -> EarlyAnswer:
        """connect, hello, mail, rcpt: with the client, the sender, the recipient."""
        ...

    def hears(self, stage: str) -> bool:
        """Whether it wants to be asked at that stage."""
        ...

    async def settled(self, what: Settled) -> None: ...

    async def close(self) -> None: ...


class Scanner:
    """One hook. `now`: the loop's clock."""

    def __init__(self, settings: ScannerSettings, asked: Asked, now: Callable[[], float]) -> None:
        self.settings = settings
        self._asked = asked
        self._now = now
        self._failures = 0
        self._rests_until = 0.0

    def hears(self, stage: str) -> bool:
        """Whether it is asked at that stage: connect, hello, mail, rcpt, message, settled."""
        return self._asked.hears(stage)

    async def scan(self, arrived: Arrived) -> Answer:
        """Its answer on a message, or that of its failure."""
        if len(arrived.octets) > self.settings.max_octets or arrived.client.listener not in self.settings.listeners:
            return None
        answer: Answer = await self._ask(lambda: self._asked.message(arrived), self._failed(), arrived.queue_id)
        return answer

    async def early(self, stage: str, client: Client, *values: Address | NullPath) -> EarlyAnswer:
        """Its answer before there is a message; a hook that fails then has no objection yet."""
        if client.listener not in self.settings.listeners:
            return None
        answer: EarlyAnswer = await self._ask(lambda: self._asked.early(stage, client, *values), None, "")
        return answer

    async def settled(self, what: Settled) -> None:
        """Tell it what became of a recipient."""
        await self._ask(lambda: self._asked.settled(what), None, what.queue_id)

    async def close(self) -> None:
        """Ask it no more."""
        await self._asked.close()

    def _failed(self) -> Answer:
        match self.settings.on_failure:
            case "defer":
                return Defer(_NOT_NOW)
            case "hold":
                return Hold(f"{self.settings.name} did not examine it")
        return None

    async def _ask(self, ask: Callable[[], Awaitable[Any]], failed: Any, queue_id: str) -> Any:
        if self._now() < self._rests_until:
            return failed
        try:
            async with asyncio.timeout(self.settings.timeout_s):
                answer = await ask()
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self._note_failure(error, queue_id)
            return failed
        self._failures = 0
        return answer

    def _note_failure(self, error: Exception, queue_id: str) -> None:
        self._failures += 1
        if isinstance(error, TimeoutError):
            why = f"no answer within {self.settings.timeout_s:g} s"
        elif isinstance(error, HookFault | MilterError | OSError | ValueError | httpx.HTTPError):
            why = f"{type(error).__name__}: {error}" if not str(error) else str(error)
        else:
            why = f"{type(error).__name__}: {error}"
        emit("hook.failed", hook=self.settings.name, reason=why, answer=self.settings.on_failure, queue_id=queue_id)
        if self._failures >= BREAK_AFTER:
            self._rests_until = self._now() + BREAK_S
            emit("hook.resting", hook=self.settings.name, seconds=BREAK_S)


class AskedMilter:
    """A milter at `HOST:PORT` or `unix:/path`."""

    def __init__(self, place: str) -> None:
        self._place = place

    async def message(self, arrived: Arrived) -> Answer:
        channel = await open_channel(self._place)
        try:
            return await ask_milter(channel, arrived)
        finally:
            channel.close()

    async def early(self, stage: str, *values: object) -> EarlyAnswer:
        return None

    def hears(self, stage: str) -> bool:
        return stage == "message"

    async def settled(self, what: Settled) -> None:
        return None

    async def close(self) -> None:
        return None


class AskedRspamd:
    """rspamd's worker at `url`; one client, whose connections are used again."""

    def __init__(self, url: str, password: str = "", *, connections: int = 20) -> None:
        self._url = f"{url.rstrip('/')}/checkv2"
        self._password = password
        limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
        # The scanner's own limit is shorter; proxies of the environment are not for a service beside us.
        self._client = httpx.AsyncClient(limits=limits, timeout=600.0, trust_env=False, follow_redirects=False)

    async def message(self, arrived: Arrived) -> Answer:
        headers = rspamd.request_headers(arrived, self._password)
        async with self._client.stream("POST", self._url, headers=headers, content=arrived.octets) as response:
            octets = b""
            async for piece in response.aiter_bytes():
                octets += piece
                if len(octets) > rspamd.MAX_ANSWER_OCTETS:
                    raise HookFault("rspamd's answer does not end")
        if response.status_code != 200:
            raise HookFault(f"rspamd answered {response.status_code}")
        return rspamd.answer(octets)

    async def early(self, stage: str, *values: object) -> EarlyAnswer:
        return None

    def hears(self, stage: str) -> bool:
        return stage == "message"

    async def settled(self, what: Settled) -> None:
        return None

    async def close(self) -> None:
        await self._client.aclose()


class AskedPlugin:
    """A plugin's methods (hook/plugin.py)."""

    def __init__(self, plugin: Any) -> None:
        self._plugin = plugin

    async def message(self, arrived: Arrived) -> Answer:
        answer: Answer = await plugins.call(self._plugin, "message", arrived)
        return answer

    async def early(self, stage: str, *values: object) -> EarlyAnswer:
        answer: EarlyAnswer = await plugins.call(self._plugin, stage, *values)
        return answer

    def hears(self, stage: str) -> bool:
        return hasattr(self._plugin, stage)

    async def settled(self, what: Settled) -> None:
        await plugins.call(self._plugin, "settled", what)

    async def close(self) -> None:
        return None
