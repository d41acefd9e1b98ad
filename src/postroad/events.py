"""The vocabulary of what happens: each event has a name and a meaning, and one door, `emit`.

Names and fields are an interface (people build alerts on them): `EVENTS` lists them, docs/reference/events.md is made
from it. Values from outside are escaped, secrets never pass. Used from `net` upward; the pure rooms emit nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import structlog

EVENTS: Mapping[str, str] = {
    "session.refused": "A connection was turned away at the door: too many in all, or from its address.",
    "session.rejected": "A command or message was refused; `reply` is what was said.",
    "session.closed": "A receiving session ended; `messages` taken, `errors` made.",
    "message.accepted": "A message is safe in the spool, and 250 was said.",
    "auth.succeeded": "A client proved who it is.",
    "auth.failed": "A client did not; after too many it is refused unheard for a while.",
    "tls.failed": "A TLS handshake with a client failed; `reason` says why.",
    "tls.self_signed": "No certificate is configured: one was made, which clients will not trust.",
    "limit.reached": "A limit of the configuration was reached; `limit` names it.",
    "delivery.delivered": "A recipient's message was taken by the next host, or put into the local Maildir.",
    "delivery.deferred": "It was not taken now, and is tried again at `due_at`.",
    "delivery.bounced": "It will never be taken; the sender is told unless he asked not to be.",
    "delivery.dropped": "It will never be taken and nobody can be told: the message was itself a bounce.",
    "dsn.queued": "A delivery status notification to a sender was queued.",
    "spool.failed": "The spool could not keep something now: senders are told 452, nothing was lost.",
    "spool.damaged": "A stored message cannot be read; it was set aside, the rest goes on.",
    "spool.adopted": "The messages of a worker that no longer exists were taken over.",
    "worker.started": "The supervisor started a worker process.",
    "worker.serving": "A worker accepts connections.",
    "worker.died": "A worker ended unasked; it is started again.",
    "worker.failed": "A worker could not go on; `error` says why.",
    "worker.stopped": "A worker ended in order.",
    "config.reloaded": "A changed configuration is in force.",
    "config.refused": "A changed configuration has mistakes: the old one stays in force.",
    "internal.error": "A fault of Postroad's own; please report it. Whoever was served was told 4yz.",
}

_LEVELS: Mapping[str, str] = {
    "session.closed": "debug",
    "session.rejected": "info",
    "auth.failed": "warning",
    "tls.self_signed": "warning",
    "limit.reached": "warning",
    "delivery.bounced": "warning",
    "delivery.dropped": "warning",
    "spool.failed": "error",
    "spool.damaged": "error",
    "worker.died": "error",
    "worker.failed": "error",
    "config.refused": "error",
    "internal.error": "error",
}
_RANK = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_SECRETS = frozenset({"password", "secret", "token", "credentials", "authzid"})
_MAX_VALUE = 2000

_threshold = 20
_logger: Any = None


def configure(*, level: str = "info", as_json: bool = False) -> None:
    """Set what is logged, and how: a line for people, or JSON. Lines go to standard error."""
    global _threshold, _logger
    _threshold = _RANK[level]
    renderer: Any = (
        structlog.processors.JSONRenderer(ensure_ascii=True)
        if as_json
        else structlog.dev.ConsoleRenderer(colors=False, pad_event_to=0)
    )
    structlog.configure(
        processors=[structlog.processors.TimeStamper(fmt="iso", utc=True), renderer],
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    _logger = structlog.get_logger()


def emit(name: str, **fields: object) -> None:
    """Log one event of the table."""
    level = _LEVELS.get(name, "info")
    if _RANK[level] < _threshold:
        return
    if _logger is None:
        configure()
    _logger.msg(name, level=level, **{key: shown(key, value) for key, value in fields.items()})


def shown(key: str, value: object) -> object:
    """A value as a log may carry it: secrets masked, control characters escaped, length bounded."""
    if key in _SECRETS:
        return "***"
    if value is None or isinstance(value, bool | int | float):
        return value
    text = str(value)
    if len(text) > _MAX_VALUE:
        text = text[:_MAX_VALUE] + "…"
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")
