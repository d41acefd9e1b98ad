"""Settings of how mail leaves: limits of sites, and the addresses that it leaves from."""

from __future__ import annotations

from dataclasses import dataclass

from postroad.config.setting import setting


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteSettings:
    """Limits of one site, all workers together; 0: as they are without. `postroad site` shows sites and their keys."""

    key: str = setting(
        "",
        "The provider's name (`gmail`), the registrable domain of the mail hosts (`example.org`), or the domain of"
        " recipients, which is then a site of its own.",
    )
    connections: int = setting(0, "Connections at a time.", low=0, high=1000)
    messages_per_connection: int = setting(0, "Messages sent on one connection.", low=0, high=100_000)
    recipients_per_message: int = setting(0, "Recipients in one transaction.", low=0, high=1000)
    messages_per_minute: float = setting(0.0, "Messages begun in any minute.", low=0, high=1_000_000)
    recipients_per_minute: float = setting(0.0, "Recipients named in any minute.", low=0, high=1_000_000)
