"""The phrases in which rules are written, and the text they are looked for in.

A phrase is words as a host would say them, folded as `folded` does (small letters, no accents), with a few signs:

    (a space)   what may stand between two words: spaces, quotes, punctuation, an address: 1 to 8 characters
    (a|b|)      one of these; an empty one: or nothing
    ..          up to 60 characters of the same sentence; at most twice in a phrase
    *           the rest of the word
    #           digits, 1 to 9
    @ %         an address, an IP address

It begins and ends at the bounds of words. Every phrase is bounded by its form: no text makes it slow.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, replace

MAX_GAPS = 2
KEY_CHARS = 4
"""Letters of a word by which a phrase is looked up before it is tried."""

_ADDRESS = re.compile(r"<?[^\s<>@,;:()\[\]\"]{0,64}@[^\s<>@,;()\[\]\"]{1,255}>?")
_LINK = re.compile(r"(?:https?://|www\.)[^\s<>\"\]]+")
_IP = re.compile(
    r"(?<![\w.])(?:(?:[0-9]{1,3}|x{1,3}|#)(?:[.](?:[0-9]{1,3}|x{1,3}|#)){3}"
    r"|(?=[0-9a-f]{0,4}:)[0-9a-f]{0,4}(?::[0-9a-f]{0,4}){3,7})(?![\w:])"
)
_CONTINUED = re.compile(
    r"(?<![\w.])[245][0-9]{2}(?:-(?=[^0-9]|[245]\.)|(?=[ -][245]\.[0-9]))"
    r"(?:[ -]?[245]\.[0-9]{1,3}\.[0-9]{1,3}(?![\w.]))?"
)
"""What stands before the second and later lines of a reply that was put on one line."""
_IN_REPLY = re.compile(r"\(in reply to [a-z ]{1,40}\)")
"""What Postfix adds when it quotes."""
_WORD_OR_SIGN = re.compile(r"[^\W_]+|[@%]")
_WORD = re.compile(r"[^\W_]+")

_SPACE = r"[\W_]{1,8}"
_GAP = r"(?:[^;.!]|\.(?! )){0,60}?"
_START = r"(?<![^\W_])"
_END = r"(?![^\W_])"
_BOUND = f"(?:{_START}|{_END})"
"""Not in the middle of a word."""
_SIGNS = {" ": _SPACE, "*": r"[^\W_]{0,30}", "#": "[0-9]{1,9}", "@": "@", "%": "%"}
_COMMON = frozenset(
    [
        *("mail", "mess", "reci", "addr", "host", "user", "your", "serv", "from", "this", "not", "for", "to", "the"),
        *("emai", "reje", "bloc", "send", "erro", "has", "is", "are", "of", "in", "on", "at", "spam", "deni", "refu"),
        *("conn", "doma", "acco", "coul", "unab", "be", "by", "or", "and", "a", "was", "no", "do", "does", "you", "ip"),
    ]
)
"""Beginnings of words that stand in every other reply: a bad way to look up a phrase."""
_UNSPACED = "\u2e80"
"""From here on are the scripts that put no space between words."""


@dataclass(frozen=True, slots=True)
class Words:
    """A reply's text made ready: what rules look at."""

    text: str
    """Folded; addresses are @, IP addresses %, links taken out."""
    links: str
    starts: dict[str, list[int]]
    """Beginnings of its words, and where such words stand."""
    is_wide: bool
    """Whether a script without spaces is in it."""


def folded(text: str) -> str:
    """Small letters without accents; the wide forms of East Asian scripts as plain ones."""
    if text.isascii():
        return text.lower()
    parts = unicodedata.normalize("NFKD", text.replace("ß", "ss")).lower()
    return "".join(part for part in parts if not unicodedata.combining(part)).replace("\u2019", "'")


def words(text: str) -> Words:
    """The text as phrases see it. A name or a link is not what the host says: «no-spam@…: user unknown»."""
    text = folded(text)
    links = ""
    if "://" in text or "www." in text:
        links = " ".join(_LINK.findall(text))
        text = _LINK.sub(" ", text)
    if "@" in text:
        text = _ADDRESS.sub("@", text)
    text = _CONTINUED.sub(" ", text)
    if "(in reply to " in text:
        text = _IN_REPLY.sub(" ", text)
    text = _IP.sub("%", text)
    is_wide = not text.isascii() and max(text) >= _UNSPACED
    starts: dict[str, list[int]] = {}
    for found in _WORD_OR_SIGN.finditer(text):
        starts.setdefault(found[0][:KEY_CHARS], []).append(found.start())
    return Words(text, links, starts, is_wide)


_Demands = tuple[frozenset[str], ...]
"""Sets of beginnings of words: a text that lacks any word of a set cannot hold the phrase."""


@dataclass(frozen=True, slots=True)
class _Part:
    """A phrase, or a piece of one, on its way to a pattern."""

    source: str
    demands: _Demands
    heads: frozenset[str]
    """It begins with a word that begins like one of these; empty: nobody knows."""
    is_optional: bool = False
    """It may be nothing; then it begins with what follows."""
    ends_fresh: bool = False
    """Behind it a word begins."""


@dataclass(frozen=True, slots=True)
class Phrases:
    """Several phrases, of which one is looked for: each only where the word stands with which it begins."""

    by_head: dict[str, tuple[tuple[_Demands, re.Pattern[str]], ...]]
    headless: tuple[tuple[_Demands, re.Pattern[str]], ...]
    unspaced: re.Pattern[str] | None
    """Those in scripts that put no space between words, in one."""
    keys: frozenset[str]
    """None of the others is in a text that lacks all of these; empty: they must be tried."""

    @classmethod
    def compiled(cls, phrases: list[str]) -> Phrases:
        """Raises ValueError where a phrase is not well formed."""
        by_head: dict[str, list[tuple[_Demands, re.Pattern[str]]]] = {}
        headless, unspaced, rarest = [], [], list[frozenset[str]]()
        for phrase in map(folded, phrases):
            is_spaced = not any(sign >= _UNSPACED for sign in phrase)
            part = _part(phrase, is_spaced=is_spaced)
            if not is_spaced:
                unspaced.append(part.source)
                continue
            row = (part.demands, re.compile(part.source))
            rarest.append(min(part.demands, key=_commonness, default=frozenset()))
            for head in part.heads:
                by_head.setdefault(head, []).append(row)
            if not part.heads:
                headless.append(row)
        return cls(
            {head: tuple(rows) for head, rows in by_head.items()},
            tuple(headless),
            re.compile("|".join(unspaced)) if unspaced else None,
            frozenset().union(*rarest) if all(rarest) else frozenset(),
        )

    def found_in(self, said: Words) -> bool:
        """Whether one of them is in the text."""
        text, starts = said.text, said.starts
        if self.keys and not said.is_wide and self.keys.isdisjoint(starts):
            return False
        for head in self.by_head.keys() & starts.keys():
            for demands, pattern in self.by_head[head]:
                if _are_met(demands, starts) and any(pattern.match(text, at) for at in starts[head]):
                    return True
        for demands, pattern in self.headless:
            if _are_met(demands, starts) and pattern.search(text):
                return True
        return self.unspaced is not None and said.is_wide and self.unspaced.search(text) is not None


def _are_met(demands: _Demands, starts: dict[str, list[int]]) -> bool:
    for keys in demands:  # noqa: SIM110 - all() is slower, and this is done for each phrase
        if keys.isdisjoint(starts):
            return False
    return True


def _part(phrase: str, *, is_spaced: bool) -> _Part:
    """The whole phrase, with its bounds."""
    if not phrase or phrase != phrase.strip() or phrase.count("..") > MAX_GAPS or "**" in phrase:
        raise ValueError(f"not a phrase: {phrase!r}")
    part, rest = _sequence(phrase, 0, True, is_spaced)
    if rest != len(phrase):
        raise ValueError(f"a bracket too many in {phrase!r}")
    start = "" if phrase[0] in "*@%" or not is_spaced else _START
    end = "" if phrase[-1] in "*@%" or not is_spaced else _END
    return _Part(f"{start}(?:{part.source}){end}", part.demands, part.heads)


def _sequence(phrase: str, at: int, is_start: bool, is_spaced: bool) -> tuple[_Part, int]:
    """The alternatives up to the bracket's end, and where that is."""
    branches: list[_Part] = []
    pieces: list[_Part] = []
    fresh = is_start
    while at < len(phrase) and phrase[at] != ")":
        sign = phrase[at]
        if sign == "|":
            branches.append(_in_a_row(pieces, fresh))
            pieces, fresh = [], is_start
            at += 1
        elif sign == "(":
            inner, at = _sequence(phrase, at + 1, fresh, is_spaced)
            if at >= len(phrase):
                raise ValueError(f"a bracket is open in {phrase!r}")
            at += 1
            pieces.append(replace(inner, source=f"(?:{inner.source})"))
            fresh = inner.ends_fresh
        elif phrase.startswith("..", at):
            bound = _BOUND if is_spaced else ""
            pieces.append(_Part(f"{bound}{_GAP}{bound}", (), frozenset()))
            fresh, at = True, at + 2
        elif sign in _SIGNS:
            key = frozenset({sign}) if sign in "@%" else frozenset[str]()
            pieces.append(_Part(_SIGNS[sign], (key,) if key else (), key))
            fresh, at = sign == " ", at + 1
        else:
            found = _WORD.match(phrase, at)
            end = found.end() if found else at + 1
            key = _key(phrase, at, end) if found and fresh else frozenset()
            pieces.append(_Part(re.escape(phrase[at:end]), (key,) if key else (), key))
            fresh = not found
            at = end
    branches.append(_in_a_row(pieces, fresh))
    return _either(branches), at


def _in_a_row(pieces: list[_Part], ends_fresh: bool) -> _Part:
    demands = tuple(keys for piece in pieces for keys in piece.demands)
    heads = frozenset[str]()
    for piece in pieces:
        if not piece.heads:
            heads = frozenset()
            break
        heads |= piece.heads
        if not piece.is_optional:
            break
    is_optional = all(piece.is_optional for piece in pieces)
    return _Part("".join(piece.source for piece in pieces), demands, heads, is_optional, ends_fresh)


def _either(branches: list[_Part]) -> _Part:
    """Of several branches, the strongest demand of each taken together."""
    heads, demands = frozenset[str](), tuple[frozenset[str], ...]()
    full = [branch for branch in branches if branch.source]
    if all(branch.heads for branch in full):
        heads = frozenset().union(*(branch.heads for branch in full))
    if len(branches) == 1:
        demands = branches[0].demands
    elif all(branch.demands for branch in branches):
        demands = (frozenset().union(*(min(branch.demands, key=_commonness) for branch in branches)),)
    return _Part(
        "|".join(branch.source for branch in branches),
        demands,
        heads,
        is_optional=any(branch.is_optional for branch in branches),
        ends_fresh=all(branch.ends_fresh for branch in branches),
    )


def _commonness(keys: frozenset[str]) -> int:
    return sum(6 if key in _COMMON else 1 for key in keys)


def _key(phrase: str, at: int, end: int) -> frozenset[str]:
    """The beginning of a word of the phrase; nothing where it is the beginning of who knows what."""
    is_whole = end == len(phrase) or phrase[end] not in "*(#"
    is_known = end - at >= KEY_CHARS or (is_whole and not _goes_on(phrase, end))
    return frozenset({phrase[at:end][:KEY_CHARS]}) if is_known else frozenset()


def _goes_on(phrase: str, end: int) -> bool:
    """Whether a word that ends with its bracket may be continued behind it."""
    while end < len(phrase) and phrase[end] in "|)":
        end = phrase.find(")", end) + 1
        if end < len(phrase) and (phrase[end].isalnum() or phrase[end] in "*(#"):
            return True
    return False
