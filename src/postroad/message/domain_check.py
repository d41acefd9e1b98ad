"""Whether DNS says of a domain what it should: each record of domain_records is there, missing, or differs.

What is published otherwise and does the same is right: other MX hosts beside ours, another SPF record under which our
addresses pass, a stricter DMARC policy. Asks by the `Lookup` that is handed in; the number of questions is that of the
records, and what SPF may ask.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from postroad.message.dkim_key import KeyProblem, KeyRecord, choose_record, parse_key_record
from postroad.message.dkim_tags import TagError, parse_tags
from postroad.message.dns import DnsStatus, Lookup, TextsAnswer
from postroad.message.domain_records import DomainSetup, Record, records
from postroad.message.spf import SpfResult, check_host

MAX_ADDRESSES = 8
"""Addresses of the server that are looked at."""


class State(StrEnum):
    """Of a record."""

    OK = "ok"
    MISSING = "missing"
    DIFFERS = "differs"
    UNKNOWN = "unknown"
    """DNS could not say now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A record, and what DNS has. `found`: what is published; `note`: one sentence where there is more to say."""

    record: Record
    state: State
    found: str = ""
    note: str = ""

    @property
    def is_wrong(self) -> bool:
        """Whether it must be mended: a record that is not needed may be missing, but not wrong."""
        return self.state is State.DIFFERS or (self.state is State.MISSING and self.record.is_needed)


async def known_addresses(setup: DomainSetup, lookup: Lookup) -> tuple[str, ...]:
    """The addresses that mail leaves from: those given, else those of the server's name."""
    if setup.addresses:
        return setup.addresses[:MAX_ADDRESSES]
    v4 = await lookup.addresses_v4(setup.hostname)
    v6 = await lookup.addresses_v6(setup.hostname)
    return (v4.addresses + v6.addresses)[:MAX_ADDRESSES]


async def check_domain(setup: DomainSetup, lookup: Lookup) -> list[Finding]:
    """What DNS says of each record, in the order of `records`. `setup.addresses` as known_addresses has them."""
    nowhere = [] if setup.addresses else [await _check_nowhere(setup, lookup)]
    return nowhere + [await _check(record, setup, lookup) for record in records(setup)]


async def _check(record: Record, setup: DomainSetup, lookup: Lookup) -> Finding:
    match record.kind:
        case "MX":
            return await _check_mx(record, setup, lookup)
        case "PTR":
            return await _check_pointer(record, setup, lookup)
        case "A" | "AAAA":
            return await _check_address(record, lookup)
    answer = await lookup.texts(record.name)
    if answer.status is DnsStatus.TEMPORARY:
        return _unknown(record, answer.detail)
    if record.about == "SPF":
        return await _check_spf(record, answer, setup, lookup)
    if record.about.startswith("DKIM "):
        return _check_key(record, answer)
    return _check_policy(record, answer)


def _unknown(record: Record, detail: str) -> Finding:
    return Finding(record=record, state=State.UNKNOWN, note=f"DNS does not answer now: {detail or 'no answer'}.")


async def _check_nowhere(setup: DomainSetup, lookup: Lookup) -> Finding:
    record = Record(
        about="address",
        name=setup.hostname,
        kind="A",
        value="ADDRESS",
        why="The server's name leads to the address that it sends from.",
    )
    answer = await lookup.addresses_v4(setup.hostname)
    if answer.status is DnsStatus.TEMPORARY:
        return _unknown(record, answer.detail)
    return Finding(record=record, state=State.MISSING, note="Without it, SPF and PTR were not looked at.")


# Ways -------------------------------------------------------------------------------------------------------------


async def _check_mx(record: Record, setup: DomainSetup, lookup: Lookup) -> Finding:
    answer = await lookup.mx(setup.domain)
    if answer.status is DnsStatus.TEMPORARY:
        return _unknown(record, answer.detail)
    found = ", ".join(f"{preference} {host}." for preference, host in answer.records[:10])
    if not answer.records:
        return Finding(record=record, state=State.MISSING)
    hosts = [host for _, host in answer.records]
    if setup.hostname in hosts:
        return Finding(record=record, state=State.OK, found=found)
    return Finding(record=record, state=State.DIFFERS, found=found, note="Mail to the domain does not come here.")


async def _check_address(record: Record, lookup: Lookup) -> Finding:
    ask = lookup.addresses_v4 if record.kind == "A" else lookup.addresses_v6
    answer = await ask(record.name)
    if answer.status is DnsStatus.TEMPORARY:
        return _unknown(record, answer.detail)
    if not answer.addresses:
        return Finding(record=record, state=State.MISSING)
    is_ours = record.value in answer.addresses
    return Finding(
        record=record, state=State.OK if is_ours else State.DIFFERS, found=", ".join(answer.addresses[:MAX_ADDRESSES])
    )


async def _check_pointer(record: Record, setup: DomainSetup, lookup: Lookup) -> Finding:
    address = record.about.removeprefix("PTR ")
    answer = await lookup.names(address)
    if answer.status is DnsStatus.TEMPORARY:
        return _unknown(record, answer.detail)
    if not answer.names:
        return Finding(record=record, state=State.MISSING)
    found = ", ".join(f"{name}." for name in answer.names[:10])
    if setup.hostname not in answer.names:
        return Finding(record=record, state=State.DIFFERS, found=found)
    ask = lookup.addresses_v4 if ipaddress.ip_address(address).version == 4 else lookup.addresses_v6
    if address in (await ask(setup.hostname)).addresses:
        return Finding(record=record, state=State.OK, found=found)
    return Finding(
        record=record,
        state=State.DIFFERS,
        found=found,
        note=f"The address leads to {setup.hostname}, and that name does not lead back to the address.",
    )


# Texts ------------------------------------------------------------------------------------------------------------


def _alone(record: Record, answer: TextsAnswer, version: str) -> Finding | str:
    """The one text that begins with this version, or what is wrong where there is not exactly one."""
    found = [text.decode("utf-8", "replace") for text in answer.texts]
    ours = [
        text for text in found if text.lower() == version or text.lower().startswith((f"{version};", f"{version} "))
    ]
    if not ours:
        return Finding(record=record, state=State.MISSING)
    if len(ours) > 1:
        return Finding(
            record=record,
            state=State.DIFFERS,
            found=" | ".join(ours[:5]),
            note="There are several such records, which counts as none: leave one.",
        )
    return ours[0]


async def _check_spf(record: Record, answer: TextsAnswer, setup: DomainSetup, lookup: Lookup) -> Finding:
    found = _alone(record, answer, "v=spf1")
    if isinstance(found, Finding):
        return found
    if not setup.addresses:
        return Finding(
            record=record,
            state=State.UNKNOWN,
            found=found,
            note=f"{setup.hostname} has no address, so it is not known which one would have to pass.",
        )
    for address in setup.addresses:
        verdict = await check_host(address, setup.domain, f"postmaster@{setup.domain}", lookup)
        if verdict.result is SpfResult.TEMPERROR:
            return _unknown(record, verdict.reason)
        if verdict.result is not SpfResult.PASS:
            note = f"Mail from {address} does not pass: {verdict.result} ({verdict.reason})."
            return Finding(record=record, state=State.DIFFERS, found=found, note=note)
    return Finding(record=record, state=State.OK, found=found)


def _check_key(record: Record, answer: TextsAnswer) -> Finding:
    if not answer.texts:
        return Finding(record=record, state=State.MISSING)
    found = answer.texts[0].decode("utf-8", "replace")
    published, ours = choose_record(answer.texts), parse_key_record(record.value.encode("ascii"))
    if isinstance(published, KeyProblem):
        return Finding(record=record, state=State.DIFFERS, found=found, note=f"It cannot be used: {published}.")
    if not isinstance(published, KeyRecord) or not isinstance(ours, KeyRecord) or published.key != ours.key:
        return Finding(record=record, state=State.DIFFERS, found=found, note="It is another key.")
    note = "It has t=y: receivers take the domain for one that only tries." if published.is_testing else ""
    return Finding(record=record, state=State.OK, found=found, note=note)


def _check_policy(record: Record, answer: TextsAnswer) -> Finding:
    version = record.value.partition(";")[0].partition(" ")[0].lower()
    found = _alone(record, answer, version)
    if isinstance(found, Finding):
        return found
    judge = _FAULTS.get(record.about)
    fault = None if judge is None else judge(found)
    if fault is not None:
        return Finding(record=record, state=State.DIFFERS, found=found, note=fault)
    note = ""
    if record.about == "DMARC" and _tags(found).get("p", "").lower() == "none":
        note = "p=none asks receivers to do nothing: go on to p=quarantine once the reports show only your own mail."
    return Finding(record=record, state=State.OK, found=found, note=note)


def _tags(text: str) -> dict[str, str]:
    try:
        return parse_tags(text.encode("utf-8"))
    except TagError:
        return {}


def _dmarc_fault(text: str) -> str | None:
    if _tags(text).get("p", "").lower() not in ("none", "quarantine", "reject"):
        return "It has no policy p=none, p=quarantine or p=reject that could be read."
    return None


def _sts_fault(text: str) -> str | None:
    policy_id = _tags(text).get("id", "")
    is_one = policy_id.isascii() and policy_id.isalnum() and len(policy_id) <= 32
    return None if is_one else "It has no id= of letters and digits."


def _tls_reports_fault(text: str) -> str | None:
    return None if _tags(text).get("rua", "").startswith(("mailto:", "https:")) else "It has no rua= to report to."


_FAULTS: dict[str, Callable[[str], str | None]] = {
    "DMARC": _dmarc_fault,
    "MTA-STS": _sts_fault,
    "TLS reports": _tls_reports_fault,
}


def is_well(findings: Sequence[Finding]) -> bool:
    """Whether nothing must be mended, and nothing is unknown."""
    return not any(one.is_wrong or one.state is State.UNKNOWN for one in findings)
