"""DMARC: does anybody vouch for the domain a reader sees in From, and what does that domain want done if not?

By RFC 9989: records are found by walking up the tree of DNS, at most MAX_WALK questions for each domain; `pct` is gone,
`t`, `np` and `psd` are heard. Pure over what DNS says. What becomes of the message is receive/authentication.py's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from postroad.message.dns import DnsStatus, Lookup

MAX_WALK = 8
"""Names asked about for one domain (§4.10)."""
MAX_RECORD_OCTETS = 8192
MAX_IDENTIFIERS = 16
"""Authenticated identifiers that are compared with the author's domain."""

_VERSION = re.compile(rb"v[ \t]*=[ \t]*DMARC1[ \t]*(?:;|$)")
_REPORT_TO = re.compile(r"[ \t]*mailto:[^,;!\s@]+@[^,;!\s@]+", re.IGNORECASE)


class Policy(StrEnum):
    """What is to be done with mail that fails (§4.7)."""

    NONE = "none"
    QUARANTINE = "quarantine"
    REJECT = "reject"


_MILDER = {Policy.REJECT: Policy.QUARANTINE, Policy.QUARANTINE: Policy.NONE, Policy.NONE: Policy.NONE}


class DmarcResult(StrEnum):
    """In the words of RFC 8601."""

    NONE = "none"
    """The domain has no policy."""
    PASS = "pass"  # noqa: S105 - the field's own word
    FAIL = "fail"
    TEMPERROR = "temperror"


@dataclass(frozen=True, slots=True, kw_only=True)
class DmarcRecord:
    """A policy record. `psd`: `y` a public suffix, `n` an organisation's top, `u` not said."""

    policy: Policy = Policy.NONE
    subdomain_policy: Policy | None = None
    absent_policy: Policy | None = None
    """For subdomains that do not exist (np)."""
    is_dkim_strict: bool = False
    is_spf_strict: bool = False
    is_testing: bool = False
    psd: str = "u"

    def policy_for(self, *, is_own: bool, exists: bool) -> Policy:
        """For the domain it was found at (`is_own`), or one below it."""
        if is_own:
            return self.policy
        below = self.subdomain_policy or self.policy
        return below if exists else self.absent_policy or below


@dataclass(frozen=True, slots=True)
class Identifier:
    """A domain that SPF or DKIM (`method`) looked at; `is_temporary`: it could not be judged now."""

    method: str
    domain: str
    is_pass: bool
    is_temporary: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DmarcVerdict:
    """`policy`: what the domain asks for; `disposition`: the same with `t` heard, `none` unless the mail failed."""

    result: DmarcResult
    domain: str
    """The author's."""
    found_at: str = ""
    """Where the record is that applies."""
    organisation: str = ""
    policy: Policy = Policy.NONE
    disposition: Policy = Policy.NONE
    aligned: tuple[str, ...] = ()
    """The methods that vouch for the author's domain."""
    reason: str = ""


def dmarc_texts(texts: Iterable[bytes]) -> list[bytes]:
    """Those TXT records that are DMARC's."""
    return [text for text in texts if _VERSION.match(text)]


@lru_cache(maxsize=512)
def parse_dmarc(text: bytes) -> DmarcRecord | None:
    """The record that a TXT record is; None where it is none, or is to be treated as none (§4.7, §4.10.1)."""
    if len(text) > MAX_RECORD_OCTETS or not text.isascii():
        return None
    found = _VERSION.match(text)
    if found is None:
        return None
    tags: dict[str, str] = {}
    for tag in text[found.end() :].decode("ascii").split(";"):
        name, equals, value = tag.partition("=")
        if equals:
            tags.setdefault(name.strip(" \t").lower(), value.strip(" \t"))
    try:
        policies = [Policy(tags[name].lower()) if name in tags else None for name in ("p", "sp", "np")]
    except ValueError:
        if not any(_REPORT_TO.match(uri) for uri in tags.get("rua", "").split(",")):
            return None
        policies = [Policy.NONE, None, None]
    psd = tags.get("psd", "u").lower()
    return DmarcRecord(
        policy=policies[0] or Policy.NONE,
        subdomain_policy=policies[1],
        absent_policy=policies[2],
        is_dkim_strict=tags.get("adkim", "r").lower() == "s",
        is_spf_strict=tags.get("aspf", "r").lower() == "s",
        is_testing=tags.get("t", "n").lower() == "y",
        psd=psd if psd in ("y", "n") else "u",
    )


def walk_names(domain: str) -> list[str]:
    """The names asked about for a domain, itself first (§4.10): one of many labels jumps to seven."""
    labels = domain.split(".")
    above = labels[max(1, len(labels) - MAX_WALK + 1) :]
    return [domain, *(".".join(above[start:]) for start in range(len(above)))]


def is_single_label(domain: str) -> bool:
    """Whether it is a top-level domain, below which strangers live."""
    return "." not in domain


async def evaluate(
    domain: str,
    identifiers: Sequence[Identifier],
    lookup: Lookup,
    *,
    is_public_suffix: Callable[[str], bool] = is_single_label,
) -> DmarcVerdict:
    """Judge a message whose author is of `domain` (A-labels) by the identifiers that were authenticated.

    `is_public_suffix`: whether strangers live below a name that has a record, does not say, and is above the domain.
    """
    walks = _Walks(lookup, is_public_suffix)
    try:
        walk = await walks.of(domain)
    except _TemporaryError as error:
        return DmarcVerdict(result=DmarcResult.TEMPERROR, domain=domain, reason=str(error))
    if walk.applied is None:
        return DmarcVerdict(result=DmarcResult.NONE, domain=domain, organisation=walk.organisation)
    found_at, record = walk.applied
    is_own = found_at == domain
    exists = is_own or record.absent_policy is None or await _exists(domain, lookup)
    policy = record.policy_for(is_own=is_own, exists=exists)
    aligned, is_unsure = await _aligned(walks, walk, record, identifiers[:MAX_IDENTIFIERS])
    result, reason = DmarcResult.FAIL, "no aligned SPF or DKIM identifier passed"
    if aligned:
        result, reason = DmarcResult.PASS, ""
    elif is_unsure:
        result, reason = DmarcResult.TEMPERROR, "an aligned identifier could not be judged now"
    disposition = Policy.NONE
    if result is DmarcResult.FAIL:
        disposition = _MILDER[policy] if record.is_testing else policy
    return DmarcVerdict(
        result=result,
        domain=domain,
        found_at=found_at,
        organisation=walk.organisation,
        policy=policy,
        disposition=disposition,
        aligned=aligned,
        reason=reason,
    )


async def _exists(domain: str, lookup: Lookup) -> bool:
    """Whether DNS has the name at all; where it cannot say, it has (RFC 8020)."""
    return (await lookup.addresses_v4(domain)).status is not DnsStatus.NO_DOMAIN


async def _aligned(
    walks: _Walks, walk: _Walk, record: DmarcRecord, identifiers: Sequence[Identifier]
) -> tuple[tuple[str, ...], bool]:
    """The methods that passed for an aligned domain, and whether one more might have (§4.10.2, §5.3.2)."""
    aligned: dict[str, None] = {}
    is_unsure = False
    for identifier in identifiers:
        if not (identifier.is_pass or identifier.is_temporary) or identifier.method in aligned:
            continue
        is_strict = record.is_spf_strict if identifier.method == "spf" else record.is_dkim_strict
        try:
            is_aligned = await walks.is_aligned(walk, identifier.domain, is_strict=is_strict)
        except _TemporaryError:
            is_unsure = True
            continue
        if is_aligned and identifier.is_pass:
            aligned[identifier.method] = None
        elif is_aligned:
            is_unsure = True
    return tuple(aligned), is_unsure


# The walk ------------------------------------------------------------------------------------------------------------


class _TemporaryError(Exception):
    """DNS could not say."""


@dataclass(frozen=True, slots=True)
class _Walk:
    """What a walk found. `applied`: where the record is that holds for the domain, and the record."""

    domain: str
    organisation: str
    applied: tuple[str, DmarcRecord] | None


class _Walks:
    """The walks of one message; no name is asked about twice."""

    def __init__(self, lookup: Lookup, is_public_suffix: Callable[[str], bool]) -> None:
        self._lookup = lookup
        self._is_public_suffix = is_public_suffix
        self._records: dict[str, DmarcRecord | None] = {}

    async def is_aligned(self, author: _Walk, domain: str, *, is_strict: bool) -> bool:
        """Whether an authenticated domain speaks for the author's."""
        if domain == author.domain:
            return True
        if is_strict or not (domain == author.organisation or domain.endswith(f".{author.organisation}")):
            return False  # nobody's organisation is outside its own name
        return (await self.of(domain)).organisation == author.organisation

    async def of(self, domain: str) -> _Walk:
        """Walk up from a domain (§4.10). Raises _TemporaryError."""
        found: list[tuple[str, DmarcRecord]] = []
        for name in walk_names(domain):
            record = await self._record(name)
            if record is not None:
                found.append((name, record))
                if record.psd != "u":
                    break
        organisation, suffix = self._organisation(domain, found)
        for name in (domain, organisation, suffix):
            record = next((record for place, record in found if place == name), None)
            if record is not None:
                return _Walk(domain, organisation, (name, record))
        return _Walk(domain, organisation, None)

    def _organisation(self, domain: str, found: Sequence[tuple[str, DmarcRecord]]) -> tuple[str, str]:
        """The Organizational Domain, and the public suffix it is under where that has a record (§4.10.2)."""
        for name, record in found:
            if record.psd == "n":
                return name, ""
            if name != domain and (record.psd == "y" or self._is_public_suffix(name)):
                return ".".join(domain.split(".")[-name.count(".") - 2 :]), name
        return (found[-1][0] if found else domain), ""

    async def _record(self, name: str) -> DmarcRecord | None:
        if name not in self._records:
            answer = await self._lookup.texts(f"_dmarc.{name}")
            if answer.status is DnsStatus.TEMPORARY:
                raise _TemporaryError(f"DNS could not say whether {name} has a DMARC record")
            texts = dmarc_texts(answer.texts)
            self._records[name] = parse_dmarc(texts[0]) if len(texts) == 1 else None
        return self._records[name]
