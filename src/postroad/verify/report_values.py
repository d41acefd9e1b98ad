"""What the report page of a verification is made from: the values in, with their bounds.

`Summary` tells of the run as a whole, `Row` of one address. Pure: nothing here asks or writes. Used by report_page and
its siblings, and by whoever wants a page made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from postroad.verify.report import evidence_line
from postroad.verify.verdict import REASONS, Judgement, Verdict

VERDICTS = tuple(str(judgement) for judgement in Judgement)
"""In the order of every chart and table."""
FLAGS: Mapping[str, str] = {
    "catch_all": "catch-all",
    "disposable": "disposable",
    "role": "role",
    "free": "free",
    "suggestion": "suggestion",
}
"""What a row can be marked with, and how the page calls it. `suggestion` stands for a row that has one."""
AGAIN = (
    *("greylisted", "timed_out", "connection_lost", "connect_failed", "rate_limited", "temporary", "dns_temporary"),
    *("site_paused", "tls_failed"),
)
"""Reasons for which asking again later may bring an answer."""
US = ("blocked", "rejects_probes", "sender_refused", "policy", "auth_required", "tls_required", "refused")
"""Reasons that are about who asks, or how."""
TAKES_ALL = ("catch_all", "accepts_all", "accepts_then_bounces", "inconsistent", "cannot_tell")
"""Reasons that say that a host's yes proves nothing."""
NOT_TO_MAIL = ("do_not_mail", "opt_out", "blocked_domain")
"""Reasons that come from the user's own lists."""
GROUPS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "worth-asking-again": ("worth asking again", AGAIN),
    "about-us": ("about who asked", US),
    "takes-all": ("takes every recipient", TAKES_ALL),
    "not-to-mail": ("not to be mailed", NOT_TO_MAIL),
}
"""Choices of the filter by reason that stand for several: name → words, reasons."""


@dataclass(frozen=True, slots=True)
class Group:
    """How many addresses of one provider or domain had which verdict."""

    name: str
    counts: Mapping[str, int]
    """By verdict, as `Judgement` names them."""

    @property
    def total(self) -> int:
        """All its addresses."""
        return sum(self.counts.get(verdict, 0) for verdict in VERDICTS)


@dataclass(frozen=True, slots=True)
class SiteTrouble:
    """A site that slowed us down or refused us: in its words or ours, and how often."""

    site: str
    what: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A verification as a whole."""

    title: str
    """The list's name."""
    began: datetime
    ended: datetime
    """Both aware."""
    rows: int
    """Rows of the list."""
    addresses: int
    """Distinct addresses among them."""
    by_state: Mapping[str, int]
    """Addresses by `Verdict.state`, that is `verdict:reason`; those not reached are in none."""
    providers: Sequence[Group] = ()
    domains: Sequence[Group] = ()
    """The largest; the page shows up to `charts.MOST_ROWS` of each."""
    found: Sequence[int] = ()
    """Verdicts found in each interval from `began` on."""
    interval_s: float = 0.0
    """Seconds of one interval of `found`."""
    sites: Sequence[SiteTrouble] = ()
    settings: Sequence[tuple[str, str]] = ()
    """What the run was told to do, such as limits, hello and sender: name and value."""
    whole: str = ""
    """Name of the file that has every row; empty where none was written."""

    def __post_init__(self) -> None:
        if self.began.tzinfo is None or self.ended.tzinfo is None:
            raise ValueError("began and ended need a time zone: make them aware, for example by datetime.now(UTC)")

    @property
    def duration_s(self) -> float:
        """How long it took, in seconds; never negative."""
        return max(0.0, (self.ended - self.began).total_seconds())

    @property
    def by_verdict(self) -> dict[str, int]:
        """Addresses by verdict, each verdict named, in the order of `VERDICTS`."""
        counts = dict.fromkeys(VERDICTS, 0)
        for verdict, _, count in self.states():
            counts[verdict] += count
        return counts

    @property
    def by_reason(self) -> list[Group]:
        """Addresses by reason, the most frequent first."""
        found: dict[str, Counter[str]] = {}
        for verdict, reason, count in self.states():
            found.setdefault(reason, Counter())[verdict] += count
        return sorted((Group(*item) for item in found.items()), key=lambda group: (-group.total, group.name))

    def states(self) -> Iterator[tuple[str, str, int]]:
        """Verdict, reason and count; what is no verdict counts as unknown."""
        for state, count in self.by_state.items():
            verdict, _, reason = state.partition(":")
            yield (verdict if verdict in VERDICTS else str(Judgement.UNKNOWN)), reason, max(0, count)

    def count(self, verdict: str, reasons: Sequence[str] = ()) -> int:
        """Addresses of that verdict, for one of those reasons if any are named."""
        return sum(
            count for judged, reason, count in self.states() if judged == verdict and (not reasons or reason in reasons)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One address as the page shows it. Texts may hold anything: the page escapes and cuts them."""

    address: str
    verdict: str
    """As `Judgement` names them; anything else is shown as unknown."""
    reason: str
    provider: str = ""
    mx: str = ""
    """The mail host that was asked, or would have been."""
    confidence: float = 0.0
    """From 0 to 1."""
    suggestion: str = ""
    """The address that was probably meant."""
    flags: frozenset[str] = field(default_factory=frozenset)
    """Of `FLAGS`, without `suggestion`; others are passed over."""
    evidence: str = ""
    """What decided, on one line."""

    @classmethod
    def of(cls, verdict: Verdict) -> Row:
        """What the page shows of a verdict."""
        proof, traits = verdict.proof, verdict.traits
        marks = {
            "catch_all": bool(verdict.catch_all),
            "disposable": traits.disposable,
            "role": traits.role,
            "free": traits.free,
        }
        return cls(
            address=verdict.address,
            verdict=str(verdict.verdict),
            reason=verdict.reason,
            provider=verdict.provider,
            mx=proof.host or (verdict.mx[0] if verdict.mx else ""),
            confidence=verdict.confidence,
            suggestion=traits.suggestion,
            flags=frozenset(flag for flag, is_so in marks.items() if is_so),
            evidence=evidence_line(proof),
        )

    @property
    def judged(self) -> str:
        """The verdict, one of `VERDICTS`."""
        return self.verdict if self.verdict in VERDICTS else str(Judgement.UNKNOWN)

    @property
    def marks(self) -> tuple[str, ...]:
        """Its flags in the order of `FLAGS`, `suggestion` among them."""
        return tuple(flag for flag in FLAGS if (flag in self.flags if flag != "suggestion" else self.suggestion))


def reason_words(reason: str) -> str:
    """A reason as people read it: `mailbox full`."""
    return reason.replace("_", " ") or "no reason"


def reason_meaning(reason: str) -> str:
    """What it means; empty for one that is not known."""
    return REASONS.get(reason, "")
