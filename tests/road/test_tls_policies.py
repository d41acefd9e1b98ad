"""Each host of a route carries what binds it: DANE before MTA-STS, and only what is sure (T-01, T-02)."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field

import pytest

from postroad.message.dns import AddressAnswer, DnsStatus, MxAnswer
from postroad.message.mta_sts import StsMode, StsPolicy
from postroad.message.tls_report import PolicyKind
from postroad.net.dnssec import SecureAnswer, Tlsa
from postroad.net.endpoint import TlsInfo, TlsMode
from postroad.road.route import Route, RouteHost, Router
from postroad.road.tls_policies import TlsPolicies

RECORD = Tlsa(3, 1, 1, b"x" * 32)
SIGNED = SecureAnswer(DnsStatus.FOUND, True)
UNSIGNED = SecureAnswer(DnsStatus.FOUND, False)
BOGUS = SecureAnswer(DnsStatus.TEMPORARY, detail="servfail")
NONE = SecureAnswer(DnsStatus.NO_DOMAIN, True)
CLEAR, SECURED, VERIFIED = None, TlsInfo("TLSv1.3", "x", False), TlsInfo("TLSv1.3", "x", True)


@dataclass
class Dns:
    """What the validating resolver says; a host that is not named has a signed address and no TLSA records."""

    mx_answer: SecureAnswer = field(
        default_factory=lambda: SecureAnswer(DnsStatus.FOUND, True, ("mx.example.net", "mx2.example.net"))
    )
    address_answer: dict[str, SecureAnswer] = field(default_factory=dict)
    tlsa_answer: dict[str, SecureAnswer] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def mx(self, domain: str) -> SecureAnswer:
        return self.mx_answer

    async def address(self, host: str) -> SecureAnswer:
        return self.address_answer.get(host, SIGNED)

    async def tlsa(self, host: str, port: int) -> SecureAnswer:
        self.asked.append(f"{host}:{port}")
        return self.tlsa_answer.get(host, NONE)


class Sts:
    """The policy that every domain has."""

    def __init__(self, mode: StsMode | None, mx: tuple[str, ...] = ("mx.example.net",)) -> None:
        self._policy = None if mode is None else StsPolicy(mode, mx, 60)

    def prepare(self, domain: str) -> None:
        pass

    async def policy(self, domain: str) -> StsPolicy | None:
        return self._policy


class Names:
    async def mx(self, domain: str) -> MxAnswer:
        if domain == "alone.test":
            return MxAnswer(DnsStatus.NO_DATA)
        return MxAnswer(DnsStatus.FOUND, ((10, "mx.example.net"), (20, "mx2.example.net")))

    async def addresses(self, host: str) -> AddressAnswer:
        return AddressAnswer(DnsStatus.FOUND, ("192.0.2.1",))

    async def close(self) -> None:
        pass


def route(
    sts: Sts | None = None,
    dns: Dns | None = None,
    *,
    domain: str = "example.net",
    is_enforced: bool = True,
) -> Route:
    policies = TlsPolicies(
        sts=sts,  # type: ignore[arg-type]
        dane=dns,
        wall=lambda: 0.0,
        is_enforced=is_enforced,
    )
    found = asyncio.run(Router(Names(), rng=random.Random(1), policies=policies).route(domain))
    assert isinstance(found, Route)
    return found


def tls_of(found: Route) -> list[object]:
    return [host.tls for host in found.hosts]


def test_without_policies_a_route_is_as_it_was() -> None:
    assert tls_of(route()) == [None, None]
    assert tls_of(route(Sts(None), Dns())) == [None, None]
    assert not route(Sts(StsMode.NONE)).has_policy


def test_t01_a_host_that_the_policy_names_is_verified_and_another_is_not_used() -> None:
    first, second = route(Sts(StsMode.ENFORCE)).hosts
    assert first.tls is not None
    assert second.tls is not None
    assert (first.tls.mode, first.tls.refusal, first.tls.is_enforced) == (TlsMode.VERIFIED, "", True)
    assert "not this host" in second.tls.refusal
    assert first.tls.policy is not None
    assert first.tls.policy.kind is PolicyKind.STS


@pytest.mark.parametrize(("mode", "is_enforced"), [(StsMode.TESTING, True), (StsMode.ENFORCE, False)])
def test_t01_a_policy_in_testing_or_an_operator_who_tests_only_notes(mode: StsMode, is_enforced: bool) -> None:
    found = route(Sts(mode), is_enforced=is_enforced)
    assert [host.tls.is_enforced for host in found.hosts if host.tls] == [False, False]
    assert found.is_met_by("mx.example.net", CLEAR)
    assert found.is_met_by("mx2.example.net", CLEAR)


def test_t01_connections_are_shared_only_where_they_are_secured_as_the_policy_asks() -> None:
    found = route(Sts(StsMode.ENFORCE))
    assert [found.is_met_by("mx.example.net", tls) for tls in (CLEAR, SECURED, VERIFIED)] == [False, False, True]
    assert not found.is_met_by("mx2.example.net", VERIFIED)
    assert not found.is_met_by("mx3.example.net", VERIFIED)


def test_t02_tlsa_records_that_are_vouched_for_bind_a_host() -> None:
    dns = Dns(tlsa_answer={"mx.example.net": SecureAnswer(DnsStatus.FOUND, True, (RECORD,))})
    first, second = route(None, dns).hosts
    assert first.tls is not None
    assert first.tls.mode is TlsMode.REQUIRED
    assert first.tls.check is not None
    assert second.tls is None
    assert sorted(dns.asked) == ["mx.example.net:25", "mx2.example.net:25"]
    passed = TlsInfo("TLSv1.3", "x", False, first.tls.check)
    assert [route(None, dns).is_met_by("mx.example.net", tls) for tls in (CLEAR, SECURED, VERIFIED, passed)] == (
        [False, False, False, True]
    )


def test_t02_dane_comes_before_mta_sts_host_by_host() -> None:
    dns = Dns(tlsa_answer={"mx2.example.net": SecureAnswer(DnsStatus.FOUND, True, (RECORD,))})
    first, second = route(Sts(StsMode.ENFORCE), dns).hosts
    assert first.tls is not None
    assert second.tls is not None
    assert (first.tls.policy or second.tls.policy) is not None
    assert [one.tls.policy.kind for one in (first, second) if one.tls and one.tls.policy] == (
        [PolicyKind.STS, PolicyKind.TLSA]
    )
    assert not second.tls.refusal, "the policy need not name it"


def test_t02_records_that_cannot_be_used_still_ask_for_tls() -> None:
    dns = Dns(tlsa_answer={"mx.example.net": SecureAnswer(DnsStatus.FOUND, True, (Tlsa(1, 0, 1, b"x" * 32),))})
    found = route(None, dns)
    assert [found.is_met_by("mx.example.net", tls) for tls in (CLEAR, SECURED)] == [False, True]


def test_t02_nothing_is_believed_that_is_not_signed_from_the_mx_record_on() -> None:
    record = {"mx.example.net": SecureAnswer(DnsStatus.FOUND, True, (RECORD,))}
    for dns in (
        Dns(mx_answer=SecureAnswer(DnsStatus.FOUND, False, ("mx.example.net",)), tlsa_answer=record),
        Dns(mx_answer=SecureAnswer(DnsStatus.FOUND, True, ("another.example.net",)), tlsa_answer=record),
        Dns(address_answer={"mx.example.net": UNSIGNED}, tlsa_answer=record),
        Dns(tlsa_answer={"mx.example.net": SecureAnswer(DnsStatus.FOUND, False, (RECORD,))}),
    ):
        assert tls_of(route(None, dns)) == [None, None]
        assert "mx.example.net:25" not in dns.asked or dns.tlsa_answer != record


@pytest.mark.parametrize("what", ["mx", "address", "tlsa"])
def test_t02_where_dns_would_not_say_the_host_is_not_used_now(what: str) -> None:
    dns = Dns()
    if what == "mx":
        dns.mx_answer = BOGUS
    elif what == "address":
        dns.address_answer = {"mx.example.net": BOGUS}
    else:
        dns.tlsa_answer = {"mx.example.net": BOGUS}
    found = route(Sts(StsMode.ENFORCE), dns)
    tls = found.hosts[0].tls
    assert tls is not None
    assert "servfail" in tls.refusal
    assert (tls.result, tls.may_pass) == ("dnssec-invalid", True)
    assert not found.is_met_by("mx.example.net", VERIFIED)


def test_t02_a_domain_without_mx_is_bound_by_its_own_records() -> None:
    dns = Dns(tlsa_answer={"alone.test": SecureAnswer(DnsStatus.FOUND, True, (RECORD,))})
    (host,) = route(None, dns, domain="alone.test").hosts
    assert host.tls is not None
    assert host.tls.check is not None


def test_c11_requiretls_takes_only_hosts_whose_name_and_certificate_are_sure() -> None:
    assert all(host.tls and host.tls.refusal for host in route().strictly().hosts)
    by_sts = route(Sts(StsMode.TESTING)).strictly()
    assert [by_sts.is_met_by("mx.example.net", tls) for tls in (CLEAR, SECURED, VERIFIED)] == [False, False, True]
    assert not by_sts.is_met_by("mx2.example.net", VERIFIED)
    by_dnssec = route(None, Dns()).strictly()
    assert [by_dnssec.is_met_by("mx.example.net", tls) for tls in (CLEAR, SECURED, VERIFIED)] == [False, False, True]
    alone = route(domain="alone.test").strictly()
    assert alone.is_met_by("alone.test", VERIFIED), "no record leads anywhere else"


def test_c11_an_author_may_ask_that_policies_be_passed_over() -> None:
    found = route(Sts(StsMode.ENFORCE)).leniently()
    assert found.is_met_by("mx2.example.net", CLEAR)
    assert not found.has_policy


def test_a_route_without_one_of_its_hosts_has_the_others() -> None:
    assert route().without("mx.example.net").hosts == (RouteHost("mx2.example.net", 20),)
