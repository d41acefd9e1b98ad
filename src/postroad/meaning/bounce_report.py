"""The fields of reports: delivery status (RFC 3464, 6533), feedback (RFC 5965), disposition (RFC 8098).

Fields are read tolerantly: empty lines in wrong places, continuation lines without a blank, fields repeated.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

Fields = Mapping[str, str]
"""Name in lower case → value on one line; the first one counts where a field is repeated."""

MAX_RECIPIENTS = 1_000
"""Recipients of one report that are read."""
MAX_VALUE = 4_000

_FIELD = re.compile(r"[ \t]{0,2}([A-Za-z][A-Za-z0-9-]{1,60})[ \t]*:[ \t]*(.*)")
_NAMES_RECIPIENT = frozenset({"final-recipient", "original-recipient", "x-actual-recipient"})
_OF_RECIPIENT = frozenset(
    {"action", "status", "diagnostic-code", "remote-mta", "last-attempt-date", "will-retry-until"}
)
_KNOWN = _NAMES_RECIPIENT | _OF_RECIPIENT | {"reporting-mta", "arrival-date", "received-from-mta", "final-log-id"}
_UNICODE = re.compile(r"\\x\{([0-9A-Fa-f]{1,6})\}")
_XTEXT = re.compile(r"\+([0-9A-F]{2})")
_BRACKETED = re.compile(r"<([^<>]{1,320})>")
_ADDRESS = re.compile(r'(?:"[^"\n]{1,100}"|[^\s<>()\[\],;:"]{1,128})@[^\s<>(),;:"]{1,255}')


def groups(text: str) -> list[Fields]:
    """The groups of fields that name a recipient, in order."""
    found: list[dict[str, str]] = []
    loose: dict[str, str] = {}
    for fields in _paragraphs(text):
        named = _NAMES_RECIPIENT & fields.keys()
        if named:
            for name, value in loose.items():
                fields.setdefault(name, value)
            loose = {}
            found.append(fields)
        elif _OF_RECIPIENT & fields.keys():
            # An empty line within a group: its other half belongs to the recipient before, else to the next one.
            if found and not (_OF_RECIPIENT & fields.keys() & found[-1].keys()):
                found[-1].update({name: value for name, value in fields.items() if name not in found[-1]})
            else:
                loose = {name: value for name, value in fields.items() if name in _OF_RECIPIENT}
        if len(found) >= MAX_RECIPIENTS:
            break
    return list(found)


def fields(text: str) -> Fields:
    """All fields of a part that is one group, such as a feedback report."""
    merged: dict[str, str] = {}
    for paragraph in _paragraphs(text):
        for name, value in paragraph.items():
            merged.setdefault(name, value)
    return merged


def _paragraphs(text: str) -> Iterator[dict[str, str]]:
    current: dict[str, str] = {}
    last = ""
    for line in text.split("\n"):
        if not line.strip():
            if current:
                yield current
            current, last = {}, ""
            continue
        found = _FIELD.match(line)
        name = found[1].lower() if found else ""
        if found is None or (line[0] in " \t" and last and name not in _KNOWN):
            if last and len(current[last]) < MAX_VALUE:
                current[last] += " " + line.strip()
            continue
        if name in current:
            if name in _NAMES_RECIPIENT:
                yield current
                current = {}
            else:
                last = ""
                continue
        current[name] = found[2].strip()[:MAX_VALUE]
        last = name
    if current:
        yield current


def typed(value: str) -> tuple[str, str]:
    """`rfc822; ann@example.org` in its type (lower case) and the rest."""
    kind, semicolon, rest = value.partition(";")
    if not semicolon or " " in kind.strip():
        return "", value.strip()
    return kind.strip().lower(), rest.strip()


def address_of(value: str) -> str | None:
    """The address in an address field (RFC 3464 §2.3.1, RFC 6533 §3), or None for one of another mail system."""
    kind, rest = typed(value)
    if kind not in ("", "rfc822", "utf-8", "utf8", "smtp", "unknown", "local", "internet", "x-local", "dns"):
        return None
    if kind in ("utf-8", "utf8"):
        rest = _UNICODE.sub(_character, rest)
    elif "+" in rest and _XTEXT.search(rest) and "@" not in rest:
        rest = _XTEXT.sub(lambda found: chr(int(found[1], 16)), rest)
    bracketed = _BRACKETED.search(rest)
    inner = bracketed[1] if bracketed else rest
    found = _ADDRESS.search(inner.rpartition(":")[2] if inner.startswith("@") else inner)
    return found[0].strip(".'") if found else None


def _character(found: re.Match[str]) -> str:
    number = int(found[1], 16)
    return chr(number) if number < 0x110000 and not 0xD800 <= number < 0xE000 else "?"
