"""Keys, their records, and messages signed by hand, for the tests of DKIM and ARC."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import cache

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from message.zone_lookup import TIMEOUT, ZoneLookup
from postroad.message.dkim import DkimResult, verify
from postroad.message.dkim_canon import (
    canonical_body,
    chosen_fields,
    signed_octets,
    split_fields,
)
from postroad.message.dkim_key import PrivateKey, key_record, make_signature
from postroad.message.dkim_sign import SigningKey

NOW = 1_700_000_000.0
DOMAIN = "example.org"
MESSAGE = (
    b"From: Ann <ann@example.org>\r\n"
    b"To: bob@example.net\r\n"
    b"Subject:  a  folded\r\n\tsubject \r\n"
    b"Date: Fri, 15 Jan 2027 08:00:00 +0000\r\n"
    b"Message-ID: <1@example.org>\r\n"
    b"\r\n"
    b"Hello  Bob, \r\n\r\nthis is it.\t\r\n\r\n\r\n"
)


@cache
def rsa_key(bits: int = 2048) -> PrivateKey:
    return generate_private_key(public_exponent=65_537, key_size=bits)


@cache
def ed25519_key() -> PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def keys() -> tuple[SigningKey, SigningKey]:
    return SigningKey(DOMAIN, "r1", rsa_key()), SigningKey(DOMAIN, "e1", ed25519_key())


def zone(records: Mapping[str, str | Sequence[str]] | None = None) -> ZoneLookup:
    """The records of `keys`, and others: selector → record; TIMEOUT for one that is not to be had."""
    found = {"r1": key_record(rsa_key()), "e1": key_record(ed25519_key()), **(records or {})}
    return ZoneLookup(
        {
            f"{selector}._domainkey.{DOMAIN}": {"TXT": [record] if isinstance(record, str) else list(record)}
            for selector, record in found.items()
        }
    )


def verified(message: bytes, lookup: ZoneLookup | None = None, *, now: float = NOW) -> list[DkimResult]:
    return asyncio.run(verify(message, (lookup or zone()).texts, now=now))


def by_hand(
    message: bytes = MESSAGE,
    *,
    key: PrivateKey | None = None,
    tags: Mapping[str, str | None] | None = None,
    **changed: str | None,
) -> bytes:
    """The message with a signature whose tags are these; None leaves a tag out. The hash and signature fit the tags."""
    values: dict[str, str | None] = {
        "v": "1",
        "a": "rsa-sha256",
        "c": "relaxed/relaxed",
        "d": DOMAIN,
        "s": "r1",
        "h": "from:to:subject",
        **(tags or {}),
        **changed,
    }
    key = key or (ed25519_key() if (values["a"] or "").startswith("ed") else rsa_key())
    fields, start = split_fields(message)
    header, _, body = (values["c"] or "simple/simple").partition("/")
    canonical = canonical_body(message[start:], is_relaxed=body == "relaxed")
    if (values.get("l") or "").isdigit():
        canonical = canonical[: int(values["l"] or "0")]
    values.setdefault("bh", base64.b64encode(hashlib.sha256(canonical).digest()).decode())
    text = "; ".join(f"{name}={value}" for name, value in values.items() if value is not None)
    own = f"DKIM-Signature: {text}; b=".encode()
    names = [name.strip().lower().encode() for name in (values["h"] or "").split(":")]
    octets = signed_octets(chosen_fields(fields, names), own, is_relaxed=header == "relaxed")
    signature = base64.b64encode(make_signature(key, hashlib.sha256(octets).digest()))
    return own + signature + b"\r\n" + message


__all__ = ["DOMAIN", "MESSAGE", "NOW", "TIMEOUT", "by_hand", "ed25519_key", "keys", "rsa_key", "verified", "zone"]
