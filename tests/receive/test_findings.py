"""What follows from what was found out of a sender: one policy, applied once, and only where that is asked for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from postroad.message.arc import ArcResult, Chain
from postroad.message.dkim import DkimResult, Verdict
from postroad.message.dmarc import DmarcResult, DmarcVerdict, Policy
from postroad.message.spf import SpfResult, SpfVerdict
from postroad.receive.findings import Consequence, Findings, Measures, consequence, identifiers, method_results

ENFORCED = Measures(is_enforced=True)


def spf(result: str, *, sends_nothing: bool = False, explanation: str = "") -> SpfVerdict:
    return SpfVerdict(
        result=SpfResult(result), domain="b.example", sends_nothing=sends_nothing, explanation=explanation
    )


def dmarc(result: str, policy: str = "none", disposition: str | None = None) -> DmarcVerdict:
    asked = Policy(policy)
    done = asked if result == "fail" else Policy.NONE
    return DmarcVerdict(
        result=DmarcResult(result),
        domain="a.example",
        found_at="a.example",
        policy=asked,
        disposition=Policy(disposition) if disposition else done,
    )


def found(judged: DmarcVerdict | None, spf_verdict: SpfVerdict | None = None, **others: object) -> Findings:
    author = {"author": "a.example"} if judged is not None else {"problem": "there is none"}
    return Findings(
        peer="192.0.2.1",
        sender="user@b.example",
        spf=spf_verdict or spf("none"),
        dmarc=judged,
        **{**author, **others},  # type: ignore[arg-type]
    )


def code(findings: Findings, measures: Measures) -> int:
    done = consequence(findings, measures)
    return done.refusal.code if done.refusal is not None else 250


def enhanced(findings: Findings, measures: Measures = ENFORCED) -> str:
    done = consequence(findings, measures)
    assert done.refusal is not None
    return str(done.refusal)


FAILS = [
    found(dmarc("fail", "reject")),
    found(dmarc("fail", "quarantine")),
    found(None),
    found(dmarc("none"), spf("fail", sends_nothing=True)),
    found(dmarc("temperror")),
]


@pytest.mark.parametrize("findings", FAILS)
def test_a03_where_nothing_is_enforced_nothing_is_refused(findings: Findings) -> None:
    """(A-03)"""
    assert consequence(findings, Measures()) == Consequence()


def test_a03_a_policy_of_reject_is_a_refusal_that_says_why() -> None:
    """(A-03)"""
    said = enhanced(found(dmarc("fail", "reject"), spf("fail")))
    assert said.startswith("550 5.7.26 ") and "a.example" in said


def test_a03_several_or_no_authors_are_refused() -> None:
    """(A-03)"""
    assert enhanced(found(None)).startswith("550 5.7.1 ")
    assert found(None).dmarc_result is DmarcResult.FAIL


def test_a03_a_policy_of_quarantine_marks_or_holds() -> None:
    """(A-03)"""
    findings = found(dmarc("fail", "quarantine"))
    assert consequence(findings, ENFORCED).action == "quarantined"
    held = consequence(findings, replace(ENFORCED, holds_quarantined=True))
    assert (held.action, held.quarantine, held.refusal) == ("held", "DMARC policy of a.example", None)


def test_a03_a_policy_in_testing_is_applied_as_the_milder_one() -> None:
    """(A-03)"""
    assert consequence(found(dmarc("fail", "reject", "quarantine")), ENFORCED).action == "quarantined"


def test_a01_spf_alone_refuses_only_where_the_operator_says_so_and_dmarc_does_not_pass() -> None:
    """(A-01)"""
    strict = replace(ENFORCED, refuses_spf_fail=True)
    for judged in (dmarc("none"), dmarc("fail", "none")):
        assert code(found(judged, spf("fail")), ENFORCED) == 250
        assert code(found(judged, spf("fail")), strict) == 550
        assert code(found(judged, spf("softfail")), strict) == 250
    assert code(found(dmarc("pass"), spf("fail")), strict) == 250
    assert code(found(dmarc("temperror"), spf("fail")), strict) == 250
    said = enhanced(found(dmarc("none"), spf("fail", explanation="see https://b.example/why")), strict)
    assert said.startswith("550 5.7.23 ") and said.endswith("it says: see https://b.example/why")


def test_a01_mail_of_a_domain_that_sends_none_is_refused() -> None:
    """(A-01)"""
    assert enhanced(found(dmarc("none"), spf("fail", sends_nothing=True))).startswith("550 5.7.23 ")
    assert code(found(dmarc("pass"), spf("fail", sends_nothing=True)), ENFORCED) == 250


def test_a01_what_dns_cannot_say_is_deferred_at_most() -> None:
    """(A-01)"""
    findings = found(dmarc("temperror"), spf("temperror"))
    assert code(findings, ENFORCED) == 250
    assert code(findings, replace(ENFORCED, defers_temporary=True)) == 451


SEEN_PASS = "lists.example; dkim=pass header.d=a.example; dmarc=pass header.from=a.example"


@pytest.mark.parametrize(
    ("verdict", "sealer", "results", "is_taken"),
    [
        (Chain.PASS, "lists.example", SEEN_PASS, True),
        (Chain.PASS, "lists.example", "lists.example; dmarc=fail", False),
        (Chain.PASS, "lists.example", "nonsense", False),
        (Chain.PASS, "stranger.example", SEEN_PASS, False),
        (Chain.FAIL, "lists.example", SEEN_PASS, False),
        (Chain.TEMPERROR, "lists.example", SEEN_PASS, False),
    ],
)
def test_a04_a_trusted_sealer_that_saw_dmarc_pass_overrides_the_policy(
    verdict: Chain, sealer: str, results: str, is_taken: bool
) -> None:
    """(A-04)"""
    chain = ArcResult(verdict=verdict, instances=1, sealers=(sealer,), results=results)
    measures = replace(ENFORCED, trusted_sealers=frozenset({"lists.example"}))
    findings = found(dmarc("fail", "reject"), arc=chain)
    assert (code(findings, measures) == 250) is is_taken
    if is_taken:
        done = consequence(findings, measures)
        assert "lists.example saw it pass" in method_results(findings, done)[-1].reason


def test_a05_all_that_was_found_is_told() -> None:
    """(A-05)"""
    findings = found(
        dmarc("fail", "reject"),
        spf("pass"),
        spf_hello=SpfVerdict(result=SpfResult.PASS, domain="mail.b.example"),
        dkim=[DkimResult(verdict=Verdict.PASS, domain="b.example", selector="s")],
        arc=ArcResult(verdict=Chain.PASS, sealers=("lists.example",)),
    )
    told = [(one.method, one.result) for one in method_results(findings, Consequence())]
    assert told == [("spf", "pass"), ("spf", "pass"), ("dkim", "pass"), ("arc", "pass"), ("dmarc", "fail")]
    dmarc_told = method_results(findings, Consequence())[-1]
    assert (dmarc_told.value("header.from"), dmarc_told.value("policy.dmarc")) == ("a.example", "reject")


def test_a03_dmarc_compares_what_spf_and_dkim_looked_at() -> None:
    """(A-03)"""
    results = [DkimResult(verdict=Verdict.PASS, domain="a.example"), DkimResult(verdict=Verdict.TEMPERROR)]
    assert [(one.method, one.domain, one.is_pass) for one in identifiers(spf("pass"), results)] == [
        ("spf", "b.example", True),
        ("dkim", "a.example", True),
    ]
