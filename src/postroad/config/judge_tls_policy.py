"""What contradicts itself in the settings of TLS policies. Pure; used by config/judge.py."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

from postroad.config.places import split_host_port
from postroad.config.values import Config
from postroad.smtp.address import Address, AddressError

Say = Callable[[tuple[str, ...], str], None]


def judge_tls_policy(config: Config, complain: Say) -> None:
    """Report a resolver that cannot be believed, and a contact that is no address."""
    dane = config.dane
    if dane.resolver and split_host_port(dane.resolver) is None:
        complain(("dane", "resolver"), '[dane] resolver: write ADDRESS:PORT, such as "127.0.0.1:53" or "[::1]:53"')
    elif dane.enabled and trusted_resolver(config) is None:
        complain(
            ("dane", "enabled"),
            "[dane] enabled: name the resolver that validates DNSSEC in [dane] resolver; the one of [dns] nameserver"
            " is believed only on this machine",
        )
    if dane.enabled and config.delivery.tls == "none":
        complain(("dane", "enabled"), '[dane] enabled does nothing while [delivery] tls is "none"')
    if config.tls_reports.contact:
        try:
            Address.parse(config.tls_reports.contact)
        except AddressError:
            complain(("tls_reports", "contact"), "[tls_reports] contact: write a mail address in ASCII letters")
    if config.tls_reports.send and not config.tls_reports.count:
        complain(("tls_reports", "send"), "[tls_reports] send needs count = true: there is nothing to report")


def trusted_resolver(config: Config) -> tuple[str, int] | None:
    """Whose word about DNSSEC is believed: the resolver named for it, or [dns] nameserver on this machine."""
    if config.dane.resolver:
        return split_host_port(config.dane.resolver)
    named = split_host_port(config.dns.nameserver) if config.dns.nameserver else None
    return named if named is not None and ipaddress.ip_address(named[0]).is_loopback else None
