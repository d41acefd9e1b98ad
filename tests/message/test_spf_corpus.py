"""The test suites of the SPF working people, read where they lie beside the checkout."""

from __future__ import annotations

import asyncio
import ipaddress
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from message.zone_lookup import TIMEOUT, ZoneLookup
from postroad.message.spf import SpfVerdict, check_host

yaml = pytest.importorskip("yaml")

CORPUS = Path(__file__).parents[3] / "shared" / "corpora" / "spf"
OPENSPF = ("rfc7208-tests.yml", "rfc7208-tests-mailauth.yml", "pyspf-test.yml")
OF_PYSPF_ALONE = {"default-modifier", "default-modifier-harsh"}
"""They ask for a modifier and a mode that the RFC does not know."""
WHERE = pytest.mark.skipif(not CORPUS.is_dir(), reason=f"the SPF suites are not at {CORPUS}")


def _zone(data: dict[str, list[Any]]) -> dict[str, dict[str, list[Any]]]:
    zone: dict[str, dict[str, list[Any]]] = {}
    for name, entries in data.items():
        records = zone.setdefault(str(name).lower(), {})
        has_txt = any(isinstance(entry, dict) and "TXT" in entry for entry in entries)
        for entry in entries:
            if not isinstance(entry, dict):
                records.setdefault("*", []).append(TIMEOUT)
                continue
            for kind, value in entry.items():
                if kind == "SPF":
                    if has_txt:
                        continue
                    kind = "TXT"
                _put(records, kind, value)
    return zone


def _put(records: dict[str, list[Any]], kind: str, value: Any) -> None:
    if value == "NONE":
        return
    values = records.setdefault(kind, [])
    if kind == "TXT" and isinstance(value, list):
        values.append("".join(value))
    elif kind == "MX":
        values.append((int(value[0]), str(value[1])))
    else:
        values.append(value)


def openspf() -> Iterator[Any]:
    for file in OPENSPF if CORPUS.is_dir() else ():
        for scenario in yaml.safe_load_all((CORPUS / file).read_text("utf-8")):
            for name, test in scenario["tests"].items():
                if name in OF_PYSPF_ALONE:
                    continue
                yield pytest.param(scenario, test, id=f"{file}-{name}")


def _ask(zone: dict[str, Any], test: dict[str, Any]) -> SpfVerdict:
    sender, hello = str(test.get("mailfrom") or ""), str(test["helo"])
    domain = sender.rpartition("@")[2] if sender else hello
    return asyncio.run(
        check_host(
            test["host"], domain, sender or f"postmaster@{hello}", ZoneLookup(zone), hello=hello, receiver="receiver"
        )
    )


@WHERE
@pytest.mark.parametrize(("scenario", "test"), list(openspf()))
def test_a01_the_openspf_suite(scenario: dict[str, Any], test: dict[str, Any]) -> None:
    """(A-01)"""
    verdict = _ask(_zone(scenario["zonedata"]), test)
    expected = test["result"]
    assert verdict.result in (expected if isinstance(expected, list) else [expected]), verdict
    told = test.get("explanation")
    if told is not None and verdict.result == "fail":
        assert verdict.explanation == ("" if told == "DEFAULT" else told)


OTHER = CORPUS / "mail-auth"
OTHERWISE = {
    ("all.yml", "All test"): "ip: is no mechanism, so the record is in error (§4.6)",
    ("basic.yml", "DNS Lookup Limits"): "knows no limit of void look-ups, and looks at ten of eleven MX hosts (§4.6.4)",
    ("basic.yml", "MAIL FROM identity"): "judges HELO and MAIL FROM in one call",
    ("basic.yml", "HELO identity"): "judges HELO and MAIL FROM in one call",
    ("exists.yml", "Exists"): "exists: asks for A records only (§5.7)",
    ("ip.yml", "IPv6 match"): "ip6: matches no client of IPv4 (§5.6)",
    ("macro.yml", "Macro expansion 1"): "judges HELO and MAIL FROM in one call",
    ("ptr.yml", "PTR subdomain match"): "judges HELO and MAIL FROM in one call",
}
"""Where that library and the RFC part, and why we go with the RFC."""


def _other_zone(lines: list[str]) -> dict[str, dict[str, list[Any]]]:
    zone: dict[str, dict[str, list[Any]]] = {
        name: {"*": [TIMEOUT]} for name in ("_dns_error.test.org", "_dns_error.org")
    }
    for line in lines:
        kind, name, value = (*line.strip().split(None, 2), "")[:3]
        kind = {"spf:": "TXT", "exp:": "TXT"}.get(kind, kind.removesuffix(":").upper())
        if kind == "PTR":
            name = ipaddress.ip_address(name).reverse_pointer
        values = [value] if kind == "TXT" else value.replace(",", " ").split()
        records = zone.setdefault(name.lower(), {}).setdefault(kind, [])
        if kind != "MX":
            records += values
            continue
        for one in values:  # hosts are written as their addresses
            host = f"h{len(zone)}.{name}"
            zone[host.lower()] = {"AAAA" if ":" in one else "A": [one]}
            records.append((10, host))
    return zone


def mail_auth() -> Iterator[Any]:
    for path in sorted(OTHER.glob("*.yml")):
        if path.name == "examples.yml":  # in a notation of its own
            continue
        for scenario in path.read_text("utf-8").split("\n---\n"):
            named = re.search(r"^name: (.*)$", scenario, re.MULTILINE)
            if named is None or (path.name, named[1].strip()) in OTHERWISE:
                continue
            records, _, tests = scenario.partition("\ntests:\n")
            zone = _other_zone([line for line in records.splitlines() if line.startswith("  ")])
            for number, test in enumerate(yaml.safe_load(tests)):
                yield pytest.param(zone, test, id=f"{path.stem}-{number}")


@pytest.mark.skipif(not OTHER.is_dir(), reason=f"the SPF tests of mail-auth are not at {OTHER}")
@pytest.mark.parametrize(("zone", "test"), list(mail_auth()))
def test_a01_the_suite_of_mail_auth(zone: dict[str, Any], test: dict[str, Any]) -> None:
    """(A-01)"""
    verdict = asyncio.run(
        check_host(
            test["ip"], test["domain"], test["sender"] or f"@{test['domain']}", ZoneLookup(zone), hello=test["domain"]
        )
    )
    result, _, told = test["expect"].partition(" ")
    assert verdict.result == result, verdict
    if told.strip():
        assert verdict.explanation == told.strip()
