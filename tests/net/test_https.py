"""Policies and reports go over HTTPS with a checked certificate, bounded, and to nobody who was not meant (T-01)."""

from __future__ import annotations

import asyncio
import gzip
import ssl
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest
import trustme

from https_server import HttpsServer, Page
from postroad.message.dns import AddressAnswer, DnsStatus
from postroad.net.https import HttpsClient, HttpsError
from postroad.road.policy import is_public

T = TypeVar("T")
HOST, PATH = "mta-sts.example.test", "/.well-known/mta-sts.txt"
AUTHORITY = trustme.CA()


class Hosts:
    """Every host is at 127.0.0.1, or where it is told."""

    def __init__(self, *addresses: str) -> None:
        self._addresses = addresses or ("127.0.0.1",)

    async def addresses(self, host: str) -> AddressAnswer:
        if host == "nowhere.test":
            return AddressAnswer(DnsStatus.NO_DOMAIN, (), "no such name")
        return AddressAnswer(DnsStatus.FOUND, self._addresses)


def using(
    use: Callable[[HttpsClient], Awaitable[T]],
    server: HttpsServer,
    *,
    hosts: Hosts | None = None,
    is_allowed: Callable[[str], bool] = lambda _: True,
    timeout_s: float = 5.0,
) -> T:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    client = HttpsClient(
        hosts or Hosts(), is_allowed=is_allowed, timeout_s=timeout_s, context=context, port=server.port
    )

    async def run() -> T:
        return await use(client)

    return asyncio.run(run())


def fetch(page: Page, *, name: str = HOST, authority: trustme.CA = AUTHORITY, timeout_s: float = 5.0) -> bytes:
    with HttpsServer(authority.issue_cert(name), {PATH: page}) as server:
        return using(
            lambda client: client.get(HOST, PATH, most_octets=1000, media_type="text/plain"),
            server,
            timeout_s=timeout_s,
        )


def test_t01_a_file_is_fetched_by_the_name_of_its_host() -> None:
    with HttpsServer(AUTHORITY.issue_cert(HOST), {PATH: Page(b"version: STSv1\n")}) as server:
        content = using(lambda client: client.get(HOST, PATH, most_octets=99, media_type="text/plain"), server)
        assert content == b"version: STSv1\n"
        assert [(one.method, one.host.partition(":")[0], one.path) for one in server.requests] == [("GET", HOST, PATH)]


@pytest.mark.parametrize(("name", "authority"), [("other.example.test", AUTHORITY), (HOST, trustme.CA())])
def test_t01_a_certificate_for_another_name_or_of_nobody_is_refused(name: str, authority: trustme.CA) -> None:
    with pytest.raises(HttpsError, match="certificate not trusted") as fault:
        fetch(Page(b"x"), name=name, authority=authority)
    assert fault.value.is_certificate


def test_t01_a_redirect_is_not_followed() -> None:
    with pytest.raises(HttpsError, match="answered 301"):
        fetch(Page(status=301, headers={"Location": f"https://{HOST}/elsewhere"}))


@pytest.mark.parametrize(
    ("page", "why"),
    [
        (Page(b"x", status=404), "answered 404"),
        (Page(b"x", media_type="text/html"), "not of the type text/plain"),
        (Page(b"x" * 1001), "more than 1000 octets"),
    ],
)
def test_t01_what_is_no_small_text_is_refused(page: Page, why: str) -> None:
    with pytest.raises(HttpsError, match=why):
        fetch(page)


def test_t01_what_was_packed_unasked_is_not_unpacked() -> None:
    packed = gzip.compress(b"x" * 100_000)
    assert fetch(Page(packed, headers={"Content-Encoding": "gzip"})) == packed


def test_t01_a_server_that_says_nothing_is_waited_for_no_longer_than_told() -> None:
    with pytest.raises(HttpsError, match=r"no answer in 0\.3 seconds"):
        fetch(Page(is_silent=True), timeout_s=0.3)


def test_h09_private_addresses_are_not_contacted() -> None:
    with HttpsServer(AUTHORITY.issue_cert(HOST), {PATH: Page(b"x")}) as server:
        with pytest.raises(HttpsError, match="private addresses only"):
            using(
                lambda client: client.get(HOST, PATH, most_octets=99, media_type="text/plain"),
                server,
                is_allowed=is_public,
            )
        assert server.requests == []


def test_the_next_address_is_tried_where_one_cannot_be_reached() -> None:
    with HttpsServer(AUTHORITY.issue_cert(HOST), {PATH: Page(b"x")}) as server:
        found = using(
            lambda client: client.get(HOST, PATH, most_octets=99, media_type="text/plain"),
            server,
            hosts=Hosts("127.0.0.9", "127.0.0.1"),
        )
    assert found == b"x"


def test_a_host_that_does_not_exist_is_told() -> None:
    with (
        HttpsServer(AUTHORITY.issue_cert(HOST), {}) as server,
        pytest.raises(HttpsError, match="cannot be found: no such name"),
    ):
        using(lambda client: client.get("nowhere.test", PATH, most_octets=99, media_type="text/plain"), server)


def test_t03_a_report_is_posted_with_its_type() -> None:
    with HttpsServer(AUTHORITY.issue_cert(HOST), {"/in?from=us": Page(status=201)}) as server:
        url = f"https://{HOST}:{server.port}/in?from=us"
        using(lambda client: client.post(url, b"report", "application/tlsrpt+gzip"), server)
        (request,) = server.requests
        assert (request.method, request.path, request.content) == ("POST", "/in?from=us", b"report")
        assert request.media_type == "application/tlsrpt+gzip"
        with pytest.raises(HttpsError, match="answered 404"):
            using(lambda client: client.post(url + "&more", b"report", "application/tlsrpt+gzip"), server)


@pytest.mark.parametrize(
    "url", ["http://example.test/", "https://", "https://user@example.test/", "https://[/", "ftp://x"]
)
def test_t03_reports_go_to_https_addresses_alone(url: str) -> None:
    with HttpsServer(AUTHORITY.issue_cert(HOST), {}) as server, pytest.raises(HttpsError, match="is no"):
        using(lambda client: client.post(url, b"report", "x/y"), server)
