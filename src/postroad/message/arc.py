"""ARC chains: who handled a message on its way, and what each saw (RFC 8617). Checked here, sealed in arc_seal.

A chain is the sets 1…N of three fields each; the newest message signature and every seal must hold. Structure and body
are looked at before any key is asked for, and the first fault ends it. A seal covers all sets before it: their hash is
made once and carried on, so that the work is linear in the size of the header.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from postroad.message.dkim import (
    Signature,
    Verdict,
    algorithm_of,
    check,
    domain_of,
    fault_of_body,
    selector_of,
    signature_of,
    signatures,
)
from postroad.message.dkim_canon import Field, relaxed_field, without_signature
from postroad.message.dkim_key import AskTexts, KeyRecord, choose_record, is_signed_by, query_name
from postroad.message.dkim_tags import TagError, base64_of, number_of, parse_tags, required
from postroad.message.dns import DnsStatus, TextsAnswer

MAX_SETS = 50  # RFC 8617 §4.2.1
RESULTS, SIGNATURE, SEAL = b"arc-authentication-results", b"arc-message-signature", b"arc-seal"
_KINDS = (RESULTS, SIGNATURE, SEAL)
_INSTANCE = re.compile(r"[0-9]{1,9}")
_RESULTS_START = re.compile(rb"[ \t\r\n]*i[ \t\r\n]*=[ \t\r\n]*([0-9]{1,9})[ \t\r\n]*;(.*)", re.DOTALL)


class Chain(StrEnum):
    """What is said of a chain (§4.4)."""

    NONE = "none"
    """There is none."""
    PASS = "pass"  # noqa: S105 - a word of RFC 8617
    FAIL = "fail"
    TEMPERROR = "temperror"
    """A key could not be asked for now: neither is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArcResult:
    """Of the chain as a whole. Claims (`sealers`, `results`) are worth something only where it passed."""

    verdict: Chain
    reason: str = ""
    """One sentence where it did not pass."""
    instances: int = 0
    """How many sets there are, whatever they are worth."""
    sealers: tuple[str, ...] = ()
    """The d= of each seal, from the newest to the first."""
    results: str = ""
    """What the newest sealer saw: its ARC-Authentication-Results without i=, on one line."""
    is_ended: bool = False
    """The newest seal says itself that the chain is broken: nobody adds to it any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """An ARC-Seal, read."""

    own: bytes
    algorithm: str
    domain: str
    selector: str
    value: bytes
    validation: str
    """cv=."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArcSet:
    """The three fields of one handler."""

    results: Field
    signature: Field
    seal: Field


class _Fault(Exception):
    """Why the chain does not pass."""


class _Later(Exception):
    """Why it cannot be known now."""


async def validate(message: bytes, texts: AskTexts) -> ArcResult:
    """What is said of the chain of a message."""
    signed = signatures(message)
    try:
        sets = arc_sets(signed.fields)
    except TagError as error:
        return ArcResult(verdict=Chain.FAIL, reason=str(error), instances=_highest(signed.fields))
    if not sets:
        return ArcResult(verdict=Chain.NONE)
    sealers: tuple[str, ...] = ()
    is_ended = False
    verdict, reason = Chain.PASS, ""
    try:
        seals = [_read_seal(one.seal) for one in sets]
        sealers = tuple(one.domain for one in reversed(seals))
        is_ended = seals[-1].validation == "fail"
        _check_claims(seals)
        newest = _read_signature(sets[-1].signature)
        fault = fault_of_body(signed.hashes, newest)
        if fault is not None:
            raise _Fault(f"the newest message signature does not hold: {fault[1]}")
        keys = _Keys(texts)
        result = check(signed, newest, await keys.answer(newest.selector, newest.domain))
        if result.verdict is Verdict.TEMPERROR:
            raise _Later(result.reason)
        if result.verdict is not Verdict.PASS:
            raise _Fault(f"the newest message signature does not hold: {result.reason}")
        digests = sealed_digests(sets)
        for place in reversed(range(len(seals))):
            await _check_seal(seals[place], digests[place], place + 1, keys)
    except (TagError, _Fault) as error:
        verdict, reason = Chain.FAIL, str(error)
    except _Later as error:
        verdict, reason = Chain.TEMPERROR, str(error)
    return ArcResult(
        verdict=verdict,
        reason=reason,
        instances=len(sets),
        sealers=sealers,
        results=_shown_results(sets[-1].results),
        is_ended=is_ended,
    )


# Structure --------------------------------------------------------------------------------------------------------


def arc_sets(fields: Sequence[Field]) -> list[ArcSet]:
    """The sets in order of their numbers, each whole and alone (§5.2 step 1). Raises TagError."""
    found: dict[bytes, dict[int, Field]] = {kind: {} for kind in _KINDS}
    for one in fields:
        if one.name not in found:
            continue
        instance = _instance(one)
        if instance in found[one.name]:
            raise TagError(f"there are two {_shown(one)} of number {instance}")
        found[one.name][instance] = one
    highest = max((max(kind, default=0) for kind in found.values()), default=0)
    for kind, by_number in found.items():
        if len(by_number) != highest:
            raise TagError(f"the chain has {highest} sets and {len(by_number)} fields {kind.decode('ascii')}")
    return [
        ArcSet(results=found[RESULTS][number], signature=found[SIGNATURE][number], seal=found[SEAL][number])
        for number in range(1, highest + 1)
    ]


def fields_of_set(one: ArcSet) -> tuple[Field, Field, Field]:
    """Its fields in the order in which they are sealed (§5.1.1)."""
    return one.results, one.signature, one.seal


def _instance(one: Field) -> int:
    if one.name == RESULTS:
        start = _RESULTS_START.match(one.value)
        text = start[1].decode("ascii") if start else ""
    else:
        text = parse_tags(one.value).get("i", "")
    if _INSTANCE.fullmatch(text) is None or not 1 <= int(text) <= MAX_SETS:
        raise TagError(f"{_shown(one)} has no number from 1 to {MAX_SETS}")
    return int(text)


def _highest(fields: Sequence[Field]) -> int:
    """How many seals there are, in a chain that is not whole."""
    return min(sum(one.name == SEAL for one in fields), MAX_SETS)


def _shown(one: Field) -> str:
    return one.name.decode("ascii")


def _shown_results(one: Field) -> str:
    start = _RESULTS_START.match(one.value)
    return " ".join(start[2].decode("utf-8", "replace").split()) if start else ""


# Seals ------------------------------------------------------------------------------------------------------------


def _read_seal(own: Field) -> Seal:
    tags = parse_tags(own.value)
    if "h" in tags:
        raise TagError("a seal has the tag h=, which it must not have")
    number_of(tags, "t")
    validation = required(tags, "cv")
    if validation not in ("none", "pass", "fail"):
        raise TagError("the tag cv= is neither none, pass nor fail")
    return Seal(
        own=own.raw,
        algorithm=_strong(tags),
        domain=domain_of(tags),
        selector=selector_of(tags),
        value=base64_of(tags, "b"),
        validation=validation,
    )


def _read_signature(own: Field) -> Signature:
    tags = parse_tags(own.value)
    _strong(tags)
    # Without c= those who seal mean relaxed, which RFC 8617 leaves open.
    one = signature_of(own, tags, identity="", forms="relaxed/relaxed")
    if SEAL in one.names:
        raise TagError("the message signature covers a seal, which it must not")
    return one


def _strong(tags: Mapping[str, str]) -> str:
    algorithm = algorithm_of(tags)
    if algorithm == "rsa-sha1":
        raise TagError("rsa-sha1 proves nothing any more (RFC 8301)")
    return algorithm


def _check_claims(seals: Sequence[Seal]) -> None:
    """What the seals say of each other (§5.2 steps 2 and 3)."""
    if seals[-1].validation == "fail":
        raise _Fault("the newest seal says that the chain is broken")
    for number, seal in enumerate(seals, 1):
        if seal.validation != ("none" if number == 1 else "pass"):
            raise _Fault(f"seal {number} says cv={seal.validation}")


def sealed_digests(sets: Sequence[ArcSet]) -> list[bytes]:
    """The SHA-256 that each seal signs: of all sets up to its own, in order (§5.1.1)."""
    state = hashlib.sha256()
    digests = []
    for one in sets:
        state.update(relaxed_field(one.results.raw) + b"\r\n" + relaxed_field(one.signature.raw) + b"\r\n")
        sealed = state.copy()
        sealed.update(relaxed_field(without_signature(one.seal.raw)))
        digests.append(sealed.digest())
        state.update(relaxed_field(one.seal.raw) + b"\r\n")
    return digests


class _Keys:
    """Look-ups for one chain: each name once."""

    def __init__(self, texts: AskTexts) -> None:
        self._texts = texts
        self._known: dict[str, TextsAnswer] = {}

    async def answer(self, selector: str, domain: str) -> TextsAnswer:
        name = query_name(selector, domain)
        if name not in self._known:
            self._known[name] = await self._texts(name)
        return self._known[name]


async def _check_seal(seal: Seal, digest: bytes, number: int, keys: _Keys) -> None:
    answer = await keys.answer(seal.selector, seal.domain)
    if answer.status is DnsStatus.TEMPORARY:
        raise _Later(f"the key of seal {number} could not be asked for")
    record = choose_record(answer.texts)
    if not isinstance(record, KeyRecord):
        raise _Fault(f"the key of seal {number}: {record or 'there is none'}")
    if record.algorithm.signature != seal.algorithm or not is_signed_by(record, seal.value, digest):
        raise _Fault(f"seal {number} does not hold")
