"""How mail leaves, from the configuration: limits of sites."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

from postroad.config import Config
from postroad.config.judge import is_domain
from postroad.road.provider import providers
from postroad.road.site import SiteBounds, SiteLimits, SitePresets
from postroad.smtp.address import to_a_labels

_LIMITS = [limit.name for limit in fields(SiteBounds) if limit.name != "recipients_per_connection"]


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
            site_name(site.key): SiteBounds(**{name: getattr(site, name) or None for name in _LIMITS})
            for site in config.site
        },
        operator=providers().mail_operator,
        overrides={} if overrides is None else overrides,
        workers=config.server.workers,
        index=index,
    )


def site_name(text: str) -> str:
    """A site's key as people write it: of a domain the A-labels."""
    name = text.lower().rstrip(".")
    return to_a_labels(name) if is_domain(name) else name


def connections_to_one_site(config: Config) -> int:
    """The most that any site may be given: so many messages for one domain may be under way."""
    return max(config.delivery.connections_per_site, *(site.connections for site in config.site), 1)
