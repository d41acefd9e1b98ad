"""Connections by way of a SOCKS5 or HTTP CONNECT proxy, for those whose own network closes port 25.

The proxy is asked for an address, never for a name: where mail goes is decided here, by DNS and the guard against
private addresses. Speaks by python-socks. Used by dialogue.
"""

from __future__ import annotations

import asyncio
import socket
from urllib.parse import urlsplit

from postroad.net.endpoint import DialogueError, Endpoint
from postroad.net.fault import explain_fault
from postroad.smtp.outcome import Phase

SCHEMES = ("socks5", "socks4", "http")


class ProxyFault(ValueError):
    """A proxy that was written wrongly; the message says how to write it."""


def check_proxy(url: str) -> str:
    """The URL as it may be used. Raises ProxyFault."""
    try:
        parts = urlsplit(url)
        is_whole = parts.scheme in SCHEMES and bool(parts.hostname) and bool(parts.port)
    except ValueError:
        is_whole = False
    if not is_whole or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ProxyFault(f"write SCHEME://[USER:PASSWORD@]HOST:PORT, with a scheme of {', '.join(SCHEMES)}")
    return url


def proxy_name(url: str) -> str:
    """The proxy as a report may name it: without the password."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if parts.hostname and ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}:{parts.port}"


async def connected_socket(proxy: str, endpoint: Endpoint, *, seconds: float) -> socket.socket:
    """A socket that the proxy has connected to the endpoint. Raises DialogueError; the proxy's part is named."""
    from python_socks import ProxyConnectionError, ProxyError, ProxyTimeoutError
    from python_socks.async_.asyncio import Proxy

    name = proxy_name(proxy)
    try:
        async with asyncio.timeout(seconds):
            return await Proxy.from_url(proxy).connect(endpoint.address, endpoint.port, timeout=seconds)
    except (TimeoutError, ProxyTimeoutError):
        raise DialogueError(Phase.CONNECT, f"timed out by way of the proxy {name}") from None
    except ProxyConnectionError as error:
        why = explain_fault(error.__cause__ or error)
        raise DialogueError(Phase.CONNECT, f"the proxy {name} cannot be reached: {why}") from None
    except ProxyError as error:
        raise DialogueError(Phase.CONNECT, f"the proxy {name} says: {error}") from None
    except OSError as error:
        raise DialogueError(Phase.CONNECT, f"the proxy {name}: {explain_fault(error)}") from None
