"""How a run of verification asks: values, with the polite defaults."""

from __future__ import annotations

from dataclasses import dataclass, field

from postroad.net.endpoint import Egress, PhaseTimeouts, TlsMode
from postroad.road.site import SiteLimits
from postroad.road.throttle import BackOff
from postroad.smtp.address import NULL, Address, NullPath


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifySettings:
    """How addresses are asked about. The limits of a provider that is known (providers.toml) are lower where it says
    so; nothing here raises them."""

    hello: str
    mail_from: Address | NullPath = NULL
    port: int = 25
    tls: TlsMode = TlsMode.OPPORTUNISTIC
    egress: tuple[Egress, ...] = (Egress(),)
    """Where connections go out from. Each site is asked from one of them only, which keeps its limits (V-09)."""
    splits_sites: bool = False
    """The domains of one site are spread over all of `egress`, each with limits of its own."""
    allow_private: bool = False
    connections: int = 50
    """At a time, over all sites, from each of `egress`."""
    per_site: int = 2
    """Connections to one site at a time."""
    recipients_per_session: int = 50
    recipients_per_minute: float | None = 600.0
    """At one site."""
    recipients_per_minute_in_all: float | None = None
    """Over all sites; None: as many as the connections carry."""
    wait_s: float = 900.0
    """How long after it was first asked about an address may be asked again: greylisting, trouble that passes."""
    is_asking_at_random: bool = True
    """Whether a recipient made up by chance is asked about, to know the domains that take everybody."""
    block_lists: tuple[str, ...] = ()
    """DNS zones of block lists to ask about mail hosts."""
    timeouts: PhaseTimeouts = field(default_factory=lambda: PhaseTimeouts.all(60.0, connect_s=15.0))
    window: int = 50_000
    """Addresses held in memory that wait to be asked about."""
    deferred: int = 200_000
    """Addresses held in memory that were put off: greylisted, or at a site in trouble."""
    idle_s: float = 2.0
    back_off: BackOff = field(default_factory=BackOff)

    def __post_init__(self) -> None:
        least = ("connections", "per_site", "recipients_per_session", "window", "deferred")
        wrong = [name for name in least if getattr(self, name) < 1]
        if wrong or not self.egress:
            what = wrong[0] if wrong else "the number of ways out (egress)"
            raise ValueError(f"{what} must be at least 1")

    def site_limits(self) -> SiteLimits:
        """What every site is asked to bear, unless it is known to bear less."""
        return SiteLimits(
            connections=self.per_site,
            messages_per_connection=self.recipients_per_session,
            recipients_per_message=self.recipients_per_session,
            recipients_per_connection=self.recipients_per_session,
            recipients_per_minute=self.recipients_per_minute,
            idle_s=self.idle_s,
        )
