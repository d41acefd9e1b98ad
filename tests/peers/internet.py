"""A small internet for system tests: our server, a DNS server, and Postfix on port 25 of a host of its own.

    our server (127.0.0.1, ephemeral ports) → DNS (postfix.test MX mx.postfix.test) → Postfix in a namespace

Other names: unreachable.test has an MX where nothing listens, nullmx.test a null MX; the rest does not exist.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import trustme

from dns_server import DnsServer
from peers.netns import Namespace
from peers.postfix import DOMAIN as POSTFIX_DOMAIN
from peers.postfix import Postfix
from peers.server import DOMAIN, Server

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dns_server import Zone
    from peers.server import Section, Settings

USER = f"dave@{DOMAIN}"
"""An account of the server, with `peers.server.PASSWORD`."""


@dataclass(frozen=True)
class MailHost:
    postfix: Postfix
    dns: str
    """HOST:PORT of the DNS server."""


@dataclass(frozen=True)
class Internet(MailHost):
    server: Server


@contextmanager
def mail_host(*, dns_port: int = 0) -> Iterator[MailHost]:
    """Postfix with STARTTLS on port 25 of a new namespace, and a DNS server on 127.0.0.1 that leads to it."""
    with TemporaryDirectory() as name, ExitStack() as stack:
        certificate = _certificate(Path(name))
        host = stack.enter_context(Namespace())
        postfix = stack.enter_context(Postfix(address=host.address, port=25, namespace=host, certificate=certificate))
        dns = stack.enter_context(DnsServer(_zone(host.address), port=dns_port))
        yield MailHost(postfix=postfix, dns=dns.address)


@contextmanager
def internet(settings: Settings | None = None) -> Iterator[Internet]:
    """The whole of it, with accounts for dave and erin at local.test."""
    with mail_host() as host:
        ours: dict[str, Section | Sequence[Section]] = {
            "dns": {"nameserver": host.dns},
            "delivery": {"allow_private": True},
        }
        for name, section in (settings or {}).items():
            before = ours.get(name, {})
            ours[name] = (
                {**before, **section} if isinstance(before, Mapping) and isinstance(section, Mapping) else section
            )
        with Server(settings=ours) as server:
            server.add_user(USER)
            server.add_user(f"erin@{DOMAIN}")
            yield Internet(postfix=host.postfix, dns=host.dns, server=server)


def _certificate(directory: Path) -> tuple[Path, Path]:
    issued = trustme.CA().issue_cert(f"mx.{POSTFIX_DOMAIN}")
    chain, key = directory / "chain.pem", directory / "key.pem"
    chain.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    return chain, key


def _zone(address: str) -> Zone:
    return {
        POSTFIX_DOMAIN: {"MX": [(10, f"mx.{POSTFIX_DOMAIN}")]},
        f"mx.{POSTFIX_DOMAIN}": {"A": [address]},
        "unreachable.test": {"MX": [(10, "mx.unreachable.test")]},
        # Nothing listens there: refused at once.
        "mx.unreachable.test": {"A": ["127.99.99.99"]},
        "nullmx.test": {"MX": [(0, "")]},
    }
