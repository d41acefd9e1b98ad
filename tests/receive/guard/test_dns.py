"""What DNS says of a client: lists that add up and never cost mail by failing, names that lead back, names in EHLO."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable

import pytest

from dns_server import SERVFAIL, SILENT, DnsServer
from postroad.net.resolver import DnsResolver
from postroad.receive.caller import Caller, Role
from postroad.receive.checks import Decision
from postroad.receive.guard.block_lists import DnsList, DnsLists, DnsListSettings
from postroad.receive.guard.networks import Networks, parse_network
from postroad.receive.guard.reverse_dns import Confirmation, Found, confirm, hello_resolves
from postroad.receive.guard.strangers import Strangers, StrangerSettings, mark
from postroad.smtp.address import NULL, Address
from postroad.smtp.extension import MailParameters, RcptParameters
from postroad.smtp.reply import Reply
from postroad.smtp.server_events import HelloReceived, MailReceived, MessageReceived, RcptReceived

ZONE = {
    "99.2.0.192.bad.test": {"A": ["127.0.0.2"]},
    "99.2.0.192.worse.test": {"A": ["127.0.0.4"]},
    "99.2.0.192.good.test": {"A": ["127.0.3.1"]},
    "99.2.0.192.lies.test": {"A": ["203.0.113.1"]},
    "99.2.0.192.misused.test": {"A": ["127.255.255.254"]},
    "99.2.0.192.fails.test": SERVFAIL,
    "99.2.0.192.silent.test": SILENT,
    "99.2.0.192.in-addr.arpa": {"PTR": ["mx.client.test."]},
    "mx.client.test": {"A": ["192.0.2.99"]},
    "98.2.0.192.in-addr.arpa": {"PTR": ["other.client.test.", "evil name.test."]},
    "other.client.test": {"A": ["192.0.2.1"]},
    "97.2.0.192.in-addr.arpa": SERVFAIL,
    "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa": {"PTR": ["six.client.test."]},
    "six.client.test": {"AAAA": ["2001:db8::1"]},
}


def asking(use: Callable[[DnsResolver], Awaitable[None]]) -> DnsServer:
    async def run() -> None:
        resolver = DnsResolver(dns.address, timeout_s=0.5, tries=1)
        try:
            await use(resolver)
        finally:
            await resolver.close()

    with DnsServer(ZONE) as dns:
        asyncio.run(run())
    return dns


def lists(resolver: DnsResolver, *wanted: DnsList, threshold: float = 1.0, timeout_s: float = 2.0) -> DnsLists:
    settings = DnsListSettings(lists=wanted, threshold=threshold, timeout_s=timeout_s)
    return DnsLists(settings, lambda: resolver, lambda: 0.0)


def refused(wanted: tuple[DnsList, ...], threshold: float = 1.0, timeout_s: float = 2.0) -> str:
    said: list[Reply | None] = []

    async def use(resolver: DnsResolver) -> None:
        found = lists(resolver, *wanted, threshold=threshold, timeout_s=timeout_s)
        said.append(found.refusal("192.0.2.99", await found.ask("192.0.2.99")))

    asking(use)
    return "" if said[0] is None else str(said[0])


BAD, WORSE = DnsList(zone="bad.test", url="https://bad.test/?ip={address}"), DnsList(zone="worse.test", weight=0.5)


def test_a_listed_client_is_refused_with_the_list_and_the_place_to_ask() -> None:
    assert refused((BAD,)) == "550 5.7.1 192.0.2.99 is listed by bad.test; see https://bad.test/?ip=192.0.2.99"
    assert refused((DnsList(zone="empty.test"),)) == ""


@pytest.mark.parametrize(
    ("wanted", "threshold", "is_refused"),
    [
        ((WORSE,), 1.0, False),
        ((BAD, WORSE), 1.5, True),
        ((BAD, WORSE), 1.6, False),
        ((BAD, DnsList(zone="good.test", weight=-2.0)), 1.0, False),
        ((DnsList(zone="good.test", weight=-2.0),), 1.0, False),
    ],
)
def test_weights_add_up_to_the_threshold(wanted: tuple[DnsList, ...], threshold: float, is_refused: bool) -> None:
    assert bool(refused(wanted, threshold)) is is_refused


def test_only_the_answers_that_were_chosen_count() -> None:
    policy = ipaddress.ip_network("127.0.0.10/31")
    assert refused((DnsList(zone="bad.test", answers=(policy,)),)) == ""
    assert refused((DnsList(zone="bad.test", answers=(policy, ipaddress.ip_network("127.0.0.0/29"))),)) != ""


@pytest.mark.parametrize("zone", ["lies.test", "misused.test", "fails.test", "silent.test"])
def test_a_list_that_lies_fails_or_does_not_serve_us_costs_nobody_his_mail(zone: str) -> None:
    assert refused((DnsList(zone=zone),), timeout_s=0.3) == ""


def test_a_silent_list_does_not_silence_the_others() -> None:
    assert "bad.test" in refused((DnsList(zone="silent.test"), BAD), timeout_s=0.4)


def test_a_client_is_asked_about_once_and_without_ipv6_answers() -> None:
    async def use(resolver: DnsResolver) -> None:
        found = lists(resolver, BAD)
        for _ in range(3):
            await found.ask("192.0.2.99")

    assert asking(use).queries == [("99.2.0.192.bad.test", "A")]


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("192.0.2.99", Confirmation(Found.CONFIRMED, "mx.client.test")),
        ("2001:db8::1", Confirmation(Found.CONFIRMED, "six.client.test")),
        ("192.0.2.98", Confirmation(Found.ABSENT)),
        ("192.0.2.97", Confirmation(Found.UNKNOWN)),
        ("192.0.2.96", Confirmation(Found.ABSENT)),
    ],
)
def test_a_name_is_confirmed_where_it_leads_back_to_the_address(address: str, found: Confirmation) -> None:
    async def use(resolver: DnsResolver) -> None:
        assert await confirm(resolver, address, 2.0) == found

    asking(use)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("MX.client.test", Found.CONFIRMED),
        ("[192.0.2.1]", Found.CONFIRMED),
        ("nowhere.test", Found.ABSENT),
        ("localhost", Found.ABSENT),
        ("a b.test", Found.ABSENT),
        ("97.2.0.192.in-addr.arpa", Found.UNKNOWN),
    ],
)
def test_a_name_in_ehlo_exists_or_not_or_cannot_be_known(name: str, found: Found) -> None:
    async def use(resolver: DnsResolver) -> None:
        assert await hello_resolves(resolver, name, 2.0) is found

    asking(use)


class Visit:
    """A stranger who connects, says EHLO and names a recipient; what he was told, and what he was marked with."""

    def __init__(self, settings: StrangerSettings, peer: str, *wanted: DnsList, hello: str = "mx.client.test") -> None:
        self.settings = settings
        self.lists = wanted
        self.hello = hello
        self.caller = Caller(peer, 1, Role.MX)

    def told(self, recipient: str = "ann@us.test") -> list[int]:
        codes: list[int] = []

        async def use(resolver: DnsResolver) -> None:
            strangers = Strangers(self.settings, lists(resolver, *self.lists), lambda: resolver)
            rcpt = RcptReceived(Address.parse(recipient), RcptParameters())
            steps: tuple[Callable[[], Decision], ...] = (
                lambda: strangers.connect(self.caller),
                lambda: strangers.hello(self.caller, HelloReceived(self.hello, True)),
                lambda: strangers.rcpt(self.caller, rcpt),
            )
            for step in steps:
                decision = step()
                said = decision if decision is None or isinstance(decision, Reply) else await decision
                codes.append(0 if said is None else said.code)

        asking(use)
        return codes


def test_a_refusal_waits_for_rcpt_and_postmaster_hears_everybody() -> None:
    assert Visit(StrangerSettings(), "192.0.2.99", BAD).told() == [0, 0, 550]
    assert Visit(StrangerSettings(), "192.0.2.99", BAD).told("Postmaster@us.test") == [0, 0, 0]
    assert Visit(StrangerSettings(refuse_at="connect"), "192.0.2.99", BAD).told()[0] == 550


def test_reverse_dns_is_required_marked_or_not_asked() -> None:
    assert Visit(StrangerSettings(reverse_dns="require"), "192.0.2.98").told() == [0, 0, 550]
    assert Visit(StrangerSettings(reverse_dns="require"), "192.0.2.97").told() == [0, 0, 450]
    confirmed = Visit(StrangerSettings(reverse_dns="require"), "192.0.2.99")
    assert confirmed.told() == [0, 0, 0]
    assert confirmed.caller.name == "mx.client.test"
    marked = Visit(StrangerSettings(reverse_dns="mark", hello_name="mark"), "192.0.2.98", hello="nowhere.test")
    assert marked.told() == [0, 0, 0]
    assert marked.caller.marks == ("no-reverse-dns", "hello-unresolved")


def test_names_in_ehlo_that_do_not_exist_or_are_ours_are_refused_where_that_is_asked_for() -> None:
    required = StrangerSettings(hello_name="require")
    assert Visit(required, "192.0.2.99", hello="nowhere.test").told() == [0, 550, 0]
    assert Visit(required, "192.0.2.99", hello="97.2.0.192.in-addr.arpa").told() == [0, 450, 0]
    ours = StrangerSettings(own_names=frozenset({"mx.us.test", "[192.0.2.25]"}))
    assert Visit(ours, "192.0.2.99", hello="MX.us.test.").told() == [0, 550, 0]
    assert Visit(ours, "192.0.2.99", hello="[192.0.2.25]").told() == [0, 550, 0]
    assert Visit(ours, "192.0.2.99", hello="mx.client.test").told() == [0, 0, 0]


def test_exempt_networks_are_not_looked_at() -> None:
    settings = StrangerSettings(
        exempt=Networks([parse_network("192.0.2.0/24")]),
        reverse_dns="require",
        hello_name="require",
        own_names=frozenset({"mx.us.test"}),
        greeting_delay_s=5.0,
    )
    visit = Visit(settings, "192.0.2.98", BAD, hello="mx.us.test")
    assert visit.told() == [0, 0, 0]
    assert visit.caller.name == ""


def test_hosts_of_known_domains_are_known_by_their_confirmed_names_alone() -> None:
    async def use(resolver: DnsResolver) -> None:
        strangers = Strangers(StrangerSettings(known_hosts=("client.test",)), lists(resolver), lambda: resolver)
        for peer, is_known in (("192.0.2.99", True), ("192.0.2.98", False)):
            caller = Caller(peer, 1, Role.MX)
            looked = strangers.connect(caller)
            assert looked is not None
            assert await looked is None
            assert strangers.is_known_host(caller) is is_known
        assert not strangers.is_known_host(Caller("192.0.2.1", 1, Role.MX, name="evilclient.test"))

    asking(use)


def test_what_was_marked_is_written_above_the_message() -> None:
    message = MessageReceived(MailReceived(NULL, MailParameters()), (), b"\r\n")
    caller = Caller("192.0.2.1", 1, Role.MX)
    assert mark(caller, message) is None
    caller.mark("talked-early")
    caller.mark("talked-early")
    caller.mark("no-reverse-dns")
    amended = mark(caller, message)
    assert amended is not None
    assert amended.above == b"X-Postroad-Marks: talked-early, no-reverse-dns\r\n"
