"""rspamd asked over HTTP (`POST /checkv2`): what it is told, and what its answer means. Pure.

Only what the protocol promises is used: the action, and the headers of its milter block. `scanner` asks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from postroad.hook.amend import HookFault
from postroad.hook.vocabulary import (
    AddHeader,
    Amend,
    Answer,
    Arrived,
    Change,
    ChangeHeader,
    Defer,
    Discard,
    Hold,
    Refuse,
)
from postroad.smtp.address import NullPath
from postroad.smtp.reply import reply

_SPAM = "The message looks like spam"
MAX_ANSWER_OCTETS = 1 << 22


def request_headers(arrived: Arrived, password: str = "") -> list[tuple[str, str]]:
    """What is told of the client and the envelope beside the message."""
    client = arrived.client
    told = [
        ("IP", client.address),
        ("Helo", client.hello),
        ("Hostname", client.host_name),
        ("From", "" if isinstance(arrived.sender, NullPath) else str(arrived.sender)),
        *(("Rcpt", str(address)) for address in arrived.recipients),
        ("User", client.user or ""),
        ("Queue-Id", arrived.queue_id),
        ("MTA-Name", arrived.hostname),
        ("MTA-Tag", "postroad"),
        ("TLS-Version", "TLS" if client.is_tls else ""),
        ("Password", password),
    ]
    return [(name, _one_line(value)) for name, value in told if value]


def _one_line(value: str) -> str:
    """Text of strangers as the value of an HTTP header (H-06)."""
    return "".join(one if " " <= one <= "~" else "?" for one in value)


def answer(octets: bytes) -> Answer:
    """What an answer asks for. Raises HookFault for what is none."""
    try:
        told = json.loads(octets)
    except ValueError:
        raise HookFault("rspamd answered something that is no JSON") from None
    if not isinstance(told, dict) or not isinstance(told.get("action"), str):
        raise HookFault("rspamd named no action")
    changes = tuple(_changes(told))
    words = _words(told)
    match told["action"]:
        case "reject":
            return Refuse(reply(550, words or _SPAM, "5.7.1"))
        case "soft reject":
            return Defer(reply(451, words or "Try again later", "4.7.1"))
        case "greylist":
            return Defer(reply(451, words or "Greylisted: try again later", "4.7.1"))
        case "discard":
            return Discard()
        case "quarantine":
            return Amend(changes, hold=words or "quarantined by rspamd") if changes else Hold(words or "quarantined")
        case "add header":
            return Amend((*changes, AddHeader("X-Spam", "Yes")))
        case "rewrite subject":
            subject = told.get("subject")
            again = (ChangeHeader("Subject", 1, subject),) if isinstance(subject, str) else ()
            return Amend((*changes, *again))
        case "no action":
            return Amend(changes) if changes else None
        case other:
            raise HookFault(f"rspamd named an action that is not known: {other[:40]!a}")


def _words(told: Mapping[str, Any]) -> str:
    """What rspamd wants the sender to hear."""
    messages = told.get("messages")
    words = messages.get("smtp_message") if isinstance(messages, dict) else None
    return _one_line(words)[:400] if isinstance(words, str) else ""


def _changes(told: Mapping[str, Any]) -> list[Change]:
    block = told.get("milter")
    if not isinstance(block, dict):
        return []
    changes: list[Change] = []
    removed = block.get("remove_headers")
    for name, occurrence in removed.items() if isinstance(removed, dict) else ():
        # 0: every one of that name; the last first, so that the places of the others stay.
        numbers = range(50, 0, -1) if occurrence == 0 else (abs(int(occurrence)),) if _is_number(occurrence) else ()
        changes += [ChangeHeader(str(name), number, None) for number in numbers]
    added = block.get("add_headers")
    for name, values in added.items() if isinstance(added, dict) else ():
        for value in values if isinstance(values, list) else [values]:
            changes += _added(str(name), value)
    return changes


def _added(name: str, value: Any) -> list[Change]:
    if isinstance(value, str):
        return [AddHeader(name, value)]
    if isinstance(value, dict) and isinstance(value.get("value"), str):
        at: Any = value.get("order")
        return [AddHeader(name, value["value"], int(at) if _is_number(at) and at >= 0 else None)]
    return []


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
