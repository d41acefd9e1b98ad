"""Small files fetched and sent by HTTPS: policies and reports of mail domains, whose servers nobody vouches for.

Certificates are checked for the host's name, redirects are not followed, answers are bounded, addresses are those that
`is_allowed` lets pass, and a connection goes to the address that was judged, whatever DNS says a moment later.
"""

from __future__ import annotations

import asyncio
import ssl
import urllib.parse
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol

from postroad.message.dns import AddressAnswer
from postroad.net.fault import explain_fault

if TYPE_CHECKING:
    import httpx

MAX_ADDRESSES = 3
"""Addresses of one host that are tried."""


class HttpsError(Exception):
    """Nothing was fetched, or taken; the message says why. `is_certificate`: the certificate was not trusted."""

    def __init__(self, detail: str, *, is_certificate: bool = False) -> None:
        super().__init__(detail)
        self.is_certificate = is_certificate


class Addresses(Protocol):
    """What it asks of DNS."""

    async def addresses(self, host: str) -> AddressAnswer: ...


def client_context() -> ssl.SSLContext:
    """The system's authorities; names by subjectAltName alone."""
    context = ssl.create_default_context()
    context.hostname_checks_common_name = False
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


class HttpsClient:
    """`timeout_s` is for the whole of one request. `port`: where `get` asks."""

    def __init__(
        self,
        resolver: Addresses,
        *,
        is_allowed: Callable[[str], bool],
        timeout_s: float,
        context: ssl.SSLContext | None = None,
        port: int = 443,
    ) -> None:
        self._resolver = resolver
        self._is_allowed = is_allowed
        self._timeout_s = timeout_s
        self._context = context
        self._port = port

    async def get(self, host: str, path: str, *, most_octets: int, media_type: str) -> bytes:
        """The file at that path of a host. Raises HttpsError: also for a redirect, another type, too long an answer."""
        content = bytearray()
        async with self._request("GET", host, self._port, path) as answer:
            if answer.status_code != 200:
                raise HttpsError(f"https://{host}{path} was answered {answer.status_code}")
            told = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
            if told != media_type:
                raise HttpsError(f"https://{host}{path} is not of the type {media_type}")
            async for part in answer.aiter_raw():
                content += part
                if len(content) > most_octets:
                    raise HttpsError(f"https://{host}{path} has more than {most_octets} octets")
        return bytes(content)

    async def post(self, url: str, content: bytes, media_type: str) -> None:
        """Send a file to an https URL. Raises HttpsError where it is not taken."""
        try:
            parts = urllib.parse.urlsplit(url)
            host, port = parts.hostname or "", parts.port or 443
        except ValueError:
            raise HttpsError(f"{url} is no URL") from None
        if parts.scheme.lower() != "https" or not host or parts.username is not None:
            raise HttpsError(f"{url} is no https URL without a user's name")
        path = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
        async with self._request("POST", host, port, path, content=content, media_type=media_type) as answer:
            if not 200 <= answer.status_code < 300:
                raise HttpsError(f"https://{host} answered {answer.status_code}")

    @asynccontextmanager
    async def _request(
        self, method: str, host: str, port: int, path: str, *, content: bytes | None = None, media_type: str = ""
    ) -> AsyncIterator[httpx.Response]:
        import httpx  # late: most servers meet few such domains

        found = await self._resolver.addresses(host)
        allowed = [address for address in found.addresses if self._is_allowed(address)][:MAX_ADDRESSES]
        if not allowed:
            why = "private addresses only" if found.addresses else (found.detail or "no address")
            raise HttpsError(f"{host} has {why}" if found.addresses else f"{host} cannot be found: {why}")
        if self._context is None:
            self._context = client_context()
        headers = {
            "Host": host if port == 443 else f"{host}:{port}",
            "User-Agent": "postroad",
            "Accept-Encoding": "identity",  # a small answer could unpack to a large one
        }
        if media_type:
            headers["Content-Type"] = media_type
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                httpx.AsyncClient(
                    verify=self._context, trust_env=False, follow_redirects=False, timeout=self._timeout_s
                ) as client,
            ):
                answer = await self._first(client, method, allowed, port, path, headers, content, host)
                try:
                    yield answer
                finally:
                    await answer.aclose()
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            if isinstance(error, (TimeoutError, httpx.TimeoutException)):
                raise HttpsError(f"https://{host} gave no answer in {self._timeout_s:g} seconds") from None
            raise _explained(host, error) from None

    @staticmethod
    async def _first(
        client: httpx.AsyncClient,
        method: str,
        addresses: list[str],
        port: int,
        path: str,
        headers: dict[str, str],
        content: bytes | None,
        host: str,
    ) -> httpx.Response:
        """From the first address that can be reached."""
        import httpx

        for place, address in enumerate(addresses):
            literal = f"[{address}]" if ":" in address else address
            request = client.build_request(
                method,
                f"https://{literal}:{port}{path}",
                headers=headers,
                content=content,
                extensions={"sni_hostname": host},
            )
            try:
                return await client.send(request, stream=True)
            except httpx.ConnectError as error:
                if place == len(addresses) - 1 or _certificate_fault(error) is not None:
                    raise
        raise AssertionError("there is an address")


def _certificate_fault(error: BaseException) -> ssl.SSLCertVerificationError | None:
    cause: BaseException | None = error
    for _ in range(10):
        if cause is None or isinstance(cause, ssl.SSLCertVerificationError):
            return cause
        cause = cause.__cause__ or cause.__context__
    return None


def _explained(host: str, error: Exception) -> HttpsError:
    fault = _certificate_fault(error)
    if fault is not None:
        return HttpsError(f"https://{host}: {explain_fault(fault)}", is_certificate=True)
    return HttpsError(f"https://{host}: {str(error).lower() or type(error).__name__}")
