"""What is known of a site while it is used, as values: what the pool tells, and what it is told. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from postroad.road.throttle import Learnt

MAX_WORDS = 300
"""Characters of a reply that are remembered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """What a site's throttle begins with."""

    learnt: Learnt = field(default_factory=Learnt)
    words: str = ""
    """What the site said when it last did not want us."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteState:
    """A site at one moment, in one process. Seconds are from now on, or back from now."""

    key: str
    source: str
    connections: int
    waiting: int
    """Messages that wait for a connection."""
    most: int
    """Connections that it is asked to bear now."""
    rate: float | None
    """Messages a minute that it is asked to bear now."""
    learnt: Learnt
    is_held: bool
    words: str
    trouble_ago_s: float | None
    messages: int
    """Leases since the process knows the site."""
    troubles: int
    """Since then, each as often as it was told."""


class Guidance(Protocol):
    """What a pool is told of sites from outside the process."""

    def remembered(self, place: tuple[str, str]) -> Remembered | None:
        """What was learnt of it before."""
        ...

    def hold_s(self, key: str) -> float:
        """How long an operator wants it left alone from now on; 0: not at all."""
        ...

    def take_seat(self, place: tuple[str, str], most: int) -> int | None:
        """A seat at a site with fewer of them than processes; None: others have them."""
        ...

    def give_seat_back(self, place: tuple[str, str], seat: int) -> None:
        """It is free for others."""
        ...


def in_words(seconds: float) -> str:
    """A time span as people say it: «40 s», «12 min», «3 h»."""
    if seconds < 120:
        return f"{max(0.0, seconds):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
