"""Whether and when an address whose answer left it open is asked again, within the time that a run may wait.

A greylisting host is asked again after the delay that it names, or by a rising schedule; other trouble a few times;
silence once more. Pure: chance and times are handed in. Used by job.
"""

from __future__ import annotations

from dataclasses import dataclass

from postroad.meaning.backoff import HINT_MARGIN_S, Chance
from postroad.verify.judge import Reading, Step
from postroad.verify.verdict import Judgement

GREYLIST_DELAYS_S = (75.0, 240.0, 300.0, 285.0)
"""Between one asking and the next, where the host names no delay: usual delays are 1, 5 and 10 minutes."""
LONGER_S = 1800.0
"""After those, where a run may wait that long."""
TROUBLE_DELAYS_S = (60.0, 240.0)
SILENCE_DELAYS_S = (60.0,)
JITTER = 0.1
LEAST_S = 60.0
"""No greylisting host is asked sooner."""


@dataclass(frozen=True, slots=True)
class Waited:
    """What one address has behind it. Seconds of the loop's clock."""

    first_asked: float
    times: int
    """How often it was asked, the last time included."""


def retry_in(step: Step, reading: Reading, waited: Waited, *, now: float, wait_s: float, rng: Chance) -> float | None:
    """Seconds until the address is asked again; None: what was heard is the last word.

    `wait_s`: how long after its first asking an address may still be asked.
    """
    if reading.judgement is not Judgement.UNKNOWN:
        return None
    delay = _delay(step, reading, waited.times)
    if delay is None:
        return None
    delay *= 1.0 + JITTER * rng.random()
    left = waited.first_asked + wait_s - now
    if delay <= left:
        return delay
    # A delay that is only our own guess is cut short before the deadline rather than left out.
    is_guess = reading.meaning is None or reading.meaning.retry_after_s is None
    is_cut = reading.reason == "greylisted" and is_guess and left >= LEAST_S
    return left if is_cut else None


def _delay(step: Step, reading: Reading, times: int) -> float | None:
    hint = reading.meaning.retry_after_s if reading.meaning is not None else None
    said = step.reply
    if reading.reason == "greylisted":
        if hint is not None and times == 1:
            return hint + HINT_MARGIN_S
        usual = GREYLIST_DELAYS_S[times - 1] if times <= len(GREYLIST_DELAYS_S) else LONGER_S
        # A host that says «in a second» each time is not asked each second.
        return usual if hint is None else max(usual, hint + HINT_MARGIN_S)
    if reading.reason in ("rate_limited", "site_paused"):
        return TROUBLE_DELAYS_S[min(times, len(TROUBLE_DELAYS_S)) - 1] if hint is None else hint + HINT_MARGIN_S
    if said is None:
        is_silence = not step.reason or step.reason == "dns_temporary"
        return SILENCE_DELAYS_S[times - 1] if is_silence and times <= len(SILENCE_DELAYS_S) else None
    if said.is_transient and times <= len(TROUBLE_DELAYS_S):
        return TROUBLE_DELAYS_S[times - 1] if hint is None else hint + HINT_MARGIN_S
    return None
