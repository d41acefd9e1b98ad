"""Who runs a mail host is known from data, and a provider's hosts share one site."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.road.provider import (
    Answers,
    DataFileError,
    Provider,
    ProviderKind,
    Providers,
    providers,
    read_providers,
)
from postroad.road.site import SiteBounds, SiteLimits, SitePresets


@pytest.mark.parametrize(
    ("host", "key"),
    [
        ("gmail-smtp-in.l.google.com", "gmail"),
        ("alt2.aspmx.l.google.com", "gmail"),
        ("aspmx3.googlemail.com", "gmail"),
        ("SMTP.Google.com.", "gmail"),
        ("example-org.mail.protection.outlook.com", "outlook"),
        ("outlook-com.olc.protection.outlook.com", "outlook"),
        ("example-org.a-v1.mx.microsoft", "outlook"),
        ("mta7.am0.yahoodns.net", "yahoo"),
        ("mx01.mail.icloud.com", "icloud"),
        ("mx-ha02.web.de", "gmx"),
        ("mx00.ionos.de", "ionos"),
        ("mx00.kundenserver.de", "ionos"),
        ("mx00.t-online.de", "tonline"),
        ("in1-smtp.messagingengine.com", "fastmail"),
        ("mxa-000a0b01.gslb.pphosted.com", "proofpoint"),
        ("eu-smtp-inbound-1.mimecast.com", "mimecast"),
        ("d1.ess.barracudanetworks.com", "barracuda"),
        ("cluster1.eu.messagelabs.com", "messagelabs"),
        ("inbound-smtp.eu-west-1.amazonaws.com", "amazon"),
        ("smtp.europe.secureserver.net", "godaddy"),
        ("mx3.mail.ovh.net", "ovh"),
    ],
)
def test_a_host_tells_its_provider(host: str, key: str) -> None:
    found = providers().of([host])
    assert found is not None
    assert found.key == key


@pytest.mark.parametrize(
    "host",
    [
        "mx.example.org",
        "notgoogle.com",
        "google.com.example.org",
        "ec2-192-0-2-1.compute.amazonaws.com",
        "vps.ovh.net",
        "ip-192-0-2-1.ip.secureserver.net",
        "192.0.2.1",
        "",
        "." * 50,
    ],
)
def test_a_host_of_nobody_we_know_has_no_provider(host: str) -> None:
    assert providers().of([host]) is None


def test_the_hosts_decide_and_the_domain_only_where_there_are_none() -> None:
    by_domain = providers().of([], "gmail.com")
    assert by_domain is not None
    assert by_domain.key == "gmail"
    assert providers().of(["mx.example.org"], "gmail.com") is None
    assert providers().of([], "example.org") is None


@given(st.text(max_size=300))
def test_any_text_may_be_asked_for_as_a_host(host: str) -> None:
    providers().of([host])


def test_no_name_belongs_to_two_providers() -> None:
    for names in (
        [name for row in providers() for name in row.mx],
        [name for row in providers() for name in row.domains],
    ):
        assert len(names) == len(set(names))


def test_what_is_said_against_answers_has_a_reason() -> None:
    assert [row.key for row in providers() if row.answers is not Answers.HONEST and not row.why] == []


def test_every_mailbox_provider_has_domains_or_takes_everything() -> None:
    bare = [row.key for row in providers() if row.kind is ProviderKind.MAILBOX and not row.domains]
    assert bare == ["mailinator"]  # it has so many that the list of disposable domains holds them


@given(st.sampled_from(list(providers())), st.text(min_size=1, max_size=30))
def test_the_mailbox_of_a_mailbox_is_itself(row: Provider, local: str) -> None:
    for domain in row.domains:
        once = row.mailbox(local, domain)
        assert row.mailbox(*once) == once


def test_each_provider_has_its_own_rule_of_aliases() -> None:
    known = providers().by_key
    assert known["gmail"].mailbox("J.Doe+news", "googlemail.com") == ("jdoe", "gmail.com")
    assert known["outlook"].mailbox("J.Doe+news", "hotmail.com") == ("j.doe", "hotmail.com")
    assert known["yahoo"].mailbox("J-Doe+news", "yahoo.com") == ("j-doe+news", "yahoo.com")
    assert known["icloud"].mailbox("jdoe", "me.com") == ("jdoe", "me.com")
    assert known["gmail"].mailbox("+news", "gmail.com") == ("+news", "gmail.com"), "nothing would be left"


def test_all_hosts_of_a_provider_are_one_site_and_no_other_hosts() -> None:
    presets = SitePresets(operator=providers().mail_operator)
    one = presets.site(["example-org.mail.protection.outlook.com"])
    assert presets.site(["example-net.mail.protection.outlook.com"]) == one
    assert presets.site(["aspmx.l.google.com"]) == presets.site(["aspmx2.googlemail.com"])
    assert presets.site(["aspmx.l.google.com"]).key == "gmail"
    assert presets.site(["mx.example.org"]).key == "example.org"


def test_two_providers_never_share_a_site() -> None:
    presets = SitePresets(operator=providers().mail_operator)
    for row in providers():
        for name in row.mx:
            assert presets.site([name.replace("*", "eu-1")]).key == row.key


def test_a_site_is_asked_to_bear_no_more_than_its_provider_bears_nor_than_was_configured() -> None:
    presets = SitePresets(SiteLimits(connections=20, messages_per_connection=3), operator=providers().mail_operator)
    limits = presets.site(["aspmx.l.google.com"]).limits
    assert (limits.connections, limits.messages_per_connection) == (5, 3)
    assert presets.site(["mx.example.org"]).limits.connections == 20


def test_probes_have_limits_of_their_own() -> None:
    presets = SitePresets(operator=providers().probe_operator)
    limits = presets.site(["mta5.am0.yahoodns.net"]).limits
    assert (limits.connections, limits.recipients_per_connection, limits.recipients_per_minute) == (1, 10, 30)


def test_limits_given_for_a_site_by_the_providers_name_go_before_what_it_bears() -> None:
    presets = SitePresets(SiteLimits(), {"gmail": SiteBounds(connections=50)}, providers().mail_operator)
    limits = presets.site(["aspmx.l.google.com"]).limits
    assert limits == SiteLimits(connections=50, messages_per_connection=50), "and the rest stays as it was"


OWN = """
[[provider]]
key = "gmail"
name = "Ours"
mx = ["mx.example.org", "*.in.example.net"]

[[provider]]
key = "acme"
kind = "mailbox"
domains = ["acme.example", "acme.test"]
aliases = { "acme.test" = "acme.example" }
tags = "-"
answers = "accepts_all"
why = "It says so."
probe = { connections = 3 }
"""


def test_own_providers_join_ours_and_replace_those_of_the_same_key() -> None:
    both = providers().replaced(read_providers(OWN, "own.toml"))
    assert both.of(["aspmx.l.google.com"]) is None
    for host in ("a.mx.example.org", "a.in.example.net", "b.a.in.example.net"):
        found = both.of([host])
        assert found is not None
        assert found.name == "Ours"
    acme = both.by_domain["acme.test"]
    assert acme.mailbox("Ann-x", "acme.test") == ("ann", "acme.example")
    assert (acme.answers, acme.probe) == (Answers.ACCEPTS_ALL, SiteBounds(connections=3))
    assert "yahoo" in both.by_key


def test_of_two_that_claim_a_host_the_users_own_counts() -> None:
    own = read_providers('[[provider]]\nkey = "acme"\nmx = ["google.com"]', "own.toml")
    found = providers().replaced(own).of(["smtp.google.com"])
    assert found is not None
    assert found.key == "acme"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x = [", "own.toml:1: not TOML"),
        ("\n[[provider]]\nkey = 1", "own.toml:2: the provider needs a text as key"),
        ("[[provider]]\nkey = 'Big Name'", "own.toml:1: the provider needs a key of"),
        (
            "[[provider]]\nkey = 'a'\n\n[[provider]]\nkey = 'b'\nkind = 'shop'",
            "own.toml:4: the provider may be of kind",
        ),
        ("[[provider]]\nkey = 'a'\nanswers = 'x'", "answers honest, accepts_all, rejects_probes"),
        ("[[provider]]\nkey = 'a'\nmx = 'mx.example.org'", "needs a list as mx"),
        ("[[provider]]\nkey = 'a'\nmx = ['two words']", "no domain name: 'two words'"),
        ("[[provider]]\nkey = 'a'\ndomains = ['*.example.org']", "no domain name: '*.example.org'"),
        ("[[provider]]\nkey = 'a'\ntags = 'ab'", "one character"),
        ("[[provider]]\nkey = 'a'\ncolour = 'red'", "not known: 'colour'"),
        ("[[provider]]\nkey = 'a'\nmail = { speed = 1 }", "limit in mail that is not known: 'speed'"),
        ("[[provider]]\nkey = 'a'\nmail = { connections = 0 }", "whole number from 1"),
        ("[[provider]]\nkey = 'a'\naliases = { 'a.example' = 'b.example' }", "aliases only between"),
        ("[[provider]]\nkey = 'a'\naliases = { 'a.example' = [1] }", "aliases only between"),
        ("[[provider]]\nkey = 'a'\ndomains = ['a.example']\naliases = { 'a.example' = [1] }", "aliases only between"),
        ("[other]\nkey = 'a'", "holds 'other'"),
        ("provider = 3", "below a line [[provider]]"),
    ],
)
def test_a_mistake_is_told_with_its_place(text: str, told: str) -> None:
    with pytest.raises(DataFileError) as raised:
        read_providers(text, "own.toml")
    assert told in str(raised.value)


@given(
    st.text(max_size=200)
    | st.builds(
        "[[provider]]\nkey = 'a'\n{} = {}".format,
        st.sampled_from(["mx", "domains", "aliases", "tags", "dots", "mail", "kind"]),
        st.sampled_from(
            [
                "1",
                "[1]",
                "['a']",
                "{}",
                "{ a = 1 }",
                "{ a = [] }",
                "true",
                "''",
                "1e9",
                "2020-01-01",
                "{ connections = 1e3 }",
            ]
        ),
    )
)
def test_any_text_is_providers_or_one_mistake(text: str) -> None:
    try:
        Providers(read_providers(text, "own.toml")).of(["mx.example.org"])
    except DataFileError as mistake:
        assert mistake.place.startswith("own.toml")


def test_bounds_lower_limits_and_never_raise_them() -> None:
    bounds = SiteBounds(connections=5, recipients_per_minute=30)
    assert bounds.applied(SiteLimits(connections=2)) == SiteLimits(connections=2, recipients_per_minute=30)
    assert bounds.applied(SiteLimits(connections=9, recipients_per_minute=10)) == SiteLimits(
        connections=5, recipients_per_minute=10
    )
