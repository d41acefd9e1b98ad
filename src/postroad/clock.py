"""The two clocks, as something handed in: so tests and a simulated loop decide what time it is."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    def wall(self) -> float:
        """Seconds since 1970 (UTC): for what people read and what outlives the process."""
        ...

    def monotonic(self) -> float:
        """Seconds that never jump: for every interval."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def wall(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()
