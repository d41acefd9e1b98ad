"""Listening sockets: bound once by the supervisor, served by the workers.

The supervisor binds one socket a listener and worker (SO_REUSEPORT) and keeps it open, so that a worker that dies
loses no connection that waits in its backlog, and ports below 1024 need root only here.
"""

from __future__ import annotations

import ipaddress
import socket

BACKLOG = 1024


class ListenError(Exception):
    """An address cannot be bound; the message says which, why, and what to do."""


def bind(address: str, port: int, *, shared: bool) -> socket.socket:
    """A TCP socket bound to an IPv4 or IPv6 address, listening. `shared`: other sockets may bind the same port.

    Raises ListenError.
    """
    try:
        is_v6 = ipaddress.ip_address(address).version == 6
    except ValueError:
        raise ListenError(f"cannot listen on {address!r}: not an IP address") from None
    listener = socket.socket(socket.AF_INET6 if is_v6 else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if is_v6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((address, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        hint = "; ports below 1024 need root" if isinstance(error, PermissionError) else ""
        raise ListenError(f"cannot listen on {show(address, port)}: {(error.strerror or '').lower()}{hint}") from None
    listener.setblocking(False)
    return listener


def check_source(address: str) -> None:
    """Make sure that connections can be made from that address of this machine. Raises ListenError."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind((address, 0))
    except OSError as error:
        raise ListenError(f"cannot connect from {address}: {(error.strerror or '').lower()}") from None


def show(address: str, port: int) -> str:
    """`127.0.0.1:25`, `[::1]:25`."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
