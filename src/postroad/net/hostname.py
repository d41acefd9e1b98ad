"""What this machine calls itself: the name for greetings, EHLO and trace headers where nobody configured one."""

from __future__ import annotations

import socket

from postroad.smtp.address import AddressError, to_a_labels

NO_NAME = "localhost"


def machine_name() -> str:
    """The machine's full name, or `localhost` where it has none that could stand in an address."""
    name = socket.getfqdn()
    if "." not in name or name.endswith((".arpa", ".localdomain")):
        return NO_NAME
    try:
        return to_a_labels(name.rstrip("."))
    except AddressError:
        return NO_NAME
