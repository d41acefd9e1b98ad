"""What a run knows beforehand: verdicts found not long ago, addresses not to be mailed, what deliveries taught.

`FactMemory` keeps it in a `store.facts.FactStore`, in a thread; `NoMemory` has none. Used by job.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from postroad.clock import Clock
from postroad.smtp.address import Address
from postroad.smtp.outcome import Phase
from postroad.store.facts import CachedVerdict, Cause, Delivered, DeliveryOutcome, FactStore, Suppressed
from postroad.verify.domain_facts import DomainFacts
from postroad.verify.judge import Known, Step, judge
from postroad.verify.verdict import Evidence, Judgement, Traits, Verdict, utc

Result = TypeVar("Result")
DAY_S = 86_400.0
KEPT_DOMAINS = 100_000
"""Domains whose facts are held until their way is found."""
BOUNCES_BELIEVED = 2
"""Addresses of one domain whose mail was taken and came back, after which its word is not believed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeToLive:
    """For how many seconds a verdict is used again. Those left open are asked about anew each time."""

    deliverable_s: float = 14 * DAY_S
    risky_s: float = 7 * DAY_S
    undeliverable_s: float = 30 * DAY_S
    bounce_s: float = 90 * DAY_S
    """For so long a bounce stands without asking."""
    unknown_s: float = 0.0
    domain_s: float = 14 * DAY_S
    """What was found of a domain: whether it takes everybody."""

    def of(self, verdict: Verdict) -> float:
        """The time for that one."""
        seconds: float = getattr(self, f"{verdict.verdict}_s")
        return seconds


class Memory(Protocol):
    """What a job asks before it asks a host."""

    async def recall(self, addresses: Sequence[Address]) -> Mapping[str, Verdict]:
        """Address → the verdict that stands without asking."""
        ...

    def recall_domain(self, domain: str, facts: DomainFacts) -> None:
        """Add what is known of a domain of which `recall` was asked."""
        ...

    def note_domain(self, domain: str, facts: DomainFacts) -> None:
        """The run is done with a domain for now."""
        ...

    async def keep(self, verdicts: Sequence[Verdict]) -> None:
        """These were found by asking."""
        ...


class NoMemory:
    """Knows nothing, keeps nothing."""

    async def recall(self, addresses: Sequence[Address]) -> Mapping[str, Verdict]:
        return {}

    def recall_domain(self, domain: str, facts: DomainFacts) -> None:
        return None

    def note_domain(self, domain: str, facts: DomainFacts) -> None:
        return None

    async def keep(self, verdicts: Sequence[Verdict]) -> None:
        return None


class FactMemory:
    """By a store of facts. `is_fresh`: verdicts found earlier are not used; the lists of those not to be mailed are."""

    def __init__(
        self,
        store: FactStore,
        *,
        clock: Clock,
        describe: Callable[[Address], Traits],
        time_to_live: TimeToLive | None = None,
        is_fresh: bool = False,
    ) -> None:
        self._store = store
        self._clock = clock
        self._describe = describe
        self._time_to_live = time_to_live or TimeToLive()
        self._is_fresh = is_fresh
        self._catch_all: dict[str, bool] = {}
        self._bounced_later: dict[str, int] = {}
        self._done: dict[str, bool | None] = {}
        """Domains to be noted with the next verdicts."""

    async def recall(self, addresses: Sequence[Address]) -> Mapping[str, Verdict]:
        return await _in_thread(lambda: self._recall(addresses))

    def _recall(self, addresses: Sequence[Address]) -> Mapping[str, Verdict]:
        now = self._clock.wall()
        texts = [str(address) for address in addresses]
        domains = list(dict.fromkeys(address.domain for address in addresses))
        suppressed = self._store.suppressed([*texts, *domains], now=now)
        outcomes = self._store.deliveries(texts)
        cached = {} if self._is_fresh else self._store.verdicts(texts, now=now)
        if not self._is_fresh:
            _remember(self._catch_all, self._store.catch_all(domains, since=now - self._time_to_live.domain_s))
        _remember(self._bounced_later, self._store.bounced_later(domains))
        found = {}
        for address, text in zip(addresses, texts, strict=True):
            entry = suppressed.get(text) or suppressed.get(address.domain)
            outcome = outcomes.get(text)
            if entry is not None:
                found[text] = self._suppressed(address, entry)
            elif outcome is not None and self._is_bounce(outcome, now):
                found[text] = self._bounced(address, outcome)
            elif text in cached and (verdict := self._again(cached[text], now)) is not None:
                found[text] = verdict
        return found

    def _is_bounce(self, outcome: Delivered, now: float) -> bool:
        """Whether mail came back, and not too long ago to stand without asking."""
        is_recent = now - outcome.at < self._time_to_live.bounce_s
        return is_recent and outcome.outcome is not DeliveryOutcome.DELIVERED

    def _again(self, cached: CachedVerdict, now: float) -> Verdict | None:
        """A verdict found earlier, with evidence that it is used again; None: it is older than is wanted now, or
        another version wrote it, in its own way."""
        try:
            verdict = Verdict.from_json(cached.verdict)
        except (ValueError, LookupError, TypeError):
            return None
        traits = self._describe(Address.parse(verdict.address, smtputf8=True))
        if traits.disposable != verdict.traits.disposable:
            return None  # the lists have changed, and with them what the answer was worth
        if cached.found_at + self._time_to_live.of(verdict) <= now:
            return None
        detail = f"found on {utc(cached.found_at)} and used again"
        return replace(
            verdict, traits=traits, evidence=(*verdict.evidence, Evidence(phase="cache", rule="cache", detail=detail))
        )

    def recall_domain(self, domain: str, facts: DomainFacts) -> None:
        catch_all = self._catch_all.pop(domain, None)
        if catch_all is not None and not facts.is_settled:
            facts.catch_all, facts.is_settled = catch_all, True
        facts.bounces_later = self._bounced_later.pop(domain, 0) >= BOUNCES_BELIEVED

    def note_domain(self, domain: str, facts: DomainFacts) -> None:
        if facts.random_step is not None:
            self._done[domain] = facts.catch_all

    async def keep(self, verdicts: Sequence[Verdict]) -> None:
        done, self._done = self._done, {}
        now = self._clock.wall()
        kept = [
            CachedVerdict(
                address=verdict.address,
                found_at=now,
                expires_at=now + self._time_to_live.of(verdict),
                verdict=verdict.to_json(),
            )
            for verdict in verdicts
            if self._time_to_live.of(verdict) > 0 and _is_whole(verdict)
        ]
        await _in_thread(lambda: self._keep(kept, done, now))

    def _keep(self, kept: Sequence[CachedVerdict], done: Mapping[str, bool | None], now: float) -> None:
        if kept:
            self._store.keep_verdicts(kept)
        for domain, catch_all in done.items():
            self._store.keep_domain(domain, catch_all=catch_all, now=now)

    def _suppressed(self, address: Address, entry: Suppressed) -> Verdict:
        what = "the address" if "@" in entry.name else f"the domain {entry.name}"
        told = f"{what} was put on the list as {entry.cause}" + (f": {entry.note}" if entry.note else "")
        return self._known(address, str(entry.cause), told, entry.added_at)

    def _bounced(self, address: Address, outcome: Delivered) -> Verdict:
        how = "was refused" if outcome.outcome is DeliveryOutcome.BOUNCED else "was taken, and came back"
        told = f"mail to it {how}" + (f": {outcome.said}" if outcome.said else "")
        return self._known(address, str(Cause.BOUNCED), told, outcome.at)

    def _known(self, address: Address, reason: str, told: str, at: float) -> Verdict:
        step = Step(phase=Phase.BODY if reason == "bounced" else Phase.DNS, reason=reason, detail=told, at=at)
        return judge(str(address), (step,), step, Known(traits=self._describe(address)))


def _is_whole(verdict: Verdict) -> bool:
    """Whether everything was asked that the verdict rests on: an acceptance needs a refusal to be set against."""
    is_half = verdict.verdict is Judgement.DELIVERABLE and verdict.catch_all is None
    return verdict.reason != "bad_syntax" and not is_half


def _remember(known: dict[str, Result], found: Mapping[str, Result]) -> None:
    known.update(found)
    while len(known) > KEPT_DOMAINS:
        del known[next(iter(known))]


async def _in_thread(work: Callable[[], Result]) -> Result:
    return await asyncio.get_running_loop().run_in_executor(None, work)
