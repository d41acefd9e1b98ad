"""The rules by which replies are read: data in rules/*.toml, tried in the order of the files and of their rows.

    name        of the rule, told in reports
    kind        what it means (Kind)
    phases      only in these phases of the dialogue
    codes       only these codes, or first digits; 0: only a text that came without a code
    coded       true: only a reply that has a code
    enhanced    only these enhanced status codes; * for any class
    text        phrases (phrase.py), one of which is found in the text
    unless      phrases, none of which is found there
    links       pieces of web addresses, one of which is found in the links of the text; beside `text`, either is enough
    provider    only hosts of that provider
    confidence  from 0 to 1, 0.9 where it is not given
    examples    phase, code (- for none) and text of replies that this rule must decide

Where the text came without a code, as in bounces, a rule that asks for words is content with them.
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib.resources import files
from typing import Any

from postroad.meaning.phrase import Phrases, Words
from postroad.smtp.outcome import Phase
from postroad.smtp.reply import Reply, parse_enhanced
from postroad.smtp.status import EnhancedStatus


class Kind(StrEnum):
    """What the other side means."""

    ACCEPTED = "accepted"
    MAILBOX_UNKNOWN = "mailbox_unknown"
    MAILBOX_DISABLED = "mailbox_disabled"
    MAILBOX_FULL = "mailbox_full"
    DOMAIN_UNKNOWN = "domain_unknown"
    RELAY_DENIED = "relay_denied"
    GREYLISTED = "greylisted"
    RATE_LIMITED = "rate_limited"
    BLOCKED_REPUTATION = "blocked_reputation"
    POLICY_CONTENT = "policy_content"
    AUTH_REQUIRED = "auth_required"
    TLS_REQUIRED = "tls_required"
    MESSAGE_TOO_BIG = "message_too_big"
    SYSTEM_TEMPORARY = "system_temporary"
    SYSTEM_PERMANENT = "system_permanent"
    UNCLEAR = "unclear"


@dataclass(frozen=True, slots=True)
class Rule:
    """One row, compiled."""

    name: str
    kind: Kind
    phases: frozenset[Phase]
    """Empty: any."""
    codes: frozenset[int]
    """Whole codes and first digits, 0 for none; empty: any 4yz or 5yz."""
    enhanced: frozenset[tuple[int, int, int]]
    """Class 0 stands for any; empty: any or none."""
    text: Phrases | None
    unless: Phrases | None
    links: tuple[str, ...]
    provider: str | None
    confidence: float
    examples: tuple[str, ...]
    is_coded: bool = False
    """Whether it asks for a reply code, whatever its words are."""

    def fits(self, phase: Phase, code: int | None, status: EnhancedStatus | None, said: Words) -> bool:
        """Whether every condition of the rule holds. `code` None: the text came without one."""
        if self.phases and phase not in self.phases:
            return False
        if self.codes and not self._fits_code(code):
            return False
        if self.enhanced:
            if status is None:
                return False
            if status not in self.enhanced and (0, status.subject, status.detail) not in self.enhanced:
                return False
        if not self._speaks_of_it(said):
            return False
        return self.unless is None or not self.unless.found_in(said)

    def _fits_code(self, code: int | None) -> bool:
        if code is None:
            return 0 in self.codes or (not self.is_coded and (self.text is not None or bool(self.enhanced)))
        return code in self.codes or code // 100 in self.codes

    def _speaks_of_it(self, said: Words) -> bool:
        if self.text is None and not self.links:
            return True
        if said.links and any(link in said.links for link in self.links):
            return True
        return self.text is not None and self.text.found_in(said)


@functools.cache
def rules() -> tuple[Rule, ...]:
    """The rules in the order in which they are tried; read and compiled once."""
    return tuple(rule for data in _files() for rule in _compiled(data))


@functools.cache
def passing_words() -> Phrases:
    """What is said of a refusal that will pass."""
    return Phrases.compiled([phrase for data in _files() for phrase in data.get("passing", ())])


def _files() -> list[dict[str, Any]]:
    folder = files("postroad.meaning").joinpath("rules")
    found = sorted((file for file in folder.iterdir() if file.name.endswith(".toml")), key=lambda file: file.name)
    return [tomllib.loads(file.read_text("utf-8")) for file in found]


def _compiled(data: dict[str, Any]) -> Iterator[Rule]:
    for row in data.get("rule", ()):
        yield Rule(
            name=row["name"],
            kind=Kind(row["kind"]),
            phases=frozenset(Phase(phase) for phase in row.get("phases", ())),
            codes=frozenset(row.get("codes", ())),
            enhanced=frozenset(_pattern(status) for status in row.get("enhanced", ())),
            text=Phrases.compiled(row["text"]) if "text" in row else None,
            unless=Phrases.compiled(row["unless"]) if "unless" in row else None,
            links=tuple(row.get("links", ())),
            provider=row.get("provider"),
            confidence=row.get("confidence", 0.9),
            examples=tuple(row["examples"]),
            is_coded=row.get("coded", False),
        )


def _pattern(status: str) -> tuple[int, int, int]:
    """`5.1.1`, or `*.1.1` for any class."""
    first, subject, detail = status.split(".")
    return 0 if first == "*" else int(first), int(subject), int(detail)


def parse_example(line: str) -> tuple[Phase, Reply]:
    """The phase and reply that an example (`rcpt 550 5.1.1 No such user`) stands for."""
    phase, code, text = line.split(" ", 2)
    status, rest = parse_enhanced(int(code), text)
    return Phase(phase), Reply(int(code), (rest,), status)
