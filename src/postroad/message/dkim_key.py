"""Keys of signatures: what a domain publishes of them (RFC 6376 §3.6.1, RFC 8301, RFC 8463), and the private half."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_public_key,
    load_pem_private_key,
)

from postroad.message.dkim_tags import TagError, parse_tags, words_of
from postroad.message.dns import TextsAnswer

MIN_RSA_BITS = 1024  # RFC 8301 §3.2
MAX_RSA_BITS = 8192
"""Checking a longer one would cost more than a message is worth."""
TXT_STRING_OCTETS = 255
_SPACE = re.compile(r"[ \t\r\n]+")
_SHA256 = Prehashed(SHA256())

PrivateKey = RSAPrivateKey | Ed25519PrivateKey
PublicKey = RSAPublicKey | Ed25519PublicKey
AskTexts = Callable[[str], Awaitable[TextsAnswer]]
"""`Lookup.texts`: asks for the TXT records of a name."""


class Algorithm(StrEnum):
    """Of a key, by the name that k= has for it."""

    RSA = "rsa"
    ED25519 = "ed25519"

    @property
    def signature(self) -> str:
        """The value of a= in a signature by such a key."""
        return f"{self}-sha256"


class KeyProblem(StrEnum):
    """Why a key record is of no use."""

    REVOKED = "the key was revoked"
    SYNTAX = "the key record cannot be read"
    NOT_FOR_MAIL = "the key is not for mail"
    NO_SHA256 = "the key is not for sha256"
    UNKNOWN = "the key is of an unknown kind"
    WEAK = "the key is shorter than 1024 bits"
    HUGE = "the key is longer than 8192 bits"


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A published key. `is_testing`: t=y. `is_strict`: t=s, i= is of exactly the domain. `bits`: of RSA, else 256."""

    key: PublicKey
    algorithm: Algorithm
    bits: int
    is_testing: bool = False
    is_strict: bool = False


@lru_cache(maxsize=1024)
def parse_key_record(record: bytes) -> KeyRecord | KeyProblem:
    """What a TXT record says; kept for the next message of the same domain."""
    try:
        tags = parse_tags(record)
    except TagError:
        return KeyProblem.SYNTAX
    if "p" not in tags or ("v" in tags and (tags["v"] != "DKIM1" or next(iter(tags)) != "v")):
        return KeyProblem.SYNTAX
    kind = tags.get("k", "rsa")
    if kind not in ("rsa", "ed25519"):
        return KeyProblem.UNKNOWN
    if not {"*", "email"} & set(words_of(tags.get("s", "*"))):
        return KeyProblem.NOT_FOR_MAIL
    if "h" in tags and "sha256" not in words_of(tags["h"]):
        return KeyProblem.NO_SHA256
    encoded = _SPACE.sub("", tags["p"])
    if not encoded:
        return KeyProblem.REVOKED
    try:
        octets = base64.b64decode(encoded, validate=True)
        key = _public_key(octets, Algorithm(kind))
    except (binascii.Error, ValueError, UnsupportedAlgorithm):
        return KeyProblem.SYNTAX
    bits = key.key_size if isinstance(key, RSAPublicKey) else 256
    if isinstance(key, RSAPublicKey) and not MIN_RSA_BITS <= bits <= MAX_RSA_BITS:
        return KeyProblem.WEAK if bits < MIN_RSA_BITS else KeyProblem.HUGE
    flags = words_of(tags.get("t", ""))
    return KeyRecord(key, Algorithm(kind), bits, is_testing="y" in flags, is_strict="s" in flags)


def _public_key(octets: bytes, algorithm: Algorithm) -> PublicKey:
    if algorithm is Algorithm.ED25519:
        # RFC 8463 §4 publishes the bare 32 octets.
        return Ed25519PublicKey.from_public_bytes(octets)
    key = load_der_public_key(octets)
    if not isinstance(key, RSAPublicKey):
        raise ValueError("another kind of key")
    return key


def choose_record(records: Sequence[bytes]) -> KeyRecord | KeyProblem | None:
    """The key among the TXT records of a name: the first that can be used, else why the first cannot; None without any.

    RFC 6376 §3.6.2.2 leaves several records undefined; at most four are looked at."""
    found = [parse_key_record(record) for record in records[:4]]
    return next((one for one in found if isinstance(one, KeyRecord)), found[0] if found else None)


def query_name(selector: str, domain: str) -> str:
    """The name at which a key is published (RFC 6376 §3.6.2.1)."""
    return f"{selector}._domainkey.{domain}"


def is_signed_by(record: KeyRecord, signature: bytes, digest: bytes) -> bool:
    """Whether the signature of that SHA-256 was made with the private half."""
    try:
        if isinstance(record.key, Ed25519PublicKey):
            record.key.verify(signature, digest)
        else:
            record.key.verify(signature, digest, PKCS1v15(), _SHA256)
    except InvalidSignature:
        return False
    return True


# The private half -------------------------------------------------------------------------------------------------


class PrivateKeyError(ValueError):
    """A private key that cannot be used; the message is one sentence."""


def load_private_key(pem: bytes) -> PrivateKey:
    """The key of a PEM file without password. Raises PrivateKeyError."""
    try:
        key = load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise PrivateKeyError("it is no private key in PEM without a password") from None
    if not isinstance(key, RSAPrivateKey | Ed25519PrivateKey):
        raise PrivateKeyError("it is neither an RSA nor an Ed25519 key")
    if isinstance(key, RSAPrivateKey) and not MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
        raise PrivateKeyError(f"an RSA key of {key.key_size} bits is not accepted by receivers; make one of 2048 bits")
    return key


def private_pem(key: PrivateKey) -> bytes:
    """The key as it is kept in a file."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def algorithm_of(key: PrivateKey) -> Algorithm:
    """What kind of key it is."""
    return Algorithm.RSA if isinstance(key, RSAPrivateKey) else Algorithm.ED25519


def make_signature(key: PrivateKey, digest: bytes) -> bytes:
    """Sign a SHA-256."""
    if isinstance(key, Ed25519PrivateKey):
        return key.sign(digest)
    return key.sign(digest, PKCS1v15(), _SHA256)


def key_record(key: PrivateKey) -> str:
    """The TXT record that publishes the public half."""
    if isinstance(key, Ed25519PrivateKey):
        octets = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    else:
        octets = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    encoded = base64.b64encode(octets).decode("ascii")
    return f"v=DKIM1; k={algorithm_of(key)}; p={encoded}"


def is_same_key(record: KeyRecord, key: PrivateKey) -> bool:
    """Whether the published key is the public half of this one."""
    return record.key == key.public_key()


def is_published(answer: TextsAnswer, key: PrivateKey) -> bool:
    """Whether DNS shows the public half of that key, so that signatures by it can be checked."""
    record = choose_record(answer.texts)
    return isinstance(record, KeyRecord) and is_same_key(record, key)


def txt_strings(text: str) -> tuple[str, ...]:
    """A TXT record in strings of at most 255 octets, as DNS carries it (RFC 1035 §3.3)."""
    return tuple(text[start : start + TXT_STRING_OCTETS] for start in range(0, len(text), TXT_STRING_OCTETS)) or ("",)
