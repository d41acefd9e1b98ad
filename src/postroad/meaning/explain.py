"""Lines of replies read from anywhere, logs, bounces or JSON, and what is to be said of each.

Pure. A line is plain text («550 5.1.1 User unknown», with or without code and status) or a JSON object; replies of
several lines («550-…», «550 …») are joined. Whatever comes in, something is said of it. Read by the `explain` command.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from postroad.meaning.classify import Meaning, classify, classify_text
from postroad.smtp.outcome import Phase
from postroad.smtp.reply import Reply
from postroad.smtp.status import EnhancedStatus

MAX_CHARS = 4000
"""Of a reply's text that are kept and told."""
MAX_LINES = 100
"""Of one reply; those beyond begin another one."""

_CODE = re.compile(
    r"[\s\"'<>]{0,20}(?:(?:smtp|x-[a-z-]{1,30})\s{0,9};\s{0,9})?([245][0-9]{2}|354)(?![\w.])[-\s:;,#]{0,9}",
    re.IGNORECASE,
)
_QUOTED = re.compile(r"(?:said|\]|server|was|returned|failure):\s{0,3}'?([45][0-9]{2})[ -](?=\S)")
"""A reply within what a bounce says of it: `host mx.example said: 550 …`."""
_STATUS = re.compile(r"#?([245]\.[0-9]{1,3}\.[0-9]{1,3})(?![0-9.])[\s:;=#-]{0,9}")
_CONTINUED = re.compile(r"[245][0-9]{2}-")
_PHASES = {phase.value: phase for phase in Phase}


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One reply as it was found. `code` None: it had none."""

    code: int | None
    enhanced: EnhancedStatus | None
    text: str
    phase: Phase = Phase.RCPT
    provider: str | None = None


def joined(lines: Iterable[str]) -> Iterator[list[str]]:
    """The lines of each reply together: a line that begins `550-` goes on while the next one has the same code.

    What bounces quote on one line, with every prefix in it (`550-5.1.1 No such 550 5.1.1 user`), is whole already."""
    open_lines: list[str] = []
    for line in lines:
        code = line[:3]
        if open_lines:
            if line[:3] == open_lines[0][:3] and line[3:4] in ("-", " ", "") and len(open_lines) < MAX_LINES:
                open_lines.append(line)
                if line[3:4] != "-":
                    yield open_lines
                    open_lines = []
                continue
            yield open_lines
            open_lines = []
        if _CONTINUED.match(line) and f" {code} " not in line:
            open_lines = [line]
        else:
            yield [line]
    if open_lines:
        yield open_lines


def read(lines: list[str]) -> Said:
    """The reply that these lines are: of text, or one line of JSON."""
    if len(lines) == 1 and lines[0].lstrip().startswith("{"):
        found = _object(lines[0])
        if found is not None:
            return _from_object(found)
    first = _of_text(lines[0])
    rest = [_status(line[4:], first.code)[1] for line in lines[1:]]
    return replace(first, text=" ".join([first.text, *rest]).strip()[:MAX_CHARS])


def _of_text(text: str, code: int | None = None) -> Said:
    """`code`: what is known of it; the same one at the head of the text is taken off."""
    text = " ".join(text[: 2 * MAX_CHARS].split())
    found = _CODE.match(text) or _QUOTED.search(text)
    if found is not None and code in (None, int(found[1])):
        code, text = int(found[1]), text[found.end() :]
    status, text = _status(text, code)
    return Said(code=code, enhanced=status, text=text[:MAX_CHARS])


def _status(text: str, code: int | None) -> tuple[EnhancedStatus | None, str]:
    """The enhanced status at the head of a text, if it agrees with the code, and the rest."""
    found = _STATUS.match(text)
    if found is None or (code is not None and int(found[1][0]) != code // 100):
        return None, text.strip()
    return EnhancedStatus.parse(found[1]), text[found.end() :].strip()


def _object(line: str) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _from_object(row: dict[str, Any]) -> Said:
    """Every field may be absent, null or of another type; `line` is read where there is no `text`."""
    text = row.get("text")
    if not isinstance(text, str):
        line = row.get("line")
        text = line if isinstance(line, str) else ""
    inner = _of_text(text, _code(row.get("code")))
    enhanced = row.get("enhanced")
    status = EnhancedStatus.parse(enhanced.strip()) if isinstance(enhanced, str) else None
    phase = row.get("phase")
    provider = row.get("provider")
    return Said(
        code=inner.code,
        enhanced=status or inner.enhanced,
        text=inner.text,
        phase=_PHASES.get(phase.lower(), Phase.RCPT) if isinstance(phase, str) else Phase.RCPT,
        provider=provider if isinstance(provider, str) else None,
    )


def _code(value: object) -> int | None:
    """A reply code given as a number or as text; None for whatever is none."""
    if isinstance(value, str):
        value = int(value) if re.fullmatch(r"\s{0,3}[0-9]{3}\s{0,3}", value, re.ASCII) else None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if type(value) is int and 100 <= value <= 999 else None


def explained(said: Said) -> dict[str, Any]:
    """What is to be said of a reply: always every field.

    `retry` is true where another try may help (`bounce` is soft). Delivery's own rule is stricter and wider
    (Meaning.retry): it ends at a 5yz, and comes back to a host that refused it at the door."""
    meaning = meaning_of(said)
    return {
        "code": said.code,
        "enhanced": str(said.enhanced) if said.enhanced else None,
        "text": said.text,
        "meaning": meaning.kind.value,
        "bounce": meaning.bounce,
        "retry": meaning.bounce == "soft",
        "suppress": meaning.suppress,
        "mailbox": meaning.mailbox,
        "rule": meaning.rule,
        "confidence": meaning.confidence,
    }


def meaning_of(said: Said) -> Meaning:
    """What it means, with its code or by its words alone."""
    if said.code is None:
        return classify_text(said.phase, said.text, said.enhanced, said.provider)
    return classify(said.phase, Reply(said.code, (said.text,), said.enhanced), said.provider)
