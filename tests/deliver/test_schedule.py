"""The schedule: fair, bounded, and never giving the same recipient out twice."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from postroad.deliver.schedule import Schedule, ScheduleLimits, WorkItem
from postroad.deliver.turns import of_others
from postroad.message.envelope import Recipient
from postroad.smtp.address import Address
from postroad.store.spool import Queued


def queued(
    number: int, domain: str = "example.org", message: int = 1, *, priority: int = 0, stream: str = ""
) -> Queued:
    to = Recipient(Address(f"user{number}", domain))
    return Queued(id=number, message_id=message, recipient=to, due_at=0.0, attempts=0, priority=priority, stream=stream)


def drained(schedule: Schedule, now: float) -> list[WorkItem]:
    items = []
    while (item := schedule.next_ready(now)) is not None:
        items.append(item)
    return items


def test_what_is_due_comes_at_once() -> None:
    schedule = Schedule()
    assert schedule.add(queued(1), 5.0, 5.0)
    item = schedule.next_ready(5.0)
    assert item is not None
    assert [one.id for one in item.queued] == [1]
    assert schedule.next_ready(5.0) is None


def test_what_is_due_later_waits() -> None:
    schedule = Schedule()
    schedule.begin_refill()
    schedule.end_refill()
    schedule.add(queued(1), 10.0, 5.0)
    schedule.add(queued(2), 8.0, 5.0)
    assert schedule.next_ready(7.9) is None
    assert schedule.next_wakeup() == 8.0
    assert [one.id for item in drained(schedule, 10.0) for one in item.queued] == [2, 1]
    assert schedule.next_wakeup() is None


def test_recipients_of_one_message_in_one_domain_go_together() -> None:
    schedule = Schedule(ScheduleLimits(recipients_per_item=3))
    for number in range(7):
        schedule.add(queued(number), 0.0, 0.0)
    schedule.add(queued(7, "example.net"), 0.0, 0.0)
    schedule.add(queued(8, message=2), 0.0, 0.0)
    items = drained(schedule, 0.0)
    assert sorted((item.domain, item.message_id, len(item.queued)) for item in items) == [
        ("example.net", 1, 1),
        ("example.org", 1, 1),
        ("example.org", 1, 3),
        ("example.org", 1, 3),
        ("example.org", 2, 1),
    ]


def test_domains_take_turns() -> None:
    schedule = Schedule()
    for number in range(10):
        schedule.add(queued(number, "big.example", message=number), 0.0, 0.0)
    schedule.add(queued(100, "small.example", message=100), 0.0, 0.0)
    first, second = schedule.next_ready(0.0), schedule.next_ready(0.0)
    assert first is not None
    assert second is not None
    assert {first.domain, second.domain} == {"big.example", "small.example"}


def test_limits_of_work_under_way() -> None:
    schedule = Schedule(ScheduleLimits(per_domain=2, total=3))
    for number in range(10):
        schedule.add(queued(number, f"d{number % 2}.example", message=number), 0.0, 0.0)
    items = drained(schedule, 0.0)
    assert Counter(item.domain for item in items) in (
        {"d0.example": 2, "d1.example": 1},
        {"d0.example": 1, "d1.example": 2},
    )
    schedule.attempted(items[0])  # frees the domain, not the whole
    assert schedule.next_ready(0.0) is None
    schedule.done(items[0])
    assert schedule.next_ready(0.0) is not None


def test_a_recipient_held_is_not_taken_twice() -> None:
    schedule = Schedule()
    assert schedule.add(queued(1), 0.0, 0.0)
    assert not schedule.add(queued(1), 0.0, 0.0)
    (item,) = drained(schedule, 0.0)
    assert not schedule.add(queued(1), 0.0, 0.0)
    schedule.done(item)
    assert schedule.add(queued(1), 0.0, 0.0)


def test_what_a_refill_read_before_it_was_settled_is_not_taken_back() -> None:
    schedule = Schedule()
    schedule.add(queued(1), 0.0, 0.0)
    (item,) = drained(schedule, 0.0)
    schedule.begin_refill()
    read = [(queued(1), 0.0), (queued(2), 0.0)]
    schedule.done(item)
    assert schedule.take(read, 0.0)
    schedule.end_refill()
    assert [one.id for item in drained(schedule, 0.0) for one in item.queued] == [2]


def test_what_finds_no_room_is_read_again_once_there_is_some() -> None:
    schedule = Schedule(ScheduleLimits(capacity=4, total=10, reserved_share=0))
    assert schedule.wants_refill(0.0), "at first nobody knows what the spool holds"
    schedule.begin_refill()
    schedule.end_refill()
    assert not schedule.wants_refill(0.0)
    for number in range(5):
        schedule.add(queued(number, message=number), 0.0, 0.0)
    assert len(schedule) == 4
    assert not schedule.wants_refill(0.0), "there is no room"
    for item in drained(schedule, 0.0)[:3]:
        schedule.done(item)
    assert schedule.wants_refill(0.0)
    assert schedule.next_wakeup() == 0.0


def test_what_waits_leaves_half_the_room_to_what_is_due() -> None:
    schedule = Schedule(ScheduleLimits(capacity=4, reserved_share=0))
    schedule.begin_refill()
    schedule.end_refill()
    assert [schedule.add(queued(number), 50.0 + number, 0.0) for number in range(4)] == [True, True, False, False]
    assert schedule.add(queued(10), 0.0, 0.0)
    assert not schedule.wants_refill(51.0)
    assert [len(item.queued) for item in drained(schedule, 52.0)] == [3]
    assert schedule.next_wakeup() == 52.0


def test_retry_now_and_remove() -> None:
    schedule = Schedule()
    schedule.add(queued(1, message=1), 100.0, 0.0)
    schedule.add(queued(2, message=2), 100.0, 0.0)
    schedule.add(queued(3, message=3), 0.0, 0.0)
    assert schedule.retry_now(1, 0.0) == 1
    assert schedule.retry_now(1, 0.0) == 0
    assert schedule.remove(2) == 1
    assert schedule.remove(3) == 1
    assert [item.message_id for item in drained(schedule, 200.0)] == [1]
    assert len(schedule) == 1


def test_forget_leaves_what_is_under_way() -> None:
    schedule = Schedule()
    schedule.add(queued(1, message=1), 0.0, 0.0)
    (item,) = drained(schedule, 0.0)
    schedule.add(queued(2, message=2), 0.0, 0.0)
    schedule.add(queued(3, message=3), 9.0, 0.0)
    schedule.begin_refill()
    schedule.end_refill()
    assert schedule.forget() == 2
    assert schedule.wants_refill(0.0)
    assert len(schedule) == 1
    assert drained(schedule, 10.0) == []
    schedule.done(item)
    assert len(schedule) == 0


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5), st.floats(0, 10)), max_size=60))
def test_everything_added_comes_out_once_and_not_before_it_is_due(added: list[tuple[int, int, float]]) -> None:
    schedule = Schedule(ScheduleLimits(per_domain=100, total=1000))
    due = {}
    for number, (domain, message, at) in enumerate(added):
        assert schedule.add(queued(number, f"d{domain}.example", message), at, 0.0)
        due[number] = at
    seen: list[int] = []
    for now in range(11):
        for item in drained(schedule, float(now)):
            for one in item.queued:
                assert due[one.id] <= now
                seen.append(one.id)
            schedule.done(item)
    assert sorted(seen) == list(range(len(added)))
    assert len(schedule) == 0
    assert not schedule._lanes


class ScheduleMachine(RuleBasedStateMachine):
    """Against the simplest model: a set of what is held, and a set of what is under way."""

    items = Bundle("items")

    def __init__(self) -> None:
        super().__init__()
        self.limits = ScheduleLimits(capacity=12, per_domain=2, total=4, recipients_per_item=2)
        self.schedule = Schedule(self.limits)
        self.now = 0.0
        self.under_way_rows: dict[int, Queued] = {}

    @property
    def under_way(self) -> set[int]:
        return set(self.under_way_rows)

    @rule(number=st.integers(0, 40), wait=st.sampled_from([0.0, 0.0, 5.0]))
    def add(self, number: int, wait: float) -> None:
        one = queued(
            number,
            f"d{number % 3}.example",
            number % 5,
            priority=(0, -4, 4)[number % 5 % 3],
            stream=f"s{number % 5 % 2}",
        )
        self.schedule.add(one, self.now + wait, self.now)

    @rule(target=items)
    def pop(self) -> WorkItem | None:
        item = self.schedule.next_ready(self.now)
        if item is not None:
            numbers = {one.id for one in item.queued}
            assert not numbers & self.under_way
            assert 1 <= len(item.queued) <= 2
            self.under_way_rows |= {one.id: one for one in item.queued}
        return item

    @rule(item=items)
    def attempted(self, item: WorkItem | None) -> None:
        if item is not None and item.queued and item.queued[0].id in self.under_way and not item.is_attempted:
            self.schedule.attempted(item)

    @rule(item=consumes(items))
    def done(self, item: WorkItem | None) -> None:
        if item is not None:
            self.schedule.done(item)
            for one in item.queued:
                del self.under_way_rows[one.id]

    @rule(message=st.integers(0, 4))
    def remove(self, message: int) -> None:
        self.schedule.remove(message)

    @rule(message=st.integers(0, 4))
    def retry(self, message: int) -> None:
        self.schedule.retry_now(message, self.now)

    @rule()
    def forget(self) -> None:
        self.schedule.forget()

    @rule()
    def tick(self) -> None:
        self.now += 3.0

    @invariant()
    def bounded(self) -> None:
        assert len(self.schedule) <= self.limits.capacity
        assert self.schedule.waiting <= self.limits.capacity // 2
        assert self.schedule.in_flight <= self.limits.total
        assert len(self.schedule) >= len(self.under_way)
        lanes = self.schedule._lanes.values()
        assert all(lane.in_flight <= self.limits.per_domain for lane in lanes)
        bunches = [bunch for lane in lanes for bunch in lane.bunches.values()]
        ready = {one.id for bunch in bunches for together in bunch.ready.values() for one in together}
        waiting = {entry[2].id for entry in self.schedule._waiting}
        assert ready | waiting | self.under_way == self.schedule._held
        everything = [one for bunch in bunches for together in bunch.ready.values() for one in together]
        everything += [entry[2] for entry in self.schedule._waiting]
        held = Counter(one.stream for one in (*everything, *self.under_way_rows.values()) if one.priority >= 0)
        assert dict(held) == self.schedule._by_stream
        taking_turns = [
            bunch for streams in self.schedule._turns._levels for each in streams.values() for bunch in each
        ]
        parked = [bunch for lane in lanes for each in lane.parked or () for bunch in each]
        assert Counter(map(id, bunches)) == Counter(map(id, taking_turns + parked)), "each is in one place"
        for bunch in parked:
            lane = bunch.lane
            has_room = lane.room(bunch.level, self.limits.per_domain, of_others(self.limits.per_domain)) > 0
            others = [one for one in taking_turns if one.lane is lane and one.level == bunch.level]
            assert others or not has_room, "nobody waits beside a free place"


TestScheduleMachine = ScheduleMachine.TestCase
TestScheduleMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
