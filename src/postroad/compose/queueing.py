"""What goes first, from the configuration."""

from __future__ import annotations

from postroad.config import Config
from postroad.receive.priority import Priorities, SenderPriority


def priorities(config: Config) -> Priorities:
    """How urgent a message is."""
    queueing = config.queueing
    return Priorities(
        senders={
            one.name.strip().lower(): SenderPriority(given=one.priority, highest=one.highest_priority)
            for one in config.sender
        },
        bulk=queueing.bulk_priority if queueing.bulk_headers and queueing.bulk_priority < 0 else None,
    )
