"""The remote host's own reply, found in what a mail system wrote around it: code, enhanced status, and the words.

A notice says the same thing several times over: in fields, in a paragraph, in a transcript. Each is a candidate; the
first whose words mean something to `classify` decides. Pure and never raising.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass

from postroad.meaning.bounce_text import KEPT, formats
from postroad.meaning.classify import Kind, Meaning, classify, classify_text
from postroad.smtp.outcome import Phase
from postroad.smtp.reply import Reply
from postroad.smtp.status import EnhancedStatus

MAX_DIAGNOSTIC = 2_000
"""Characters of the remote's words that are reported."""
MAX_READ = 1_000
"""Characters of them whose meaning is looked for."""

_STATUS = r"[245]\.\d{1,3}\.\d{1,3}"
_SURE = re.compile(rf"(?:^|(?<=[^\w.]))([45]\d\d)(?:[ -]|[:,] ?)['#]?({_STATUS})(?![\d.]*\d)")
_FIRST = re.compile(r"\W{0,3}([45]\d\d)(?=[\s:;,-]|$)")
_OF_LINE = re.compile(r"^[ \t]*([45]\d\d)(?=[ -]\D)", re.MULTILINE)
_AFTER_COLON = re.compile(r"(?:[:;>]|\],|said|smtp|['\"(\[])\s*[\[#]?([45]\d\d)(?=[ :;-]|$)", re.IGNORECASE)
_NAMED = re.compile(
    r"(?:error|reply|response|smtp|status|return)[ _-]*code\b\s*(?:is|was)?\s*[:=]?\s*\W?([45]\d\d)\b", re.I
)
_ANY_STATUS = re.compile(rf"(?:^|(?<=[^\w.]))({_STATUS})(?![\w.]*\d)(?!\w)")
_TRAIL = re.compile(
    r"\s*(?:\(in reply to .{1,60}|\[(?:RCPT_TO|MAIL_FROM|DATA|BODY|CONNECT)\]\s*|\(state \d+\)\.?)$"
    r"|\s*giving up on [\d.]{7,15}\.?\s*$",
    re.I,
)
_SPACE = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Said:
    """One thing that was said. `words` whole; `code` and `status` as they stand in them."""

    words: str
    code: int | None = None
    status: str | None = None

    def __bool__(self) -> bool:
        return bool(self.words)


NOTHING = Said("")
EXPIRED = "4.4.7"
"""The message waited too long (RFC 3463): for what, other words may tell."""


@functools.lru_cache(maxsize=KEPT)
def find(words: str) -> Said:
    """The remote's reply in these words, without what stands before it; or the words, where they hold none."""
    words = words[: 2 * MAX_DIAGNOSTIC]
    lead = _last_lead(words)
    for text in (words[lead:], words) if lead else (words,):
        at = _code_at(text)
        if at is not None:
            code, start = at
            said = _unclosed(one_line(text[start:].partition("\n\n")[0]))
            found = Said(said, code, _status_of(said, code) or _status_of(one_line(words), code))
            return _cause(found) if found.status == EXPIRED or "expired" in said[:60] else found
    text = one_line(words[lead:]) or one_line(words)
    named = _NAMED.search(words)
    code_named = int(named[1]) if named else None
    return Said(text, code_named, _status_of(one_line(words), code_named))


def _cause(expired: Said) -> Said:
    """What a message waited for until it was too old, where that is told behind; else that it was too old."""
    for found in _SURE.finditer(expired.words, 8):
        said = _unclosed(one_line(expired.words[found.start(1) :]))
        return Said(said, int(found[1]), _status_of(said, int(found[1])) or found[2])
    return expired


def _last_lead(words: str) -> int:
    """Where the words of the mail system that leads up to a reply end; 0 where there are none."""
    found = formats().said.search(words)
    return found.end() if found is not None and words[found.end() :].strip() else 0


def _code_at(text: str) -> tuple[int, int] | None:
    """A reply code, and where the reply begins with it."""
    first = _FIRST.match(text)
    every = [first] if first else [pattern.search(text) for pattern in (_SURE, _OF_LINE, _AFTER_COLON)]
    starts = [(found.start(1), int(found[1])) for found in every if found is not None]
    if not starts:
        return None
    start, code = min(starts)
    return code, start


def _status_of(text: str, code: int | None) -> str | None:
    """The enhanced status in the text; where there is a code, one of its class goes first."""
    every = _ANY_STATUS.findall(text)
    agreeing = [status for status in every if code is not None and int(status[0]) == code // 100]
    return next(iter(agreeing or every), None)


def one_line(words: str) -> str:
    """The words on one line, without what mail systems append, no longer than is reported."""
    line = _SPACE.sub(" ", words).strip()
    for _ in range(2):
        line = _TRAIL.sub("", line)
    return line[:MAX_DIAGNOSTIC]


def _unclosed(line: str) -> str:
    """The line without a bracket or quotation mark at its end that was opened before it began."""
    for opening, closing in ("[]", "<>", "()", "''", '""'):
        if line.endswith(closing) and line.count(opening) < line.count(closing) + (opening == closing):
            unpaired = opening != closing or line.count(opening) % 2
            line = line[:-1].rstrip() if unpaired else line
    return line


def preferred_status(announced: str | None, said: Said) -> str | None:
    """The Status field, unless the reply's own status says more: `5.0.0`, `4.4.7` and their like say little."""
    if announced is None or said.status is None or announced == said.status:
        return announced or said.status
    if said.code is not None and int(announced[0]) != said.code // 100:
        return said.status
    if said.status.endswith(".0.0"):
        return announced
    vague = announced.endswith((".0.0", ".5.0", ".3.0", ".1.0", ".2.0", ".7.0", ".4.7", ".0", ".7.1")) or (
        announced in ("5.1.1", "5.4.1", "5.5.4", "5.3.5")
    )
    return said.status if vague and not (said.status.endswith(".0") and not announced.endswith(".0")) else announced


def meaning_of(said: Said, status: str | None, phase: Phase | None) -> Meaning:
    """What the words mean, with their code or by themselves."""
    if said.code is not None:
        return _classified(said, said.code, status, phase)
    told = EnhancedStatus.parse(status or said.status or "")
    return classify_text(phase or Phase.RCPT, said.words[:MAX_READ], told)


def _classified(said: Said, code: int, status: str | None, phase: Phase | None) -> Meaning:
    text = said.words[:MAX_READ]
    text = text.removeprefix(str(code)).lstrip(" -:")
    text = re.sub(rf"\b{code}-(?:{_STATUS} ?)?", "", text)
    if said.status and text.startswith(said.status):
        text = text[len(said.status) :].lstrip(" -:")
    enhanced = EnhancedStatus.parse(said.status or status or "")
    if enhanced is not None and enhanced.cls != code // 100:
        enhanced = None
    return classify(phase or Phase.RCPT, Reply(code, (text,), enhanced))


def is_decisive(meaning: Meaning) -> bool:
    """Whether a rule knew the words, rather than the first digit alone."""
    return meaning.kind is not Kind.UNCLEAR and meaning.rule not in ("first-digit", "closing", "odd-code")


def best(candidates: Iterable[tuple[Said, Meaning]]) -> tuple[Said, Meaning] | None:
    """The first candidate that means something; else the first with a code, else the first."""
    found = list(candidates)
    for said, meaning in found:
        if is_decisive(meaning):
            return said, meaning
    for said, meaning in found:
        if said.code is not None:
            return said, meaning
    return found[0] if found else None
