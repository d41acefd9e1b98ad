"""Delivery into a mail store by LMTP (RFC 2033), over TCP or a Unix socket: one connection a batch, an answer for each.

The store adds Return-Path and Delivered-To itself. What it says of a recipient is what the sender reads. A store that
cannot be reached, or breaks off, is tried again; those it had answered for by then are not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from postroad.deliver.fitness import fit, rcpt_for
from postroad.net.dialogue import Connection, connect
from postroad.net.endpoint import DialogueError, Endpoint, PhaseTimeouts, TlsMode
from postroad.smtp.errors import LocalProtocolError
from postroad.smtp.outcome import RecipientResult
from postroad.smtp.reply import Reply, reply
from postroad.store.spool import Queued, SpooledMessage

RECIPIENTS_AT_ONCE = 100
_UNSENDABLE = reply(553, "The address cannot be written as a command", "5.1.3")


@dataclass(frozen=True, slots=True, kw_only=True)
class LmtpSettings:
    """`endpoint`: where the store listens; `hello`: our name; `at_once`: connections at a time."""

    endpoint: Endpoint
    hello: str
    timeouts: PhaseTimeouts
    at_once: int = 10


class LmtpDelivery:
    """A transport."""

    def __init__(self, settings: LmtpSettings) -> None:
        self._settings = settings
        self._room = asyncio.Semaphore(settings.at_once)

    async def deliver(self, message: SpooledMessage, queued: Sequence[Queued]) -> Sequence[Reply]:
        """Deliver to recipients; the fate of each as a reply, in order."""
        settings = self._settings
        said: dict[int, Reply] = {}
        async with self._room:
            try:
                connection = await connect(
                    settings.endpoint,
                    hello=settings.hello,
                    tls=TlsMode.NONE,
                    timeouts=settings.timeouts,
                    is_lmtp=True,
                )
            except DialogueError as error:
                return [self._unreached(error)] * len(queued)
            try:
                for start in range(0, len(queued), RECIPIENTS_AT_ONCE):
                    batch = queued[start : start + RECIPIENTS_AT_ONCE]
                    said.update(await self._transact(connection, message, batch))
            finally:
                await connection.quit()
        return [said[one.id] for one in queued]

    async def _transact(
        self, connection: Connection, message: SpooledMessage, batch: Sequence[Queued]
    ) -> dict[int, Reply]:
        """One transaction; the fate of each by its row."""
        offered = connection.capabilities
        # What TLS a hop needs is over here, and a store has nothing to pass on.
        envelope = replace(message.envelope, require_tls=False)
        fitting = fit(envelope, message.body, [one.recipient for one in batch], offered)
        said: dict[int, Reply] = {}
        if fitting.refused:
            said = {one.id: refusal for one, refusal in zip(batch, fitting.refused, strict=True) if refusal is not None}
            batch = [one for one in batch if one.id not in said]
        if fitting.mail is None or not batch:
            return said
        rcpts = [rcpt_for(replace(one.recipient, notify=None), offered) for one in batch]
        try:
            result = await connection.transact(fitting.mail, rcpts, message.body)
        except LocalProtocolError:
            return said | dict.fromkeys((one.id for one in batch), _UNSENDABLE)
        return said | {one.id: self._fate(decided) for one, decided in zip(batch, result.recipients, strict=True)}

    def _fate(self, result: RecipientResult) -> Reply:
        if result.reply is None:
            return self._later(f"{result.detail or 'no answer'} ({result.phase})")
        if result.reply.is_intermediate:
            return self._later(f"it answered {result.reply} where a message had ended")
        return result.reply

    def _unreached(self, error: DialogueError) -> Reply:
        if error.reply is None:
            return self._later(error.detail)
        # A store that refuses all of us says nothing of one mailbox: no 5yz of it is final.
        return self._later(f"it said {error.reply}")

    def _later(self, why: str) -> Reply:
        return reply(451, f"The mail store {self._settings.endpoint} did not take it: {why}", "4.4.1")
