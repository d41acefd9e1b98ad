"""TLS settings: of our own listeners, with the configured certificate or one made on first run, and as a client."""

from __future__ import annotations

import datetime
import ipaddress
import os
import ssl
import sys
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from postroad.net.endpoint import TlsMode
from postroad.net.fault import explain_fault


class TlsError(Exception):
    """A certificate or key cannot be used; the message names the file and the reason."""


_MINIMUM = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def server_context(certificate: Path, key: Path, *, minimum: str = "1.2") -> ssl.SSLContext:
    """A context for our listeners (RFC 8314: TLS 1.2 at least). Raises TlsError."""
    for path in (certificate, key):
        if not path.is_file():
            raise TlsError(f"{path}: no such file; [tls] certificate and key must name PEM files")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _MINIMUM[minimum]
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    try:
        context.load_cert_chain(certificate, key, password=_no_passphrase)
    except (ssl.SSLError, OSError) as error:
        # OpenSSL's «PEM lib» stands for any of: no PEM text, of another kind, cut short.
        why = "no such PEM text in it" if error.args and "PEM lib" in str(error) else explain_fault(error)
        raise TlsError(f"{certificate}, {key}: not a matching PEM certificate and key ({why})") from None
    except _KeyEncrypted:
        raise TlsError(f"{key}: the key has a passphrase, which nobody could type in: write it without one") from None
    return context


def client_context(tls: TlsMode, *, trusted: Path | None = None) -> ssl.SSLContext:
    """The TLS settings a mode asks for: certificates are checked where the mode says so, TLS 1.2 at least.

    A certificate is for the names of its subjectAltName, and for no other (RFC 9525 §6.3); `*` stands for one whole
    label, the first. `trusted`: a PEM file to trust instead of the system's certificates; raises OSError where it holds
    none."""
    context = ssl.create_default_context(cafile=trusted)
    context.hostname_checks_common_name = False
    if tls not in (TlsMode.VERIFIED, TlsMode.IMPLICIT):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def peer_chain(secured: ssl.SSLObject) -> list[bytes]:
    """The certificates that the other side has shown, as DER, its own first; not verified."""
    if sys.version_info >= (3, 13):
        return list(secured.get_unverified_chain())
    shown = secured._sslobj.get_unverified_chain() or ()  # type: ignore[attr-defined]  # public from Python 3.13 on
    return [ssl.PEM_cert_to_DER_cert(one.public_bytes()) for one in shown]


class _KeyEncrypted(Exception):
    pass


def _no_passphrase() -> str:
    raise _KeyEncrypted


def make_self_signed(directory: Path, hostname: str, now: datetime.datetime) -> tuple[Path, Path, bool]:
    """The self-signed certificate in `directory`, made if it is not there, ten years valid.

    Returns the paths of certificate and key, and whether they are new. Raises TlsError.
    """
    certificate_path, key_path = directory / "self-signed.pem", directory / "self-signed.key"
    if certificate_path.is_file() and key_path.is_file():
        return certificate_path, key_path, False
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hostname[:64])])
    names: list[x509.GeneralName] = [x509.DNSName(hostname)]
    if hostname != "localhost":
        names.append(x509.DNSName("localhost"))
    names.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=3650))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _write(key_path, private, 0o600)
        _write(certificate_path, certificate.public_bytes(serialization.Encoding.PEM), 0o644)
    except OSError as error:
        raise TlsError(f"{directory}: cannot write a self-signed certificate there ({error.strerror})") from None
    return certificate_path, key_path, True


def _write(path: Path, data: bytes, mode: int) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    partial.replace(path)
