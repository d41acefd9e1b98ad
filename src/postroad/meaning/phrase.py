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
from dataclasses import dataclass

MAX_GAPS = 2
KEY_CHARS = 4
"""Letters of a word by which a phrase is looked up before it is tried."""

_ADDRESS = re.compile(r"<?[^\s<>@,;:()\[\]\"]{0,64}@[^\s<>@,;()\[\]\"]{1,255}>?")
_LINK = re.compile(r"(?:https?://|www\.)[^\s<>\"\]]+")
_IP = re.compile(
    r"(?<![\w.])(?:(?:[0-9]{1,3}|x{1,3}|#)(?:[.](?:[0-9]{1,3}|x{1,3}|#)){3}"
    r"|(?=[0-9a-f]{0,4}:)[0-9a-f]{0,4}(?::[0-9a-f]{0,4}){3,7})(?![\w:])"
)
_CONTINUED = re.compile(r"(?<![\w.])[245][0-9]{2}-(?=[^0-9]|[245]\.[0-9])")
_WORD = re.compile(r"[^\W_]+")

_SPACE = r"[\W_]{1,8}"
_GAP = r"(?:[^;.!]|\.(?! )){0,60}?"
_START = r"(?<![^\W_])"
_END = r"(?![^\W_])"
_BOUND = f"(?:{_START}|{_END})"
"""Not in the middle of a word."""
_SIGNS = {" ": _SPACE, "*": r"[^\W_]{0,30}", "#": "[0-9]{1,9}", "@": "@", "%": "%"}
_UNSPACED = "\u2e80"
"""From here on are the scripts that put no space between words."""


@dataclass(frozen=True, slots=True)
class Words:
    """A reply's text made ready: what rules look at."""

    text: str
    """Folded; addresses are @, IP addresses %, links taken out."""
    links: str
    keys: frozenset[str]
    """The beginnings of its words."""
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
    if "-" in text:
        text = _CONTINUED.sub(" ", text)
    text = _IP.sub("%", text)
    is_wide = not text.isascii() and max(text) >= _UNSPACED
    return Words(text, links, frozenset([word[:KEY_CHARS] for word in _WORD.findall(text)]), is_wide)


@dataclass(frozen=True, slots=True)
class Phrases:
    """Several phrases, of which one is looked for."""

    spaced: tuple[tuple[tuple[frozenset[str], ...], re.Pattern[str]], ...]
    """Each with sets of beginnings of words: a text that lacks any word of a set cannot hold the phrase."""
    unspaced: re.Pattern[str] | None
    """Those in scripts that put no space between words, in one."""
    keys: frozenset[str]
    """Unless a word begins like one of these, none of the spaced ones can be found; empty: they must be tried."""

    @classmethod
    def compiled(cls, phrases: list[str]) -> Phrases:
        """Raises ValueError where a phrase is not well formed."""
        spaced, unspaced, keys, known = [], [], set[str](), True
        for phrase in map(folded, phrases):
            if any(sign >= _UNSPACED for sign in phrase):
                unspaced.append(_source(phrase, is_spaced=False)[0])
                continue
            source, demands = _source(phrase, is_spaced=True)
            spaced.append((demands, re.compile(source)))
            keys |= min(demands, key=len, default=frozenset())
            known = known and bool(demands)
        joined = re.compile("|".join(unspaced)) if unspaced else None
        return cls(tuple(spaced), joined, frozenset(keys) if known else frozenset())

    def found_in(self, said: Words) -> bool:
        """Whether one of them is in the text."""
        if not self.keys or not self.keys.isdisjoint(said.keys):
            for demands, pattern in self.spaced:
                for keys in demands:
                    if keys.isdisjoint(said.keys):
                        break
                else:
                    if pattern.search(said.text):
                        return True
        return self.unspaced is not None and said.is_wide and self.unspaced.search(said.text) is not None


def _source(phrase: str, *, is_spaced: bool) -> tuple[str, tuple[frozenset[str], ...]]:
    """The regular expression of a phrase, and what it demands."""
    if not phrase or phrase != phrase.strip() or phrase.count("..") > MAX_GAPS or "**" in phrase:
        raise ValueError(f"not a phrase: {phrase!r}")
    source, demands, rest = _sequence(phrase, 0, True, is_spaced)
    if rest != len(phrase):
        raise ValueError(f"a bracket too many in {phrase!r}")
    start = "" if phrase[0] in "*@%" or not is_spaced else _START
    end = "" if phrase[-1] in "*@%" or not is_spaced else _END
    return f"{start}(?:{source}){end}", demands


def _sequence(phrase: str, at: int, is_start: bool, is_spaced: bool) -> tuple[str, tuple[frozenset[str], ...], int]:
    """The regular expression of the alternatives up to the bracket's end, what they demand, and where they end."""
    branches: list[tuple[str, list[frozenset[str]]]] = []
    source, demands = "", list[frozenset[str]]()
    fresh = is_start
    while at < len(phrase) and phrase[at] != ")":
        sign = phrase[at]
        if sign == "|":
            branches.append((source, demands))
            source, demands, fresh = "", [], is_start
            at += 1
        elif sign == "(":
            inner, inner_demands, at = _sequence(phrase, at + 1, fresh, is_spaced)
            if at >= len(phrase):
                raise ValueError(f"a bracket is open in {phrase!r}")
            at += 1
            # What follows a bracket may go on with its word, or begin one.
            source, fresh = f"{source}(?:{inner})", False
            demands += inner_demands
        elif phrase.startswith("..", at):
            bound = _BOUND if is_spaced else ""
            source, fresh, at = f"{source}{bound}{_GAP}{bound}", True, at + 2
        elif sign in _SIGNS:
            source, fresh, at = source + _SIGNS[sign], sign == " ", at + 1
        else:
            found = _WORD.match(phrase, at)
            end = found.end() if found else at + 1
            source += re.escape(phrase[at:end])
            if found and fresh:
                demands += _key(phrase, at, end)
            fresh = not found
            at = end
    branches.append((source, demands))
    return "|".join(source for source, _ in branches), _demanded([demands for _, demands in branches]), at


def _key(phrase: str, at: int, end: int) -> list[frozenset[str]]:
    """What a word of the phrase demands: nothing where it is the beginning of who knows what."""
    is_whole = end == len(phrase) or phrase[end] in " |)" or phrase.startswith("..", end)
    is_known = end - at >= KEY_CHARS or (is_whole and not _goes_on(phrase, end))
    return [frozenset({phrase[at : at + KEY_CHARS][: end - at]})] if is_known else []


def _goes_on(phrase: str, end: int) -> bool:
    """Whether a word that ends with its bracket may be continued behind it."""
    while end < len(phrase) and phrase[end] in "|)":
        end = phrase.find(")", end) + 1
        if end < len(phrase) and (phrase[end].isalnum() or phrase[end] in "*(#"):
            return True
    return False


def _demanded(branches: list[list[frozenset[str]]]) -> tuple[frozenset[str], ...]:
    """Of one branch all its demands; of several, the strongest of each taken together."""
    if len(branches) == 1:
        return tuple(branches[0])
    if not all(branches):
        return ()
    return (frozenset().union(*(min(demands, key=len) for demands in branches)),)
