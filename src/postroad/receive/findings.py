"""What was found out of a message's sender, and what follows from it. Pure: no question is asked here.

One policy is applied once: DMARC's where the author's domain has one, else SPF's where the operator wants it heard. A
trusted handler's ARC seal may speak for what broke on the way (RFC 8617 §7.2.1). What could not be found out now is
never held against a sender for good.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from postroad.message.arc import ArcResult, Chain
from postroad.message.authentication_results import MethodResult, parse_results
from postroad.message.dkim import DkimResult, Verdict
from postroad.message.dmarc import DmarcResult, DmarcVerdict, Identifier, Policy
from postroad.message.spf import SpfResult, SpfVerdict
from postroad.smtp.reply import Reply, reply

_NO_AUTHOR = "The message must have one From field, with authors of one domain: {problem}"
_DMARC = "The DMARC policy of {domain} refuses this message: neither SPF nor DKIM speaks for it"
_SPF = "The SPF record of {domain} does not let {peer} send its mail"
_SENDS_NOTHING = "The SPF record of {domain} says that it sends no mail at all"
_LATER = reply(
    451, "Who sent this message cannot be found out now, since DNS gives no answer: try again later", "4.4.3"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """Of one message. `author`: the domain of its From field; empty where `problem` says why it names none."""

    peer: str
    sender: str
    """The reverse-path as text; empty for the null one."""
    spf: SpfVerdict
    """Of the reverse-path; of the HELO name where that is null (RFC 7208 §2.4)."""
    spf_hello: SpfVerdict | None = None
    dkim: Sequence[DkimResult] = ()
    arc: ArcResult = field(default_factory=lambda: ArcResult(verdict=Chain.NONE))
    author: str = ""
    problem: str = ""
    dmarc: DmarcVerdict | None = None

    @property
    def dmarc_result(self) -> DmarcResult:
        """The word for it: a message without one author fails (A-03)."""
        return self.dmarc.result if self.dmarc is not None else DmarcResult.FAIL

    @property
    def disposition(self) -> Policy:
        """What is asked for: a message without one author could pass for anybody's."""
        return self.dmarc.disposition if self.dmarc is not None else Policy.REJECT


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """What the operator lets follow. `trusted_sealers`: domains in A-labels."""

    is_enforced: bool = False
    holds_quarantined: bool = False
    refuses_spf_fail: bool = False
    defers_temporary: bool = False
    trusted_sealers: frozenset[str] = frozenset()


Action = Literal["none", "refused", "deferred", "quarantined", "held"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Consequence:
    """What is done. `refusal`: what is said instead of taking it; `quarantine`: why it is suspect."""

    action: Action = "none"
    refusal: Reply | None = None
    quarantine: str = ""
    overridden_by: str = ""
    """The sealer whose word counts more than the policy."""


def identifiers(spf: SpfVerdict, dkim: Sequence[DkimResult]) -> list[Identifier]:
    """What DMARC compares with the author's domain."""
    found = [Identifier("spf", spf.domain, spf.result is SpfResult.PASS, spf.result is SpfResult.TEMPERROR)]
    found += [
        Identifier("dkim", one.domain, one.verdict is Verdict.PASS, one.verdict is Verdict.TEMPERROR)
        for one in dkim
        if one.domain
    ]
    return found


def consequence(found: Findings, measures: Measures) -> Consequence:
    """What follows from the findings."""
    if found.dmarc_result is DmarcResult.PASS:
        return Consequence()
    sealer = vouching_sealer(found.arc, measures.trusted_sealers)
    if sealer or not measures.is_enforced:
        return Consequence(overridden_by=sealer)
    if found.dmarc is None:
        return _refused(reply(550, _NO_AUTHOR.format(problem=found.problem), "5.7.1"))
    if found.disposition is Policy.REJECT:
        return _refused(reply(550, _DMARC.format(domain=found.author), "5.7.26"))
    is_unsure = DmarcResult.TEMPERROR is found.dmarc_result
    if is_unsure and measures.defers_temporary:
        return Consequence(action="deferred", refusal=_LATER)
    if found.disposition is Policy.QUARANTINE:
        action: Action = "held" if measures.holds_quarantined else "quarantined"
        return Consequence(action=action, quarantine=f"DMARC policy of {found.author}")
    if found.spf.result is SpfResult.FAIL and not is_unsure:
        if found.spf.sends_nothing:
            return _refused(reply(550, _SENDS_NOTHING.format(domain=found.spf.domain), "5.7.23"))
        if measures.refuses_spf_fail:
            said = _SPF.format(domain=found.spf.domain, peer=found.peer)
            told = f"; it says: {found.spf.explanation}" if found.spf.explanation else ""
            return _refused(reply(550, f"{said}{told}"[:400], "5.7.23"))
    return Consequence()


def _refused(refusal: Reply) -> Consequence:
    return Consequence(action="refused", refusal=refusal)


def vouching_sealer(arc: ArcResult, trusted: frozenset[str]) -> str:
    """The newest sealer of a chain that holds, where it is trusted and saw DMARC pass; else nothing."""
    if arc.verdict is not Chain.PASS or not arc.sealers or arc.sealers[0] not in trusted:
        return ""
    seen = parse_results(arc.results)
    has_passed = seen is not None and any(one.method == "dmarc" and one.result == "pass" for one in seen.results)
    return arc.sealers[0] if has_passed else ""


def method_results(found: Findings, done: Consequence) -> tuple[MethodResult, ...]:
    """The findings as Authentication-Results tells them."""
    told = [_spf_result(found)]
    if found.spf_hello is not None and found.spf_hello.result is not SpfResult.NONE:
        helo = found.spf_hello
        told.append(MethodResult(method="spf", result=helo.result, properties=(("smtp.helo", helo.domain),)))
    told += [_dkim_result(one) for one in found.dkim] or [MethodResult(method="dkim", result="none")]
    if found.arc.verdict is not Chain.NONE:
        remote = ("smtp.remote-ip", found.peer)
        told.append(MethodResult(method="arc", result=found.arc.verdict, reason=found.arc.reason, properties=(remote,)))
    return (*told, _dmarc_result(found, done))


def _spf_result(found: Findings) -> MethodResult:
    verdict = found.spf
    is_in_doubt = verdict.result in (SpfResult.TEMPERROR, SpfResult.PERMERROR)
    reason = verdict.reason if is_in_doubt else ""
    name, value = ("smtp.mailfrom", found.sender) if found.sender else ("smtp.helo", verdict.domain)
    return MethodResult(method="spf", result=verdict.result, reason=reason, properties=((name, value),))


def _dkim_result(one: DkimResult) -> MethodResult:
    return MethodResult(
        method="dkim",
        result=one.verdict,
        reason=one.reason,
        properties=(
            ("header.d", one.domain),
            ("header.i", one.identity),
            ("header.s", one.selector),
            ("header.a", one.algorithm),
            ("header.b", one.signature),
        ),
    )


def _dmarc_result(found: Findings, done: Consequence) -> MethodResult:
    reason = found.problem or (found.dmarc.reason if found.dmarc is not None else "")
    if done.overridden_by:
        reason = f"{reason}; {done.overridden_by} saw it pass" if reason else f"{done.overridden_by} saw it pass"
    properties = [("header.from", found.author)]
    if found.dmarc is not None and found.dmarc.found_at:
        properties.append(("policy.dmarc", found.dmarc.policy))
    return MethodResult(method="dmarc", result=found.dmarc_result, reason=reason, properties=tuple(properties))
