"""Facts used again: each verdict for its time, the lists always, and what deliveries taught."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from deliver.peers import Host
from postroad.smtp.address import Address
from postroad.store.facts import CachedVerdict, Cause, Delivered, DeliveryOutcome, FactStore, Suppressed
from postroad.verify import memory as module
from postroad.verify.domain_facts import DomainFacts
from postroad.verify.judge import Known, judge
from postroad.verify.memory import BOUNCES_BELIEVED, DAY_S, FactMemory, NoMemory, TimeToLive
from postroad.verify.verdict import Traits, Verdict
from verify.hearsay import ABSENT, FULL, GREY, OK, step
from verify.simulated import verify
from verify.test_job_waits import greylists, knows, recipients

BEGAN = 1_800_000_000.0


@dataclass
class Calendar:
    """A clock that stands until it is moved."""

    now: float = BEGAN

    def wall(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now


@dataclass
class Facts:
    """A store and the clock by which it is read."""

    store: FactStore
    clock: Calendar

    def memory(self, **options: Any) -> FactMemory:
        return FactMemory(self.store, clock=self.clock, describe=lambda address: Traits(role=True), **options)

    def recall(self, *texts: str, **options: Any) -> dict[str, str]:
        """What is said of them without asking: address → state."""
        addresses = [Address.parse(text) for text in texts]
        found = asyncio.run(_recall(self.memory(**options), addresses))
        return {text: verdict.state for text, verdict in found.items()}

    def keep(self, *verdicts: Verdict) -> None:
        asyncio.run(_keep(self.memory(), verdicts))


async def _recall(memory: FactMemory, addresses: Sequence[Address]) -> dict[str, Verdict]:
    return dict(await memory.recall(addresses))


async def _keep(memory: FactMemory, verdicts: Sequence[Verdict]) -> None:
    await memory.keep(verdicts)


@pytest.fixture
def known(tmp_path: Path) -> Iterator[Facts]:
    with FactStore(tmp_path / "facts.db") as store:
        yield Facts(store, Calendar())


def verdict(text: str, reply: str = OK) -> Verdict:
    found = step(reply)
    return judge(text, (found,), found, Known(catch_all=False))


# Verdicts -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "days", "state"),
    [
        (OK, 14, "deliverable:accepted"),
        (FULL, 7, "risky:mailbox_full"),
        (ABSENT, 30, "undeliverable:mailbox_unknown"),
    ],
)
def test_a_verdict_is_used_again_for_its_time_and_no_longer(known: Facts, reply: str, days: float, state: str) -> None:
    known.keep(verdict("ann@a.test", reply))
    known.clock.now += days * DAY_S - 1
    assert known.recall("ann@a.test", "bob@a.test") == {"ann@a.test": state}
    known.clock.now += 2
    assert known.recall("ann@a.test") == {}


def test_what_is_open_is_asked_about_anew_each_time(known: Facts) -> None:
    known.keep(verdict("ann@a.test", GREY))
    assert known.recall("ann@a.test") == {}


def test_an_acceptance_that_nothing_was_set_against_is_not_used_again(known: Facts) -> None:
    found = step(OK)
    known.keep(judge("ann@a.test", (found,), found, Known(catch_all=None)))
    assert known.recall("ann@a.test") == {}


def test_the_times_can_be_set(known: Facts) -> None:
    times = TimeToLive(deliverable_s=10.0, unknown_s=5.0)
    asyncio.run(_keep(known.memory(time_to_live=times), [verdict("ann@a.test"), verdict("bob@a.test", GREY)]))
    assert known.recall("ann@a.test", "bob@a.test", time_to_live=times) == {
        "ann@a.test": "deliverable:accepted",
        "bob@a.test": "unknown:greylisted",
    }
    known.clock.now += 6
    assert known.recall("ann@a.test", "bob@a.test", time_to_live=times) == {"ann@a.test": "deliverable:accepted"}


def test_fresh_uses_no_earlier_verdict(known: Facts) -> None:
    known.keep(verdict("ann@a.test"))
    assert known.recall("ann@a.test", is_fresh=True) == {}


def test_v10_a_verdict_used_again_says_so_and_keeps_its_evidence(known: Facts) -> None:
    known.keep(verdict("ann@a.test", ABSENT))
    found = asyncio.run(_recall(known.memory(), [Address("ann", "a.test")]))["ann@a.test"]
    assert [one.rule for one in found.evidence][-1] == "cache" and "used again" in found.evidence[-1].detail
    assert found.proof.reply == (ABSENT,)


def test_what_another_version_wrote_is_asked_about_anew(known: Facts) -> None:
    for number, text in enumerate(["", "{}", "[]", '{"address": 1}', '{"verdict": "splendid"}']):
        kept = CachedVerdict(address=f"u{number}@a.test", found_at=BEGAN, expires_at=BEGAN + DAY_S, verdict=text)
        known.store.keep_verdicts([kept])
    assert known.recall(*(f"u{number}@a.test" for number in range(5))) == {}


# The lists ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cause", "state", "status"),
    [
        (Cause.DO_NOT_MAIL, "risky:do_not_mail", "do_not_mail"),
        (Cause.OPT_OUT, "unknown:opt_out", "skipped"),
        (Cause.BLOCKED_DOMAIN, "unknown:blocked_domain", "skipped"),
        (Cause.BOUNCED, "undeliverable:bounced", "invalid"),
    ],
)
@pytest.mark.parametrize("name", ["ann@a.test", "a.test"])
@pytest.mark.parametrize("is_fresh", [False, True])
def test_the_lists_decide_for_an_address_or_its_whole_domain_also_when_fresh(
    known: Facts, cause: Cause, state: str, status: str, name: str, is_fresh: bool
) -> None:
    known.keep(verdict("ann@a.test"))
    known.store.suppress([Suppressed(name=name, cause=cause, added_at=BEGAN, note="said so")])
    found = asyncio.run(_recall(known.memory(is_fresh=is_fresh), [Address("ann", "a.test"), Address("ann", "b.test")]))
    assert {text: one.state for text, one in found.items()} == {"ann@a.test": state}
    assert found["ann@a.test"].status[0] == status
    assert "said so" in found["ann@a.test"].proof.detail
    assert found["ann@a.test"].traits.role, "what is known without asking is told too"


def test_an_address_is_found_in_capital_letters_too(known: Facts) -> None:
    known.store.suppress([Suppressed(name="ann@a.test", cause=Cause.OPT_OUT, added_at=BEGAN)])
    assert known.recall("Ann@a.test") == {"Ann@a.test": "unknown:opt_out"}


def test_the_address_itself_outweighs_its_domain(known: Facts) -> None:
    for name, cause in (("a.test", Cause.DO_NOT_MAIL), ("ann@a.test", Cause.OPT_OUT)):
        known.store.suppress([Suppressed(name=name, cause=cause, added_at=BEGAN)])
    assert known.recall("ann@a.test") == {"ann@a.test": "unknown:opt_out"}


# Deliveries -----------------------------------------------------------------------------------------------------------


def delivered(local: str, outcome: DeliveryOutcome, at: float = BEGAN) -> Delivered:
    return Delivered(address=f"{local}@a.test", domain="a.test", at=at, outcome=outcome, said="550 5.1.1 gone")


@pytest.mark.parametrize("outcome", [DeliveryOutcome.BOUNCED, DeliveryOutcome.BOUNCED_LATER])
def test_an_address_whose_mail_came_back_is_undeliverable_with_the_words(
    known: Facts, outcome: DeliveryOutcome
) -> None:
    known.store.note_deliveries([delivered("ann", outcome)])
    found = asyncio.run(_recall(known.memory(), [Address("ann", "a.test")]))["ann@a.test"]
    assert found.state == "undeliverable:bounced" and "550 5.1.1 gone" in found.proof.detail


def test_a_bounce_stands_for_three_months(known: Facts) -> None:
    known.store.note_deliveries([delivered("ann", DeliveryOutcome.BOUNCED)])
    known.clock.now += 89 * DAY_S
    assert known.recall("ann@a.test") == {"ann@a.test": "undeliverable:bounced"}
    known.clock.now += 2 * DAY_S
    assert known.recall("ann@a.test") == {}


def test_a_verdict_is_used_no_longer_than_is_wanted_now(known: Facts) -> None:
    host = Host(decide=knows("ann"))
    verify({"a.test": host}, "ann@a.test", memory=known.memory(), clock=known.clock)
    known.clock.now += 2 * DAY_S
    assert known.recall("ann@a.test") == {"ann@a.test": "deliverable:accepted"}
    strict = FactMemory(
        known.store, clock=known.clock, describe=lambda address: Traits(), time_to_live=TimeToLive(deliverable_s=DAY_S)
    )
    assert asyncio.run(_recall(strict, [Address("ann", "a.test")])) == {}


def test_a_delivery_says_nothing_against_an_address(known: Facts) -> None:
    known.store.note_deliveries([delivered("ann", DeliveryOutcome.DELIVERED)])
    assert known.recall("ann@a.test") == {}


@pytest.mark.parametrize("bounces", [BOUNCES_BELIEVED - 1, BOUNCES_BELIEVED])
def test_a_domain_that_takes_mail_and_sends_it_back_is_known_by_it(known: Facts, bounces: int) -> None:
    later = [delivered(f"u{number}", DeliveryOutcome.BOUNCED_LATER) for number in range(bounces)]
    known.store.note_deliveries(later)
    memory = known.memory()
    asyncio.run(_recall(memory, [Address("ann", "a.test")]))
    facts = DomainFacts()
    memory.recall_domain("a.test", facts)
    assert facts.bounces_later is (bounces >= BOUNCES_BELIEVED)


def test_accepted_where_mail_came_back_before_is_risky(known: Facts) -> None:
    known.store.note_deliveries([delivered(f"u{number}", DeliveryOutcome.BOUNCED_LATER) for number in range(3)])
    ran = verify(
        {"a.test": Host(decide=knows("ann"))}, "ann@a.test", "bob@a.test", memory=known.memory(), clock=known.clock
    )
    assert ran.states == {"ann@a.test": "risky:accepts_then_bounces", "bob@a.test": "undeliverable:mailbox_unknown"}


# Domains --------------------------------------------------------------------------------------------------------------


def strangers(host: Host) -> int:
    """Questions about recipients that were made up."""
    listed = {"ann", "bob", "eve", "joe"}
    return sum(count for local, count in recipients(host).items() if local not in listed)


def test_v07_a_domain_known_to_take_everybody_is_not_asked_about_a_made_up_one_again(known: Facts) -> None:
    host = Host(answers={"RCPT": b"250 2.1.5 ok\r\n"})
    verify({"a.test": host}, "ann@a.test", memory=known.memory(), clock=known.clock)
    assert strangers(host) == 1
    ran = verify({"a.test": host}, "bob@a.test", memory=known.memory(), clock=known.clock)
    assert ran.states == {"bob@a.test": "risky:catch_all"} and strangers(host) == 1
    verify({"a.test": host}, "eve@a.test", memory=known.memory(is_fresh=True), clock=known.clock)
    assert strangers(host) == 2, "but for a run that is fresh"
    known.clock.now += 15 * DAY_S
    verify({"a.test": host}, "joe@a.test", memory=known.memory(), clock=known.clock)
    assert strangers(host) == 3, "nor for ever"


def test_what_was_heard_of_the_domain_last_of_all_is_kept_too(known: Facts) -> None:
    def decide(command: str, accepted: int) -> bytes | None:
        return knows()(command, accepted) if "<ann@" in command else greylisted(command, accepted)

    greylisted = greylists(100, knows())
    verify({"a.test": Host(decide=decide)}, "ann@a.test", memory=known.memory(), clock=known.clock)
    assert known.store.catch_all(["a.test"], since=0.0) == {"a.test": False}


def test_who_is_known_is_not_asked_and_what_was_found_is_kept(known: Facts) -> None:
    host = Host(decide=knows("ann"))
    verify({"a.test": host}, "ann@a.test", "bob@a.test", memory=known.memory(), clock=known.clock)
    ran = verify({"a.test": host}, "ann@a.test", "bob@a.test", "eve@a.test", memory=known.memory(), clock=known.clock)
    assert ran.states["ann@a.test"] == "deliverable:accepted" and len(ran.verdicts) == 3
    assert recipients(host)["ann"] == recipients(host)["bob"] == recipients(host)["eve"] == 1


def test_domains_that_are_never_asked_for_do_not_pile_up(known: Facts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT_DOMAINS", 10)
    for number in range(50):
        known.store.keep_domain(f"d{number}.test", catch_all=True, now=BEGAN)
    memory = known.memory()
    for number in range(50):
        asyncio.run(_recall(memory, [Address("ann", f"d{number}.test")]))
    assert len(memory._catch_all) <= 10
    facts = DomainFacts()
    memory.recall_domain("d49.test", facts)
    assert facts.catch_all is True and facts.is_settled


def test_without_a_store_nothing_is_known() -> None:
    memory = NoMemory()
    assert asyncio.run(_nothing(memory)) == {}


async def _nothing(memory: NoMemory) -> dict[str, Verdict]:
    await memory.keep([verdict("ann@a.test")])
    memory.note_domain("a.test", DomainFacts())
    return dict(await memory.recall([Address("ann", "a.test")]))
