"""What a notice tells of each recipient: in its paragraphs, in its transcript, and by whom the returned message names.

Made once for a message; asked by `bounce` for each recipient. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from postroad.meaning.bounce_mime import Letter
from postroad.meaning.bounce_reply import NOTHING, Said, find
from postroad.meaning.bounce_report import MAX_RECIPIENTS
from postroad.meaning.bounce_text import Heard, Passage, formats, passages, phase_of, transcript
from postroad.smtp.outcome import Phase

_TO = re.compile(r"^[> \t]{0,8}(?:to|cc|x-envelope-to|delivered-to):(.{1,2000})", re.IGNORECASE | re.MULTILINE)
_FOR = re.compile(r"\bfor <?([^<>\s;]{1,128}@[^<>\s;]{1,255})>?\s*;", re.IGNORECASE)
_ANY_ADDRESS = re.compile(r'[^\s<>()\[\],;:"|\\]{1,128}@[\w.-]{1,255}\w')
_TOO_SHORT = 10


@dataclass(frozen=True, slots=True)
class Told:
    """The notice in plain words, taken apart once."""

    notice: str
    passages: tuple[Passage, ...]
    heard: tuple[Heard, ...]
    addressees: tuple[str, ...]
    failed: tuple[str, ...]
    """X-Failed-Recipients (Exim, Gmail)."""

    @classmethod
    def of(cls, letter: Letter, notice: str, returned: str) -> Told:
        failed = _ANY_ADDRESS.findall(", ".join(letter.headers.get("x-failed-recipients", ())))
        return cls(
            notice,
            tuple(passages(notice)),
            tuple(transcript(notice)),
            tuple(addressees_of(returned)),
            tuple(failed[:MAX_RECIPIENTS]),
        )

    def said_of(self, address: str | None, *, is_only: bool) -> Iterator[Said]:
        """What the notice says of that recipient, the remote's own words first."""
        found: list[Said] = []
        same = [one for one in self.passages if is_same(one.address, address)]
        if not same and is_only:
            same = [one for one in self.passages[:1] if len(self.passages) == 1]
        for passage in same:
            if passage.paragraph.startswith("(reason:"):
                yield find(passage.paragraph)
        dialogue = [one for one in self.heard if is_same(one.address, address) or (is_only and one.phase is not None)]
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
        for passage in self.passages:
            if is_same(passage.address, address):
                phase = phase_of(passage.paragraph) or phase_of(passage.rest)
                if phase is not None:
                    return phase
        for heard in self.heard:
            if heard.is_remote and heard.phase is not None and (is_same(heard.address, address) or is_only):
                return heard.phase
        return phase_of(self.notice) if is_only else None


def _core(notice: str) -> str:
    return notice[-3000:] if len(notice) > 3000 else notice


def is_same(one: str | None, other: str | None) -> bool:
    """Whether two recipients are one; case does not matter."""
    return one is not None and other is not None and one.lower() == other.lower()


def first_address(text: str) -> str | None:
    """The first address in a text."""
    found = _ANY_ADDRESS.search(text[:2000])
    return found[0].strip("'.") if found else None


def addressees_of(returned: str) -> list[str]:
    """To whom the returned message was addressed."""
    head = returned[:20_000]
    found: list[str] = []
    for one in _TO.finditer(head):
        found += _ANY_ADDRESS.findall(one[1])
    if not found:
        found = _FOR.findall(head)
    return list(dict.fromkeys(address.strip("'.") for address in found[:100]))
