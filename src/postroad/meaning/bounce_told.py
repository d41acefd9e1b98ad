"""What a notice tells of each recipient: in its paragraphs, in its transcript, and by whom the returned message names.

Made once for a message; asked by `bounce` for each recipient. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from postroad.meaning.bounce_mime import Letter
from postroad.meaning.bounce_reply import NOTHING, Said, find
from postroad.meaning.bounce_report import MAX_RECIPIENTS
from postroad.meaning.bounce_text import Heard, Passage, formats, passages, phase_of, transcript
from postroad.smtp.outcome import Phase

_TO = re.compile(r"^[> \t]{0,8}(?:to|cc|x-envelope-to|delivered-to):(.{1,2000})", re.IGNORECASE | re.MULTILINE)
_FOR = re.compile(r"\bfor <?([^<>\s;]{1,128}@[^<>\s;]{1,255})>?\s*;", re.IGNORECASE)
_ANY_ADDRESS = re.compile(r'[^\s<>()\[\],;:"|\\]{1,128}@[\w.-]{1,255}\w')
_TOO_SHORT = 10

_Named = TypeVar("_Named", Passage, Heard)


@dataclass(frozen=True, slots=True)
class Told:
    """The notice in plain words, taken apart once."""

    notice: str
    passages: tuple[Passage, ...]
    heard: tuple[Heard, ...]
    addressees: tuple[str, ...]
    failed: tuple[str, ...]
    """X-Failed-Recipients (Exim, Gmail)."""
    passages_of: Mapping[str, Sequence[Passage]]
    """Address in lower case → what is said of it, MAX_TOLD passages at most."""
    heard_of: Mapping[str, Sequence[Heard]]

    @classmethod
    def of(cls, letter: Letter, notice: str, returned: str) -> Told:
        failed = _ANY_ADDRESS.findall(", ".join(letter.headers.get("x-failed-recipients", ())))
        addressees = addressees_of(returned)
        known = {one.lower() for one in addressees}
        named = tuple(one for one in passages(notice) if not (one.is_guess and known) or one.address.lower() in known)
        heard = tuple(transcript(notice))
        return cls(
            notice,
            named,
            heard,
            tuple(addressees),
            tuple(failed[:MAX_RECIPIENTS]),
            _by_address(named),
            _by_address(heard),
        )

    def said_of(self, address: str | None, *, is_only: bool) -> Iterator[Said]:
        """What the notice says of that recipient, the remote's own words first."""
        found: list[Said] = []
        key = (address or "").lower()
        same = self.passages_of.get(key, ())
        if not same and is_only and len(self.passages) == 1:
            same = self.passages
        for passage in same:
            if passage.paragraph.startswith("(reason:"):
                yield find(passage.paragraph)
        dialogue = list(self.heard_of.get(key, ()))
        if is_only:
            dialogue = [one for one in self.heard if one in dialogue or one.phase is not None][:MAX_TOLD]
        dialogue = [one for one in dialogue if one.is_remote] or dialogue
        yield from (find(heard.text) for heard in dialogue)
        if not dialogue:
            found = [said for passage in same for said in self._said_in(passage, is_only=is_only)]
            yield from sorted(found, key=lambda said: said.code is None)
        is_said = bool(dialogue) or any(len(said.words) > _TOO_SHORT for said in found)
        if is_only and not any(said.code for said in found) and not dialogue:
            whole = find(_core(self.notice))
            if whole.code is not None or not is_said:
                yield whole

    @staticmethod
    def _said_in(passage: Passage, *, is_only: bool) -> Iterator[Said]:
        said = find(passage.paragraph)
        says_little = len(said.words) <= _TOO_SHORT or said.words.endswith(":") or passage.is_sentence
        rest = find(passage.rest) if passage.rest and is_only else NOTHING
        found = [rest, said] if says_little or rest.code is not None else [said]
        yield from (one for one in found if one and (one.code or formats().advice.match(one.words) is None))

    def phase_of(self, address: str | None, *, is_only: bool) -> Phase | None:
        """The step of the dialogue that the notice names for that recipient."""
        key = (address or "").lower()
        for passage in self.passages_of.get(key, ()):
            phase = phase_of(passage.paragraph) or phase_of(passage.rest)
            if phase is not None:
                return phase
        for heard in self.heard[:MAX_TOLD] if is_only else self.heard_of.get(key, ()):
            if heard.is_remote and heard.phase is not None:
                return heard.phase
        return phase_of(self.notice) if is_only else None


MAX_TOLD = 10
"""Passages and replies that are looked at for one recipient."""


def _by_address(rows: Iterable[_Named]) -> dict[str, list[_Named]]:
    found: dict[str, list[_Named]] = {}
    for row in rows:
        if row.address is not None and len(same := found.setdefault(row.address.lower(), [])) < MAX_TOLD:
            same.append(row)
    return found


def _core(notice: str) -> str:
    """The part of a notice that tells the reason: its transcript, or its end."""
    _, _, told = notice.partition("Transcript of session follows")
    return (told or notice)[-3000:]


def is_same(one: str | None, other: str | None) -> bool:
    """Whether two recipients are one; case does not matter."""
    return one is not None and other is not None and one.lower() == other.lower()


def first_address(text: str) -> str | None:
    """The first address in a text."""
    found = _ANY_ADDRESS.search(text[:2000])
    return found[0].strip("'.") if found else None


def addressees_of(returned: str) -> list[str]:
    """To whom the returned message went: first whom its last hop names, then those in its header."""
    head = returned[:20_000]
    last_hop = _FOR.search(head)
    found = [last_hop[1]] if last_hop is not None else []
    for one in _TO.finditer(head):
        found += _ANY_ADDRESS.findall(one[1])
    return list(dict.fromkeys(address.strip("'.") for address in found[:100]))
