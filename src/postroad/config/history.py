"""Settings of the history of messages."""

from __future__ import annotations

from dataclasses import dataclass

from postroad.config.setting import setting


@dataclass(frozen=True, slots=True, kw_only=True)
class HistorySection:
    """What is remembered of messages when they have left the queue, for `postroad trace`."""

    enabled: bool = setting(True, "Whether messages, attempts and what came back are remembered.")
    days: float = setting(30.0, "For how long.", low=0.01, high=3650)
    messages: int = setting(5_000_000, "How many at most; the oldest go.", low=1000, high=1_000_000_000)
    subjects: bool = setting(False, "Whether their subjects are remembered too: they often tell more than the rest.")
    dialogues: bool = setting(True, "Whether the dialogue of each attempt is remembered, without the message.")
