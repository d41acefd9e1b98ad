"""Mistyped domains: which well-known one was probably meant. Pure; data in typos.toml.

Names that share nearly all letters are weighed against each other: swapped and doubled letters, keys side by side and
vowels are slips of the hand or the ear and cost little, anything else costs more. A domain that is known is never a
slip, nor is one that could as well be another's: silence is better than a wrong hint.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

from postroad.road.site import is_public_suffix

MAX_CHARS = 64
"""A longer domain is no slip of a well-known one."""
MAX_STEPS = 2
"""Letters that may be wrong, missing or too many."""
MAX_CACHED = 20_000
"""Domains whose answer is remembered."""

_SWAP = _DOUBLE = _NEAR = _VOWEL = 1.0
_LETTER = 1.5
_STRANGE = 2.5
_OTHERS = 0.5
"""How much less likely one of the less frequent domains was meant."""
_CONFUSED = 1.5
_MOST = 2.5
_TOO_MUCH = 99.0
_MARGIN = 0.5
"""By how much the best must be better than another name."""

_REPEATED = re.compile(r"(.{3,})\1")
"""A part that stands twice in a row: `hotmailmail`."""
_ROWS = ("1234567890", "qwertyuiop", "asdfghjkl", "zxcvbnm")
_VOWELS = frozenset("aeiouy")
_ALIKE = frozenset({"0o", "1l", "1i", "il", "dt", "mn", "ck", "sz", "pb", "bv", "5s", "3e", "4a"})
_CONFUSED_ENDS = frozenset({"co", "cm", "om", "net", "org"})
"""Real ends that are written for .com by mistake."""


@dataclass(frozen=True, slots=True)
class TypoData:
    """typos.toml, where each is explained. `ends`: a wrong end → the right one."""

    leaders: tuple[str, ...]
    others: tuple[str, ...]
    others_own: frozenset[str]
    misspelt: frozenset[str]
    ends: Mapping[str, str]


@lru_cache(maxsize=1)
def typo_data() -> TypoData:
    """What comes with us."""
    table = tomllib.loads(files("postroad.verify").joinpath("typos.toml").read_text(encoding="utf-8"))
    return TypoData(
        leaders=tuple(table["leaders"]),
        others=tuple(table["others"]),
        others_own=frozenset(table["others_own"]),
        misspelt=frozenset(table["misspelt"]),
        ends={wrong: right for right, wrongs in table["ends"].items() for wrong in wrongs},
    )


class Speller:
    """Finds what was meant. `is_known`: whether a domain is one that people have addresses at."""

    def __init__(self, is_known: Callable[[str], bool], data: TypoData | None = None) -> None:
        self._is_known = is_known
        self._data = data = data or typo_data()
        self._names: dict[str, list[tuple[str, str, float]]] = {}
        """First label → the rest, the whole and what it costs, the most frequent first."""
        self._joined: dict[str, str] = {}
        for cost, domains in ((0.0, data.leaders), (_OTHERS, data.others)):
            for domain in domains:
                name, _, end = domain.partition(".")
                self._names.setdefault(name, []).append((end, domain, cost))
                self._joined.setdefault(domain.replace(".", ""), domain)
        self._by_length: dict[int, list[tuple[int, str]]] = {}
        """Length of what may be typed → names it may mean, each with its letters."""
        for name in self._names:
            if _budget(name):
                for length in range(len(name) - MAX_STEPS, len(name) + MAX_STEPS + 1):
                    self._by_length.setdefault(length, []).append((_letters(name), name))
        self.suggest = lru_cache(maxsize=MAX_CACHED)(self._suggest)
        """The domain that was probably meant, or nothing."""

    def _suggest(self, domain: str) -> str:
        if len(domain) > MAX_CHARS:
            return ""
        text = domain.strip(" .?!'`\"<>;:/\\").lower()
        if text != domain.lower() and self._is_known(text):
            return text
        if not text or text in self._data.others_own or (self._is_known(text) and text not in self._data.misspelt):
            return ""
        return self._without_dot(text) or self._like_known(text) or self._with_wrong_end(text)

    def _without_dot(self, text: str) -> str:
        """`gmailcom`, `gmailc.om`, and `gmail` alone."""
        found = self._joined.get(text.replace(".", ""), "")
        if found and text.count(".") <= found.count("."):
            return found
        return self._names[text][0][1] if text in self._names else ""

    def _like_known(self, text: str) -> str:
        name, dot, end = text.partition(".")
        if not dot:
            return ""
        found = sorted(self._weighed(name, end))
        if not found:
            return ""
        best = found[0]
        rivals = [cost for cost, _, domain in found if domain.partition(".")[0] != best[2].partition(".")[0]]
        return "" if rivals and rivals[0] - best[0] < _MARGIN else best[2]

    def _weighed(self, name: str, end: str) -> Iterator[tuple[float, int, str]]:
        """What a slip to each domain that is near enough would cost; and its rank."""
        for near in self._near(name):
            slip = 0.0 if near == name else 1.0 if near * 2 == name else _name_cost(name, near)
            for rank, (right, domain, cost) in enumerate(self._names[near]):
                wrong_end = _end_cost(self._data.ends.get(end, end), right, slip, near)
                if slip + cost <= (_budget(near) or cost) and wrong_end is not None:
                    yield slip + wrong_end + cost, rank, domain

    def _near(self, name: str) -> set[str]:
        """A letter that is wrong changes two of the letters there are; one more or less, one of them and the length."""
        letters, length = _letters(name), len(name)
        found = {
            near
            for has, near in self._by_length.get(length, ())
            if (has ^ letters).bit_count() + abs(len(near) - length) <= 2 * MAX_STEPS
        }
        return found | ({name, _REPEATED.sub(r"\1", name)} & self._names.keys())

    def _with_wrong_end(self, text: str) -> str:
        """`example.con`: an end that no registry holds."""
        labels = text.split(".")
        for count in (2, 1):
            right = self._data.ends.get(".".join(labels[-count:]))
            if right is not None and len(labels) > count and all(labels):
                return ".".join([*labels[:-count], right])
        return ""


def _budget(name: str) -> float:
    """The dearest slip that is believed; short names are too near to others."""
    return 0.0 if len(name) < 5 else 2.0 if len(name) < 7 else _MOST


def _letters(name: str) -> int:
    """The set of letters in it, as bits."""
    found = 0
    for letter in name:
        found |= 1 << (ord(letter) & 63)
    return found


def _name_cost(wrong: str, right: str) -> float:
    if _REPEATED.sub(r"\1", wrong) == right:
        return _DOUBLE
    cost = _cost(wrong, right, _MOST)
    if cost <= 2 * _LETTER and len(wrong) == len(right) and sorted(wrong) == sorted(right):
        cost = min(cost, 2.0)  # one letter in another place
    if cost >= 2 and wrong[0] != right[0]:
        return _TOO_MUCH  # two slips and another beginning make a name of its own
    return cost


def _end_cost(end: str, right: str, slip: float, name: str) -> float | None:
    """What it costs that `end` was meant as `right`; None: it was not."""
    if end == right:
        return 0.0
    if end == f"{right}.{right.rpartition('.')[2]}":
        return _DOUBLE
    is_brand = len(name) >= 5
    if right == "com" and end in _CONFUSED_ENDS:
        return _CONFUSED if is_brand and slip <= (1.0 if len(end) == 2 else 0.0) else None
    if len(end) > len(right) + 2:
        return None
    most = 2.5 if slip else 4.0 if is_brand else 2.0
    cost = 1.0 if right.startswith(end) else _cost(end, right, most)
    return cost if cost <= most and not is_public_suffix(end) else None


def _cost(wrong: str, right: str, most: float) -> float:
    """The restricted Damerau-Levenshtein distance, each step by its ease; not reckoned out above `most`."""
    before: Sequence[float] = ()
    row = [0.0]
    for at, letter in enumerate(right):
        row.append(row[-1] + _dropped(right, at, letter))
    for i, typed in enumerate(wrong, 1):
        now = [row[0] + _added(wrong, i - 1, typed)]
        for j, meant in enumerate(right, 1):
            least = min(
                row[j - 1] + _replaced(typed, meant, right, j - 1),
                row[j] + _added(wrong, i - 1, typed),
                now[j - 1] + _dropped(right, j - 1, meant),
            )
            if i > 1 and j > 1 and typed == right[j - 2] and wrong[i - 2] == meant and typed != meant:
                least = min(least, before[j - 2] + _SWAP)
            now.append(least)
        if min(now) > most + _SWAP:  # a swap reaches back over one row
            return _TOO_MUCH
        before, row = row, now
    return row[-1]


def _added(text: str, at: int, letter: str) -> float:
    """A letter too many: one that stands beside itself slips in easily."""
    return _DOUBLE if letter in text[max(0, at - 1) : at] + text[at + 1 : at + 2] else _LETTER


def _dropped(text: str, at: int, letter: str) -> float:
    """A letter too few: vowels and one of a pair are dropped easily."""
    return _VOWEL if letter in _VOWELS or letter in text[max(0, at - 1) : at] else _LETTER


def _replaced(typed: str, meant: str, right: str, at: int) -> float:
    if typed == meant:
        return 0.0
    if meant in _NEIGHBOURS.get(typed, "") or typed + meant in _ALIKE or meant + typed in _ALIKE:
        return _NEAR
    if (typed in _VOWELS and meant in _VOWELS) or typed in right[max(0, at - 1) : at] + right[at + 1 : at + 2]:
        return _VOWEL
    return _STRANGE


def _neighbours() -> dict[str, str]:
    """Key → those beside it, above and below it, on a keyboard of four staggered rows."""
    at = {(x, y): key for y, keys in enumerate(_ROWS) for x, key in enumerate(keys)}
    beside = ((-1, 0), (1, 0), (0, -1), (1, -1), (0, 1), (-1, 1))
    return {key: "".join(at.get((x + right, y + down), "") for right, down in beside) for (x, y), key in at.items()}


_NEIGHBOURS = _neighbours()
