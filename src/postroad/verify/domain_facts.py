"""What a run has found out about one domain: above all whether its hosts take every recipient (V-04, V-05).

A recipient made up by chance is asked about in the session of the domain's first addresses, once for each domain and
run (V-07); another one only where the answers contradict each other. Pure: the names come from a random source that
is handed in. Used by job.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Protocol

from postroad.meaning.classify import Kind
from postroad.verify.judge import Reading, Step
from postroad.verify.verdict import Judgement

MAX_MADE_UP = 2
"""Made-up recipients of one domain in a run."""
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_DIGITS = "0123456789"


class Choice(Protocol):
    """Where randomness comes from; `random.Random` is one."""

    def choice(self, seq: str, /) -> str:
        """One of those characters."""
        ...


def made_up(rng: Choice) -> str:
    """A local part that nobody has, and that looks like any other: no list of names, and nothing to guess by."""
    return "".join(rng.choice(_LETTERS) for _ in range(11)) + "".join(rng.choice(_DIGITS) for _ in range(4))


@dataclass(slots=True)
class DomainFacts:
    """Facts of one domain. Before anything is asked, `catch_all` may be known from data or from an earlier run."""

    catch_all: bool | None = None
    is_settled: bool = False
    """Nothing more is to be asked to know whether it takes everybody."""
    is_inconsistent: bool = False
    is_put_off: bool = False
    """A made-up recipient was asked about to the end, and the host only ever said that it is asked too much."""
    is_listed: bool = False
    bounces_later: bool = False
    random_step: Step | None = None
    """What was last heard about a made-up recipient."""
    _answers: list[bool] = field(default_factory=list)
    _has_refused_real: bool = False
    _asked: int = 0

    def note_random(self, step: Step, reading: Reading) -> bool:
        """Take what was heard, for good, about a made-up recipient. True: another one should be asked about."""
        self.random_step = replace(step, is_random=True)
        self._asked += 1
        self.is_put_off = reading.meaning is not None and reading.meaning.kind is Kind.RATE_LIMITED
        if reading.meaning is not None and reading.judgement in (Judgement.DELIVERABLE, Judgement.UNDELIVERABLE):
            self._answers.append(reading.judgement is Judgement.DELIVERABLE)
        return self._conclude()

    def note_refusal(self) -> bool:
        """A mailbox of the domain was said not to exist. True: another made-up recipient should be asked about."""
        self._has_refused_real = True
        if not self.is_settled or not self.catch_all:
            return False
        return self._conclude()

    def _conclude(self) -> bool:
        is_said_to = self._answers == [True] or (not self._asked and self.catch_all is True)
        if is_said_to and self._has_refused_real and self._asked < MAX_MADE_UP:
            # It takes what does not exist, or did so in an earlier run, and refuses what is on the list.
            self.is_settled = False
            self.catch_all = None
            return True
        self.is_settled = True
        self.is_inconsistent = len(set(self._answers)) > 1
        self.catch_all = self._answers[0] if len(set(self._answers)) == 1 else None
        return False
