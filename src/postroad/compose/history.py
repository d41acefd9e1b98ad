"""What the worker notes in the ledger: acceptances, attempts, what came back; and what is read from it again."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path

from postroad.clock import Clock
from postroad.config import Config
from postroad.deliver.returns import Original, Return
from postroad.deliver.settle import Judgement, Verdict
from postroad.events import emit
from postroad.message.headers import first_value, unfold
from postroad.smtp.address import NULL, Address, AddressError
from postroad.store.behind import Behind
from postroad.store.ledger import Accepted, Entry, Ledger, Note, Story, Tried
from postroad.store.ledger_mend import Mended, mend
from postroad.store.queue_admin import QueueAdmin
from postroad.store.spool import Deferred, SpooledMessage, SpoolError

DAY_S = 86_400.0
PRUNE_S = 600.0
MEND_AFTER_S = 3.0
"""All workers have opened their part of the spool by then."""
MAX_HEADER_CHARS = 500
LOOKED_AT_OCTETS = 16_384
"""Of a message, for its Message-ID and subject."""


def ledger_path(config: Config) -> Path:
    """Where the history is."""
    return Path(config.server.state_dir) / "ledger.db"


class History:
    """One for a worker. Notes on the event loop, writes behind it."""

    def __init__(self, config: Config, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._path = ledger_path(config)
        self._opened: Ledger | None = None
        self._opening = threading.Lock()
        self._started_at = clock.wall()
        self._is_mended = False
        self.behind: Behind[Entry | _Attempted | _Came] = Behind(self._write, on_trouble=_report)

    def use(self, config: Config) -> None:
        """From now on, by this configuration."""
        self._config = config

    def accepted(self, message: SpooledMessage, *, about: int | None = None) -> None:
        """A message is safe."""
        if self._config.history.enabled:
            self.behind.add(_Came(message, about, self._config.history.subjects))

    def settled(
        self, message: SpooledMessage, judgement: Judgement, bounces: Sequence[SpooledMessage], at: float
    ) -> None:
        """An attempt's outcome is durable."""
        if not self._config.history.enabled:
            return
        dialogues = self._config.history.dialogues
        told: dict[int, str] = {}
        for verdict in judgement.verdicts:
            said, told_with = verdict.outcome.said, None
            if said is not None and len(judgement.verdicts) > 1:
                address = str(verdict.queued.recipient.address)
                first = told.setdefault(id(said), address)
                told_with = None if first == address else first
            self.behind.add(_Attempted(message.id, verdict, at, dialogues, told_with))
        for bounce in bounces:
            self.accepted(bounce, about=message.id)

    def heard(self, returned: Return) -> None:
        """Something came back later."""
        if self._config.history.enabled and returned.message_id is not None:
            self.behind.add(
                Note(
                    message_id=returned.message_id,
                    at=returned.at,
                    address=returned.address,
                    what=str(returned.happened),
                    said=returned.said,
                )
            )

    async def upkeep(self) -> None:
        """Bring it in line with the spool after a crash, and forget what is older than the configuration wants."""
        await asyncio.sleep(MEND_AFTER_S)
        while True:
            if not self._is_mended and self._config.history.enabled:
                await self._mend()
            settings = self._config.history
            before = self._clock.wall() - settings.days * DAY_S
            try:
                await asyncio.get_running_loop().run_in_executor(None, self._prune, before, settings.messages)
            except Exception as error:
                _report(error, self.behind.dropped)
            await asyncio.sleep(PRUNE_S)

    async def _mend(self) -> None:
        def mend_now() -> Mended:
            with QueueAdmin(Path(self._config.server.state_dir) / "spool") as queue:
                return mend(self._ledger(), queue, before=self._started_at)

        try:
            done = await asyncio.get_running_loop().run_in_executor(None, mend_now)
        except SpoolError as error:
            _report(error, self.behind.dropped)
            return
        self._is_mended = True
        if done.messages or done.unknown:
            emit("history.mended", messages=done.messages, unknown=done.unknown)

    async def original(self, message_id: int) -> Original | None:
        """A message that left, for what comes back about it (deliver/returns.py)."""
        await self.behind.flush()
        story = await asyncio.get_running_loop().run_in_executor(None, self._story, message_id)
        if story is None or not story.accepted.peer:
            return None
        sender = story.accepted.sender
        try:
            reverse_path = Address.parse(sender, smtputf8=True) if sender else NULL
        except AddressError:
            return None
        recipients = [(row or 0, address) for row, address in story.accepted.recipients]
        return Original(reverse_path=reverse_path, recipients=recipients)

    async def by_header(self, message_id_header: str) -> int | None:
        """The message with that Message-ID."""

        def find() -> int | None:
            return self._ledger().by_header(message_id_header)

        return await asyncio.get_running_loop().run_in_executor(None, find)

    async def close(self) -> None:
        """Write what was noted last."""
        await self.behind.flush()
        if self._opened is not None:
            self._opened.close()

    # In a thread ------------------------------------------------------------------------------------------------

    def _ledger(self) -> Ledger:
        """Opened when it is first needed: a history that cannot be read keeps no server from carrying mail. Raises
        SpoolError."""
        with self._opening:
            if self._opened is None:
                self._opened = Ledger(self._path)
            return self._opened

    def _story(self, message_id: int) -> Story | None:
        return self._ledger().story(message_id)

    def _prune(self, before: float, most: int) -> int:
        return self._ledger().prune(before, most) if self._path.exists() else 0

    def _write(self, batch: Sequence[Entry | _Attempted | _Came]) -> None:
        """Here text is made of what was only held on to."""
        try:
            self._ledger().write([_entry(one) for one in batch])
        except SpoolError:
            raise
        except Exception as error:
            if len(batch) == 1:  # written alone it fails alone: it would hold up all that comes after it
                _report(error, self.behind.dropped)
                return
            for one in batch:
                self._write([one])


def _entry(one: Entry | _Attempted | _Came) -> Entry:
    return one.entry() if isinstance(one, _Attempted | _Came) else one


class _Attempted:
    """A verdict, until there is time to write it down."""

    __slots__ = ("_at", "_keeps_dialogue", "_message_id", "_told_with", "_verdict")

    def __init__(
        self, message_id: int, verdict: Verdict, at: float, keeps_dialogue: bool, told_with: str | None
    ) -> None:
        self._told_with = told_with
        self._message_id = message_id
        self._verdict = verdict
        self._at = at
        self._keeps_dialogue = keeps_dialogue

    def entry(self) -> Tried:
        outcome, queued, kept = self._verdict.outcome, self._verdict.queued, self._verdict.kept
        said = outcome.said
        return Tried(
            message_id=self._message_id,
            row=queued.id,
            address=str(queued.recipient.address),
            number=queued.attempts + 1,
            at=self._at,
            outcome=str(self._verdict.fate),
            host=outcome.host + (f"[{said.address}]" if said is not None and said.address else ""),
            phase=str(outcome.phase),
            reply=str(outcome.reply) if outcome.reply is not None else outcome.detail,
            meaning="outcome_unknown" if outcome.is_unknown else str(outcome.meaning.kind),
            rule=outcome.meaning.rule,
            due_at=kept.due_at if isinstance(kept, Deferred) else None,
            secured=said.secured if said is not None else "",
            dialogue=said.dialogue() if said is not None and self._keeps_dialogue and not self._told_with else None,
            source=said.source if said is not None else "",
            told_with=self._told_with if self._keeps_dialogue else None,
        )


class _Came:
    """A message that came, until there is time to write it down; of its body only the beginning is held."""

    __slots__ = ("_about", "_envelope", "_head", "_held", "_id", "_keeps_subject", "_received_at", "_size", "_trace")

    def __init__(self, message: SpooledMessage, about: int | None, keeps_subject: bool) -> None:
        self._keeps_subject = keeps_subject
        self._id = message.id
        self._received_at = message.received_at
        self._envelope = message.envelope
        self._trace = message.trace
        self._held = message.held
        self._size = len(message.body)
        self._head = message.body[:LOOKED_AT_OCTETS]
        self._about = about

    def entry(self) -> Accepted:
        trace = self._trace
        header_id = first_value(self._head, b"message-id")
        subject = first_value(self._head, b"subject") if self._keeps_subject else None
        return Accepted(
            id=self._id,
            at=self._received_at,
            sender=str(self._envelope.reverse_path),
            user=trace.user,
            peer=trace.peer or "this server",
            helo=trace.helo,
            protocol=trace.protocol,
            size=self._size,
            header_id=None if header_id is None else unfold(header_id)[:MAX_HEADER_CHARS],
            subject=None if subject is None else unfold(subject)[:MAX_HEADER_CHARS],
            listener=trace.listener,
            secured=trace.secured,
            recipients=tuple((None, str(one.address)) for one in self._envelope.recipients),
            held=self._held,
            about=self._about,
        )


def _report(error: Exception, dropped: int) -> None:
    emit("history.failed", error=str(error), dropped=dropped)
