"""`postroad tls` tells which policy holds for a domain and why, and what was counted (T-01, T-03)."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cli.calls import Done, call, in_thread
from deliver.peers import Host, listening
from deliver.secure_peers import AUTHORITY, MX, SecureHost, certificate
from dns_server import DnsServer
from postroad.clock import SystemClock
from postroad.message.mta_sts import KeptPolicy
from postroad.message.tls_report import AppliedPolicy, PolicyKind, TlsSession
from postroad.store.tls_book import TlsBook

POLICY = f"version: STSv1\nmode: enforce\nmx: {MX}\nmax_age: 86400\n".encode()
SESSION = TlsSession(
    domain="example.net",
    policy=AppliedPolicy(PolicyKind.STS, "example.net"),
    host=MX,
    address="192.0.2.1",
    source_address="",
    result="certificate-expired",
    reason="it has\x1bexpired",
)


class Place:
    """A state directory whose book has a policy of example.net, and a DNS that announces it."""

    def __init__(self, directory: Path, dns: DnsServer) -> None:
        self.directory = directory
        self.dns = dns
        self.now = SystemClock().wall()
        with TlsBook(directory / "tls.db") as book:
            book.keep(
                KeptPolicy(
                    domain="example.net",
                    record_id="1",
                    content=POLICY,
                    fetched_at=self.now - 60,
                    expires_at=self.now + 86_340,
                )
            )

    def call(self, *arguments: object, port: int = 25) -> Done:
        file = self.directory / "postroad.toml"
        file.write_text(
            f'[server]\nhostname = "mail.example.org"\n[dns]\nnameserver = "{self.dns.address}"\n'
            f"[delivery]\nport = {port}\nallow_private = true\n"
        )
        return call("tls", *arguments, "--config", file, "--state", self.directory)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    zone = {
        "example.net": {"MX": [(10, MX), (20, "rogue.example.com")]},
        "_mta-sts.example.net": {"TXT": ["v=STSv1; id=1;"]},
        MX: {"A": ["127.0.0.1"]},
        "example.com": {"MX": [(10, MX)]},
        "null.test": {"MX": [(0, ".")]},
    }
    with DnsServer(zone) as dns:
        yield Place(tmp_path, dns)


def test_t01_the_policy_of_a_domain_is_told_with_what_it_means_for_each_host(place: Place) -> None:
    done = place.call("show", "example.net")
    assert done.status == 0
    lines = done.out.splitlines()
    assert lines[0] == "example.net"
    assert lines[1].startswith("  MTA-STS: enforce, id 1, fetched ")
    assert lines[2:] == [
        "  DANE: off",
        f"  10 {MX}: TLS with a certificate for its name (sts)",
        "  20 rogue.example.com: TLS with a certificate for its name (sts)",
        f"    not used: the policy names {MX}, not this host",
    ]


def test_t01_a_domain_without_a_policy_and_one_that_takes_no_mail(place: Place) -> None:
    done = place.call("show", "example.com", "null.test")
    assert done.status == 1
    assert "  MTA-STS: no policy" in done.out
    assert f"  10 {MX}: TLS where it is offered" in done.out
    assert "  no way there: 556 5.1.10" in done.out


def test_t01_as_json_a_line_a_domain(place: Place) -> None:
    (told,) = map(json.loads, place.call("show", "example.net", "--json").out.splitlines())
    assert told["mta_sts"]["mode"] == "enforce"
    assert [host["is_open"] for host in told["hosts"]] == [True, False]
    assert told["is_open"]


@pytest.mark.parametrize(
    ("host", "said", "status"),
    [
        (SecureHost(), "    reached, TLSv1.3", 0),
        (SecureHost(tls=certificate("other.test")), "    the MTA-STS policy of example.net is not met by", 1),
        (Host(), "    the MTA-STS policy of example.net is not met by", 1),
    ],
)
def test_t01_a_trial_says_whether_the_policy_is_met(
    place: Place, monkeypatch: pytest.MonkeyPatch, host: Host, said: str, status: int
) -> None:
    file = place.directory / "authority.pem"
    AUTHORITY.cert_pem.write_to_path(str(file))
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    with in_thread(listening(host)) as port:
        done = place.call("show", "example.net", "--connect", port=port)
    assert any(line.startswith(said) for line in done.out.splitlines()), done.out
    assert done.status == status


def test_what_is_no_domain_is_told(place: Place) -> None:
    assert "is no domain name" in place.call("show", "exa mple").sentence


def test_t01_kept_policies_are_listed(place: Place) -> None:
    assert place.call("policies").out.startswith("example.net  enforce  fetched ")


def test_t03_what_was_counted_is_told_by_domain_and_by_session(place: Place) -> None:
    day = int(place.now // 86_400)
    good = replace(SESSION, result="", reason="", policy=None)
    with TlsBook(place.directory / "tls.db") as book:
        book.count({(day, SESSION): 2, (day, good): 5, (day, replace(good, domain="b.test")): 1})
        book.count({(day - 1, SESSION): 9})
        book.reported(day - 1, [("example.net", "mailto:tls@example.net")], place.now)
    assert place.call("report").out.splitlines() == ["example.net  5 well, 2 failed", "b.test  1 well, 0 failed"]
    assert place.call("report", "--day", "yesterday").out == "example.net  0 well, 9 failed  (mailto:tls@example.net)\n"
    assert place.call("report", "example.net").out.splitlines() == [
        f"5  {MX}  no policy  well",
        f"2  {MX}  sts  certificate-expired: it has\\x1bexpired",
    ]
    told = json.loads(place.call("report", "example.net", "--json").out)
    assert told["contact-info"] == "postmaster@mail.example.org"
    assert len(told["policies"]) == 2
    assert json.loads(place.call("report", "--json").out.splitlines()[0])["failed"] == 2
    assert place.call("report", "--day", "1999-01-01").out == ""
    assert place.call("report", "--day", "tomorrow").status == 2


def test_t03_reports_of_others_are_read(place: Place, tmp_path: Path) -> None:
    told = {
        "organization-name": "Other\x07",
        "date-range": {"start-datetime": "2026-03-01T00:00:00Z", "end-datetime": "2026-03-01T23:59:59Z"},
        "policies": [
            {
                "policy": {"policy-type": "sts", "policy-domain": "example.org"},
                "summary": {"total-successful-session-count": 8, "total-failure-session-count": 1},
                "failure-details": [{"result-type": "certificate-expired", "failed-session-count": 1}],
            }
        ],
    }
    file, packed, bad = tmp_path / "a.json", tmp_path / "a.json.gz", tmp_path / "bad.json"
    file.write_text(json.dumps(told))
    packed.write_bytes(gzip.compress(file.read_bytes()))
    bad.write_text("[]")
    done = call("tls", "read", file, packed, bad, tmp_path / "none.json")
    assert done.status == 1
    one = [
        "Other\\x07, 2026-03-01T00:00:00Z to 2026-03-01T23:59:59Z",
        "  example.org  sts  8 well, 1 failed",
        "    1  -  certificate-expired",
    ]
    assert done.out.splitlines() == one * 2
    assert len(done.err.splitlines()) == 2
