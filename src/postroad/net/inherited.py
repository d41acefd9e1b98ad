"""Listening sockets that were opened before this process: by systemd (socket activation), or by the server that this
one takes over from. And telling systemd how things stand.

Inherited sockets are recognised by the address they are bound to, whatever order they come in.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Mapping, MutableMapping, Sequence

HANDED_ON = "POSTROAD_SOCKETS"
"""Numbers of the descriptors that an earlier server handed on."""
_FIRST = 3
MAX_SOCKETS = 4096


def take_inherited(environment: MutableMapping[str, str], pid: int) -> list[socket.socket]:
    """The sockets that this process was given; the environment forgets them, so that no child takes them again."""
    numbers: list[int] = []
    handed = environment.pop(HANDED_ON, "")
    numbers += [int(one) for one in handed.split(",") if one.isdigit()]
    count, meant = environment.pop("LISTEN_FDS", ""), environment.pop("LISTEN_PID", "")
    environment.pop("LISTEN_FDNAMES", None)
    if count.isdigit() and meant == str(pid):
        numbers += range(_FIRST, _FIRST + min(int(count), MAX_SOCKETS))
    found = []
    for number in dict.fromkeys(numbers):
        try:
            one = socket.socket(fileno=number)
            is_listening = one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        except OSError:
            continue
        if not is_listening or one.family not in (socket.AF_INET, socket.AF_INET6):
            one.close()
            continue
        one.setblocking(False)
        os.set_inheritable(one.fileno(), False)
        found.append(one)
    return found


def bound_to(sockets: Sequence[socket.socket], address: str, port: int) -> list[socket.socket]:
    """Those of them that are bound to that address and port."""
    wanted = ipaddress.ip_address(address)
    found = []
    for one in sockets:
        host, at = one.getsockname()[:2]
        if at == port and ipaddress.ip_address(host.partition("%")[0]) == wanted:
            found.append(one)
    return found


def hand_on(sockets: Sequence[socket.socket]) -> dict[str, str]:
    """What the environment of the server that takes over must hold; the sockets survive the exec."""
    for one in sockets:
        os.set_inheritable(one.fileno(), True)
    return {HANDED_ON: ",".join(str(one.fileno()) for one in sockets)}


def notify(environment: Mapping[str, str], state: str) -> None:
    """Tell systemd (sd_notify): `READY=1`, `RELOADING=1`, `STOPPING=1`, `WATCHDOG=1`. Nothing where nobody listens."""
    place = environment.get("NOTIFY_SOCKET", "")
    if not place.startswith(("/", "@")):
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as door:
            door.connect("\0" + place[1:] if place.startswith("@") else place)
            door.send(state.encode())
    except OSError:
        pass
