"""How fast a site may be asked, as a pure function of what has happened: concurrency, rate, back-off.

Times are monotonic seconds handed in. Trouble (a 421, a 4.7.x, a refused connection) doubles the pause before the next
connection, up to a ceiling; a success ends it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from postroad.road.site import SiteLimits

MINUTE_S = 60.0
LOOK_AGAIN_S = 1.0
"""Where room depends on what is still under way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackOff:
    """Seconds: the pause after the first trouble, and the longest."""

    first_s: float = 5.0
    ceiling_s: float = 1800.0


class Throttle:
    """The state of one site."""

    __slots__ = (
        *("_back_off", "_ended", "_is_paced", "_limits", "_pause_until", "_troubles", "_under_way"),
        "connections",
    )

    def __init__(self, limits: SiteLimits, back_off: BackOff | None = None) -> None:
        self._limits = limits
        self._back_off = back_off or BackOff()
        self.connections = 0
        """Open now, or being opened."""
        self._is_paced = limits.messages_per_minute is not None or limits.recipients_per_minute is not None
        self._under_way: list[int] = []
        """Recipients of each message that was begun."""
        self._ended: deque[tuple[float, int]] = deque()
        """Those of the last minute: when each ended, and its recipients."""
        self._troubles = 0
        self._pause_until = 0.0

    def message_wait(self, now: float, recipients: int = 1) -> float:
        """Seconds until another message, or batch of probes, with so many recipients may be begun.

        One that is under way counts until a minute after its end: only the host knows when it heard which recipient.
        """
        rate, recipient_rate = self._limits.messages_per_minute, self._limits.recipients_per_minute
        if rate is None and recipient_rate is None:
            return 0.0
        while self._ended and self._ended[0][0] <= now - MINUTE_S:
            self._ended.popleft()
        wait = 0.0
        if rate is not None:
            wait = self._wait_for_room([1 for _ in self._under_way], [(at, 1) for at, _ in self._ended], 1, rate, now)
        if recipient_rate is not None:
            wait = max(wait, self._wait_for_room(self._under_way, self._ended, recipients, recipient_rate, now))
        return wait

    @staticmethod
    def _wait_for_room(
        under_way: Iterable[int], ended: Iterable[tuple[float, int]], wanted: int, rate: float, now: float
    ) -> float:
        """Seconds until the last minute has room. More than a minute allows goes into an empty one."""
        most = max(1, int(rate))
        ended = list(ended)
        excess = sum(under_way) + sum(count for _, count in ended) + min(wanted, most) - most
        wait = 0.0
        for at, count in ended:
            if excess <= 0:
                return wait
            excess -= count
            wait = at + MINUTE_S - now
        return wait if excess <= 0 else max(wait, LOOK_AGAIN_S)

    def message_begun(self, now: float, recipients: int = 1) -> None:
        """A message, or a batch of probes, is on its way; `message_ended` follows in any case."""
        if self._is_paced:
            self._under_way.append(recipients)

    def message_ended(self, now: float, recipients: int = 1) -> None:
        """One that was begun with so many recipients has ended, or came to nothing."""
        if self._is_paced and recipients in self._under_way:
            self._under_way.remove(recipients)
            self._ended.append((now, recipients))

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
