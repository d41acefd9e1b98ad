"""A chain passes a host's TLSA records where one of them names it, and not otherwise (T-02)."""

from __future__ import annotations

import hashlib
import ssl

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from postroad.net.dnssec import Tlsa
from postroad.road.dane import DaneCheck, usable

HOST = "mx.example.org"
NOW = 1_800_000_000.0
LONG_AGO = 900_000_000.0


def der(blob: trustme.Blob) -> bytes:
    return ssl.PEM_cert_to_DER_cert(blob.bytes().decode())


def key_of(certificate: bytes) -> bytes:
    key = x509.load_der_x509_certificate(certificate).public_key()
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


ROOT = trustme.CA()
BETWEEN = ROOT.create_child_ca()
OTHER = trustme.CA()
ISSUED = BETWEEN.issue_cert(HOST)
CHAIN = [*(der(blob) for blob in ISSUED.cert_chain_pems), der(ROOT.cert_pem)]
OWN, ROOT_DER = CHAIN[0], CHAIN[-1]


def record(usage: int, selector: int, matching: int, certificate: bytes) -> Tlsa:
    data = key_of(certificate) if selector else certificate
    if matching:
        data = (hashlib.sha256 if matching == 1 else hashlib.sha512)(data).digest()
    return Tlsa(usage, selector, matching, data)


def check(*records: Tlsa, names: tuple[str, ...] = (HOST,), now: float = NOW) -> DaneCheck:
    return DaneCheck(usable(records), names, lambda: now)


@pytest.mark.parametrize("selector", [0, 1])
@pytest.mark.parametrize("matching", [0, 1, 2])
def test_t02_usage_3_names_the_hosts_own_certificate_or_key(selector: int, matching: int) -> None:
    assert check(record(3, selector, matching, OWN))(CHAIN) == ""
    assert check(record(3, selector, matching, ROOT_DER))(CHAIN)


def test_t02_usage_3_asks_neither_names_nor_dates() -> None:
    assert check(record(3, 1, 1, OWN), names=("other.example",), now=LONG_AGO)([OWN]) == ""


@pytest.mark.parametrize("selector", [0, 1])
@pytest.mark.parametrize("matching", [0, 1, 2])
@pytest.mark.parametrize("place", [1, 2])
def test_t02_usage_2_names_an_issuer_in_the_chain(selector: int, matching: int, place: int) -> None:
    assert check(record(2, selector, matching, CHAIN[place]))(CHAIN) == ""


def test_t02_usage_2_needs_a_chain_that_leads_there_and_not_a_certificate_that_lies_beside_it() -> None:
    stranger = der(OTHER.issue_cert(HOST).cert_chain_pems[0])
    assert "does not follow" in check(record(2, 0, 1, ROOT_DER))([stranger, *CHAIN[1:]])


def test_t02_usage_2_asks_names_and_dates() -> None:
    assert "subjectAltName" in check(record(2, 0, 1, ROOT_DER), names=("other.example",))(CHAIN)
    assert check(record(2, 0, 1, ROOT_DER), names=("other.example", HOST))(CHAIN) == "", "any of the names will do"
    assert check(record(2, 0, 1, ROOT_DER), now=LONG_AGO)(CHAIN)


def test_t02_a_whole_issuer_in_dns_need_not_be_shown_by_the_host() -> None:
    assert check(record(2, 0, 0, ROOT_DER))(CHAIN[:-1]) == ""


def test_t02_one_record_that_fits_is_enough() -> None:
    assert check(record(3, 1, 1, ROOT_DER), record(2, 0, 1, der(OTHER.cert_pem)), record(3, 1, 1, OWN))(CHAIN) == ""


def test_t02_a_host_may_be_its_own_issuer_with_its_name_and_its_dates() -> None:
    alone = record(2, 0, 1, OWN)
    assert check(alone)([OWN]) == ""
    assert "name" in check(alone, names=("other.example",))([OWN])
    assert "expired" in check(alone, now=LONG_AGO)([OWN])


def test_t04_a_star_in_a_certificate_is_one_whole_label() -> None:
    starred = der(ROOT.issue_cert("*.example.org").cert_chain_pems[0])
    of_root, of_itself = record(2, 0, 1, ROOT_DER), record(2, 0, 1, starred)
    for one in (of_root, of_itself):
        assert check(one)([starred, ROOT_DER]) == ""
        assert check(one, names=("a.mx.example.org",))([starred, ROOT_DER])
        assert check(one, names=("example.org",))([starred, ROOT_DER])


@pytest.mark.parametrize(
    "one",
    [
        Tlsa(0, 0, 1, b"x" * 32),
        Tlsa(1, 0, 1, b"x" * 32),
        Tlsa(4, 0, 1, b"x" * 32),
        Tlsa(3, 2, 1, b"x" * 32),
        Tlsa(3, 0, 3, b"x" * 32),
        Tlsa(3, 0, 1, b"x" * 31),
        Tlsa(3, 0, 2, b"x" * 32),
        Tlsa(3, 0, 0, b""),
        Tlsa(3, 0, 0, b"no certificate at all"),
    ],
)
def test_t02_records_of_other_usages_and_broken_ones_cannot_be_used(one: Tlsa) -> None:
    assert usable([one]) == ()


def test_t02_the_same_records_make_the_same_check_in_any_order() -> None:
    one, two = record(3, 1, 1, OWN), record(2, 0, 1, ROOT_DER)
    assert check(one, two) == check(two, one, two)
    assert check(one) != check(two)


@given(
    st.lists(
        st.builds(Tlsa, st.integers(0, 4), st.integers(0, 2), st.integers(0, 3), st.binary(max_size=80)), max_size=4
    ),
    st.lists(st.binary(max_size=12) | st.sampled_from(CHAIN), max_size=4),
)
def test_whatever_dns_and_the_host_show_is_judged_and_never_passes_by_chance(
    records: list[Tlsa], chain: list[bytes]
) -> None:
    assert DaneCheck(usable(records), (HOST,), lambda: NOW)(chain)
