"""How fast a site may be asked, as a pure function of what has happened: concurrency, rate, back-off.

Times are monotonic seconds handed in. Trouble (a 421, a 4.7.x, a refused connection) doubles the pause before the next
connection, up to a ceiling; a success ends it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from postroad.road.site import SiteLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class BackOff:
    """Seconds: the pause after the first trouble, and the longest."""

    first_s: float = 5.0
    ceiling_s: float = 1800.0


class Throttle:
    """The state of one site."""

    __slots__ = ("_back_off", "_limits", "_messages", "_pause_until", "_troubles", "connections")

    def __init__(self, limits: SiteLimits, back_off: BackOff | None = None) -> None:
        self._limits = limits
        self._back_off = back_off or BackOff()
        self.connections = 0
        """Open now, or being opened."""
        self._messages: deque[float] = deque()
        self._troubles = 0
        self._pause_until = 0.0

    def message_wait(self, now: float) -> float:
        """Seconds until another message may be begun."""
        rate = self._limits.messages_per_minute
        if rate is None:
            return 0.0
        while self._messages and self._messages[0] <= now - 60.0:
            self._messages.popleft()
        count = max(1, int(rate))
        return max(0.0, self._messages[-count] + 60.0 - now) if len(self._messages) >= count else 0.0

    def message_begun(self, now: float) -> None:
        """A message, or a batch of probes, is on its way."""
        if self._limits.messages_per_minute is not None:
            self._messages.append(now)

    def connection_wait(self, now: float) -> float:
        """Seconds until another connection may be opened; infinity until one is closed."""
        if self.connections >= self._limits.connections:
            return float("inf")
        return max(0.0, self._pause_until - now)

    def opened(self) -> None:
        """A connection is being opened."""
        self.connections += 1

    def closed(self) -> None:
        """A connection is gone, or could not be opened."""
        self.connections -= 1

    def trouble(self, now: float) -> float:
        """The site has shown that it does not want us now. Returns the pause in seconds.

        Trouble within a pause is the same trouble: several connections may see one refusal."""
        if self._pause_until > now:
            return self._pause_until - now
        pause = min(self._back_off.ceiling_s, self._back_off.first_s * 2.0**self._troubles)
        self._troubles = min(self._troubles + 1, 30)
        self._pause_until = now + pause
        return pause

    def success(self) -> None:
        """The site takes our mail."""
        self._troubles = 0
        self._pause_until = 0.0
