"""How much an address that is new to its peers may send on each day, until they know it. Pure: days are handed in."""

from __future__ import annotations

import math
from dataclasses import dataclass

DAY_S = 86_400
_MOST = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmUp:
    """Messages of the first day, multiplied each day by `growth`; after `days` days there is no bound."""

    first: int
    growth: float = 1.5
    days: int = 30
    is_per_site: bool = False
    """The bound is of each site, not of all together."""

    def quota(self, day: int) -> int | None:
        """Messages of that day, the first being 0; None: as many as there are. Before the first day there are none."""
        if day < 0:
            return 0
        if day >= self.days:
            return None
        is_past_counting = day * math.log10(self.growth) > 9
        return _MOST if is_past_counting else int(min(self.first * self.growth**day, _MOST))


def part_of(left: int, workers: int, index: int) -> int:
    """What one of several workers may take of what is left: all of them together take no more."""
    return max(0, left) // workers + (index < max(0, left) % workers)


def until_tomorrow(wall: float) -> float:
    """Seconds until the next day begins (UTC)."""
    return DAY_S - wall % DAY_S
