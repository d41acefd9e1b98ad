"""A small internet for system tests: our server, a DNS server, and Postfix on port 25 of a host of its own.

    our server (127.0.0.1, ephemeral ports) → DNS (postfix.test MX mx.postfix.test) → Postfix in a namespace

Other names: unreachable.test has an MX where nothing listens, nullmx.test a null MX; the rest does not exist.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import trustme

from peers.netns import Namespace
from peers.postfix import Postfix
from peers.server import DOMAIN, Server

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

USER = f"dave@{DOMAIN}"
"""An account of the server, with `peers.server.PASSWORD`."""


@dataclass(frozen=True)
class Internet:
    server: Server
    postfix: Postfix
    dns: str
    """HOST:PORT of the DNS server."""
