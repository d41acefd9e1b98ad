"""Whether a site is still willing to answer us, as a pure function of what it said.

A block ends a site's part in the run after it was said twice with no hearing between; slowness only once it has
lasted longer than an address may wait. What is left of the site is then `unknown`, with the site's own words: never
asked again and again, and never taken for a missing mailbox (V-02, V-09). Used by job.
"""

from __future__ import annotations

from dataclasses import dataclass

from postroad.meaning.classify import MAX_TEXT
from postroad.smtp.outcome import Phase
from postroad.verify.judge import Reading, Step
from postroad.verify.verdict import Judgement, reply_lines

BLOCKS_BELIEVED = 2
"""Refusals of us in a row, each in another session, after which a site is left alone for the rest of the run."""
LEAST_PATIENCE_S = 60.0
"""A site in trouble is waited for so long, even where no address is asked again."""
_TROUBLE = ("blocked", "rate_limited", "site_paused")


@dataclass(slots=True)
class Welcome:
    """One site's; `refusal` set: it is not asked any more, and that is why."""

    refusal: Step | None = None
    troubles: int = 0
    """Sessions in which it showed that it does not want us."""
    is_suspect: bool = False
    """It showed that it does not want us, and has accepted nobody since: its refusals may be meant for us (V-06)."""
    _last_trouble: Step | None = None
    _blocks: int = 0
    _since: float | None = None
    _last: Step | None = None

    @property
    def words(self) -> str:
        """What it said last when it did not want us."""
        step = self.refusal or self._last_trouble
        return "" if step is None else " / ".join(reply_lines(step.reply)) if step.reply else step.detail

    def note_session(self, heard: list[tuple[Step, Reading]], *, now: float, wait_s: float) -> None:
        """Take what one session brought, about real addresses and made-up ones alike."""
        if any(_is_hearing(step, reading) for step, reading in heard):
            self._blocks, self._since, self._last = 0, None, None
        troubles = [(step, reading) for step, reading in heard if is_trouble(step, reading)]
        if any(is_accusation(step, reading) for step, reading in troubles):
            self.is_suspect = True
        elif any(reading.judgement is Judgement.DELIVERABLE for _, reading in heard):
            self.is_suspect = False
        if not troubles:
            self._note_silence([step for step, _ in heard], now, wait_s)
            return
        step, reading = next(((s, r) for s, r in troubles if r.reason == "blocked"), troubles[0])
        self.troubles += 1
        if self._last is None or reading.reason != "site_paused":
            self._last = self._last_trouble = step
        if self._since is None:
            self._since = now
        is_for_good = reading.reason == "blocked" and step.reply is not None and step.reply.is_permanent
        self._blocks += is_for_good
        if self._blocks >= BLOCKS_BELIEVED or now - self._since >= max(wait_s, LEAST_PATIENCE_S):
            self.refusal = self._last

    def _note_silence(self, heard: list[Step], now: float, wait_s: float) -> None:
        if heard and all(is_silence(step) for step in heard):
            self._since = now if self._since is None else self._since
            self._last = self._last or heard[-1]
            if now - self._since >= max(wait_s, LEAST_PATIENCE_S):
                self.refusal = self._last

    def note_pause(self, *, now: float, wait_s: float, pause_s: float = 0.0) -> None:
        """The site is left alone for so long still, for what it said before."""
        if self._since is None:
            self._since = now
        if now + pause_s - self._since >= max(wait_s, LEAST_PATIENCE_S):
            self.refusal = self._last or Step(
                phase=Phase.CONNECT, reason="site_paused", detail="left alone for too long"
            )


def is_trouble(step: Step, reading: Reading) -> bool:
    """Whether the site shows by that answer that it does not want us, or not now: a block, a rate, any 421 (V-09)."""
    return reading.reason in _TROUBLE or (step.reply is not None and step.reply.code == 421)


def is_accusation(step: Step, reading: Reading) -> bool:
    """Whether a trouble is about who asks; «too many errors» is about what was asked, and makes nobody lie."""
    said = step.reply
    return is_trouble(step, reading) and not (said is not None and "error" in said.text[:MAX_TEXT].lower())


def is_silence(step: Step) -> bool:
    """Whether a host that was reached said nothing."""
    return step.reply is None and not step.reason and step.phase is not Phase.CONNECT


def _is_hearing(step: Step, reading: Reading) -> bool:
    """Whether the answer was about the recipient."""
    if is_trouble(step, reading):
        return False
    return reading.judgement is not Judgement.UNKNOWN or reading.reason in ("greylisted", "temporary")
