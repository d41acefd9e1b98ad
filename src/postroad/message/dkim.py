"""DKIM signatures of a message, checked (RFC 6376; RFC 8301 on what is too weak; RFC 8463 on Ed25519).

`signatures` reads what stands in the message, `check` decides one signature once its key record is known, `verify` does
both for all of them, asking DNS by what is handed in. At most MAX_SIGNATURES are looked at, from the top; each costs
one look-up and one operation with a public key at most, and the body is hashed twice at most.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from postroad.message.dkim_canon import (
    BodyHashes,
    Field,
    chosen_fields,
    signed_octets,
    split_fields,
    without_signature,
)
from postroad.message.dkim_key import (
    AskTexts,
    KeyProblem,
    KeyRecord,
    choose_record,
    is_signed_by,
    query_name,
)
from postroad.message.dkim_tags import TagError, base64_of, number_of, parse_tags, required, words_of
from postroad.message.dns import DnsStatus, TextsAnswer
from postroad.smtp.address import AddressError, to_a_labels

MAX_SIGNATURES = 8
MAX_SIGNED_NAMES = 500
"""Names in h=; a signature with more cannot be evaluated."""
CLOCK_SKEW_S = 300
"""How far ahead of ours the clock of a signer may be."""
_FORMS = {"simple": False, "relaxed": True}
_SELECTOR = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?)*")


class Verdict(StrEnum):
    """What is said of a signature, in the words of RFC 8601 §2.7.1."""

    PASS = "pass"  # noqa: S105 - a word of RFC 8601
    FAIL = "fail"
    """Something signed was changed."""
    POLICY = "policy"
    """It may be whole, and is not accepted: too weak, expired, or of a part of the body only."""
    TEMPERROR = "temperror"
    """Its key could not be asked for now."""
    PERMERROR = "permerror"
    """It cannot be evaluated: malformed, or without a usable key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DkimResult:
    """Of one signature. What the signer claims stands there even where it did not pass; empty where unreadable."""

    verdict: Verdict
    reason: str = ""
    """One sentence where it did not pass."""
    domain: str = ""
    """d= in A-labels: who takes responsibility."""
    selector: str = ""
    identity: str = ""
    """i=, or @ and the domain."""
    algorithm: str = ""
    """a=."""
    bits: int = 0
    """Of the key, where it is known."""
    signature: str = ""
    """The first eight characters of b=, by which results of one domain are told apart (RFC 6008)."""
    is_testing: bool = False
    """The domain only tries signing (t=y): a failure says no more than no signature."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """A signature as it stands in a message, read and not yet checked. The forms: whether they are relaxed."""

    own: bytes
    """Its whole field."""
    algorithm: str
    domain: str
    selector: str
    identity: str
    header_relaxed: bool
    body_relaxed: bool
    names: tuple[bytes, ...]
    body_hash: bytes
    value: bytes
    shown: str
    length: int | None
    signed_at: int | None
    expires_at: int | None

    @property
    def query(self) -> str:
        """The name of its key record."""
        return query_name(self.selector, self.domain)

    def result(self, verdict: Verdict, reason: str = "", record: KeyRecord | None = None) -> DkimResult:
        """What is said of it."""
        return DkimResult(
            verdict=verdict,
            reason=reason,
            domain=self.domain,
            selector=self.selector,
            identity=self.identity,
            algorithm=self.algorithm,
            bits=record.bits if record else 0,
            signature=self.shown,
            is_testing=bool(record and record.is_testing),
        )


@dataclass(frozen=True, slots=True)
class Signed:
    """A message taken apart for its signatures, which share what it costs."""

    fields: Sequence[Field]
    hashes: BodyHashes
    signatures: Sequence[Signature | DkimResult] = field(default=())
    """From the top; one that cannot be read is a result already."""


def signatures(message: bytes) -> Signed:
    """The DKIM signatures of a message."""
    fields, body_start = split_fields(message)
    own = [one for one in fields if one.name == b"dkim-signature"][:MAX_SIGNATURES]
    return Signed(fields, BodyHashes(message[body_start:]), [_read(one) for one in own] if own else ())


async def verify(message: bytes, texts: AskTexts, *, now: float) -> list[DkimResult]:
    """What is said of each signature, from the top; empty where there is none. `now`: wall clock."""
    signed = signatures(message)
    results = []
    for one in signed.signatures:
        if isinstance(one, DkimResult):
            results.append(one)
            continue
        results.append(refusal(one, now=now) or check(signed, one, await texts(one.query)))
    return results


def refusal(one: Signature, *, now: float) -> DkimResult | None:
    """What can be said without its key: that it is not accepted whatever the key says, or nothing."""
    if one.algorithm == "rsa-sha1":
        return one.result(Verdict.POLICY, "rsa-sha1 proves nothing any more (RFC 8301)")
    if one.expires_at is not None and now > one.expires_at:
        return one.result(Verdict.POLICY, "the signature has expired")
    if one.signed_at is not None and one.signed_at > now + CLOCK_SKEW_S:
        return one.result(Verdict.POLICY, "the signature is from the future")
    return None


def check(signed: Signed, one: Signature, answer: TextsAnswer) -> DkimResult:
    """Decide a signature by the TXT records at its `query`."""
    record = usable_key(one, answer)
    if isinstance(record, DkimResult):
        return record
    if record.is_strict and one.identity.rpartition("@")[2] != one.domain:
        return one.result(Verdict.PERMERROR, "the key is not for subdomains, and i= names one", record)
    fault = fault_of_body(signed.hashes, one)
    if fault is not None:
        return one.result(*fault, record)
    octets = signed_octets(
        chosen_fields((each for each in signed.fields if each.raw is not one.own), one.names),
        without_signature(one.own),
        is_relaxed=one.header_relaxed,
    )
    if not is_signed_by(record, one.value, hashlib.sha256(octets).digest()):
        return one.result(Verdict.FAIL, "the signature is not of this header", record)
    return one.result(Verdict.PASS, record=record)


def usable_key(one: Signature, answer: TextsAnswer) -> KeyRecord | DkimResult:
    """The key of the signature, or the result where there is none."""
    if answer.status is DnsStatus.TEMPORARY:
        return one.result(Verdict.TEMPERROR, f"the key at {one.query} could not be asked for")
    record = choose_record(answer.texts)
    if record is None:
        return one.result(Verdict.PERMERROR, f"there is no key at {one.query}")
    if isinstance(record, KeyProblem):
        is_weak = record in (KeyProblem.WEAK, KeyProblem.HUGE)
        return one.result(Verdict.POLICY if is_weak else Verdict.PERMERROR, str(record))
    if record.algorithm.signature != one.algorithm:
        return one.result(Verdict.PERMERROR, f"the signature is {one.algorithm} and the key is {record.algorithm}")
    return record


def fault_of_body(hashes: BodyHashes, one: Signature) -> tuple[Verdict, str] | None:
    """What is wrong with the body; None where it is as it was signed, all of it."""
    digest, octets = hashes.of(is_relaxed=one.body_relaxed)
    if one.length is not None and one.length < octets:
        return Verdict.POLICY, "l= leaves a part of the body unsigned"
    if digest != one.body_hash or (one.length or 0) > octets:
        return Verdict.FAIL, "the body was changed"
    return None


# Reading ----------------------------------------------------------------------------------------------------------


def _read(own: Field) -> Signature | DkimResult:
    tags: Mapping[str, str] = {}
    try:
        tags = parse_tags(own.value)
        return _signature(own, tags)
    except TagError as error:
        return DkimResult(
            verdict=Verdict.PERMERROR,
            reason=str(error),
            domain=_domain_or_nothing(tags.get("d", "")),
            algorithm=tags.get("a", "")[:20],
        )


def _signature(own: Field, tags: Mapping[str, str]) -> Signature:
    if required(tags, "v") != "1":
        raise TagError("the tag v= is not 1")
    if "dns/txt" not in words_of(tags.get("q", "dns/txt")):
        raise TagError("the tag q= names no way to the key that is known")
    one = signature_of(own, tags, identity=tags.get("i", ""), forms="simple/simple")
    if b"from" not in one.names:
        raise TagError("the tag h= does not name From")
    at = one.identity.rpartition("@")[2]
    if "i" in tags and "@" not in tags["i"]:
        raise TagError("the tag i= is no identity")
    if at != one.domain and not at.endswith(f".{one.domain}"):
        raise TagError("the tag i= is outside the domain of d=")
    if one.signed_at is not None and one.expires_at is not None and one.expires_at <= one.signed_at:
        raise TagError("the tag x= is not later than t=")
    return one


def signature_of(own: Field, tags: Mapping[str, str], *, identity: str, forms: str) -> Signature:
    """What signatures of DKIM and of ARC have in common. Raises TagError.

    `identity`: as i= of DKIM has it; `forms`: what c= is where it is missing."""
    header_relaxed, body_relaxed = _forms(tags.get("c", forms))
    names = tuple(word.lower().encode("utf-8", "surrogateescape") for word in words_of(required_value(tags, "h")))
    if len(names) > MAX_SIGNED_NAMES:
        raise TagError(f"the tag h= has more than {MAX_SIGNED_NAMES} names")
    domain = domain_of(tags)
    return Signature(
        own=own.raw,
        algorithm=algorithm_of(tags),
        domain=domain,
        selector=selector_of(tags),
        identity=_identity(identity, domain),
        header_relaxed=header_relaxed,
        body_relaxed=body_relaxed,
        names=names,
        body_hash=base64_of(tags, "bh"),
        value=base64_of(tags, "b"),
        shown="".join(tags["b"].split())[:8],
        length=number_of(tags, "l"),
        signed_at=number_of(tags, "t"),
        expires_at=number_of(tags, "x"),
    )


def algorithm_of(tags: Mapping[str, str]) -> str:
    """The tag a=. Raises TagError for an unknown one."""
    algorithm = required(tags, "a")
    if algorithm not in ("rsa-sha256", "ed25519-sha256", "rsa-sha1"):
        raise TagError(f"the algorithm {algorithm[:20]!a} is unknown")
    return algorithm


def domain_of(tags: Mapping[str, str]) -> str:
    """The tag d= in A-labels. Raises TagError."""
    domain = _domain_or_nothing(required(tags, "d"))
    if "." not in domain:
        raise TagError("the tag d= is no domain name")
    return domain


def selector_of(tags: Mapping[str, str]) -> str:
    """The tag s= in A-labels. Raises TagError."""
    selector = required(tags, "s")
    if not selector.isascii():
        selector = _domain_or_nothing(selector)
    if _SELECTOR.fullmatch(selector) is None or len(selector) > 190:
        raise TagError("the tag s= is no selector")
    return selector.lower()


def required_value(tags: Mapping[str, str], name: str) -> str:
    """A tag that must be there, empty perhaps. Raises TagError."""
    if name not in tags:
        raise TagError(f"the tag {name}= is missing")
    return tags[name]


def _forms(text: str) -> tuple[bool, bool]:
    header, slash, body = text.partition("/")
    if header not in _FORMS or (slash and body not in _FORMS):
        raise TagError("the tag c= names no form that is known")
    return _FORMS[header], _FORMS[body] if slash else False


def _identity(text: str, domain: str) -> str:
    local, at, host = text.rpartition("@")
    return f"{local}@{_domain_or_nothing(host)}" if at else f"@{domain}"


def _domain_or_nothing(text: str) -> str:
    try:
        return to_a_labels(text)
    except AddressError:
        return ""
