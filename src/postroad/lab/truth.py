"""What really is with an address of the lab, and which verdicts on it are right.

Some truths can be found out by anybody, some only by a prober that waits, names a sender, or has a name in DNS, and
some by nobody who is polite. Verdicts are words here (`deliverable`, `risky`, `undeliverable`, `unknown`): the lab
knows nothing of who measures itself in it. Pure. Used by world, and by whoever measures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

DELIVERABLE = "deliverable"
RISKY = "risky"
UNDELIVERABLE = "undeliverable"
UNKNOWN = "unknown"
VERDICTS = (DELIVERABLE, RISKY, UNDELIVERABLE, UNKNOWN)


class Kind(StrEnum):
    """What an address is."""

    EXISTS = "exists"
    ABSENT = "absent"
    FULL = "full"
    DISABLED = "disabled"
    CATCH_ALL = "catch_all"
    """Its host takes every recipient: some bounce later, and no reply tells which."""
    NO_MAIL = "no_mail"
    """Its domain takes no mail, or does not exist."""
    UNDECIDABLE = "undecidable"
    """Nobody who asks hears an answer about the mailbox."""
    BAD_SYNTAX = "bad_syntax"


class Need(StrEnum):
    """What a prober must do or have for the truth to come out."""

    TIME = "time"
    """It waits, at least `Truth.wait_s` (greylisting), or comes again later (limits by the minute)."""
    SESSIONS = "sessions"
    """It asks in several sessions: each is cut off after some recipients."""
    SENDER = "sender"
    """It names a sender: the null one is refused."""
    NAME = "name"
    """Its address has a name in DNS, and its EHLO says that name."""


RIGHT: Mapping[Kind, frozenset[str]] = {
    Kind.EXISTS: frozenset({DELIVERABLE}),
    Kind.ABSENT: frozenset({UNDELIVERABLE}),
    Kind.FULL: frozenset({RISKY}),
    Kind.DISABLED: frozenset({UNDELIVERABLE}),
    Kind.CATCH_ALL: frozenset({RISKY}),
    Kind.NO_MAIL: frozenset({UNDELIVERABLE}),
    Kind.UNDECIDABLE: frozenset({UNKNOWN}),
    Kind.BAD_SYNTAX: frozenset({UNDELIVERABLE}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Prober:
    """What the one who asks does and has. `patience_s`: how long it comes again to a host that said «later»."""

    patience_s: float = 0.0
    has_sender: bool = False
    has_name: bool = False
    comes_again: bool = True
    """Opens another session where one was cut off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """One address of the list, as it is written there."""

    address: str
    kind: Kind
    personality: str
    """Of its hosts, or the fault of its domain; "-" where there are no hosts."""
    site: str = "-"
    """Registrable domain of its mail hosts."""
    needs: frozenset[Need] = frozenset()
    wait_s: float = 0.0
    also: frozenset[str] = frozenset()
    """Verdicts that are no worse than the right one."""

    @property
    def is_decidable(self) -> bool:
        """Whether a polite prober that waits, with a sender and a name, can find it out."""
        return self.kind is not Kind.UNDECIDABLE

    def is_decidable_by(self, prober: Prober) -> bool:
        """Whether this one can."""
        lacks = {
            Need.TIME: prober.patience_s <= self.wait_s,
            Need.SESSIONS: not prober.comes_again,
            Need.SENDER: not prober.has_sender,
            Need.NAME: not prober.has_name,
        }
        return self.is_decidable and not any(lacks[need] for need in self.needs)

    @property
    def right(self) -> frozenset[str]:
        """The verdicts that are right where all needs are met."""
        return RIGHT[self.kind]

    def right_for(self, prober: Prober) -> frozenset[str]:
        """The verdicts that are right for that prober: `unknown` where it cannot know."""
        return self.right if self.is_decidable_by(prober) else frozenset({UNKNOWN})


@dataclass(slots=True)
class Score:
    """How verdicts compare with the truth."""

    counts: Counter[tuple[Kind, str]] = field(default_factory=Counter)
    """(what it is, what was said) → how many."""
    wrong: list[tuple[Truth, str]] = field(default_factory=list)
    """Verdicts that are not right for the prober."""
    missed: Counter[str] = field(default_factory=Counter)
    """`unknown` where the prober could have known, by personality."""
    _said: Counter[str] = field(default_factory=Counter)
    _said_rightly: Counter[str] = field(default_factory=Counter)
    _to_find: Counter[str] = field(default_factory=Counter)
    _found: Counter[str] = field(default_factory=Counter)

    def add(self, truth: Truth, verdict: str, prober: Prober) -> None:
        """Count one verdict. One that is true is right, also where the prober was lucky to hear it."""
        right = truth.right_for(prober)
        self.counts[truth.kind, verdict] += 1
        self._to_find.update(right)
        self._found[verdict] += verdict in right
        if verdict in right or verdict in truth.right:
            self._said[verdict] += 1
            self._said_rightly[verdict] += 1
        elif verdict in truth.also:
            return  # neither for nor against
        else:
            self._said[verdict] += 1
            if verdict == UNKNOWN:
                self.missed[truth.personality] += 1
            else:
                self.wrong.append((truth, verdict))

    def precision(self, verdict: str) -> float:
        """Of those called so, the share that is; 1 where none was."""
        return self._said_rightly[verdict] / self._said[verdict] if self._said[verdict] else 1.0

    def recall(self, verdict: str) -> float:
        """Of those that the prober could find to be so, the share that was called so; 1 where there are none."""
        return self._found[verdict] / self._to_find[verdict] if self._to_find[verdict] else 1.0


def score(truths: Iterable[Truth], verdicts: Mapping[str, str], prober: Prober) -> Score:
    """All verdicts, by the address as the list has it. Raises KeyError where one is lacking."""
    found = Score()
    for truth in truths:
        found.add(truth, verdicts[truth.address], prober)
    return found
