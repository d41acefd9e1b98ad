"""A new address sends a little more each day; its mail is chosen by names, and always the same way."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from postroad.road.source import Source, SourcePool, Traits, in_order, pool_for
from postroad.road.warm_up import DAY_S, WarmUp, part_of, until_tomorrow

ONE, TWO = Source(name="one", ipv4="192.0.2.1", weight=3), Source(name="two", ipv4="192.0.2.2")


def mail(**traits: object) -> Traits:
    given_traits = {"sender_domain": "us.test", "user": "ann", "recipient_domain": "them.test", "priority": 0, **traits}
    return Traits(**given_traits)  # type: ignore[arg-type]


@given(st.integers(1, 1_000_000), st.floats(1, 10), st.integers(1, 365))
def test_each_day_of_a_warm_up_has_at_least_the_messages_of_the_day_before_until_it_is_over(
    first: int, growth: float, days: int
) -> None:
    plan = WarmUp(first=first, growth=growth, days=days)
    quotas = [plan.quota(day) for day in range(days)]
    assert quotas[0] == first
    assert all(one is not None and other is not None and one <= other for one, other in pairwise(quotas))
    assert plan.quota(days) is None and plan.quota(-1) == 0


@given(st.integers(-5, 10_000), st.integers(1, 32))
def test_all_workers_together_take_what_is_left_and_no_more(left: int, workers: int) -> None:
    assert sum(part_of(left, workers, index) for index in range(workers)) == max(0, left)


@given(st.floats(0, 4e9))
def test_tomorrow_is_at_most_a_day_away(wall: float) -> None:
    assert 0 < until_tomorrow(wall) <= DAY_S


def test_the_first_pool_that_takes_a_message_sends_it() -> None:
    bulk = SourcePool(name="bulk", sources=(ONE,), highest_priority=-1)
    news = SourcePool(name="news", sources=(ONE,), sender_domains=frozenset({"news.test"}), users=frozenset({"bob"}))
    them = SourcePool(name="them", sources=(ONE,), recipient_domains=frozenset({"them.test"}))
    pools = (bulk, news, them)
    assert pool_for(pools, mail(priority=-2)) is bulk
    assert pool_for(pools, mail(sender_domain="news.test", user="bob")) is news
    assert pool_for(pools, mail(sender_domain="news.test")) is them, "all that is said must fit"
    assert pool_for(pools, mail(recipient_domain="other.test")) is None


def test_a_message_to_a_site_keeps_its_source_and_weights_share_the_rest_out() -> None:
    pool = SourcePool(name="pool", sources=(ONE, TWO))
    assert all(in_order(pool, "a.test", 7) == in_order(pool, "a.test", 7) for _ in range(3))
    firsts = Counter(in_order(pool, "a.test", number)[0].name for number in range(4000))
    assert 0.70 < firsts["one"] / 4000 < 0.80, "three of four"
    assert all(len(in_order(pool, "a.test", number)) == 2 for number in range(10)), "the other one is next"
