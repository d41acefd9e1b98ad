"""So much in any minute: what one rate allows, at the cost of looking at what has grown old since. Pure.

Times are monotonic seconds handed in. Used by road/throttle.py, once for messages and once for recipients.
"""

from __future__ import annotations

from collections import deque

MINUTE_S = 60.0
LOOK_AGAIN_S = 1.0
"""Where room depends on what is still under way."""


class RateWindow:
    """What has begun counts until a window after its end: only the host knows when it heard of it."""

    __slots__ = ("_ended", "_in_window", "most", "seconds", "under_way")

    def __init__(self, rate: float, under_way: int = 0) -> None:
        """`under_way`: what had begun before there was a rate."""
        self.under_way = under_way
        self._ended: deque[tuple[float, int]] = deque()
        """When each ended, and how much it was."""
        self._in_window = 0
        """The sum of these."""
        self.use(rate)

    def use(self, rate: float) -> None:
        """From now on, so much a minute. The window is as long as makes a whole number of it."""
        self.most = max(1, int(rate))
        self.seconds = MINUTE_S * self.most / rate

    def wait(self, wanted: int, now: float) -> float:
        """Seconds until there is room for so much. More than a window allows goes into an empty one."""
        ended, horizon = self._ended, now - self.seconds
        while ended and ended[0][0] <= horizon:
            self._in_window -= ended.popleft()[1]
        excess = self.under_way + self._in_window + min(wanted, self.most) - self.most
        wait = 0.0
        if excess > 0:
            for at, amount in ended:
                excess -= amount
                wait = at + self.seconds - now
                if excess <= 0:
                    return wait
            return max(wait, LOOK_AGAIN_S)
        return wait

    def begun(self, amount: int) -> None:
        """So much is on its way."""
        self.under_way += amount

    def ended(self, amount: int, now: float) -> None:
        """What had begun has ended."""
        self.under_way -= amount
        self._ended.append((now, amount))
        self._in_window += amount
