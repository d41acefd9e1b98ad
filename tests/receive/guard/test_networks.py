"""Addresses by the networks around them: one customer is one, and a list of networks holds what lies in it."""

from __future__ import annotations

import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from postroad.receive.guard.networks import Networks, customer_of, neighbours_of, parse_network

ADDRESSES = st.ip_addresses()
NETWORKS = st.lists(
    st.builds(
        lambda address, bits: (
            ipaddress.ip_network((int(address), bits % (address.max_prefixlen + 1)), strict=False)
            if address.version == 4
            else ipaddress.ip_network((str(address), bits), strict=False)
        ),
        ADDRESSES,
        st.integers(0, 128),
    ),
    max_size=8,
)


def test_one_customer_is_an_address_or_a_64_and_his_neighbours_a_24_or_a_48() -> None:
    assert customer_of("192.0.2.7") == "192.0.2.7"
    assert neighbours_of("192.0.2.7") == "192.0.2.0/24"
    assert customer_of("2001:db8:1:2:3::4%eth0") == "2001:db8:1:2::/64"
    assert neighbours_of("2001:db8:1:2:3::4") == "2001:db8:1::/48"
    assert neighbours_of("unknown") == customer_of("unknown") == "unknown"


@given(ADDRESSES, NETWORKS)
def test_a_set_holds_exactly_the_addresses_within_its_networks(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
    networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network],
) -> None:
    found = Networks(networks)
    expected = {network for network in networks if network.version == address.version and address in network}
    assert set(found.around(str(address))) == expected
    assert (str(address) in found) is bool(expected)


@given(st.text(max_size=40))
def test_what_is_no_address_is_in_no_network(text: str) -> None:
    found = Networks([parse_network("192.0.2.0/24")])
    try:
        ipaddress.ip_address(text.split("%", 1)[0])
    except ValueError:
        assert text not in found
