"""What mail hosts will hold against whoever asks, looked up before the first of them is asked (V-08)."""

from __future__ import annotations

from postroad.net.resolver import DnsStatus, Resolver
from postroad.smtp.address import Address
from postroad.verify.settings import VerifySettings


async def doubts(settings: VerifySettings, resolver: Resolver) -> list[str]:
    """What mail hosts will hold against us, one sentence each: a hello or sender that is nobody's (V-08)."""
    found = []
    name = settings.hello
    if not name.startswith("["):
        answer = await resolver.addresses(name) if "." in name else None
        if answer is None or answer.status in (DnsStatus.NO_DOMAIN, DnsStatus.NO_DATA):
            found.append(
                f"The name given in EHLO, {name}, is not in DNS: mail hosts may refuse us for it. Name one that leads"
                " to this machine by --hello."
            )
    if isinstance(settings.mail_from, Address):
        domain = settings.mail_from.domain
        mx = await resolver.mx(domain)
        has_none = mx.status is DnsStatus.NO_DOMAIN or mx.records == ((0, ""),)
        if mx.status is DnsStatus.NO_DATA:
            has_none = (await resolver.addresses(domain)).status in (DnsStatus.NO_DOMAIN, DnsStatus.NO_DATA)
        if has_none:
            found.append(
                f"The sender's domain, {domain}, takes no mail: many hosts refuse such a sender. Give an address"
                " of yours by --mail-from."
            )
    return found
