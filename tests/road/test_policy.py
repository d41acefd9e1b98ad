"""Whom we may contact (H-09): an address is judged by where it leads, however it is written."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.net.endpoint import TlsMode
from postroad.road.policy import TlsPolicy, is_public


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.255.255.254", "10.1.2.3", "192.168.0.1", "172.16.0.1", "172.31.255.255", "169.254.169.254",
        "0.0.0.0", "0.1.2.3", "100.64.0.1", "192.0.0.8", "192.0.2.1", "198.18.0.1", "198.51.100.7", "203.0.113.1",
        "224.0.0.1", "240.0.0.1", "255.255.255.255",
        "::", "::1", "0:0:0:0:0:0:0:1", "0000::0001", "::1%lo", "fe80::1", "FE80::1", "fe80::1%eth0", "febf::1",
        "fec0::1", "fc00::1", "fd12:3456::1", "ff02::1", "2001:db8::1", "3fff::1", "100::1",
    ],
)  # fmt: skip
def test_h09_loopback_private_link_local_and_reserved_addresses_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "::ffff:127.0.0.1", "::FFFF:7f00:1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:0:127.0.0.1",
        "::127.0.0.1", "2002:7f00:1::", "2002:a00:1::5", "2002:c0a8:101::1", "64:ff9b::7f00:1", "64:ff9b::10.0.0.1",
        "64:ff9b:1::7f00:1", "64:ff9b:1:7f00:1:0:808:808", "2001:0:808:808:0:0:80ff:fffe",
    ],
)  # fmt: skip
def test_h09_a_private_address_inside_an_ipv6_one_is_found(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "text",
    ["", "not an address", "127.1", "0x7f.0.0.1", "0177.0.0.1", "2130706433", "[::1]", "127.0.0.1.", "8.8.8.8:25"],
)
def test_h09_what_is_no_plain_address_is_not_public(text: str) -> None:
    assert not is_public(text)


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "172.15.0.1", "172.32.0.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"],
)
def test_what_is_public(address: str) -> None:
    assert is_public(address)


@given(st.ip_addresses(v=4))
def test_h09_an_ipv4_address_is_judged_alike_in_every_spelling(address: ipaddress.IPv4Address) -> None:
    number = int(address)
    for spelling in (
        f"::ffff:{address}",
        str(ipaddress.IPv6Address((0xFFFF << 32) | number)),
        ipaddress.IPv6Address((0xFFFF << 32) | number).exploded.upper(),
        str(ipaddress.IPv6Address((0x64FF9B << 96) | number)),
        str(ipaddress.IPv6Address((0x2002 << 112) | (number << 80))),
    ):
        assert is_public(spelling) == is_public(str(address)), spelling


@given(st.text(max_size=40))
def test_h09_no_text_raises(text: str) -> None:
    is_public(text)


def test_tls_is_asked_for_by_domain_and_else_by_default() -> None:
    policy = TlsPolicy(TlsMode.REQUIRED, {"example.org": TlsMode.VERIFIED})
    assert policy.mode("example.org") is TlsMode.VERIFIED
    assert policy.mode("example.net") is TlsMode.REQUIRED
    assert TlsPolicy().mode("example.net") is TlsMode.OPPORTUNISTIC
