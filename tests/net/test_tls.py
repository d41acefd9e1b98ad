"""TLS for our listeners: the certificate made on first run, and what a configured one must be."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
import stat
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from postroad.net.endpoint import TlsMode
from postroad.net.fault import explain_fault, tls_result
from postroad.net.tls import TlsError, client_context, make_self_signed, peer_chain, server_context

NOW = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)


def made(directory: Path, hostname: str = "mail.example.org") -> x509.Certificate:
    certificate, _, _ = make_self_signed(directory, hostname, NOW)
    return x509.load_pem_x509_certificate(certificate.read_bytes())


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> str | None:
    """The protocol that both agree on. Raises ssl.SSLError."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    here = client.wrap_bio(to_client, to_server, server_hostname=name)
    there = server.wrap_bio(to_server, to_client, server_side=True)
    finish(here, there)
    return here.version()


def finish(*sides: ssl.SSLObject) -> None:
    """Shake hands from side to side until both have done."""
    waiting = list(sides)
    while waiting:
        for side in list(waiting):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            waiting.remove(side)


def made_for(directory: Path, authority: trustme.CA, *names: str, common_name: str = "") -> tuple[Path, Path]:
    """Files of a certificate and its key, with names that no careful authority would write."""
    issuer_key = serialization.load_pem_private_key(authority.private_key_pem.bytes(), None)
    issuer = x509.load_pem_x509_certificate(authority.cert_pem.bytes())
    key = ec.generate_private_key(ec.SECP256R1())
    subject = [x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)] if common_name else []
    building = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(subject))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC))
        .not_valid_after(datetime.datetime(2900, 1, 1, tzinfo=datetime.UTC))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if names:
        alternative = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        building = building.add_extension(alternative, critical=not common_name)
    assert isinstance(issuer_key, ec.EllipticCurvePrivateKey)
    certificate = building.sign(issuer_key, hashes.SHA256())
    files = directory / "certificate.pem", directory / "key.pem"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files


def trusting(certificate: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate))


def test_the_self_signed_certificate_is_made_once(tmp_path: Path) -> None:
    directory = tmp_path / "state" / "tls"
    certificate, key, is_new = make_self_signed(directory, "mail.example.org", NOW)
    written = certificate.read_bytes(), key.read_bytes()
    assert is_new
    assert make_self_signed(directory, "other.example.org", NOW) == (certificate, key, False)
    assert (certificate.read_bytes(), key.read_bytes()) == written
    assert sorted(path.name for path in directory.iterdir()) == ["self-signed.key", "self-signed.pem"]


def test_its_key_is_readable_by_nobody_else(tmp_path: Path) -> None:
    _, key, _ = make_self_signed(tmp_path, "mail.example.org", NOW)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_a_key_file_left_over_with_open_doors_does_not_lend_them_to_the_new_one(tmp_path: Path) -> None:
    stale = tmp_path / "self-signed.key"
    stale.write_text("old")
    stale.chmod(0o644)
    _, key, is_new = make_self_signed(tmp_path, "mail.example.org", NOW)
    assert is_new
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_t04_it_names_the_host_and_loopback_as_subject_alternative_names(tmp_path: Path) -> None:
    names = made(tmp_path).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["mail.example.org", "localhost"]
    assert names.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address("127.0.0.1")]


def test_it_is_valid_from_yesterday_for_ten_years(tmp_path: Path) -> None:
    certificate = made(tmp_path)
    assert certificate.not_valid_before_utc == NOW - datetime.timedelta(days=1)
    assert certificate.not_valid_after_utc == NOW + datetime.timedelta(days=3650)


def test_a_host_with_a_very_long_name_has_a_certificate_too(tmp_path: Path) -> None:
    hostname = f"{'x' * 60}.{'y' * 60}.example.org"
    names = made(tmp_path, hostname).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert hostname in names.get_values_for_type(x509.DNSName)


def test_a_client_that_trusts_it_reaches_the_host_by_its_name_and_by_no_other(tmp_path: Path) -> None:
    certificate, key, _ = make_self_signed(tmp_path, "mail.example.org", datetime.datetime.now(datetime.UTC))
    server = server_context(certificate, key)
    assert shake_hands(server, trusting(certificate), "mail.example.org") == "TLSv1.3"
    assert shake_hands(server, trusting(certificate), "localhost") == "TLSv1.3"
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(server, trusting(certificate), "other.example.org")


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TlsError, match="file"):
        make_self_signed(tmp_path / "file", "mail.example.org", NOW)


def files_of(authority: trustme.CA, directory: Path, stem: str) -> tuple[Path, Path]:
    issued = authority.issue_cert("mail.example.org")
    certificate, key = directory / f"{stem}.pem", directory / f"{stem}.key"
    issued.cert_chain_pems[0].write_to_path(str(certificate))
    issued.private_key_pem.write_to_path(str(key))
    return certificate, key


def test_s29_tls_1_2_is_the_least_unless_more_is_asked(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate, key = files_of(authority, tmp_path, "mail")
    old = ssl.create_default_context()
    authority.configure_trust(old)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    assert server_context(certificate, key).minimum_version is ssl.TLSVersion.TLSv1_2
    assert shake_hands(server_context(certificate, key), old, "mail.example.org") == "TLSv1.2"
    with pytest.raises(ssl.SSLError):
        shake_hands(server_context(certificate, key, minimum="1.3"), old, "mail.example.org")


def test_h08_renegotiation_and_compression_are_off(tmp_path: Path) -> None:
    context = server_context(*files_of(trustme.CA(), tmp_path, "mail"))
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert context.options & ssl.OP_NO_COMPRESSION


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    certificate, key = files_of(trustme.CA(), tmp_path, "mail")
    with pytest.raises(TlsError, match=r"missing\.pem: no such file"):
        server_context(tmp_path / "missing.pem", key)
    with pytest.raises(TlsError, match=r"missing\.key: no such file"):
        server_context(certificate, tmp_path / "missing.key")


def test_files_that_do_not_belong_together_or_are_none_are_named(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate, _ = files_of(authority, tmp_path, "mail")
    _, other_key = files_of(authority, tmp_path, "other")
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("nothing of the kind")
    for pair in ((certificate, other_key), (nonsense, other_key)):
        with pytest.raises(TlsError, match="not a matching PEM certificate and key") as caught:
            server_context(*pair)
        assert str(pair[0]) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_key_behind_a_password_is_refused_and_never_asked_for_at_the_terminal(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    certificate, key = files_of(trustme.CA(), tmp_path, "mail")
    loaded = serialization.load_pem_private_key(key.read_bytes(), None)
    key.write_bytes(
        loaded.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(TlsError):
        server_context(certificate, key)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (TimeoutError(), "timed out"),
        (ConnectionRefusedError(111, "Connection refused"), "connection refused"),
        (BrokenPipeError(), "connection reset"),
        (OSError(101, "Network is unreachable"), "network is unreachable"),
        (socket.gaierror(-2, "Name or service not known"), "name or service not known"),
        (OSError("something"), "something"),
        (OSError(), "OSError"),
    ],
)
def test_a_fault_is_told_in_a_few_plain_words(fault: OSError, words: str) -> None:
    assert explain_fault(fault) == words


# As a client ---------------------------------------------------------------------------------------------------


def verifying(authority: trustme.CA) -> ssl.SSLContext:
    context = client_context(TlsMode.VERIFIED)
    authority.configure_trust(context)
    return context


@pytest.mark.parametrize(
    ("certified", "host", "is_taken"),
    [
        ("mx.example.org", "mx.example.org", True),
        ("mx.example.org", "MX.Example.ORG", True),
        ("mx.example.org", "example.org", False),
        ("*.example.org", "mx.example.org", True),
        ("*.example.org", "a.mx.example.org", False),
        ("*.example.org", "example.org", False),
        ("m*.example.org", "mx.example.org", False),
        ("mx.*.org", "mx.example.org", False),
        ("xn--bcher-kva.example", "xn--bcher-kva.example", True),
        ("*.xn--bcher-kva.example", "mx.xn--bcher-kva.example", True),
        ("*.example.org", "xn--bcher-kva.example.org", True),
    ],
)
def test_t04_a_certificate_is_for_the_names_it_has_with_a_star_for_the_whole_first_label(
    tmp_path: Path, certified: str, host: str, is_taken: bool
) -> None:
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(*made_for(tmp_path, authority, certified))
    if is_taken:
        assert shake_hands(server, verifying(authority), host) == "TLSv1.3"
        return
    with pytest.raises(ssl.SSLCertVerificationError) as fault:
        shake_hands(server, verifying(authority), host)
    assert tls_result(fault.value) == "certificate-host-mismatch"


def test_t04_the_common_name_stands_for_no_host(tmp_path: Path) -> None:
    authority = trustme.CA()
    for names in ((), ("other.example.org",)):
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(*made_for(tmp_path, authority, *names, common_name="mx.example.org"))
        with pytest.raises(ssl.SSLCertVerificationError, match=r"[Hh]ostname"):
            shake_hands(server, verifying(authority), "mx.example.org")


def test_c12_a_mode_without_names_takes_any_certificate() -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("other.example.org").configure_cert(server)
    assert shake_hands(server, client_context(TlsMode.REQUIRED), "mx.example.org") == "TLSv1.3"


def test_the_chain_that_was_shown_is_as_it_was_sent() -> None:
    authority = trustme.CA().create_child_ca()
    leaf = authority.issue_cert("mx.example.org")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(server)
    sent = [ssl.PEM_cert_to_DER_cert(blob.bytes().decode()) for blob in leaf.cert_chain_pems]
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    here = client_context(TlsMode.REQUIRED).wrap_bio(to_client, to_server, server_hostname="mx.example.org")
    there = server.wrap_bio(to_server, to_client, server_side=True)
    finish(here, there)
    assert peer_chain(here) == sent
