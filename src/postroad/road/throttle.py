"""How fast a site may be asked, as a pure function of what has happened: concurrency, rate, back-off.

Times are monotonic seconds handed in. Trouble (a 421, a 4.7.x, a refused connection) doubles the pause before the next
message, up to a ceiling; the first success after the pause makes the next one short again. Trouble that speaks of our
pace also halves what the site is asked to bear; successes add to it again, a little each minute (additive increase,
multiplicative decrease).
"""

from __future__ import annotations

from dataclasses import dataclass

from postroad.road.rate import LOOK_AGAIN_S as LOOK_AGAIN_S
from postroad.road.rate import MINUTE_S, RateWindow
from postroad.road.site import SiteLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class BackOff:
    """Seconds: the pause after the first trouble, and the longest. Shares are of the site's own limits."""

    first_s: float = 5.0
    ceiling_s: float = 1800.0
    shrink: float = 0.5
    """What is left of the share after trouble."""
    least: float = 0.05
    """The share never falls below it."""
    grow: float = 0.1
    """Added to the share for a success, and at most once in `grow_s`."""
    grow_s: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Learnt:
    """What a site has taught: kept over restarts."""

    share: float = 1.0
    """Of its limits, what it is asked to bear now."""
    troubles: int = 0
    """In a row."""
    pause_s: float = 0.0
    """How much of its pause is left."""

    @property
    def is_nothing(self) -> bool:
        """Whether there is nothing to remember."""
        return self.share >= 1.0 and not self.troubles and self.pause_s <= 0


class Throttle:
    """The state of one site."""

    __slots__ = (
        *("_back_off", "_grown_at", "_held_until", "_limits", "_messages", "_most", "_pause_until", "_rate"),
        *("_recipients", "_share", "_troubles", "_under_way"),
        "connections",
    )

    def __init__(self, limits: SiteLimits, back_off: BackOff | None = None) -> None:
        self._back_off = back_off or BackOff()
        self.connections = 0
        """Open now, or being opened."""
        self._under_way: list[int] = []
        """Recipients of each message that was begun, while there is a rate."""
        self._messages: RateWindow | None = None
        self._recipients: RateWindow | None = None
        self._troubles = 0
        self._pause_until = 0.0
        self._held_until = 0.0
        self._share = 1.0
        self._grown_at = 0.0
        self.use(limits)

    def use(self, limits: SiteLimits) -> None:
        """From now on, other limits; what was learnt stays."""
        self._limits = limits
        self._apply()

    def _apply(self) -> None:
        limits, share = self._limits, self._share
        self._most = max(1, int(limits.connections * share))
        self._rate = None if limits.messages_per_minute is None else limits.messages_per_minute * share
        recipients = None if limits.recipients_per_minute is None else limits.recipients_per_minute * share
        if self._rate is None and recipients is None:
            self._under_way.clear()
        self._messages = _at_rate(self._messages, self._rate, len(self._under_way))
        self._recipients = _at_rate(self._recipients, recipients, sum(self._under_way))

    @property
    def most(self) -> int:
        """Connections that the site is asked to bear now."""
        return self._most

    @property
    def rate(self) -> float | None:
        """Messages a minute that it is asked to bear now; None: as many as the connections carry."""
        return self._rate

    # Pace ---------------------------------------------------------------------------------------------------------

    def message_wait(self, now: float, recipients: int = 1) -> float:
        """Seconds until another message, or batch of probes, with so many recipients may be begun.

        One that is under way counts until a window after its end: only the host knows when it heard which recipient.
        """
        wait = 0.0 if self._messages is None else self._messages.wait(1, now)
        return wait if self._recipients is None else max(wait, self._recipients.wait(recipients, now))

    def queue_wait(self, ahead: int) -> float:
        """Seconds that so many messages take to go, at the site's rate; 0 where it has none."""
        return 0.0 if self._rate is None else ahead * MINUTE_S / self._rate

    def message_begun(self, now: float, recipients: int = 1) -> None:
        """A message, or a batch of probes, is on its way; `message_ended` follows in any case."""
        if self._messages is None and self._recipients is None:
            return
        self._under_way.append(recipients)
        if self._messages is not None:
            self._messages.begun(1)
        if self._recipients is not None:
            self._recipients.begun(recipients)

    def message_ended(self, now: float, recipients: int = 1) -> None:
        """One that was begun with so many recipients has ended, or came to nothing."""
        if recipients not in self._under_way:
            return
        self._under_way.remove(recipients)
        if self._messages is not None:
            self._messages.ended(1, now)
        if self._recipients is not None:
            self._recipients.ended(recipients, now)

    # Connections and pauses ---------------------------------------------------------------------------------------

    def connection_wait(self, now: float) -> float:
        """Seconds until another connection may be opened; infinity until one is closed."""
        if self.connections >= self._most:
            return float("inf")
        return self.pause_wait(now)

    def pause_wait(self, now: float) -> float:
        """Seconds that the site is still left alone."""
        return max(0.0, self._pause_until - now, self._held_until - now)

    def is_held(self, now: float) -> bool:
        """Whether it is an operator who wants it left alone."""
        return self._held_until > now

    def opened(self) -> None:
        """A connection is being opened."""
        self.connections += 1

    def closed(self) -> None:
        """A connection is gone, or could not be opened."""
        self.connections -= 1

    def hold(self, until: float) -> None:
        """An operator wants the site left alone until then; a time that is past: no more."""
        self._held_until = until

    def resume(self) -> None:
        """An operator wants it used again, as if nothing had been learnt."""
        self._troubles, self._pause_until, self._share = 0, 0.0, 1.0
        self._apply()

    def trouble(self, now: float, *, is_of_pace: bool = False) -> float:
        """The site has shown that it does not want us now; `is_of_pace`: not so much. Returns the pause in seconds.

        Trouble within a pause is the same trouble: several connections may see one refusal."""
        if self._pause_until > now:
            return self._pause_until - now
        pause = min(self._back_off.ceiling_s, self._back_off.first_s * 2.0**self._troubles)
        self._troubles = min(self._troubles + 1, 30)
        self._pause_until = now + pause
        if is_of_pace:
            self._share = max(self._back_off.least, self._share * self._back_off.shrink)
            self._grown_at = self._pause_until
            self._apply()
        return pause

    def success(self, now: float) -> bool:
        """The site takes our mail. Within a pause that says nothing: it was on a connection of before the trouble.

        Returns whether it is asked to bear more from now on."""
        if self._pause_until > now:
            return False
        self._troubles = 0
        if self._share >= 1.0 or now - self._grown_at < self._back_off.grow_s:
            return False
        self._share = min(1.0, self._share + self._back_off.grow)
        self._grown_at = now
        self._apply()
        return True

    # What is remembered -------------------------------------------------------------------------------------------

    def learnt(self, now: float) -> Learnt:
        """What is to be remembered."""
        return Learnt(share=self._share, troubles=self._troubles, pause_s=max(0.0, self._pause_until - now))

    def remember(self, learnt: Learnt, now: float) -> None:
        """What was known before a restart; bounded, whatever was written down."""
        back_off = self._back_off
        self._share = min(1.0, max(back_off.least, learnt.share))
        self._troubles = min(30, max(0, learnt.troubles))
        self._pause_until = now + min(back_off.ceiling_s, max(0.0, learnt.pause_s))
        self._grown_at = self._pause_until
        self._apply()


def _at_rate(window: RateWindow | None, rate: float | None, under_way: int) -> RateWindow | None:
    if rate is None or window is None:
        return None if rate is None else RateWindow(rate, under_way)
    window.use(rate)
    return window
