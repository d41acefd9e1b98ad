"""What a run has heard so far of the domains and addresses under way, and what follows from the next answers.

For each answer: a verdict now, the same question again later (again.retry_in), or another session. An address that
was accepted waits for what its domain says to a recipient made up by chance. Pure: no clock, no network; times are
seconds of the loop's clock, handed in. Used by job.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from postroad.road.provider import Answers
from postroad.smtp.address import Address
from postroad.verify.again import Waited, retry_in
from postroad.verify.domain_facts import Choice, DomainFacts, made_up
from postroad.verify.judge import Known, Reading, Step, judge, read
from postroad.verify.plan import Batch, Item
from postroad.verify.probe import Answer, Asked
from postroad.verify.verdict import Judgement, Traits, Verdict
from postroad.verify.welcome import Welcome, is_silence, is_trouble

KEPT_STEPS = 8
"""Steps of earlier askings that a verdict's evidence keeps."""
RE_ASK_S = 30.0
"""After this, at the earliest, a distrusted answer is asked for again (V-06)."""
KEPT_FACTS = 100_000
"""Domains whose facts are remembered after the last of their addresses has its verdict."""
KEPT_SITES = 20_000
"""Sites that did not want us which are remembered: those that showed it last."""


class Chance(Choice, Protocol):
    """Where randomness comes from; `random.Random` is one."""

    def random(self) -> float:
        """A number from 0 (included) to 1 (excluded)."""
        ...


@dataclass(frozen=True, slots=True)
class Settled:
    """An address and its verdict."""

    id: int
    verdict: Verdict


@dataclass(slots=True)
class Outcome:
    """What follows from the answers to one batch."""

    settled: list[Settled] = field(default_factory=list)
    later: list[tuple[float, Item]] = field(default_factory=list)
    """To be asked again, not before those times."""
    again: list[Item] = field(default_factory=list)
    first: list[Item] = field(default_factory=list)
    """New questions about the domain, to be asked with the next batch."""
    rest_until: float | None = None
    """What waits of the domain is put off until then."""
    gives_up: Answer | None = None
    """What waits of the domain gets this answer."""


@dataclass(slots=True)
class _Domain:
    facts: DomainFacts
    mx: tuple[str, ...] = ()
    provider: str = ""
    answers: str = Answers.HONEST
    is_parked: bool = False
    is_asked: bool = False
    """Whether recipients made up by chance may be asked about."""
    made_up: int = 0
    """Id of the question about a made-up recipient that is open; 0: none is."""
    held: list[tuple[Item, Answer, tuple[Step, ...]]] = field(default_factory=list)
    """Those that were accepted, and wait for it."""


@dataclass(frozen=True, slots=True)
class _Drawn:
    """Chance that was drawn once for a whole session: what it put off comes again together, in one session."""

    value: float

    def random(self) -> float:
        return self.value


@dataclass(slots=True)
class _Past:
    first_asked: float
    times: int
    steps: tuple[Step, ...]
    is_distrusted: bool = False


class Inquiry:
    """State of one run. `describe` says what is known of an address without asking."""

    def __init__(
        self, *, rng: Chance, wait_s: float, describe: Callable[[Address], Traits], is_asking_at_random: bool = True
    ) -> None:
        self._rng = rng
        self._wait_s = wait_s
        self._describe = describe
        self._is_asking_at_random = is_asking_at_random
        self._domains: dict[str, _Domain] = {}
        self._facts: dict[str, DomainFacts] = {}
        self._past: dict[int, _Past] = {}
        self._sites: dict[str, Welcome] = {}
        self._made_up = 0
        self.held = 0
        """Addresses accepted that wait for what is still to be known of their domain."""

    # Domains --------------------------------------------------------------------------------------------------

    def open_domain(
        self,
        domain: str,
        *,
        mx: tuple[str, ...],
        provider: str = "",
        answers: str = Answers.HONEST,
        is_parked: bool = False,
    ) -> tuple[Item, ...]:
        """The way to a domain was found. What is to be asked about it, beside its addresses."""
        facts = self._facts.pop(domain, None) or DomainFacts()
        is_asked = self._is_asking_at_random and answers == Answers.HONEST and not is_parked
        known = _Domain(facts, mx, provider, answers, is_parked, is_asked)
        self._domains[domain] = known
        if not is_asked:
            facts.is_settled = True
        return () if facts.is_settled else (self._question(domain, known),)

    def facts(self, domain: str) -> DomainFacts:
        """What is known of a domain, to be added to."""
        known = self._domains.get(domain)
        if known is not None:
            return known.facts
        facts = self._facts.setdefault(domain, DomainFacts())
        self._bound_facts()
        return facts

    def close_domain(self, domain: str) -> None:
        """Nothing of that domain is left in the plan; its facts are remembered for a while."""
        known = self._domains.pop(domain, None)
        if known is not None:
            self._facts[domain] = known.facts
            self._bound_facts()

    def _bound_facts(self) -> None:
        if len(self._facts) > KEPT_FACTS:
            del self._facts[next(iter(self._facts))]

    def refusal(self, site: str) -> Answer | None:
        """The answer for everything at a site that will not answer us any more in this run."""
        welcome = self._sites.get(site)
        if welcome is None or welcome.refusal is None:
            return None
        return Answer((welcome.refusal,), welcome.refusal)

    def troubles(self) -> list[tuple[str, str, int]]:
        """The sites that slowed us down or refused us: site, their words, in how many sessions."""
        found = [(site, welcome.words, welcome.troubles) for site, welcome in self._sites.items() if welcome.troubles]
        return sorted(found, key=lambda one: (-one[2], one[0]))

    def _question(self, domain: str, known: _Domain) -> Item:
        self._made_up -= 1
        known.made_up = self._made_up
        return Item(self._made_up, Address(made_up(self._rng), domain))

    # Answers --------------------------------------------------------------------------------------------------

    def hear(self, batch: Batch, asked: Asked, now: float) -> Outcome:
        """Take what a batch brought."""
        known = self._domains[batch.domain]
        outcome = Outcome(again=list(asked.again))
        readings = {
            item.id: (asked.answers[item.id], read(asked.answers[item.id].decided_by, known.provider))
            for item in batch.items
            if item.id in asked.answers
        }
        distrusted = {item.id for item in asked.distrusted} | self._suspected(batch.site, readings)
        self._note_site(batch.site, readings.values(), now)
        is_refused = self.refusal(batch.site) is not None
        chance = _Drawn(self._rng.random())
        heard = [item for item in batch.items if item.id in readings]
        # Refusals first, then the made-up one: what is said of it is weighed by whether anybody was refused.
        for item in sorted(
            heard, key=lambda one: 1 if one.id < 0 else 2 * (readings[one.id][1].judgement is Judgement.DELIVERABLE)
        ):
            answer, reading = readings[item.id]
            is_doubtful = item.id in distrusted
            due = None if is_refused else self._due(item, answer, reading, now, chance, is_doubtful=is_doubtful)
            if due is not None:
                outcome.later.append((due, item))
            elif item.id < 0:
                self._take_random(batch.domain, known, item, answer, reading, outcome, is_doubtful=is_doubtful)
            else:
                self._take(known, item, answer, reading, outcome, is_doubtful=is_doubtful)
        if asked.is_unreachable and readings:
            if outcome.later:
                outcome.rest_until = max(due for due, _ in outcome.later)
            else:
                outcome.gives_up = next(iter(readings.values()))[0]
        return outcome

    def answer_all(self, domain: str, items: Iterable[Item], answer: Answer) -> list[Settled]:
        """The same answer for all of them, without their being asked (again)."""
        outcome = Outcome()
        known = self._domains.get(domain) or _Domain(self._facts.get(domain) or DomainFacts())
        reading = read(answer.decided_by, known.provider)
        for item in items:
            if item.id < 0:
                self._take_random(domain, known, item, answer, reading, outcome)
            else:
                self._take(known, item, answer, reading, outcome)
        return outcome.settled

    def _suspected(self, site: str, readings: dict[int, tuple[Answer, Reading]]) -> set[int]:
        """Those that a site refuses which had shown before that it does not want us, and accepts nobody now."""
        welcome = self._sites.get(site)
        if welcome is None or not welcome.is_suspect:
            return set()
        if any(reading.judgement is Judgement.DELIVERABLE for _, reading in readings.values()):
            return set()
        return {number for number, (_, reading) in readings.items() if reading.judgement is Judgement.UNDELIVERABLE}

    def _note_site(self, site: str, readings: Iterable[tuple[Answer, Reading]], now: float) -> None:
        heard = [(answer.decided_by, reading) for answer, reading in readings]
        if site in self._sites or any(is_trouble(step, reading) or is_silence(step) for step, reading in heard):
            self._welcome(site).note_session(heard, now=now, wait_s=self._wait_s)

    def note_pause(self, site: str, now: float, pause_s: float = 0.0) -> None:
        """The pool leaves the site alone for so long."""
        self._welcome(site).note_pause(now=now, wait_s=self._wait_s, pause_s=pause_s)

    def _welcome(self, site: str) -> Welcome:
        welcome = self._sites[site] = self._sites.pop(site) if site in self._sites else Welcome()
        if len(self._sites) > KEPT_SITES:
            del self._sites[next(iter(self._sites))]
        return welcome

    def _due(
        self, item: Item, answer: Answer, reading: Reading, now: float, chance: _Drawn, *, is_doubtful: bool
    ) -> float | None:
        """When the address is asked about again; None: what was heard is the last word."""
        past = self._past.get(item.id)
        if past is None:
            past = self._past[item.id] = _Past(now, 0, ())
        past.times += 1
        delay: float | None
        if is_doubtful and reading.judgement is Judgement.UNDELIVERABLE:
            is_last = past.is_distrusted or now + RE_ASK_S > past.first_asked + self._wait_s
            past.is_distrusted = True
            delay = None if is_last else RE_ASK_S
        else:
            delay = retry_in(
                answer.decided_by,
                reading,
                Waited(past.first_asked, past.times),
                now=now,
                wait_s=self._wait_s,
                rng=chance,
            )
        if delay is None:
            return None
        past.steps = (*past.steps, *answer.steps)[-KEPT_STEPS:]
        return now + delay

    def _take(
        self,
        known: _Domain,
        item: Item,
        answer: Answer,
        reading: Reading,
        outcome: Outcome,
        *,
        is_doubtful: bool = False,
    ) -> None:
        past = self._past.pop(item.id, None)
        steps = () if past is None else past.steps
        if is_doubtful:
            answer, reading = _doubted(answer, reading)
        if reading.judgement is Judgement.DELIVERABLE and not known.facts.is_settled:
            known.held.append((item, answer, steps))
            self.held += 1
            return
        outcome.settled.append(self._settle(known, item, answer, steps))
        if reading.reason == "mailbox_unknown" and known.is_asked and known.facts.note_refusal() and not known.made_up:
            outcome.first.append(self._question(item.address.domain, known))

    def _take_random(
        self,
        domain: str,
        known: _Domain,
        item: Item,
        answer: Answer,
        reading: Reading,
        outcome: Outcome,
        *,
        is_doubtful: bool = False,
    ) -> None:
        self._past.pop(item.id, None)
        known.made_up = 0
        if is_doubtful:
            answer, reading = _doubted(answer, reading)
        if known.facts.note_random(answer.decided_by, reading):
            outcome.first.append(self._question(domain, known))
        else:
            outcome.settled.extend(self._release(known))

    def _release(self, known: _Domain) -> Iterator[Settled]:
        held, known.held = known.held, []
        self.held -= len(held)
        for item, answer, steps in held:
            yield self._settle(known, item, answer, steps)

    def _settle(self, known: _Domain, item: Item, answer: Answer, past: tuple[Step, ...]) -> Settled:
        facts = known.facts
        steps = (*past, *answer.steps)
        random_step = facts.random_step
        decided_by = answer.decided_by
        if random_step is not None and decided_by.reply is not None and decided_by.reply.is_positive:
            steps = (*steps, random_step)
        verdict = judge(
            str(item.address),
            steps,
            decided_by,
            Known(
                traits=self._describe(item.address),
                mx=known.mx,
                provider=known.provider,
                answers=known.answers,
                catch_all=facts.catch_all,
                is_inconsistent=facts.is_inconsistent,
                is_put_off=facts.is_put_off,
                is_parked=known.is_parked,
                is_listed=facts.is_listed,
                bounces_later=facts.bounces_later,
            ),
        )
        return Settled(item.id, verdict)


def _doubted(answer: Answer, reading: Reading) -> tuple[Answer, Reading]:
    """A mailbox refused only after signs that we are not wanted: the site's word is not worth a verdict (V-06)."""
    if reading.judgement is not Judgement.UNDELIVERABLE:
        return answer, reading
    doubt = Step(phase=answer.decided_by.phase, reason="blocked", detail="said only after refusing us")
    return Answer((*answer.steps, doubt), doubt), read(doubt)
