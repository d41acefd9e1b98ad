"""Addresses and ports as settings write them. Pure."""

from __future__ import annotations

import ipaddress


def is_ip(text: str) -> bool:
    """Whether it is an IPv4 or IPv6 address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def split_host_port(text: str, *, lowest: int = 1) -> tuple[str, int] | None:
    """`127.0.0.1:53` or `[::1]:53` in parts; None where it is neither, or the port is below `lowest`."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        return None
    is_number = port.isascii() and port.isdecimal() and len(port) <= 5
    if not colon or not is_ip(host) or not is_number or not lowest <= int(port) < 65_536:
        return None
    return host, int(port)
