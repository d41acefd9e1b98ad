"""One POST to a web service that an operator named: bounded in time and in what is read of the answer.

Redirects are not followed. The host's addresses are those that `is_allowed` lets pass, and the connection goes to the
address that was judged, whatever the name leads to a moment later. Certificates are checked for the host's name.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from postroad.net.fault import explain_fault
from postroad.net.https import client_context

if TYPE_CHECKING:
    import httpx

MAX_ADDRESSES = 3
"""Addresses of one host that are tried."""
MAX_ANSWER_OCTETS = 2048
"""Of an answer; the rest is not read."""


class WebPostError(Exception):
    """Nothing was said to the end; the message says why."""


@dataclass(frozen=True, slots=True)
class WebAnswer:
    """`text`: the beginning of the answer's body. `retry_after_s`: what it asks to wait."""

    status: int
    text: str = ""
    retry_after_s: int | None = None


async def system_addresses(host: str) -> Sequence[str]:
    """What the system knows of a name, its own hosts file included."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise WebPostError(f"{host} cannot be found: {explain_fault(error)}") from None
    return list(dict.fromkeys(str(one[4][0]) for one in found))


class WebPoster:
    """Posts to one URL. `context`: of TLS; the system's authorities by default."""

    def __init__(
        self,
        url: str,
        *,
        is_allowed: Callable[[str], bool],
        timeout_s: float,
        addresses: Callable[[str], Awaitable[Sequence[str]]] = system_addresses,
        context: ssl.SSLContext | None = None,
    ) -> None:
        parts = urlsplit(url)
        self.host = parts.hostname or ""
        self._is_tls = parts.scheme == "https"
        self._port = parts.port or (443 if self._is_tls else 80)
        self._path = urlunsplit(("", "", parts.path or "/", parts.query, ""))
        self._host_header = parts.netloc.rpartition("@")[2]
        self._is_allowed = is_allowed
        self._timeout_s = timeout_s
        self._addresses = addresses
        self._context = context

    async def post(self, content: bytes, headers: Mapping[str, str]) -> WebAnswer:
        """What the service answers. Raises WebPostError where it does not."""
        import httpx  # late: few servers deliver so

        if self._context is None and self._is_tls:
            self._context = client_context()
        try:
            async with asyncio.timeout(self._timeout_s):
                addresses = await self._judged()
                async with httpx.AsyncClient(
                    verify=self._context or False, trust_env=False, follow_redirects=False, timeout=self._timeout_s
                ) as client:
                    return await self._first(client, addresses, content, headers)
        except TimeoutError:
            raise WebPostError(f"{self.host} gave no answer in {self._timeout_s:g} seconds") from None
        except httpx.TimeoutException:
            raise WebPostError(f"{self.host} gave no answer in {self._timeout_s:g} seconds") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise WebPostError(f"{self.host}: {_explained(error)}") from None

    async def _judged(self) -> Sequence[str]:
        try:
            ipaddress.ip_address(self.host)
            found: Sequence[str] = [self.host]
        except ValueError:
            found = await self._addresses(self.host)
        allowed = [one for one in found if self._is_allowed(one)][:MAX_ADDRESSES]
        if not allowed:
            raise WebPostError(f"{self.host} has private addresses only, which allow_private forbids")
        return allowed

    async def _first(
        self, client: httpx.AsyncClient, addresses: Sequence[str], content: bytes, headers: Mapping[str, str]
    ) -> WebAnswer:
        """From the first address that can be reached."""
        import httpx

        for place, address in enumerate(addresses):
            literal = f"[{address}]" if ":" in address else address
            request = client.build_request(
                "POST",
                f"{'https' if self._is_tls else 'http'}://{literal}:{self._port}{self._path}",
                headers={"Host": self._host_header, "User-Agent": "postroad", **headers},
                content=content,
                extensions={"sni_hostname": self.host},
            )
            try:
                answer = await client.send(request, stream=True)
            except httpx.ConnectError:
                if place == len(addresses) - 1:
                    raise
                continue
            try:
                return await _read(answer)
            finally:
                await answer.aclose()
        raise AssertionError("there is an address")


async def _read(answer: httpx.Response) -> WebAnswer:
    beginning = b""
    async for piece in answer.aiter_raw():
        beginning += piece
        if len(beginning) >= MAX_ANSWER_OCTETS:
            break
    told = answer.headers.get("retry-after", "").strip()
    wait = int(told) if told.isascii() and told.isdigit() and len(told) < 7 else None
    return WebAnswer(answer.status_code, beginning[:MAX_ANSWER_OCTETS].decode("utf-8", "replace"), wait)


def _explained(error: Exception) -> str:
    """The innermost fault says most."""
    cause: BaseException | None = error
    told = ""
    for _ in range(10):
        if cause is None:
            break
        if isinstance(cause, ssl.SSLError | OSError) and (cause.errno is not None or not told):
            told = explain_fault(cause)
        cause = cause.__cause__ or cause.__context__
    return told or str(error).lower() or type(error).__name__
