"""Macros of SPF: `%{d}`, `%{ir}.%{v}._spf.%{d2}` (RFC 7208 §7). Parsed once, expanded for each message.

Where a macro string is to become a domain name it must end as one, and fewer letters may stand in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

MAX_MACROS = 64
"""In one string; more is a mistake of the record."""
MAX_DOMAIN_CHARS = 253
MAX_LABEL_CHARS = 63

_MACRO = re.compile(
    r"%\{(?P<letter>[slodiphcrtv])(?P<digits>[0-9]{0,6})(?P<reverse>r?)(?P<delimiters>[.\-+,/_=]*)\}", re.IGNORECASE
)
_LITERAL = re.compile(r"[!-$&-~]+")
_SPOKEN_LITERAL = re.compile(r"[ -$&-~]+")
_ESCAPES = {"%%": "%", "%_": " ", "%-": "%20"}
_ONLY_EXPLAINED = frozenset("crt")
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?")


class SpfSyntaxError(ValueError):
    """A record that is none; the message says in one sentence what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Macro:
    """One `%{…}`. `parts`: how many of the right are kept; 0 for all."""

    letter: str
    parts: int = 0
    is_reversed: bool = False
    delimiters: str = "."
    is_url_escaped: bool = False

    def applied(self, value: str) -> str:
        """The value, cut and turned as the macro says (§7.3)."""
        if self.parts or self.is_reversed or self.delimiters != ".":
            pieces = re.split(f"[{re.escape(self.delimiters)}]", value)
            if self.is_reversed:
                pieces.reverse()
            value = ".".join(pieces[-self.parts :] if self.parts else pieces)
        return quote(value, safe="-._~") if self.is_url_escaped else value


@dataclass(frozen=True, slots=True)
class MacroString:
    """Text and macros in their order."""

    parts: tuple[str | Macro, ...]
    letters: frozenset[str]
    """What has to be known to expand it."""

    def expand(self, values: Mapping[str, str]) -> str:
        """The text; `values` by letter, in lower case."""
        return "".join(part if isinstance(part, str) else part.applied(values[part.letter]) for part in self.parts)


def parse_explanation(text: str) -> MacroString:
    """What is said to the refused: it may hold blanks and every letter (§6.2). Raises SpfSyntaxError."""
    return _made(_scan(text, is_explanation=True, takes_all_letters=True)[0])


def parse_unknown_value(text: str) -> None:
    """See that the value of a modifier nobody knows could be one (§6). Raises SpfSyntaxError."""
    _scan(text, is_explanation=False, takes_all_letters=True)


def parse_domain_spec(text: str) -> MacroString:
    """A macro string that ends as a domain name, or with a macro (§7.1). Raises SpfSyntaxError."""
    parts, ends_with_macro = _scan(text, is_explanation=False, takes_all_letters=False)
    if not parts:
        raise SpfSyntaxError("a domain is missing")
    last = parts[-1]
    if not ends_with_macro and isinstance(last, str):
        _, dot, label = last.removesuffix(".").rpartition(".")
        if not dot or _LABEL.fullmatch(label) is None or label.isdigit():
            raise SpfSyntaxError(f"{text[:80]!a} does not end as a domain name")
    return _made(parts)


def _made(parts: list[str | Macro]) -> MacroString:
    return MacroString(tuple(parts), frozenset(part.letter for part in parts if isinstance(part, Macro)))


def _scan(text: str, *, is_explanation: bool, takes_all_letters: bool) -> tuple[list[str | Macro], bool]:
    """The parts, and whether the last one is no plain text."""
    literal = _SPOKEN_LITERAL if is_explanation else _LITERAL
    parts: list[str | Macro] = []
    position, ends_with_macro = 0, False
    while position < len(text):
        found = literal.match(text, position)
        if found is not None:
            parts.append(found[0])
            position, ends_with_macro = found.end(), False
            continue
        escape = _ESCAPES.get(text[position : position + 2])
        if escape is not None:
            parts.append(escape)
            position += 2
        else:
            found = _MACRO.match(text, position)
            if found is None:
                raise SpfSyntaxError(f"{text[position : position + 20]!a} is no macro")
            parts.append(_macro(found, takes_all_letters))
            position = found.end()
        ends_with_macro = True
        if len(parts) > 2 * MAX_MACROS:
            raise SpfSyntaxError(f"more than {MAX_MACROS} macros in one term")
    return parts, ends_with_macro


def _macro(found: re.Match[str], takes_all_letters: bool) -> Macro:
    letter = found["letter"]
    if letter.lower() in _ONLY_EXPLAINED and not takes_all_letters:
        raise SpfSyntaxError(f"the macro letter {letter} may only stand in an explanation")
    if found["digits"] and not int(found["digits"]):
        raise SpfSyntaxError("a macro that keeps no part of its value")
    return Macro(
        letter.lower(),
        int(found["digits"] or 0),
        bool(found["reverse"]),
        found["delimiters"] or ".",
        letter.isupper(),
    )


def to_domain(text: str) -> str:
    """An expanded domain: cut from the left to what DNS can hold (§7.3); empty where it is no name at all."""
    domain = text.removesuffix(".")
    while len(domain) > MAX_DOMAIN_CHARS:
        _, dot, domain = domain.partition(".")
        if not dot:
            return ""
    return domain.lower() if is_domain(domain) else ""


def is_domain(domain: str) -> bool:
    """Whether DNS could hold a name: labels of 1 to 63 characters, ASCII (RFC 8616 §4), 253 in all."""
    return (
        0 < len(domain) <= MAX_DOMAIN_CHARS
        and domain.isascii()
        and domain.isprintable()
        and all(0 < len(label) <= MAX_LABEL_CHARS for label in domain.split("."))
    )
