"""The ARC suites, read where they lie beside the checkout (A-04)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from message.zone_lookup import ZoneLookup
from postroad.message.arc import Chain, validate
from postroad.message.arc_seal import seal
from postroad.message.dkim import verify
from postroad.message.dkim_canon import split_fields
from postroad.message.dkim_key import load_private_key
from postroad.message.dkim_sign import SigningKey

yaml = pytest.importorskip("yaml")
CORPUS = Path(__file__).parents[3] / "shared" / "corpora" / "arc"
WHERE = pytest.mark.skipif(not CORPUS.is_dir(), reason=f"the ARC suites are not at {CORPUS}")


def scenarios(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((CORPUS / name).read_text()))


def lookup(records: dict[str, str] | None) -> ZoneLookup:
    return ZoneLookup({name: {"TXT": [record]} for name, record in (records or {}).items()})


def crlf(text: str) -> bytes:
    return text.replace("\r\n", "\n").replace("\n", "\r\n").encode()


def plain(text: str | bytes | None) -> str:
    """Without white space, which the suite folds as it likes."""
    return "".join((text.decode() if isinstance(text, bytes) else text or "").split())


def without_b(text: str) -> str:
    """The tags of a seal but its b=."""
    return ";".join(tag for tag in text.split(";") if not tag.startswith("b="))


@WHERE
def test_a04_the_validation_suite_passes_whole() -> None:
    missed, count = [], 0
    for scenario in scenarios("arc-draft-validation-tests.yml"):
        for name, test in scenario["tests"].items():
            found = asyncio.run(validate(crlf(test["message"]), lookup(scenario["txt-records"]).texts))
            count += 1
            # Without a word on it the chain has ended (cv=fail), which fails.
            if found.verdict != (test["cv"] or "Fail").lower():
                missed.append((name, test["description"], test["cv"], found))
    assert missed == []
    assert count == 171


@WHERE
@pytest.mark.parametrize("suite", ["arc-draft-sign-tests.yml", "arc-draft-sign-tests-mailauth.yml"])
def test_a04_the_signing_suite_has_our_fields(suite: str) -> None:
    """Octet for octet, but b= of seals: the suite sealed its sets as it folded them, and we seal ours."""
    count = 0
    for scenario in scenarios(suite):
        key = SigningKey(scenario["domain"], scenario["sel"], load_private_key(scenario["privatekey"].encode()))
        for name, test in scenario["tests"].items():
            message, zone = crlf(test["message"]), lookup(scenario["txt-records"])
            chain = asyncio.run(validate(message, zone.texts))
            made = seal(
                message,
                key,
                chain=chain,
                results=_results(message, test["srv-id"]),
                now=test["t"],
                names=test["sig-headers"].split(":"),
            )
            found = {one.name: plain(one.value) for one in split_fields(made)[0]}
            assert found.get(b"arc-authentication-results", "") == plain(test["AAR"]), name
            assert found.get(b"arc-message-signature", "") == plain(test["AMS"]), name
            assert without_b(found.get(b"arc-seal", "")) == without_b(plain(test["AS"])), name
            expected = Chain.PASS if chain.verdict in (Chain.NONE, Chain.PASS) else Chain.FAIL
            assert asyncio.run(validate(made + message, zone.texts)).verdict is expected, name
            count += 1
    assert count == 17


def _results(message: bytes, server: str) -> str:
    """What the server itself wrote of the message, put together."""
    texts = [" ".join(one.value.decode().split()) for one in split_fields(message)[0] if one.name.startswith(b"auth")]
    ours = [text.partition(";")[2].strip(" ;") for text in texts if text.startswith(f"{server};")]
    return "; ".join([server, *ours])


@WHERE
def test_a04_real_chains_with_their_keys_pass() -> None:
    paths = sorted((CORPUS / "messages").glob("mail-auth-*.txt"))
    assert paths
    for path in paths:
        records, _, text = path.read_text().partition("\n\n")
        zone = lookup(dict(line.split(" ", 1) for line in records.splitlines()))
        message = crlf(text)
        assert asyncio.run(validate(message, zone.texts)).verdict is Chain.PASS, path.name
        passing = [one for one in asyncio.run(verify(message, zone.texts, now=2e9)) if one.verdict == "pass"]
        assert passing, path.name


@WHERE
def test_a04_real_chains_without_their_keys_are_read_and_fail() -> None:
    for path in sorted((CORPUS / "messages").glob("arc-*.eml")):
        message = path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        found = asyncio.run(validate(message, lookup(None).texts))
        assert (found.verdict, found.instances >= 1) == (Chain.FAIL, True), path.name
