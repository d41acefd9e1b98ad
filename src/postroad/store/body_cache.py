"""Bodies just committed, kept in memory, so that a delivery that follows at once reads nothing from the disk.

Used by the SQLite spool alone."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from postroad.message.envelope import Recipient
    from postroad.store.spool import Queued, SpooledMessage

ROW_BYTES = 512
"""What a message costs in memory and in a batch besides its body, roughly."""


class _Cached:
    __slots__ = ("left", "message", "size")

    def __init__(self, message: SpooledMessage, left: dict[int, Recipient]) -> None:
        self.message = message
        self.left = left
        self.size = len(message.body) + ROW_BYTES


class BodyCache:
    """Messages by id with their unsettled recipients, the least recently used ones dropped beyond `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: OrderedDict[int, _Cached] = OrderedDict()
        self.size_bytes = 0

    def put(self, message: SpooledMessage, left: dict[int, Recipient]) -> None:
        entry = _Cached(message, left)
        if entry.size > self._limit:
            return
        self.drop(message.id)
        self._entries[message.id] = entry
        self.size_bytes += entry.size
        while self.size_bytes > self._limit:
            self.size_bytes -= self._entries.popitem(last=False)[1].size

    def get(self, message_id: int) -> SpooledMessage | None:
        entry = self._entries.get(message_id)
        if entry is None:
            return None
        self._entries.move_to_end(message_id)
        message = entry.message
        if len(entry.left) != len(message.envelope.recipients):
            message = replace(message, envelope=replace(message.envelope, recipients=tuple(entry.left.values())))
            entry.message = message
        return message

    def settled(self, queued: Queued) -> None:
        entry = self._entries.get(queued.message_id)
        if entry is not None:
            entry.left.pop(queued.id, None)
            if not entry.left:
                self.drop(queued.message_id)

    def drop(self, message_id: int) -> None:
        entry = self._entries.pop(message_id, None)
        if entry is not None:
            self.size_bytes -= entry.size

    def clear(self) -> None:
        self._entries.clear()
        self.size_bytes = 0
