"""DANE for SMTP: which TLSA records can be used, and whether a certificate chain is the one they name (RFC 7672).

Pure: certificates as DER, time as an argument. Usages 2 (an issuer in the chain) and 3 (the host's own certificate);
others cannot be used, nor can what is malformed. Used by road/tls_policies.py and, as the check of a connection, by
net/dialogue.py.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import verification

from postroad.net.dnssec import Tlsa

ISSUER, OWN = 2, 3
MAX_CHAIN = 10
"""Certificates of a chain that are looked at."""
_DIGESTS: dict[int, tuple[Callable[[bytes], bytes], int]] = {
    1: (lambda data: hashlib.sha256(data).digest(), 32),
    2: (lambda data: hashlib.sha512(data).digest(), 64),
}


def usable(records: Iterable[Tlsa]) -> tuple[Tlsa, ...]:
    """Those that can be matched; where there are records and none is usable, TLS is still required (RFC 7672 §2.2)."""
    return tuple(sorted(set(filter(_is_usable, records)), key=lambda one: (one.usage, one.selector, one.matching)))


def _is_usable(record: Tlsa) -> bool:
    if record.usage not in (ISSUER, OWN) or record.selector not in (0, 1) or not record.data:
        return False
    if record.matching in _DIGESTS:
        return len(record.data) == _DIGESTS[record.matching][1]
    return record.matching == 0 and _is_der(record)


def _is_der(record: Tlsa) -> bool:
    """Whether a whole certificate or key is one: what the host sends could not equal anything else."""
    return record.data[:1] == b"\x30" and len(record.data) >= 16


@dataclass(frozen=True, slots=True)
class DaneCheck:
    """What a host's chain must pass: one of the records, and for an issuer's one of the names as well.

    `now` is the wall clock, seconds since 1970. Two are equal where records and names are."""

    records: tuple[Tlsa, ...]
    names: tuple[str, ...]
    now: Callable[[], float] = field(compare=False)

    def __call__(self, chain: Sequence[bytes]) -> str:
        """Why the chain (DER, the host's own first) is refused; empty where it is the one that the records name."""
        chain = chain[:MAX_CHAIN]
        if not chain:
            return "the host showed no certificate"
        try:
            if any(one.usage == OWN and _names(one, chain[0]) for one in self.records):
                return ""
        except ValueError:
            return "the host's certificate cannot be read"
        why = "no TLSA record names the host's certificate"
        for record in self.records:
            if record.usage == ISSUER:
                why = self._by_issuer(record, chain)
                if not why:
                    return ""
        return why

    def _by_issuer(self, record: Tlsa, chain: Sequence[bytes]) -> str:
        issuers = []
        for der in chain:
            try:
                if _names(record, der):
                    issuers.append(x509.load_der_x509_certificate(der))
            except ValueError:
                continue
        if not issuers and (record.selector, record.matching) == (0, 0):
            try:
                issuers = [x509.load_der_x509_certificate(record.data)]  # it stands in the DNS, not in the chain
            except ValueError:
                issuers = []
        if not issuers:
            return "no TLSA record names a certificate of the host's chain"
        try:
            own, *others = [x509.load_der_x509_certificate(der) for der in chain]
        except ValueError:
            return "the host's certificate chain cannot be read"
        if own in issuers:
            return self._as_its_own_issuer(own)
        try:
            when = datetime.datetime.fromtimestamp(self.now(), datetime.UTC)
            verifier = (
                verification.PolicyBuilder()
                .store(verification.Store(issuers))
                .time(when)
                .max_chain_depth(MAX_CHAIN)
                .extension_policies(ca_policy=_issuer_policy(), ee_policy=_own_policy())
            )
        except ValueError as error:
            return f"the certificate of the TLSA record cannot be used: {error}"
        why = ""
        for name in self.names:
            try:
                verifier.build_server_verifier(x509.DNSName(name)).verify(own, others)
            except (verification.VerificationError, ValueError) as error:
                why = why or f"the host's certificate does not follow from that of the TLSA record: {error}"
            else:
                return ""
        return why

    def _as_its_own_issuer(self, own: x509.Certificate) -> str:
        """A host whose own certificate stands in a record of usage 2: names and dates count (RFC 7671 §5.2)."""
        now = datetime.datetime.fromtimestamp(self.now(), datetime.UTC)
        if not own.not_valid_before_utc <= now <= own.not_valid_after_utc:
            return "the host's certificate has expired, or is not yet valid"
        try:
            names = own.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            told = names.get_values_for_type(x509.DNSName)
        except (x509.ExtensionNotFound, ValueError):
            told = []
        if any(_is_named(pattern, name) for pattern in told for name in self.names):
            return ""
        return "the host's certificate does not name the host"


def _is_named(pattern: str, name: str) -> bool:
    """Whether a name of a certificate stands for a host; `*` for one whole label, the first (RFC 9525 §6.3)."""
    pattern, name = pattern.lower().rstrip("."), name.lower().rstrip(".")
    if pattern.startswith("*."):
        label, _, rest = name.partition(".")
        return bool(label) and rest == pattern[2:] and "*" not in rest
    return pattern == name


def _names(record: Tlsa, der: bytes) -> bool:
    """Whether the record is this certificate's (RFC 6698 §2.1). Raises ValueError for what is no certificate."""
    data = der
    if record.selector == 1:
        key = x509.load_der_x509_certificate(der).public_key()
        data = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if record.matching in _DIGESTS:
        data = _DIGESTS[record.matching][0](data)
    return data == record.data


def _issuer_policy() -> verification.ExtensionPolicy:
    """An issuer must be one; the rest of what the Web asks of its authorities is not asked of a domain's own."""

    def is_authority(policy: object, certificate: object, extension: x509.BasicConstraints) -> None:
        if not extension.ca:
            raise ValueError("an issuer of the chain may not issue certificates")

    return verification.ExtensionPolicy.permit_all().require_present(
        x509.BasicConstraints, verification.Criticality.AGNOSTIC, is_authority
    )


def _own_policy() -> verification.ExtensionPolicy:
    return verification.ExtensionPolicy.permit_all().require_present(
        x509.SubjectAlternativeName, verification.Criticality.AGNOSTIC, None
    )
