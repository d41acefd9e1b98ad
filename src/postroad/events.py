"""The vocabulary of what happens: each event has a name and a meaning, and one door, `emit`.

Names and fields are an interface (people build alerts on them): `EVENTS` lists them, docs/reference/events.md is made
from it. Values from outside are escaped, secrets never pass, and a log that cannot be written disturbs nobody's mail.
Nothing is logged for each SMTP command. Used from `net` upward; the pure rooms emit nothing.
"""

from __future__ import annotations

import json
import re
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Protocol

from postroad.clock import Clock, SystemClock

EVENTS: Mapping[str, str] = {
    "session.refused": "A connection was turned away at the door: too many in all, or from its address.",
    "session.rejected": "A command or message was refused; `reply` is what was said.",
    "session.closed": "A receiving session ended; `messages` taken, `errors` made.",
    "message.accepted": "A message is safe in the spool, and 250 was said.",
    "message.discarded": "A message was answered 250 and thrown away, as a check said.",
    "auth.succeeded": "A client proved who it is.",
    "auth.barred": "Somebody failed too often: that network, or strangers to that account, are not heard for a while.",
    "quota.exceeded": "A user wants to send more than `limit` allows; he was told when he may again.",
    "auth.unanswered": "The authorization server gave no answer about a token; the client was told to try again.",
    "auth.failed": "A client did not; after too many it is refused unheard for a while.",
    "authentication.result": "Whose mail a message is: what SPF, DKIM, ARC and DMARC came to, and what was done.",
    "ban.entered": "A network or an account was banned for failed attempts; `times` in a row, `postroad ban` shows it.",
    "rate.exceeded": "A client did more than a limit of [rates] allows; told once in a window.",
    "block_list.refused": "A DNS list says that it does not serve our resolver: what it answers is not used.",
    "guard.failed": "What the door remembers could not be read or written: nobody was refused for that.",
    "tls.failed": "A TLS handshake with a client failed; `reason` says why.",
    "tls.policy_failed": "A mail host is not secured as its domain asks; `enforced`: no mail goes there until it is.",
    "tls.policy_unfetched": "A domain announces an MTA-STS policy that cannot be had; `kept`: an older one holds.",
    "tls.report_sent": "A domain was told of yesterday's sessions with its hosts.",
    "tls.report_failed": "It was to be told, and that did not succeed.",
    "tls.book_failed": "Policies or counts of TLS could not be read or written now; mail goes on.",
    "tls.self_signed": "No certificate is configured: one was made, which clients will not trust.",
    "limit.reached": "A limit of the configuration was reached; `limit` names it.",
    "delivery.delivered": "A recipient's message was taken by the next host, or put into the local Maildir.",
    "delivery.deferred": "It was not taken now, and is tried again at `due_at`.",
    "delivery.bounced": "It will never be taken; the sender is told unless he asked not to be.",
    "delivery.dropped": "It will never be taken and nobody can be told: the message was itself a bounce.",
    "message.examined": "The hooks of the queue saw a message; `result` says what they made of it.",
    "hook.failed": "A plugin, milter or rspamd failed or was too slow; `answer` is what counts instead.",
    "hook.resting": "A hook failed several times in a row and is left alone for a while.",
    "return.bounced": "Mail came back to the return address of a message: it counts as its outcome.",
    "return.delayed": "A host that had taken a message told that it takes longer.",
    "return.delivered": "A host further on told that a message arrived.",
    "return.complained": "A recipient complained of a message.",
    "return.ignored": "What came to a return address was no report, and went no further.",
    "return.unknown": "A report came about a message that is not remembered: nothing was learned.",
    "unsubscribe.done": "Somebody left a list: later mail of it to him is refused.",
    "unsubscribe.skipped": "A list message for several recipients got no List-Unsubscribe headers.",
    "alias.astray": "An alias names an address that leads nowhere; the message went to the others of it.",
    "alias.failed": "Aliases, or senders of forwarded mail, could not be read or written now.",
    "dsn.queued": "A delivery status notification to a sender was queued.",
    "site.changed": "What an operator wants of a site has changed: `limits` by their names, `paused_until`.",
    "source.absent": "The system lacks the address of a source: mail leaves from the others, where there are some.",
    "sites.failed": "What is learnt of sites could not be read or kept now: mail goes on without.",
    "spool.failed": "The spool could not keep something now: senders are told 452, nothing was lost.",
    "spool.damaged": "A stored message cannot be read; it was set aside, the rest goes on.",
    "history.mended": "After a crash: the history took `messages` from the spool; `unknown` ends are not on record.",
    "history.failed": "The history of messages could not be written now; it is tried again, mail goes on.",
    "facts.failed": "What was learned of addresses could not be written now; it is tried again, mail goes on.",
    "spool.adopted": "The messages of a worker that no longer exists were taken over.",
    "dkim.failed": "A key of a domain cannot be used; `error` says why, and mail leaves without its signature.",
    "dkim.unsigned": "A message of a domain with keys got no signature; `reason` says why.",
    "dkim.activated": "DNS shows a new key: it signs from now on, and the one before it is retired.",
    "worker.started": "The supervisor started a worker process.",
    "worker.serving": "A worker accepts connections.",
    "worker.died": "A worker ended unasked; it is started again.",
    "worker.failed": "A worker could not go on; `error` says why.",
    "worker.giving_way": "The supervisor drained, and becomes the program as it is now on the disk.",
    "worker.stopped": "A worker ended in order.",
    "log.failed": "The file of the log cannot be written: the log goes to standard error.",
    "config.reloaded": "A changed configuration is in force.",
    "config.refused": "A changed configuration has mistakes: the old one stays in force.",
    "internal.error": "A fault of Postroad's own; please report it. Whoever was served was told 4yz.",
}

LEVELS: Mapping[str, str] = {
    "session.closed": "debug",
    "auth.failed": "warning",
    "auth.barred": "warning",
    "rate.exceeded": "warning",
    "block_list.refused": "warning",
    "guard.failed": "error",
    "tls.self_signed": "warning",
    "tls.policy_failed": "warning",
    "tls.policy_unfetched": "warning",
    "tls.report_failed": "warning",
    "tls.book_failed": "warning",
    "limit.reached": "warning",
    "delivery.bounced": "warning",
    "delivery.dropped": "warning",
    "alias.astray": "warning",
    "alias.failed": "error",
    "facts.failed": "warning",
    "history.failed": "warning",
    "hook.failed": "warning",
    "hook.resting": "warning",
    "dkim.failed": "error",
    "dkim.unsigned": "warning",
    "source.absent": "error",
    "sites.failed": "error",
    "spool.failed": "error",
    "spool.damaged": "error",
    "worker.died": "error",
    "worker.failed": "error",
    "log.failed": "error",
    "config.refused": "error",
    "internal.error": "error",
}
"""The level of each event that is not `info`."""

_RANK = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_SECRETS = frozenset({"password", "secret", "token", "credentials", "authzid", "sasl"})
_MAX_CHARS = 2000
_MAX_FRAMES = 6
_PLAIN = re.compile(r"[^\s\"'=\\]+")


class Stream(Protocol):
    """Where lines go; each is handed over whole."""

    def write(self, text: str, /) -> object: ...

    def flush(self) -> object: ...


@dataclass(frozen=True, slots=True)
class _Log:
    """Where lines go (None: standard error, whatever it is then), which, and in what form."""

    threshold: int = _RANK["info"]
    as_json: bool = False
    stream: Stream | None = None
    clock: Clock = field(default_factory=SystemClock)


_log = _Log()


def configure(
    *, level: str = "info", as_json: bool = False, stream: Stream | None = None, clock: Clock | None = None
) -> None:
    """Set what is logged, and how: a line for people, or JSON. Lines go to standard error, or to `stream`."""
    global _log
    _log = _Log(_RANK[level], as_json, stream, clock or SystemClock())


_watcher: Callable[[str, Mapping[str, object]], None] | None = None


def watch(watcher: Callable[[str, Mapping[str, object]], None] | None) -> None:
    """Have every event told to a watcher too, whatever its level: for counting. It must be quick."""
    global _watcher
    _watcher = watcher


def emit(name: str, **fields: object) -> None:
    """Log one event of the table. Never raises: mail goes on when the log does not."""
    if _watcher is not None:
        try:
            _watcher(name, fields)
        except Exception:  # a count that fails must not cost the mail
            pass
    level = LEVELS.get(name, "info")
    if _RANK[level] < _log.threshold:
        return
    try:
        values = {key: shown(key, value) for key, value in fields.items()}
        stamp = _stamp(_log.clock.wall())
        line = _json_line(stamp, level, name, values) if _log.as_json else plain_line(stamp, level, name, values)
        stream = _log.stream or sys.stderr
        stream.write(line)
        stream.flush()
    except Exception:  # the stream is full, gone, or closed; a value cannot be shown
        return


def _stamp(wall: float) -> str:
    second = int(wall // 1)
    return f"{_second(second)}.{int((wall - second) * 1e6):06d}Z"


@lru_cache(maxsize=4)
def _second(second: int) -> str:
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}"


def shown(key: str, value: object) -> object:
    """A value as a log may carry it: secrets masked, control characters escaped, length bounded (H-05)."""
    if key in _SECRETS:
        return "***"
    if value is None or isinstance(value, bool | int | float):
        return value
    text = _where(value) if isinstance(value, BaseException) else str(value)
    if len(text) > _MAX_CHARS:
        text = text[:_MAX_CHARS] + "…"
    return text if text.isprintable() else escaped(text)


def escaped(text: str) -> str:
    """The text with every character that is not printable as a backslash sequence: one line, safe on a terminal."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)


def _where(fault: BaseException) -> str:
    """A fault of ours on one line: what it is, and the innermost places it passed, the last one first."""
    frames = traceback.extract_tb(fault.__traceback__)[-_MAX_FRAMES:]
    places = " < ".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in reversed(frames))
    return f"{type(fault).__name__}: {fault}" + (f" at {places}" if places else "")


def _json_line(stamp: str, level: str, name: str, values: Mapping[str, object]) -> str:
    return json.dumps({**values, "event": name, "level": level, "timestamp": stamp}, ensure_ascii=True) + "\n"


def plain_line(stamp: str, level: str, name: str, values: Mapping[str, object]) -> str:
    """`time level name key=value …`; a value that could be mistaken for another field is quoted. `values`: as `shown`
    gives them."""
    told = "".join([f" {key}={_quoted(value)}" for key, value in values.items()])
    return f"{stamp} {level:<7} {name}{told}\n"


def _quoted(value: object) -> str:
    if not isinstance(value, str):
        return "-" if value is None else str(value)
    return value if _PLAIN.fullmatch(value) else json.dumps(value, ensure_ascii=False)
