"""Listening sockets, and the one sentence where there can be none."""

from __future__ import annotations

import socket

import pytest

from postroad.net.listen import ListenError, bind, show


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")


def test_an_ipv4_address_is_bound_and_takes_connections() -> None:
    with (
        bind("127.0.0.1", 0, shared=False) as listener,
        socket.create_connection(listener.getsockname()[:2], timeout=5) as client,
    ):
        assert listener.family is socket.AF_INET
        assert client.getpeername() == listener.getsockname()
        assert not listener.getblocking()


@needs_ipv6
def test_an_ipv6_address_is_bound_and_leaves_ipv4_to_others() -> None:
    with bind("::1", 0, shared=False) as listener:
        port = listener.getsockname()[1]
        assert listener.family is socket.AF_INET6
        with socket.create_connection(("::1", port), timeout=5):
            pass
        with bind("127.0.0.1", port, shared=False) as other:
            assert other.getsockname()[1] == port


@needs_ipv6
def test_every_address_of_both_families_may_be_served_side_by_side() -> None:
    with bind("::", 0, shared=False) as six, bind("0.0.0.0", six.getsockname()[1], shared=False) as four:
        assert six.getsockname()[1] == four.getsockname()[1]


def test_a_port_that_is_taken_is_told_in_one_clear_sentence() -> None:
    with bind("127.0.0.1", 0, shared=False) as first:
        port = first.getsockname()[1]
        with pytest.raises(ListenError) as caught:
            bind("127.0.0.1", port, shared=False)
    assert str(caught.value) == f"cannot listen on 127.0.0.1:{port}: address already in use"


def test_workers_share_a_port_only_where_all_say_so() -> None:
    with bind("127.0.0.1", 0, shared=True) as first:
        port = first.getsockname()[1]
        with bind("127.0.0.1", port, shared=True) as second:
            assert second.getsockname()[1] == port
        with pytest.raises(ListenError):
            bind("127.0.0.1", port, shared=False)


@pytest.mark.parametrize("address", ["localhost", "mail.example.org", "", "127.1", "1.2.3.4.5"])
def test_a_name_is_no_address_to_listen_on(address: str) -> None:
    with pytest.raises(ListenError, match="not an IP address"):
        bind(address, 0, shared=False)


def test_an_address_that_is_not_this_machines_is_told() -> None:
    with pytest.raises(ListenError, match=r"cannot listen on 192\.0\.2\.1:0: "):
        bind("192.0.2.1", 0, shared=False)


def test_how_an_address_and_port_are_shown() -> None:
    assert show("127.0.0.1", 25) == "127.0.0.1:25"
    assert show("::1", 25) == "[::1]:25"
