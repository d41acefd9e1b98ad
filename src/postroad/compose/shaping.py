"""How mail leaves, from the configuration: limits of sites."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from postroad.config import Config
from postroad.config.judge import is_domain
from postroad.road.provider import providers
from postroad.road.site import SiteBounds, SiteLimits, SitePresets
from postroad.road.source import Source, SourcePool
from postroad.road.warm_up import WarmUp
from postroad.smtp.address import to_a_labels

LIMITS = [limit.name for limit in fields(SiteBounds) if limit.name != "recipients_per_connection"]
"""Those of deliveries."""


def presets(config: Config, overrides: Mapping[str, SiteBounds] | None = None, index: int = 0) -> SitePresets:
    """The limits of each site, as worker `index` of the server has them."""
    delivery = config.delivery
    return SitePresets(
        SiteLimits(
            connections=delivery.connections_per_site,
            messages_per_connection=delivery.messages_per_connection,
            recipients_per_message=delivery.recipients_per_message,
            idle_s=delivery.idle_s,
        ),
        {
            site_name(site.key): SiteBounds(**{name: getattr(site, name) or None for name in LIMITS})
            for site in config.site
        },
        operator=providers().mail_operator,
        overrides={} if overrides is None else overrides,
        workers=config.server.workers,
        index=index,
    )


def origins(config: Config, key: str, wanted: Mapping[str, float]) -> list[tuple[str, int | float | None, str]]:
    """Each limit of a site: its name, its value for the whole server (None: not limited), and where that comes from.
    `wanted`: what an operator wants for now."""
    known = providers().by_key.get(key)
    bounds = SiteBounds() if known is None else known.mail
    named = presets(config).by_key.get(key, SiteBounds())
    override = wanted_limits(wanted)
    limits = override.instead(named.instead(bounds.applied(presets(config).default)))
    found = []
    for name in LIMITS:
        if name in override.said():
            origin = "override"
        elif name in named.said():
            origin = "config"
        elif name in bounds.said() and getattr(limits, name) == bounds.said()[name]:
            origin = "provider"
        else:
            origin = "default"
        found.append((name, getattr(limits, name), origin))
    return found


def wanted_limits(wanted: Mapping[str, float]) -> SiteBounds:
    """What an operator wants, as limits; names that are none are passed over."""
    return SiteBounds(**{name: _number(name, value) for name, value in wanted.items() if name in LIMITS})


def _number(name: str, value: float) -> Any:
    return value if name.endswith("_minute") else max(1, int(value))


def site_name(text: str) -> str:
    """A site's key as people write it: of a domain the A-labels."""
    name = text.lower().rstrip(".")
    return to_a_labels(name) if is_domain(name) else name


def connections_to_one_site(config: Config) -> int:
    """The most that any site may be given: so many messages for one domain may be under way."""
    return max(config.delivery.connections_per_site, *(site.connections for site in config.site), 1)


def source_pools(config: Config) -> tuple[SourcePool, ...]:
    """Which mail leaves from where, in the order of the configuration."""
    sources = {
        one.name: Source(
            name=one.name,
            ipv4=one.address,
            ipv6=one.address6,
            hello=one.hello,
            weight=one.weight,
            warm_up=WarmUp(
                first=one.warm_up_first,
                growth=one.warm_up_growth,
                days=one.warm_up_days,
                is_per_site=one.warm_up_per_site,
            )
            if one.warm_up_first
            else None,
            starts=one.warm_up_start,
        )
        for one in config.source
    }
    return tuple(
        SourcePool(
            name=pool.name,
            sources=tuple(sources[name] for name in dict.fromkeys(pool.sources)),
            sender_domains=frozenset(map(site_name, pool.sender_domains)),
            users=frozenset(pool.users),
            recipient_domains=frozenset(map(site_name, pool.recipient_domains)),
            highest_priority=pool.highest_priority,
            lowest_priority=pool.lowest_priority,
        )
        for pool in config.pool
    )
