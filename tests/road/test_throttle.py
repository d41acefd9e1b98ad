"""How fast a site may be asked, in pure numbers: concurrency, rate, and back-off that doubles (V-09)."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from postroad.road.site import SiteLimits
from postroad.road.throttle import BackOff, Throttle

NEVER = float("inf")


def test_connections_are_opened_up_to_the_limit_and_again_when_one_is_closed() -> None:
    throttle = Throttle(SiteLimits(connections=2))
    throttle.opened()
    assert throttle.connection_wait(0.0) == 0
    throttle.opened()
    assert throttle.connection_wait(0.0) == NEVER
    throttle.closed()
    assert throttle.connection_wait(0.0) == 0


def test_v09_the_pause_doubles_with_each_trouble_up_to_its_ceiling() -> None:
    throttle = Throttle(SiteLimits(), BackOff(first_s=5, ceiling_s=60))
    pauses, now = [], 0.0
    for _ in range(6):
        pauses.append(throttle.trouble(now))
        assert throttle.connection_wait(now) == pauses[-1]
        now += pauses[-1]
        assert throttle.connection_wait(now) == 0
    assert pauses == [5, 10, 20, 40, 60, 60]


def test_v09_trouble_within_a_pause_is_the_same_trouble() -> None:
    throttle = Throttle(SiteLimits(), BackOff(first_s=8))
    assert throttle.trouble(0.0) == 8
    assert throttle.trouble(2.0) == 6
    assert throttle.trouble(8.0) == 16


def test_a_success_after_the_pause_forgets_the_troubles() -> None:
    throttle = Throttle(SiteLimits(), BackOff(first_s=5))
    throttle.trouble(0.0)
    throttle.trouble(5.0)
    throttle.success(15.0)
    assert throttle.connection_wait(15.0) == 0
    assert throttle.trouble(16.0) == 5


def test_v09_a_success_on_an_older_connection_does_not_end_the_pause_that_another_caused() -> None:
    throttle = Throttle(SiteLimits(), BackOff(first_s=5))
    throttle.trouble(0.0)
    throttle.success(1.0)
    assert throttle.connection_wait(1.0) == 4
    assert throttle.trouble(5.0) == 10


def test_trouble_of_pace_halves_what_the_site_bears_and_successes_add_to_it_slowly() -> None:
    limits = SiteLimits(connections=20, messages_per_minute=600)
    throttle = Throttle(limits, BackOff(first_s=5, grow=0.1, grow_s=60))
    throttle.trouble(0.0, is_of_pace=True)
    assert (throttle.most, throttle.rate) == (10, 300)
    throttle.trouble(5.0, is_of_pace=True)
    assert (throttle.most, throttle.rate) == (5, 150)
    assert not throttle.success(16.0), "the last trouble is too near"
    assert throttle.success(80.0) and throttle.most == 7
    assert not throttle.success(81.0), "one step a minute, however many messages go"
    for minute in range(1, 9):
        throttle.success(80.0 + 60 * minute)
    assert (throttle.most, throttle.rate) == (20, 600)


def test_a_host_that_cannot_be_reached_says_nothing_of_our_pace() -> None:
    throttle = Throttle(SiteLimits(connections=20))
    throttle.trouble(0.0)
    assert throttle.most == 20


@given(
    st.integers(1, 100),
    st.lists(st.tuples(st.sampled_from(["trouble", "pace", "success"]), st.floats(0, 4000)), max_size=60),
)
def test_whatever_happens_the_share_stays_between_its_floor_and_the_limits(
    connections: int, events: list[tuple[str, float]]
) -> None:
    back_off = BackOff()
    limits = SiteLimits(connections=connections, messages_per_minute=60)
    throttle, now = Throttle(limits, back_off), 0.0
    for kind, step in events:
        now += step
        before = throttle.learnt(now).share
        if kind == "success":
            throttle.success(now)
            assert before <= throttle.learnt(now).share <= before + back_off.grow + 1e-9
        else:
            throttle.trouble(now, is_of_pace=kind == "pace")
            assert throttle.learnt(now).share <= before
        assert 1 <= throttle.most <= connections
        assert throttle.rate is not None and 60 * back_off.least <= throttle.rate <= 60
        again = Throttle(limits, back_off)
        again.remember(throttle.learnt(now), 0.0)
        assert (again.most, again.rate) == (throttle.most, throttle.rate), "a restart forgets nothing"
        assert abs(again.pause_wait(0.0) - throttle.pause_wait(now)) < 1e-3


def test_a_hold_of_an_operators_is_no_trouble_and_ends_when_told() -> None:
    throttle = Throttle(SiteLimits())
    throttle.hold(100.0)
    assert throttle.is_held(1.0) and throttle.connection_wait(1.0) == 99
    assert throttle.learnt(1.0).is_nothing
    throttle.hold(0.0)
    assert throttle.connection_wait(1.0) == 0


def test_a_rate_of_less_than_one_a_minute_holds_exactly() -> None:
    throttle = Throttle(SiteLimits(messages_per_minute=0.25))
    throttle.message_begun(0.0)
    throttle.message_ended(0.0)
    assert throttle.message_wait(10.0) == 230


def test_limits_may_change_while_the_site_is_used() -> None:
    throttle = Throttle(SiteLimits(connections=4))
    throttle.message_begun(0.0)
    throttle.use(SiteLimits(connections=2, messages_per_minute=1))
    throttle.message_ended(0.0)
    assert throttle.most == 2 and throttle.message_wait(0.0) == 0
    throttle.message_begun(0.0)
    throttle.message_ended(1.0)
    assert throttle.message_wait(1.0) == 60


def test_a_site_with_no_rate_is_never_waited_for() -> None:
    throttle = Throttle(SiteLimits())
    for _ in range(10_000):
        throttle.message_begun(0.0)
    assert throttle.message_wait(0.0) == 0


def test_a_full_site_is_full_also_in_a_pause() -> None:
    throttle = Throttle(SiteLimits(connections=1))
    throttle.opened()
    throttle.trouble(0.0)
    assert throttle.connection_wait(1.0) == NEVER


def test_trouble_without_end_never_overflows() -> None:
    throttle = Throttle(SiteLimits(), BackOff(first_s=1, ceiling_s=100))
    now = 0.0
    for _ in range(2000):
        now += throttle.trouble(now)
    assert throttle.trouble(now) == 100


@given(
    rate=st.integers(1, 20),
    steps=st.lists(st.floats(0, 30), min_size=1, max_size=80),
)
def test_no_minute_sees_more_messages_than_the_rate_and_waiting_as_told_is_enough(
    rate: int, steps: list[float]
) -> None:
    throttle = Throttle(SiteLimits(messages_per_minute=rate))
    now, sent = 0.0, list[float]()
    for step in steps:
        now += step
        for _ in range(3):  # the waits told are exact but for the rounding of floats
            now += throttle.message_wait(now)
        assert throttle.message_wait(now) < 1e-6
        throttle.message_begun(now)
        throttle.message_ended(now)
        sent.append(now)
    for first, last in zip(sent, sent[rate:], strict=False):
        assert last - first >= 60 - 1e-6


@given(st.lists(st.tuples(st.sampled_from(["trouble", "success"]), st.floats(0, 5000)), max_size=50))
def test_v09_a_pause_is_never_longer_than_the_ceiling_nor_shorter_than_the_first(
    events: list[tuple[str, float]],
) -> None:
    throttle, now = Throttle(SiteLimits(), BackOff(first_s=5, ceiling_s=1800)), 0.0
    given_pauses = [(0.0, 0.0)]
    for kind, step in events:
        now += step
        if kind == "success" and throttle.pause_wait(now) == 0:
            throttle.success(now)
            given_pauses = [(0.0, 0.0)]
        elif throttle.connection_wait(now) == 0:
            given_pauses.append((now, throttle.trouble(now)))
            assert 5 <= given_pauses[-1][1] <= 1800
    assert all(later[1] >= earlier[1] for earlier, later in pairwise(given_pauses))


def test_no_minute_sees_more_recipients_than_the_rate() -> None:
    throttle = Throttle(SiteLimits(recipients_per_minute=100))
    assert throttle.message_wait(0.0, 60) == 0
    throttle.message_begun(0.0, 60)
    throttle.message_ended(0.0, 60)
    assert throttle.message_wait(10.0, 40) == 0, "these fill the minute"
    assert throttle.message_wait(10.0, 41) == 50, "and one more waits for the first to grow old"
    throttle.message_begun(10.0, 40)
    throttle.message_ended(10.0, 40)
    assert throttle.message_wait(20.0, 50) == 40
    assert throttle.message_wait(20.0, 70) == 50, "which needs both to have grown old"
    assert throttle.message_wait(70.5, 500) == 0, "more than a minute allows goes into an empty one"


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(1, 120)), max_size=60), st.integers(1, 200))
def test_whatever_is_asked_for_the_rate_of_recipients_holds(asked: list[tuple[float, int]], rate: int) -> None:
    throttle = Throttle(SiteLimits(recipients_per_minute=rate))
    now, begun = 0.0, list[tuple[float, int]]()
    for pause, count in asked:
        now += pause
        count = min(count, rate)
        now += throttle.message_wait(now, count)
        throttle.message_begun(now, count)
        throttle.message_ended(now, count)
        begun.append((now, count))
    for start, _ in begun:
        assert sum(count for at, count in begun if start <= at < start + 59.999) <= rate


def test_what_is_under_way_counts_until_a_minute_after_its_end() -> None:
    throttle = Throttle(SiteLimits(recipients_per_minute=50))
    throttle.message_begun(0.0, 50)
    assert throttle.message_wait(300.0, 1) > 0, "a slow host may hear the last of them only now"
    throttle.message_ended(300.0, 50)
    assert throttle.message_wait(310.0, 1) == 50
    assert throttle.message_wait(360.0, 50) == 0
