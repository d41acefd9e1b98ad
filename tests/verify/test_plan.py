"""The plan: every address asked once, no site asked too much at a time, no domain left behind."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from postroad.smtp.address import Address
from postroad.verify.plan import Batch, Item, Plan, Share

DOMAINS = {"a.test": "one", "b.test": "one", "c.test": "two", "d.test": "three"}
PER_SITE, BATCH = 2, 3
NEVER = 1e9
SHARE = Share(batches=PER_SITE, batch_size=BATCH)


def item(number: int, domain: str) -> Item:
    return Item(number, Address(f"u{number}", domain))


def drain(plan: Plan) -> list[Batch]:
    """All batches, each ended before the next, whatever the time."""
    found = []
    while (batch := plan.next_batch(NEVER)) is not None:
        found.append(batch)
        plan.finished(batch)
    return found


def test_a_batch_is_of_one_domain_and_no_larger_than_a_session_bears() -> None:
    plan = Plan()
    for number in range(8):
        plan.add(item(number, "a.test" if number % 2 else "b.test"))
    plan.place("a.test", "one", SHARE)
    plan.place("b.test", "one", SHARE)
    for batch in drain(plan):
        assert {one.address.domain for one in batch.items} == {batch.domain}
        assert len(batch.items) <= 3


def test_a_large_domain_does_not_hold_up_the_small_ones() -> None:
    plan = Plan()
    for number in range(1000):
        plan.add(item(number, "a.test"))
    plan.add(item(1000, "c.test"))
    plan.add(item(1001, "b.test"))
    for domain, site in DOMAINS.items():
        plan.place(domain, site, Share(batches=1, batch_size=10))
    assert {"c.test", "b.test"} <= {batch.domain for batch in drain(plan)[:4]}


def test_a_domain_whose_site_is_not_known_yet_waits() -> None:
    plan = Plan()
    assert plan.add(item(1, "a.test")) is True
    assert plan.add(item(2, "a.test")) is False, "its site is looked for once"
    assert plan.next_batch(0) is None
    plan.place("a.test", "one", SHARE)
    batch = plan.next_batch(0)
    assert batch is not None and [one.id for one in batch.items] == [1, 2]


def test_what_got_no_hearing_is_asked_first_in_the_next_batch() -> None:
    plan = Plan()
    for number in range(4):
        plan.add(item(number, "a.test"))
    plan.place("a.test", "one", Share(batches=1, batch_size=2))
    first = plan.next_batch(0)
    assert first is not None
    plan.finished(first, first.items[1:])
    following = plan.next_batch(0)
    assert following is not None and [one.id for one in following.items] == [1, 2]


def test_a_domain_that_is_given_up_gives_all_its_addresses_back() -> None:
    plan = Plan()
    for number in range(3):
        plan.add(item(number, "a.test"))
    assert [one.id for one in plan.give_up("a.test")] == [0, 1, 2]
    assert plan.size == 0 and plan.next_batch(0) is None


def test_what_is_put_off_waits_while_the_rest_goes_on() -> None:
    plan = Plan()
    for number in range(3):
        plan.add(item(number, "a.test"))
    plan.place("a.test", "one", Share(batches=1, batch_size=2))
    first = plan.next_batch(0)
    assert first is not None
    plan.finished(first, later=[(100.0, first.items[0])])
    second = plan.next_batch(1)
    assert second is not None and [one.id for one in second.items] == [2]
    plan.finished(second)
    assert plan.next_batch(99) is None and plan.size == 1 and plan.deferred == 1
    assert plan.next_time() == 100
    third = plan.next_batch(100)
    assert third is not None and [one.id for one in third.items] == [0]


def test_v09_a_paused_site_is_left_alone_and_the_others_go_on() -> None:
    plan = Plan()
    for number, domain in enumerate(sorted(DOMAINS)):
        plan.add(item(number, domain))
        plan.place(domain, DOMAINS[domain], SHARE)
    plan.pause("one", 60.0)
    assert {batch.site for batch in drain_at(plan, 0)} == {"two", "three"}
    assert plan.next_time() == 60
    assert {batch.domain for batch in drain_at(plan, 60)} == {"a.test", "b.test"}


def test_what_was_put_off_at_a_site_can_be_called_back() -> None:
    plan = Plan()
    plan.add(item(0, "a.test"))
    plan.place("a.test", "one", SHARE)
    first = plan.next_batch(0)
    assert first is not None
    plan.finished(first, later=[(1000.0, first.items[0])])
    plan.pause("one", 500.0)
    plan.recall("one")
    assert [batch.items for batch in drain_at(plan, 1)] == [first.items]


def test_a_question_about_the_domain_comes_before_its_addresses() -> None:
    plan = Plan()
    for number in range(5):
        plan.add(item(number, "a.test"))
    plan.add(item(-1, "a.test"), is_first=True)
    plan.place("a.test", "one", SHARE)
    batch = plan.next_batch(0)
    assert batch is not None and [one.id for one in batch.items] == [-1, 0, 1]


def drain_at(plan: Plan, now: float) -> list[Batch]:
    """What may be asked at that time, each ended before the next."""
    found = []
    while (batch := plan.next_batch(now)) is not None:
        found.append(batch)
        plan.finished(batch)
    return found


def test_a_pause_of_a_site_that_is_done_with_or_recalled_is_not_waited_for() -> None:
    plan = Plan()
    plan.add(item(0, "a.test"))
    plan.place("a.test", "one", SHARE)
    first = plan.next_batch(0)
    assert first is not None
    plan.pause("one", 500.0)
    plan.finished(first, again=first.items)
    assert plan.next_time() == 500
    plan.recall("one")
    assert plan.next_time() is None
    plan.pause("one", 700.0)
    plan.give_up("a.test")
    assert plan.next_time() is None


def test_what_was_put_off_or_waits_is_given_up_with_the_rest() -> None:
    plan = Plan()
    for number in range(4):
        plan.add(item(number, "a.test"))
    plan.place("a.test", "one", Share(batches=1, batch_size=2))
    plan.add(item(4, "c.test"))
    first = plan.next_batch(0)
    assert first is not None
    plan.finished(first, later=[(100.0, first.items[0])])
    second = plan.next_batch(0)
    assert second is not None
    given_up = {one.id for _, items in plan.give_up_all() for one in items}
    assert given_up == {0, 4}, "those under way are with whoever asks about them"
    plan.finished(second)
    assert plan.size == plan.deferred == 0 and plan.next_time() is None


class PlanMachine(RuleBasedStateMachine):
    """Whatever the order of events, V-07 and the limits of a site hold, and nothing is forgotten."""

    def __init__(self) -> None:
        super().__init__()
        self.plan = Plan()
        self.now = 0.0
        self.paused: dict[str, float] = {}
        self.later: dict[int, float] = {}
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
        self.plan.place(domain, DOMAINS[domain], SHARE)

    @rule(seconds=st.integers(1, 30))
    def time_goes_on(self, seconds: int) -> None:
        self.now += seconds

    @rule(site=st.sampled_from(sorted(set(DOMAINS.values()))), seconds=st.integers(1, 50))
    def pause(self, site: str, seconds: int) -> None:
        if any(batch.site == site for batch in self.active):
            self.plan.pause(site, self.now + seconds)
            self.paused[site] = max(self.now + seconds, self.paused.get(site, 0.0))

    @rule(domain=st.sampled_from(sorted(DOMAINS)), seconds=st.integers(1, 50))
    def put_off(self, domain: str, seconds: int) -> None:
        self.plan.defer(domain, self.now + seconds)

    @rule()
    def begin(self) -> None:
        batch = self.plan.next_batch(self.now)
        if batch is not None:
            assert len(batch.items) <= BATCH
            assert all(self.later.pop(one.id, 0.0) <= self.now for one in batch.items), "asked too early"
            if any(other.site == batch.site for other in self.active):
                assert self.paused.get(batch.site, 0.0) <= self.now, "a paused site is asked"
            under_way = {one.id for other in self.active for one in other.items}
            assert not under_way & {one.id for one in batch.items}, "asked twice at a time"
            assert not self.ended & {one.id for one in batch.items}, "asked again"
            self.active.append(batch)

    @precondition(lambda self: self.active)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        batch = self.active.pop(data.draw(st.integers(0, len(self.active) - 1)))
        again = data.draw(st.sets(st.sampled_from(batch.items), max_size=len(batch.items) - 1))
        later = data.draw(st.sets(st.sampled_from(batch.items), max_size=len(batch.items) - 1)) - again
        self.later |= {one.id: self.now + 20 for one in later}
        self.plan.finished(batch, sorted(again, key=lambda one: one.id), [(self.now + 20, one) for one in later])
        self.ended |= {one.id for one in batch.items} - {one.id for one in again | later}

    @rule(domain=st.sampled_from(sorted(DOMAINS)))
    def give_up(self, domain: str) -> None:
        given_up = {one.id for one in self.plan.give_up(domain)}
        assert not given_up & self.ended
        self.ended |= given_up

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
            self.plan.place(domain, site, SHARE)
        self.ended |= {one.id for batch in drain(self.plan) for one in batch.items}
        assert self.ended == self.added


TestPlanMachine = PlanMachine.TestCase


@given(st.lists(st.sampled_from(sorted(DOMAINS)), max_size=60), st.integers(1, 7), st.integers(1, 3))
def test_v07_every_address_is_in_exactly_one_batch(domains: list[str], size: int, per_site: int) -> None:
    plan = Plan()
    for number, domain in enumerate(domains):
        plan.add(item(number, domain))
    for domain, site in DOMAINS.items():
        plan.place(domain, site, Share(batches=per_site, batch_size=size))
    asked = [one.id for batch in drain(plan) for one in batch.items]
    assert sorted(asked) == list(range(len(domains)))
