"""Whose turn it is: urgent before bulk, streams one after another, nobody starved, room kept for who has little."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from deliver.test_schedule import drained, queued
from postroad.deliver.schedule import Schedule, ScheduleLimits, WorkItem
from postroad.deliver.turns import of_others


def one_by_one(schedule: Schedule, count: int) -> list[WorkItem]:
    """The items in the order in which a single place under way would take them."""
    items: list[WorkItem] = []
    while len(items) < count and (item := schedule.next_ready(0.0)) is not None:
        items.append(item)
        schedule.done(item)
    return items


def test_one_message_does_not_wait_for_another_senders_hundred_thousand() -> None:
    schedule = Schedule(ScheduleLimits(capacity=200_000))
    for number in range(100_000):
        schedule.add(queued(number, message=number, stream="many"), 0.0, 0.0)
    schedule.add(queued(100_001, message=100_001, stream="one"), 0.0, 0.0)
    assert "one" in [item.queued[0].stream for item in one_by_one(schedule, 2)]


def test_nor_where_these_go_to_as_many_domains() -> None:
    schedule = Schedule()
    for number in range(5000):
        schedule.add(queued(number, f"d{number}.example", number, stream="many"), 0.0, 0.0)
    schedule.add(queued(5001, "other.example", 5001, stream="one"), 0.0, 0.0)
    assert "one" in [item.queued[0].stream for item in one_by_one(schedule, 2)]


def test_nor_where_the_domain_has_enough_under_way() -> None:
    schedule = Schedule(ScheduleLimits(per_domain=3))
    for number in range(1000):
        schedule.add(queued(number, message=number, stream="many"), 0.0, 0.0)
    under_way = drained(schedule, 0.0)
    assert len(under_way) == 3
    schedule.add(queued(1001, message=1001, stream="one"), 0.0, 0.0)
    streams = []
    for _ in range(2):
        schedule.done(under_way.pop(0))
        under_way += drained(schedule, 0.0)
        streams.append(under_way[-1].queued[0].stream)
    assert "one" in streams


def test_urgent_goes_before_bulk_and_bulk_gets_its_share() -> None:
    schedule = Schedule(ScheduleLimits(bulk_share=0.2))
    for number in range(100):
        schedule.add(queued(number, message=number, priority=-4), 0.0, 0.0)
        schedule.add(queued(1000 + number, message=1000 + number), 0.0, 0.0)
    items = one_by_one(schedule, 50)
    assert items[0].queued[0].priority == 0
    assert Counter(item.queued[0].priority for item in items) == {0: 40, -4: 10}


def test_normal_mail_gets_its_share_beside_urgent_mail() -> None:
    schedule = Schedule()
    for number in range(100):
        schedule.add(queued(number, message=number, priority=5), 0.0, 0.0)
        schedule.add(queued(1000 + number, message=1000 + number), 0.0, 0.0)
    assert Counter(item.queued[0].priority for item in one_by_one(schedule, 40)) == {5: 30, 0: 10}


def test_bulk_alone_has_all_turns() -> None:
    schedule = Schedule()
    for number in range(50):
        schedule.add(queued(number, message=number, priority=-1), 0.0, 0.0)
    assert len(one_by_one(schedule, 100)) == 50


def test_bulk_leaves_places_under_way_to_other_mail() -> None:
    schedule = Schedule(ScheduleLimits(per_domain=10, total=20))
    for number in range(100):
        schedule.add(queued(number, f"d{number % 5}.example", number, priority=-1), 0.0, 0.0)
    assert len(drained(schedule, 0.0)) == of_others(20) == 18
    schedule.add(queued(200, "d0.example", 200), 0.0, 0.0)
    assert [item.message_id for item in drained(schedule, 0.0)] == [200]


def test_bulk_leaves_room_in_the_window() -> None:
    schedule = Schedule(ScheduleLimits(capacity=100))
    taken = [schedule.add(queued(number, message=number, priority=-1), 0.0, 0.0) for number in range(200)]
    assert sum(taken) == 75
    assert schedule.add(queued(300, message=300), 0.0, 0.0)


def test_a_flood_leaves_room_in_the_window_to_other_streams() -> None:
    schedule = Schedule(ScheduleLimits(capacity=100))
    for number in range(200):
        schedule.add(queued(number, message=number, stream="many"), 0.0, 0.0)
    assert len(schedule) == 75
    assert schedule.add(queued(300, message=300, stream="one"), 0.0, 0.0)


@given(
    st.lists(st.tuples(st.integers(-9, 9), st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=120),
    st.floats(0.05, 1.0),
)
def test_nobody_starves_and_nothing_is_lost(added: list[tuple[int, int, int]], bulk_share: float) -> None:
    """However urgent the rest: of what bulk there is, one goes within 1/share turns, and all goes in the end."""
    schedule = Schedule(ScheduleLimits(bulk_share=bulk_share, capacity=10_000))
    for number, (priority, domain, stream) in enumerate(added):
        schedule.add(queued(number, f"d{domain}.example", number, priority=priority, stream=f"s{stream}"), 0.0, 0.0)
    order = [item.queued[0] for item in one_by_one(schedule, 1000)]
    assert sorted(one.id for one in order) == list(range(len(added)))
    assert not schedule._lanes
    assert not schedule._by_stream
    bulk_places = [place for place, one in enumerate(order) if one.priority < 0]
    if bulk_places:
        assert bulk_places[0] <= 1 / bulk_share + 1
