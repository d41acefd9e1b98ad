"""Mail goes where its domain's policy is met, waits where it is not, and never goes in the clear instead (T-01, T-02).

Real hosts with real certificates on loopback.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, TypeVar

import pytest
import trustme

from deliver.messages import envelope, message, queue
from deliver.peers import Host
from deliver.secure_peers import AUTHORITY, MX, MX2, Secured, SecureHost, Way, certificate, secure_road
from postroad.deliver.attempt import Outcome
from postroad.meaning.classify import Kind
from postroad.message.mta_sts import StsMode
from postroad.message.tls_report import PolicyKind
from postroad.net.dnssec import Tlsa
from postroad.smtp.outcome import Phase
from postroad.store.spool import SpooledMessage

T = TypeVar("T")
ENFORCE = Secured({"example.net": StsMode.ENFORCE})
TESTING = Secured({"example.net": StsMode.TESTING})


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def a_message(*recipients: str, header: bytes = b"", require_tls: bool = False) -> SpooledMessage:
    about = message(envelope(*(recipients or ("a@example.net",))))
    return replace(about, body=header + about.body, envelope=replace(about.envelope, require_tls=require_tls))


async def sent(way: Way, about: SpooledMessage) -> Outcome:
    (outcome,) = (await way.attempter.attempt(about, queue(about))).values()
    return outcome


def attempt(host: Host, asked: Secured, about: SpooledMessage | None = None, **options: Any) -> tuple[Outcome, Way]:
    async def go() -> tuple[Outcome, Way]:
        async with secure_road(host, asked, **options) as way:
            return await sent(way, about or a_message()), way

    return run(go())


def own(leaf: trustme.LeafCert) -> Tlsa:
    der = ssl.PEM_cert_to_DER_cert(leaf.cert_chain_pems[0].bytes().decode())
    return Tlsa(3, 0, 1, hashlib.sha256(der).digest())


def test_t01_mail_goes_to_a_host_that_meets_the_policy() -> None:
    host = SecureHost()
    outcome, way = attempt(host, ENFORCE)
    assert outcome.is_delivered
    assert host.handshakes == 1
    (session,) = way.sessions
    assert session.policy is not None
    assert (session.domain, session.policy.kind, session.result, session.host) == (
        ("example.net", PolicyKind.STS, "", MX)
    )


FAULTS: dict[str, tuple[Callable[[], Host], str]] = {
    "another authority": (lambda: SecureHost(tls=certificate(authority=trustme.CA())), "certificate-not-trusted"),
    "another name": (lambda: SecureHost(tls=certificate("mx.example.com")), "certificate-host-mismatch"),
    "too wide a star": (lambda: SecureHost(tls=certificate("*.net")), "certificate-host-mismatch"),
    "expired": (lambda: SecureHost(tls=certificate(is_expired=True)), "certificate-expired"),
    "no STARTTLS": (Host, "starttls-not-supported"),
    "refused": (lambda: Host(("STARTTLS",), {"STARTTLS": b"502 5.5.1 no\r\n"}), "starttls-not-supported"),
    "no TLS behind it": (lambda: Host(("STARTTLS",), {"STARTTLS": b"220 go\r\n"}), "validation-failure"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_t01_mail_waits_where_the_host_does_not_meet_the_policy_and_the_reason_is_told(fault: str) -> None:
    make, result = FAULTS[fault]
    host = make()
    outcome, way = attempt(host, ENFORCE)
    assert not outcome.is_delivered
    assert outcome.meaning.retry
    assert outcome.phase is Phase.STARTTLS
    assert outcome.detail.startswith(f"the MTA-STS policy of example.net is not met by {MX}: ")
    assert host.taken == []
    assert [(one.result, one.is_enforced) for one in way.sessions] == [(result, True)]


@pytest.mark.parametrize("fault", [name for name in FAULTS if name != "no TLS behind it"])
def test_t01_in_testing_the_fault_is_noted_and_the_mail_goes(fault: str) -> None:
    make, result = FAULTS[fault]
    outcome, way = attempt(make(), TESTING)
    assert outcome.is_delivered
    assert [(one.result, one.is_enforced) for one in way.sessions] == [(result, False)]


def test_t01_a_host_that_the_policy_does_not_name_is_passed_over() -> None:
    host = SecureHost()
    outcome, way = attempt(host, ENFORCE, hosts=("rogue.example.com", MX))
    assert outcome.is_delivered
    assert outcome.host == MX
    assert [(one.host, one.result) for one in way.sessions] == [("rogue.example.com", "validation-failure"), (MX, "")]
    alone, _ = attempt(SecureHost(), ENFORCE, hosts=("rogue.example.com",))
    assert alone.meaning.retry
    assert f"the policy names {MX}, not this host" in alone.detail


def test_t01_a_connection_that_was_not_verified_is_not_used_for_a_domain_that_asks_for_it() -> None:
    host = SecureHost()

    async def go() -> list[bool]:
        async with secure_road(host, ENFORCE) as way:
            return [(await sent(way, a_message(f"a@{domain}"))).is_delivered for domain in
                    ("example.com", "example.net", "example.net", "example.com")]  # fmt: skip

    assert run(go()) == [True] * 4
    assert host.connections == 2, "one of each kind, and both used again"


def test_t01_a_policy_that_is_not_met_is_no_trouble_for_the_other_domains_of_the_host() -> None:
    host = Host()

    async def go() -> tuple[Outcome, Outcome]:
        async with secure_road(host, ENFORCE) as way:
            return await sent(way, a_message()), await sent(way, a_message("b@example.com"))

    first, second = run(go())
    assert not first.is_delivered
    assert second.is_delivered


def test_t02_a_certificate_that_dns_names_is_enough_and_no_other_will_do() -> None:
    leaf = certificate("whatever.test", authority=trustme.CA())
    outcome, way = attempt(SecureHost(tls=leaf), Secured(records=(own(leaf),)))
    assert outcome.is_delivered
    assert [(one.policy.kind, one.result) for one in way.sessions if one.policy] == [(PolicyKind.TLSA, "")]
    outcome, way = attempt(SecureHost(), Secured(records=(own(leaf),)))
    assert outcome.meaning.retry
    assert "DANE of example.net is not met" in outcome.detail
    assert [one.result for one in way.sessions] == ["validation-failure"]


def test_t02_an_issuer_that_dns_names_is_found_in_the_chain() -> None:
    between = AUTHORITY.create_child_ca()
    leaf = between.issue_cert(MX)
    der = ssl.PEM_cert_to_DER_cert(leaf.cert_chain_pems[1].bytes().decode())
    record = Tlsa(2, 0, 2, hashlib.sha512(der).digest())
    assert attempt(SecureHost(tls=leaf), Secured(records=(record,)))[0].is_delivered
    assert not attempt(SecureHost(tls=between.issue_cert("other.test")), Secured(records=(record,)))[0].is_delivered


def test_t02_records_that_cannot_be_used_ask_for_tls_with_any_certificate() -> None:
    asked = Secured(records=(Tlsa(1, 0, 1, b"x" * 32),))
    assert attempt(SecureHost(tls=certificate("any.test", authority=trustme.CA())), asked)[0].is_delivered
    assert not attempt(Host(), asked)[0].is_delivered


def test_t02_dane_decides_where_there_is_mta_sts_too() -> None:
    leaf = certificate("whatever.test", authority=trustme.CA())
    both = Secured({"example.net": StsMode.ENFORCE}, records=(own(leaf),))
    assert attempt(SecureHost(tls=leaf), both)[0].is_delivered
    assert not attempt(SecureHost(), both)[0].is_delivered


def test_t03_sessions_without_a_policy_are_told_too() -> None:
    _, way = attempt(Host(), Secured())
    assert [(one.policy, one.result) for one in way.sessions] == [(None, "starttls-not-supported")]
    _, way = attempt(SecureHost(), Secured())
    assert [(one.policy, one.result) for one in way.sessions] == [(None, "")]


REQUIRES = ("PIPELINING", "8BITMIME", "REQUIRETLS")


def test_c11_requiretls_is_passed_on_to_a_verified_host_that_offers_it() -> None:
    host = SecureHost(REQUIRES)
    outcome, _ = attempt(host, TESTING, a_message(require_tls=True))
    assert outcome.is_delivered
    assert b"REQUIRETLS" in host.taken[0].mail
    plain = SecureHost(REQUIRES)
    attempt(plain, TESTING)
    assert b"REQUIRETLS" not in plain.taken[0].mail


@pytest.mark.parametrize(
    ("host", "asked"),
    [
        pytest.param(SecureHost(), ENFORCE, id="not offered"),
        pytest.param(SecureHost(REQUIRES), Secured(), id="the MX record is not sure"),
        pytest.param(SecureHost(REQUIRES, tls=certificate("other.test")), TESTING, id="another name"),
        pytest.param(Host(REQUIRES), ENFORCE, id="no TLS"),
    ],
)
def test_c11_requiretls_that_cannot_be_met_brings_the_message_back(host: Host, asked: Secured) -> None:
    outcome, _ = attempt(host, asked, a_message(require_tls=True))
    assert outcome.reply is not None
    assert (outcome.reply.code, str(outcome.reply.enhanced)) == (550, "5.7.30")
    assert "REQUIRETLS" in str(outcome.reply)
    assert outcome.meaning.kind is not Kind.ACCEPTED
    assert not outcome.meaning.retry
    assert host.taken == []


def test_c11_another_host_may_offer_requiretls() -> None:
    offers = iter([("PIPELINING",), REQUIRES])

    class Changing(SecureHost):
        async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.offers = next(offers)
            await super().serve(reader, writer)

    host = Changing(tls=AUTHORITY.issue_cert(MX, MX2))
    outcome, _ = attempt(host, Secured(records=()), a_message(require_tls=True), hosts=(MX, MX2))
    assert outcome.is_delivered
    assert outcome.host == MX2
    assert host.connections == 2


def test_c11_tls_required_no_passes_over_policies_of_the_recipient() -> None:
    asked = a_message(header=b"TLS-Required: No\r\n")
    assert attempt(Host(), ENFORCE, asked)[0].is_delivered
    assert attempt(SecureHost(tls=certificate("other.test")), ENFORCE, asked)[0].is_delivered
    for header in (
        b"TLS-Required: Perhaps\r\n",
        b"TLS-Required: No\r\nTLS-Required: No\r\n",
        b"X-TLS-Required: No\r\n",
    ):
        assert not attempt(Host(), ENFORCE, a_message(header=header))[0].is_delivered
