"""When to try again: intervals that grow, vary by chance, and have a ceiling (RFC 5321 §4.5.4.1).

Pure: chance is handed in. Soon at first (a greylisting host, a passing fault), then seldom: over the lifetime of a
message the intervals average far above the half hour the RFC asks for. What a greylisting host says of its own delay
(`retry_hint`) is honoured. Used by deliver/settle.py and by verification.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

MAX_HINT_S = 6 * 3600.0
"""A host that asks for more is not believed."""
HINT_MARGIN_S = 5.0
"""Added to a hint: clocks differ, and a second too early costs a whole interval."""

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_HINT = re.compile(
    r"\b(?:try|retry|again|come back|wait|back|resend|delayed|greylist(?:ed|ing)?|graylist(?:ed|ing)?)\b[^0-9]{0,40}?"
    r"(?<![0-9.])(?:(?P<h>[0-9]{1,2}):(?P<m>[0-9]{2}):(?P<s>[0-9]{2})(?![0-9:])"
    r"|(?P<amount>[0-9]{1,5}) ?(?P<unit>s|sec|secs|seconds?|m|mins?|minutes?|h|hrs?|hours?)\b)",
    re.IGNORECASE,
)


class Chance(Protocol):
    """Where randomness comes from; `random.Random` is one."""

    def random(self) -> float:
        """A number from 0 (included) to 1 (excluded)."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrySchedule:
    """How often a message is tried, and for how long. `jitter`: by what share an interval varies, either way."""

    first_s: float = 300.0
    factor: float = 2.0
    ceiling_s: float = 4 * 3600.0
    lifetime_s: float = 5 * 86_400.0
    jitter: float = 0.2
    first_of: Mapping[str, float] = field(default_factory=dict)
    """Other first intervals, by what the host meant (`meaning.rule.Kind`)."""

    def interval(self, attempts: int, kind: str = "") -> float:
        """Seconds after the attempt of that number (the first is 1), before chance has its say."""
        # Beyond 64 doublings any ceiling is long reached; the power must not overflow.
        first_s = self.first_of.get(kind, self.first_s)
        return min(self.ceiling_s, first_s * self.factor ** min(max(attempts, 1) - 1, 64))

    def attempts_within_lifetime(self) -> int:
        """How many attempts the lifetime holds when all goes by the schedule; the first is made at once."""
        elapsed, attempts = 0.0, 1
        while elapsed + self.interval(attempts) < self.lifetime_s and attempts < 10_000:
            elapsed += self.interval(attempts)
            attempts += 1
        return attempts


DEFAULT_SCHEDULE = RetrySchedule()


def next_attempt(
    attempts: int,
    *,
    schedule: RetrySchedule = DEFAULT_SCHEDULE,
    rng: Chance,
    hint_s: float | None = None,
    kind: str = "",
) -> float:
    """Seconds to wait after `attempts` attempts (the one just made included).

    `hint_s`: what the host asked for; the wait is never shorter, and not longer without need.
    `kind`: what it meant (`meaning.rule.Kind`)."""
    interval = schedule.interval(attempts, kind)
    if hint_s is not None and 0 < hint_s <= MAX_HINT_S:
        wanted = hint_s + HINT_MARGIN_S
        # Early in its life a message waits what was asked for; later its own longer interval is kept.
        interval = wanted if attempts <= 1 else max(interval, wanted)
        return interval * (1.0 + schedule.jitter * rng.random() / 2)
    varied = interval * (1.0 + schedule.jitter * (2.0 * rng.random() - 1.0))
    return min(varied, schedule.ceiling_s)


def retry_hint(text: str) -> float | None:
    """The seconds after which a reply's text asks to be tried again (`greylisted, try again in 5 minutes`)."""
    found = _HINT.search(text[:2000])
    if found is None:
        return None
    if found["h"] is not None:
        seconds = int(found["h"]) * 3600.0 + int(found["m"]) * 60.0 + int(found["s"])
    else:
        seconds = int(found["amount"]) * _UNITS[found["unit"][0].lower()]
    return seconds if 0 < seconds <= MAX_HINT_S else None
