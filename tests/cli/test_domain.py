"""`postroad domain`: keys and records of a domain, told so that they can be copied, and looked for in DNS."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from cli.calls import Done, call
from dns_server import DnsServer

NAME = "example.org"
ENVIRONMENT = {"POSTROAD_SERVER__HOSTNAME": "mail.example.org", "POSTROAD_DOMAINS__LOCAL": NAME}


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "var"


def domain(state: Path, *arguments: object) -> Done:
    return call("domain", *arguments, "--state", state, environment=ENVIRONMENT)


def data(state: Path, *arguments: object) -> Any:
    return json.loads(domain(state, *arguments, "--json").out)


def publish(dns: DnsServer, shown: Any) -> None:
    """The records of a domain, as `show --json` tells them, in a zone."""
    for record in shown["records"]:
        entry = dns.zone.setdefault(record["name"], {})
        value = record["value"].rstrip(".")
        if record["type"] == "MX":
            preference, host = value.split(" ")
            value = (int(preference), host)
        entry.setdefault(record["type"], []).append(record.get("strings") or value)


def test_adding_a_domain_prints_every_record_with_its_reason_and_where_the_policy_goes(state: Path) -> None:
    done = domain(state, "add", NAME, "--address", "192.0.2.25")
    assert done.status == 0 and done.err == ""
    lines = done.out.splitlines()
    for line in (
        "example.org. IN MX 10 mail.example.org.",
        "mail.example.org. IN A 192.0.2.25",
        "25.2.0.192.in-addr.arpa. IN PTR mail.example.org.",
        'example.org. IN TXT "v=spf1 a:mail.example.org ip4:192.0.2.25 ~all"',
        '_dmarc.example.org. IN TXT "v=DMARC1; p=none; rua=mailto:postmaster@example.org"',
        '_smtp._tls.example.org. IN TXT "v=TLSRPTv1; rua=mailto:postmaster@example.org"',
        "; MTA-STS policy, at https://mta-sts.example.org/.well-known/mta-sts.txt:",
    ):
        assert line in lines
    rsa = next(line for line in lines if line.startswith("r2"))
    assert all(len(string) <= 255 for string in re.findall(r'"([^"]*)"', rsa))
    assert sum("pending: signs once DNS shows it" in line for line in lines) == 2


def test_a_domain_is_added_once(state: Path) -> None:
    domain(state, "add", NAME)
    again = domain(state, "add", NAME)
    assert again.status == 1 and "`postroad domain show example.org` prints them" in again.sentence


def test_keys_are_listed_with_what_they_do(state: Path) -> None:
    assert domain(state, "list").out == ""
    domain(state, "add", NAME, "--now")
    lines = [line.split("\t") for line in domain(state, "list").out.splitlines()]
    assert [(line[0], line[2], line[3]) for line in lines] == [(NAME, "rsa", "active"), (NAME, "ed25519", "active")]
    (entry,) = data(state, "list")
    assert (entry["domain"], len(entry["keys"])) == (NAME, 2)


def test_check_says_what_is_missing_and_what_to_publish_and_ends_with_status_1(state: Path) -> None:
    domain(state, "add", NAME)
    with DnsServer({"mail.example.org": {"A": ["192.0.2.25"]}}) as dns:
        done = domain(state, "check", NAME, "--resolver", dns.address)
    assert done.status == 1
    assert "missing  MX\n         publish: example.org. IN MX 10 mail.example.org.\n" in done.out
    assert done.out.endswith("example.org: 6 to mend\n")


def test_check_is_content_with_what_show_says_and_new_keys_sign_from_then_on(state: Path) -> None:
    domain(state, "add", NAME, "--address", "192.0.2.25")
    with DnsServer() as dns:
        publish(dns, data(state, "show", NAME, "--address", "192.0.2.25"))
        done = domain(state, "check", NAME, "--resolver", dns.address)
        assert done.status == 0, done.out
        assert done.out.count("signs from now on") == 2 and done.out.endswith("example.org: all is well\n")
        assert {one["state"] for one in data(state, "show", NAME)["keys"]} == {"active"}
        dns.zone["example.org"]["TXT"] = [["v=spf1 -all"]]
        found = json.loads(domain(state, "check", NAME, "--resolver", dns.address, "--json").out)
    assert found["ok"] is False and found["activated"] == []
    (spf,) = [one for one in found["records"] if one["about"] == "SPF"]
    assert (spf["state"], spf["found"]) == ("differs", "v=spf1 -all")


def test_check_without_an_answer_does_not_say_that_all_is_well(state: Path) -> None:
    domain(state, "add", NAME)
    with DnsServer(dict.fromkeys(("example.org", "mail.example.org"), "SERVFAIL")) as dns:
        done = domain(state, "check", NAME, "--resolver", dns.address)
    assert done.status == 1 and "unknown  MX" in done.out and done.out.endswith(" unknown\n")


def test_what_dns_says_cannot_write_on_the_terminal(state: Path) -> None:
    domain(state, "add", NAME)
    with DnsServer({"_dmarc.example.org": {"TXT": ["v=DMARC1; \x1b[2J\x07"]}}) as dns:
        done = domain(state, "check", NAME, "--resolver", dns.address)
    assert "\x1b" not in done.out and "\\x1b[2J" in done.out


def test_rotating_keeps_the_old_keys_signing_until_dns_shows_the_new(state: Path) -> None:
    domain(state, "add", NAME, "--now")
    rotated = domain(state, "rotate", NAME)
    assert rotated.status == 0 and rotated.out.count("_domainkey.example.org. IN TXT") == 2
    states = [one["state"] for one in data(state, "show", NAME)["keys"]]
    assert states == ["active", "active", "pending", "pending"]
    again = domain(state, "rotate", NAME)
    assert again.status == 1 and "has new keys already that DNS does not show yet" in again.sentence
    with DnsServer() as dns:
        publish(dns, data(state, "show", NAME, "--address", "192.0.2.25"))
        assert domain(state, "check", NAME, "--resolver", dns.address, "--address", "192.0.2.25").status == 0
    states = [one["state"] for one in data(state, "show", NAME)["keys"]]
    assert states == ["retired", "retired", "active", "active"]


def test_a_key_can_be_removed(state: Path) -> None:
    domain(state, "add", NAME)
    selector = data(state, "show", NAME)["keys"][0]["selector"]
    assert domain(state, "remove-key", NAME, selector).out.startswith(f"removed the key {selector} of example.org")
    assert domain(state, "remove-key", NAME, selector).status == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["add", "a b"], "is no domain"),
        (["add", "localhost"], "it has one label only"),
        (["add", NAME, "--address", "mail"], "'mail' is no IP address"),
        (["add", NAME, "--reports", "me"], "'me' is no mailbox"),
        (["check", NAME, "--resolver", "nowhere"], "is no DNS server: write ADDRESS:PORT"),
        (["remove-key", NAME, "x\x1b"], "has no key"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(state: Path, arguments: list[str], words: str) -> None:
    done = domain(state, *arguments)
    assert done.status == 1 and words in done.sentence


def test_a_server_without_a_name_in_dns_is_told_to_get_one(state: Path) -> None:
    done = call("domain", "add", NAME, "--state", state, environment={**ENVIRONMENT, "POSTROAD_SERVER__HOSTNAME": "mx"})
    assert done.status == 1 and "set [server] hostname" in done.sentence
    assert not state.exists()


def test_an_international_domain_is_kept_in_a_labels(state: Path) -> None:
    domain(state, "add", "bücher.example")
    assert domain(state, "list").out.startswith("xn--bcher-kva.example\t")
