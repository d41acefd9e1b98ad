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

    __slots__ = ("_back_off", "_limits", "_messages", "_pause_until", "_recipients", "_troubles", "connections")

    def __init__(self, limits: SiteLimits, back_off: BackOff | None = None) -> None:
        self._limits = limits
        self._back_off = back_off or BackOff()
        self.connections = 0
        """Open now, or being opened."""
        self._messages: deque[tuple[float, int]] = deque()
        """Those of the last minute: when each was begun, and with how many recipients."""
        self._recipients = 0
        self._troubles = 0
        self._pause_until = 0.0

    def message_wait(self, now: float, recipients: int = 1) -> float:
        """Seconds until another message, or batch of probes, with so many recipients may be begun."""
        rate, recipient_rate = self._limits.messages_per_minute, self._limits.recipients_per_minute
        if rate is None and recipient_rate is None:
            return 0.0
        while self._messages and self._messages[0][0] <= now - 60.0:
            self._recipients -= self._messages.popleft()[1]
        wait = 0.0
        if rate is not None:
            count = max(1, int(rate))
            if len(self._messages) >= count:
                wait = self._messages[-count][0] + 60.0 - now
        if recipient_rate is not None:
            wait = max(wait, self._recipients_wait(now, recipients, max(1, int(recipient_rate))))
        return max(0.0, wait)

    def _recipients_wait(self, now: float, recipients: int, rate: int) -> float:
        """A message with more recipients than a minute allows waits for an empty minute."""
        excess = self._recipients + min(recipients, rate) - rate
        wait = 0.0
        for begun, count in self._messages:
            if excess <= 0:
                break
            excess -= count
            wait = begun + 60.0 - now
        return wait

    def message_begun(self, now: float, recipients: int = 1) -> None:
        """A message, or a batch of probes, is on its way."""
        if self._limits.messages_per_minute is not None or self._limits.recipients_per_minute is not None:
            self._messages.append((now, recipients))
            self._recipients += recipients

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
