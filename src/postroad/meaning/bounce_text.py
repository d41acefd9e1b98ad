"""What a bounce says to people, read: which recipients it names, what was said of each, in which step of the dialogue.

The patterns are data (bounce_formats.toml): formats differ in wording more than in shape. Pure; lines, recipients and
words are bounded, and each pattern looks at one line.
"""

from __future__ import annotations

import functools
import re
import tomllib
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any

from postroad.meaning.bounce_report import MAX_RECIPIENTS
from postroad.smtp.outcome import Phase

MAX_NOTICE_LINES = 3_000
"""Lines of a notice that are searched for recipients."""
MAX_PATTERN_LINE = 400
"""Characters of a line that patterns look at."""
MAX_WORDS = 4_000
"""Characters kept of what is said of one recipient."""

KEPT = 64
"""Texts whose reading is remembered: reports repeat the same words for each recipient."""
_RUN = re.compile(r"([\W_])\1{11,}")
MAX_RUN = 11
"""Signs of one sort in a row that patterns see; there may be as many again, which say nothing more."""

_WORD = r"[^\s<>()\[\],;:\"|\\@]"
ADDRESS = (
    r'(?P<address>(?:"[^"\n<>]{1,64}"|' + _WORD[:-2] + r"/]{1,80}(?:/" + _WORD[:-2] + r"/]{1,40}){0,3})@[\w.-]{1,255}\w"
    r"|" + _WORD + r"{1,80}@\[[\d.:A-Fa-f]{3,45}\])"
)


@dataclass(frozen=True, slots=True)
class RecipientLines:
    """Patterns of lines that name a recipient.

    `whole`: the line is a sentence, itself part of what is said; `silent`: what follows says nothing of it;
    `guess`: it counts only where nobody knows better."""

    lines: tuple[re.Pattern[str], ...]
    whole: bool
    silent: bool
    guess: bool


@dataclass(frozen=True, slots=True)
class Formats:
    """bounce_formats.toml, compiled."""

    returned: re.Pattern[str]
    not_recipients: re.Pattern[str]
    elsewhere: re.Pattern[str]
    advice: re.Pattern[str]
    recipients: tuple[RecipientLines, ...]
    phases: tuple[tuple[Phase, re.Pattern[str]], ...]
    said: re.Pattern[str]
    notice: dict[str, re.Pattern[str]]
    automatic: dict[str, re.Pattern[str]]
    automatic_headers: tuple[str, ...]


@functools.cache
def formats() -> Formats:
    """The patterns, read and compiled once."""
    data = tomllib.loads(files("postroad.meaning").joinpath("bounce_formats.toml").read_text("utf-8"))
    automatic = data["automatic"]
    return Formats(
        returned=_either(data["returned"]),
        not_recipients=_either(data["not_recipients"]),
        elsewhere=_either(data["elsewhere"]),
        advice=_either(data["advice"]),
        recipients=tuple(
            RecipientLines(
                tuple(_pattern(line) for line in row["lines"]),
                row.get("whole", False),
                row.get("silent", False),
                row.get("guess", False),
            )
            for row in data["recipient"]
        ),
        phases=tuple((Phase(row["phase"]), _either(row["words"])) for row in data["phase"]),
        said=_either(data["said"]["before"]),
        notice={name: _either(words) for name, words in data["notice"].items()},
        automatic={"subjects": _either(automatic["subjects"])},
        automatic_headers=tuple(automatic["headers"]),
    )


def _either(words: list[Any]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{word})" for word in words), re.IGNORECASE | re.MULTILINE)


def _pattern(line: str) -> re.Pattern[str]:
    return re.compile(line.replace("{address}", ADDRESS), re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Passage:
    """What a notice says of one recipient: its own paragraph, and all up to the next recipient."""

    address: str
    paragraph: str
    rest: str = ""
    is_sentence: bool = False
    """The paragraph begins with the sentence that names the recipient, and may say no more than that."""
    is_guess: bool = False
    """Any address was taken, for want of one that is named as the recipient."""


def seen(line: str) -> str:
    """A line as patterns see it: cut, and long rules and gaps made shorter, so that no line takes long."""
    return _RUN.sub(lambda run: run[1] * MAX_RUN, line[:MAX_PATTERN_LINE])


def cut(text: str) -> tuple[str, str]:
    """The notice, and the returned message that is quoted below it."""
    lines = text.split("\n")
    returned = formats().returned
    words_seen = 0
    for number, line in enumerate(lines[:MAX_NOTICE_LINES]):
        short = seen(line)
        if words_seen >= 1 and returned.match(short) is not None:
            return "\n".join(lines[:number]), "\n".join(lines[number:])
        words_seen += bool(line.strip())
    return "\n".join(lines[:MAX_NOTICE_LINES]), ""


def passages(notice: str) -> list[Passage]:
    """Recipients that the notice names, each with what it says of them, in order."""
    lines = [line.rstrip() for line in notice.split("\n")[:MAX_NOTICE_LINES]]
    for kind in formats().recipients:
        anchors = _anchors(lines, kind)
        if anchors and kind.silent:
            return [Passage(address, "") for _, address, _ in anchors]
        if anchors:
            return [replace(one, is_sentence=kind.whole, is_guess=kind.guess) for one in _with_words(lines, anchors)]
    return []


_EVERY = re.compile(r'[^\s<>()\[\],;:"|]{1,128}@[\w.-]{1,255}\w')


def _anchors(lines: list[str], kind: RecipientLines) -> list[tuple[int, str, str]]:
    """Line number, address and words on that line, of each line that names a recipient."""
    found: list[tuple[int, str, str]] = []
    before = ""
    others: set[str] = set()
    if kind.whole:
        lines_elsewhere = (seen(line) for line in lines if "@" in line)
        others = {one for line in lines_elsewhere if formats().elsewhere.search(line) for one in _EVERY.findall(line)}
    for number, line in enumerate(lines):
        short = seen(line)
        if "@" in short and formats().not_recipients.search(before) is None:
            named = _named(short, kind)
            if named is not None and named[0] not in others:
                found.append((number, *named))
            if len(found) >= MAX_RECIPIENTS:
                break
        if short.strip():
            before = short.strip()
    return found


def _named(line: str, kind: RecipientLines) -> tuple[str, str] | None:
    if kind.whole and formats().elsewhere.search(line) is not None:
        return None
    for pattern in kind.lines:
        match = pattern.fullmatch(line)
        if match is not None:
            words = line if kind.whole else match.groupdict().get("words") or ""
            return match["address"].strip("'"), words.strip()
    return None


def _with_words(lines: list[str], anchors: list[tuple[int, str, str]]) -> list[Passage]:
    """Passages; recipients that stand in a row without words between them share those that follow."""
    found: list[Passage] = []
    shared: list[str] = []
    ends = [number for number, _, _ in anchors[1:]] + [min(len(lines), anchors[-1][0] + 120)]
    for (number, address, words), end in zip(anchors, ends, strict=True):
        following = lines[number + 1 : end]
        paragraph, rest = _split(words, following)
        if not paragraph and not rest:
            shared.append(address)
            continue
        found += [Passage(one, paragraph, rest) for one in shared]
        shared = []
        found.append(Passage(address, paragraph, rest))
    found += [Passage(one, "", "") for one in shared]
    return found


def _split(words: str, following: list[str]) -> tuple[str, str]:
    paragraph = [words] if words else []
    rest: list[str] = []
    size = len(words)
    for line in following:
        stripped = line.strip()
        size += len(stripped)
        if size > MAX_WORDS:
            break
        if rest or (not stripped and paragraph):
            rest.append(stripped)
        elif stripped and not _is_heading(stripped):
            paragraph.append(stripped)
    return "\n".join(paragraph), "\n".join(rest).strip()


_HEADING = re.compile(r"[-=*_#~ ]{3,}[^-=]{0,100}[-=*_#~: ]*")


def _is_heading(line: str) -> bool:
    """A rule, or a title between two rules."""
    return not line.strip("-=*_#.~ ") or (line[0] in "-=*_~" and _HEADING.fullmatch(line) is not None)


@functools.lru_cache(maxsize=KEPT)
def phase_of(words: str) -> Phase | None:
    """The step of the dialogue that the words name, also where a line ends within that name."""
    on_one_line = words.replace("\n", " ")
    for phase, pattern in formats().phases:
        if pattern.search(words) is not None or pattern.search(on_one_line) is not None:
            return phase
    return None


# A transcript of the dialogue -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Heard:
    """A reply in a transcript; `address` is that of the RCPT it answers, or that it names."""

    address: str | None
    phase: Phase | None
    text: str
    is_remote: bool


_STAMP = r"\s*(?:[\w :.,/\[\]-]{1,60}: )?"
"""Some transcripts begin each line with a time."""
_SENT = re.compile(
    _STAMP
    + r"(?:sent )?(?:>>>|--?>|c:|in:|<<<) *(ehlo|helo|mail|rcpt|data|quit|rset)\b"
    + r"[^\n]{0,80}?(?:<([^<>\s]{1,320})>)?(?:\s|$)",
    re.IGNORECASE,
)
_HEARD = re.compile(_STAMP + r"(?:received )?(?:<<<|<--?|s:|out:|>>>) *(([245]\d\d)([ -]).*)", re.IGNORECASE)
_SUMMED_UP = re.compile(r"\s*([45]\d\d(?:[ -][45]\.\d{1,3}\.\d{1,3})? ?<?([^<>\s]{1,320}@[^<>\s]{1,255}?)>?\.\.\..*)")
_PHASES = {"ehlo": Phase.EHLO, "helo": Phase.EHLO, "mail": Phase.MAIL, "rcpt": Phase.RCPT, "data": Phase.DATA}


def transcript(notice: str) -> list[Heard]:
    """Refusals in a transcript of the dialogue, several lines of one reply joined."""
    found: list[Heard] = []
    address: str | None = None
    phase: Phase | None = None
    pending: list[str] = []
    unclaimed = 0
    for line in notice.split("\n")[:MAX_NOTICE_LINES]:
        short = seen(line)
        heard = _HEARD.match(short)
        if heard is not None:
            pending.append(heard[1].strip())
            if heard[3] == " ":
                if heard[2][0] != "2" and heard[2] != "503":  # what a host says of commands out of order is no reason
                    found.append(Heard(address, phase, " ".join(pending)[:MAX_WORDS], True))
                pending = []
            continue
        if "talking to" in short.lower():
            unclaimed = len(found)
        sent = _SENT.match(short)
        if sent is not None:
            phase = _PHASES.get(sent[1].lower())
            address = sent[2] if phase is Phase.RCPT else None
            pending = []
            continue
        summed_up = _SUMMED_UP.match(short)
        if summed_up is not None:
            for index in range(unclaimed, len(found)):
                if found[index].address is None:
                    found[index] = replace(found[index], address=summed_up[2])
            found.append(Heard(summed_up[2], None, summed_up[1].strip(), False))
            unclaimed = len(found)
        if len(found) >= MAX_RECIPIENTS:
            break
    return found
