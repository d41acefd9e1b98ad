"""The plan: every address asked once, no site asked too much at a time, no domain left behind."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from postroad.smtp.address import Address
from postroad.verify.plan import Batch, Item, Plan

DOMAINS = {"a.test": "one", "b.test": "one", "c.test": "two", "d.test": "three"}
PER_SITE, BATCH = 2, 3


def item(number: int, domain: str) -> Item:
    return Item(number, Address(f"u{number}", domain))


def drain(plan: Plan) -> list[Batch]:
    """All batches, each ended before the next."""
    found = []
    while (batch := plan.next_batch()) is not None:
        found.append(batch)
        plan.finished(batch)
    return found


def test_a_batch_is_of_one_domain_and_no_larger_than_a_session_bears() -> None:
    plan = Plan(batch_size=3)
    for number in range(8):
        plan.add(item(number, "a.test" if number % 2 else "b.test"))
    plan.place("a.test", "one")
    plan.place("b.test", "one")
    for batch in drain(plan):
        assert {one.address.domain for one in batch.items} == {batch.domain}
        assert len(batch.items) <= 3


def test_a_large_domain_does_not_hold_up_the_small_ones() -> None:
    plan = Plan(batch_size=10, per_site=1)
    for number in range(1000):
        plan.add(item(number, "a.test"))
    plan.add(item(1000, "c.test"))
    plan.add(item(1001, "b.test"))
    for domain, site in DOMAINS.items():
        plan.place(domain, site)
    assert {"c.test", "b.test"} <= {batch.domain for batch in drain(plan)[:4]}


def test_a_domain_whose_site_is_not_known_yet_waits() -> None:
    plan = Plan()
    assert plan.add(item(1, "a.test")) is True
    assert plan.add(item(2, "a.test")) is False, "its site is looked for once"
    assert plan.next_batch() is None
    plan.place("a.test", "one")
    batch = plan.next_batch()
    assert batch is not None and [one.id for one in batch.items] == [1, 2]


def test_what_got_no_hearing_is_asked_first_in_the_next_batch() -> None:
    plan = Plan(batch_size=2, per_site=1)
    for number in range(4):
        plan.add(item(number, "a.test"))
    plan.place("a.test", "one")
    first = plan.next_batch()
    assert first is not None
    plan.finished(first, first.items[1:])
    following = plan.next_batch()
    assert following is not None and [one.id for one in following.items] == [1, 2]


def test_a_domain_that_is_given_up_gives_all_its_addresses_back() -> None:
    plan = Plan()
    for number in range(3):
        plan.add(item(number, "a.test"))
    assert [one.id for one in plan.give_up("a.test")] == [0, 1, 2]
    assert plan.size == 0 and plan.next_batch() is None


class PlanMachine(RuleBasedStateMachine):
    """Whatever the order of events, V-07 and the limits of a site hold, and nothing is forgotten."""

    def __init__(self) -> None:
        super().__init__()
        self.plan = Plan(batch_size=BATCH, per_site=PER_SITE)
        self.added: set[int] = set()
        self.ended: set[int] = set()
        self.active: list[Batch] = []
        self.placed: set[str] = set()

    @rule(domain=st.sampled_from(sorted(DOMAINS)), count=st.integers(1, 5))
    def add(self, domain: str, count: int) -> None:
        for _ in range(count):
            number = len(self.added)
            self.added.add(number)
            if self.plan.add(item(number, domain)):
                self.placed.discard(domain)

    @rule(domain=st.sampled_from(sorted(DOMAINS)))
    def place(self, domain: str) -> None:
        self.plan.place(domain, DOMAINS[domain])

    @rule()
    def begin(self) -> None:
        batch = self.plan.next_batch()
        if batch is not None:
            under_way = {one.id for other in self.active for one in other.items}
            assert not under_way & {one.id for one in batch.items}, "asked twice at a time"
            assert not self.ended & {one.id for one in batch.items}, "asked again"
            self.active.append(batch)

    @precondition(lambda self: self.active)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        batch = self.active.pop(data.draw(st.integers(0, len(self.active) - 1)))
        again = data.draw(st.sets(st.sampled_from(batch.items), max_size=len(batch.items) - 1))
        self.plan.finished(batch, sorted(again, key=lambda one: one.id))
        self.ended |= {one.id for one in batch.items} - {one.id for one in again}

    @rule(domain=st.sampled_from(sorted(DOMAINS)))
    def give_up(self, domain: str) -> None:
        self.ended |= {one.id for one in self.plan.give_up(domain)}

    @invariant()
    def no_site_is_asked_too_much(self) -> None:
        for site in set(DOMAINS.values()):
            assert sum(batch.site == site for batch in self.active) <= PER_SITE

    @invariant()
    def size_is_what_is_open(self) -> None:
        assert self.plan.size == len(self.added) - len(self.ended)

    def teardown(self) -> None:
        for batch in self.active:
            self.plan.finished(batch)
            self.ended |= {one.id for one in batch.items}
        for domain, site in DOMAINS.items():
            self.plan.place(domain, site)
        self.ended |= {one.id for batch in drain(self.plan) for one in batch.items}
        assert self.ended == self.added


TestPlanMachine = PlanMachine.TestCase


@given(st.lists(st.sampled_from(sorted(DOMAINS)), max_size=60), st.integers(1, 7), st.integers(1, 3))
def test_v07_every_address_is_in_exactly_one_batch(domains: list[str], size: int, per_site: int) -> None:
    plan = Plan(batch_size=size, per_site=per_site)
    for number, domain in enumerate(domains):
        plan.add(item(number, domain))
    for domain, site in DOMAINS.items():
        plan.place(domain, site)
    asked = [one.id for batch in drain(plan) for one in batch.items]
    assert sorted(asked) == list(range(len(domains)))
