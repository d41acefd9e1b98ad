"""`verify`: ask about addresses from Python, by the SMTP handshake, never sending a message.

verdicts = await verify(["ann@example.org", "nobody@example.org"])
verdicts[1].verdict, verdicts[1].reason, verdicts[1].evidence
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Iterable

from postroad.net.endpoint import PhaseTimeouts
from postroad.net.hostname import machine_name
from postroad.net.resolver import DnsResolver, Resolver
from postroad.smtp.address import NULL, Address
from postroad.verify.data_lists import DataLists
from postroad.verify.job import Job
from postroad.verify.settings import VerifySettings
from postroad.verify.source import MemorySource
from postroad.verify.verdict import Verdict


async def verify(
    addresses: str | Iterable[str],
    *,
    resolver: str | Resolver | None = None,
    hello: str | None = None,
    mail_from: str = "",
    port: int = 25,
    allow_private: bool = False,
    timeout_s: float = 60.0,
    wait_s: float = 0.0,
    lists: DataLists | None = None,
    settings: VerifySettings | None = None,
) -> list[Verdict]:
    """A verdict for each address, in their order; an address named twice is asked about once.

    `resolver`: `HOST:PORT` of a DNS server, or an object of yours; the system's by default. `hello`: the name to give,
    which should lead to this machine; its own by default. `mail_from`: the sender to name; "" is the null one.
    `wait_s`: how long an address may wait to be asked again, as greylisting wants it; a form does not wait. `lists`:
    disposable domains, roles, providers: `DataLists.load(directory)` adds yours to those that come with us.
    `settings` holds all of this and more (limits for each site, TLS, timeouts by phase) and replaces it.
    Whatever the hosts do is a verdict, not an exception. Raises ValueError (AddressError) for a bad `mail_from`.
    """
    if settings is None:
        settings = VerifySettings(
            hello=hello or machine_name(),
            mail_from=Address.parse(mail_from, smtputf8=True) if mail_from else NULL,
            port=port,
            allow_private=allow_private,
            wait_s=wait_s,
            timeouts=PhaseTimeouts.all(timeout_s, connect_s=min(15.0, timeout_s)),
        )
    source = MemorySource([addresses] if isinstance(addresses, str) else addresses)
    dns = DnsResolver(resolver) if resolver is None or isinstance(resolver, str) else resolver
    try:
        rng = random.Random(secrets.randbits(64))  # noqa: S311 - no secret
        job = Job(settings, dns, source, rng=rng, lists=lists)
        await job.run()
    finally:
        if dns is not resolver:
            await dns.close()
    return list(source.verdicts())
