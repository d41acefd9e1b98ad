"""MTA-STS read: the TXT record, the policy file, and which hosts a policy names (RFC 8461).

Pure. What does not follow the grammar is no record, or no policy: `StsInvalid` says what is wrong with it.
Used by road/sts_policies.py, which asks DNS and the web server, and store/tls_book.py, which keeps what they said.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

MAX_POLICY_OCTETS = 64 * 1024
MAX_PATTERNS = 500
MAX_AGE_S = 31_557_600
"""A policy is kept for a year at most (RFC 8461 §3.2)."""

_RECORD = re.compile(r"v=STSv1[ \t]*(?:;|\Z)", re.ASCII)
_ID = re.compile(r"[A-Za-z0-9]{1,32}", re.ASCII)
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"
_PATTERN = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})+", re.ASCII)
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}", re.ASCII)


class StsMode(StrEnum):
    """What a policy asks for (RFC 8461 §5)."""

    ENFORCE = "enforce"
    TESTING = "testing"
    NONE = "none"


class StsInvalid(ValueError):
    """A record or a policy that does not follow the grammar; the message says where."""


@dataclass(frozen=True, slots=True)
class StsPolicy:
    """`mx`: patterns in lower case. `max_age_s`: how long it may be used after it was fetched."""

    mode: StsMode
    mx: tuple[str, ...]
    max_age_s: int
    lines: tuple[str, ...] = ()
    """As the domain wrote it, for reports."""

    def matches(self, host: str) -> bool:
        """Whether the policy names that mail host."""
        return any(matches(pattern, host) for pattern in self.mx)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptPolicy:
    """A policy file as it was fetched. Times by the wall clock."""

    domain: str
    record_id: str
    content: bytes
    fetched_at: float
    expires_at: float


def matches(pattern: str, host: str) -> bool:
    """Whether a pattern names a host: letter for letter, or `*.` for exactly one label more (RFC 8461 §4.1)."""
    host, pattern = host.rstrip(".").lower(), pattern.lower()
    if not pattern.startswith("*."):
        return host == pattern
    label, _, rest = host.partition(".")
    return bool(label) and rest == pattern[2:]


def record_id(texts: Iterable[str]) -> str | None:
    """The id in a domain's `_mta-sts` TXT records; None where it announces no policy (RFC 8461 §3.1).

    Raises StsInvalid for two records, or one that is not to be read: the same as none, with a reason."""
    found = [text for text in texts if _RECORD.match(text)]
    if not found:
        return None
    if len(found) > 1:
        raise StsInvalid(f"there are {len(found)} records that begin with v=STSv1")
    values: dict[str, str] = {}
    for part in found[0].split(";")[1:]:
        key, equals, value = part.strip(" \t").partition("=")
        if not part.strip(" \t"):
            continue
        if not equals or not _KEY.fullmatch(key):
            raise StsInvalid("the record has a field that is not of the form key=value")
        values.setdefault(key, value)
    number = values.get("id", "")
    if not _ID.fullmatch(number):
        raise StsInvalid("the record has no id of 1 to 32 letters and digits")
    return number


def parse_policy(content: bytes) -> StsPolicy:
    """The policy in a file (RFC 8461 §3.2). Raises StsInvalid."""
    if len(content) > MAX_POLICY_OCTETS:
        raise StsInvalid(f"the policy has more than {MAX_POLICY_OCTETS} octets")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise StsInvalid("the policy is not UTF-8 text") from None
    values: dict[str, str] = {}
    mx: list[str] = []
    kept: list[str] = []
    for line in re.split(r"\r?\n", text):
        if not line.strip(" \t"):
            continue
        key, colon, value = line.partition(":")
        key, value = key.strip(" \t"), value.strip(" \t")
        if not colon or not _KEY.fullmatch(key):
            raise StsInvalid("the policy has a line that is not of the form key: value")
        if key == "mx":
            mx.append(_pattern(value))
        elif key not in ("version", "mode", "max_age"):
            continue
        else:
            values.setdefault(key, value)
        kept.append(f"{key}: {value}")
        if len(mx) > MAX_PATTERNS:
            raise StsInvalid(f"the policy names more than {MAX_PATTERNS} mx patterns")
    return _policy(values, tuple(mx), tuple(kept))


def _pattern(value: str) -> str:
    if len(value) > 255 or not _PATTERN.fullmatch(value):
        raise StsInvalid("the policy has an mx that is neither a host name nor a pattern such as *.example.org")
    return value.lower()


def _policy(values: dict[str, str], mx: tuple[str, ...], lines: tuple[str, ...]) -> StsPolicy:
    if values.get("version") != "STSv1":
        raise StsInvalid("the policy does not say version: STSv1")
    try:
        mode = StsMode(values.get("mode", ""))
    except ValueError:
        raise StsInvalid("the policy has no mode of enforce, testing or none") from None
    age = values.get("max_age", "")
    if not re.fullmatch(r"[0-9]{1,10}", age):
        raise StsInvalid("the policy has no max_age of 1 to 10 digits")
    if not mx and mode is not StsMode.NONE:
        raise StsInvalid(f"the policy says mode: {mode} and names no mx")
    return StsPolicy(mode, mx, min(int(age), MAX_AGE_S), lines)
