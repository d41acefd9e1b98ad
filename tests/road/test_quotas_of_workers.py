"""Workers share a source's quota of a day: all together never send more, and who has the mail gets what is left."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from deliver.messages import envelope, message, queue
from postroad.compose.source_house import RETURN_S, SourceHouse
from postroad.road.opening import ConnectFailure
from postroad.road.route import Route, RouteHost
from postroad.road.site import Site, SiteLimits
from postroad.road.source import Source, SourcePool
from postroad.road.warm_up import WarmUp
from postroad.store.site_book import SiteBook
from road.test_sources import SteppedClock

DAY_S = 86_400.0


class Workers:
    def __init__(self, book: SiteBook, count: int, quota: int, *, is_per_site: bool = False) -> None:
        self.book, self.clock = book, SteppedClock()
        warm_up = WarmUp(first=quota, growth=1.0, days=10, is_per_site=is_per_site)
        pool = SourcePool(name="all", sources=(Source(name="new", ipv4="127.0.0.2", warm_up=warm_up),))
        self.houses = [SourceHouse(self.clock, count, index) for index in range(count)]
        for house in self.houses:
            house.use((pool,))
            self.look(house)
        self.numbers = iter(range(1, 1_000_000))

    def look(self, house: SourceHouse) -> None:
        house.learn(house.exchange(self.book, house.report(), self.clock.now))

    def send(self, house: SourceHouse, site: str = "a.test") -> Route | ConnectFailure:
        about = message(envelope(f"x@{site}"), number=next(self.numbers))
        route = Route(domain=site, hosts=(RouteHost(f"mx.{site}"),), site=Site(site, SiteLimits()))
        return house.choose(about, queue(about)[0], route)


@contextmanager
def working(count: int, quota: int, *, is_per_site: bool = False) -> Iterator[Workers]:
    with tempfile.TemporaryDirectory() as directory, SiteBook(Path(directory) / "sites.db") as book:
        yield Workers(book, count, quota, is_per_site=is_per_site)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 4),
    st.integers(0, 90),
    st.booleans(),
    st.lists(
        st.tuples(st.sampled_from(["send", "send", "fail", "look", "begin look", "restart"]), st.integers(0, 3)),
        max_size=120,
    ),
)
def test_however_looks_and_messages_follow_each_other_no_day_sees_more_than_the_quota(
    count: int, quota: int, is_per_site: bool, steps: list[tuple[str, int]]
) -> None:
    with working(count, quota, is_per_site=is_per_site) as workers:
        sent = 0
        for kind, index in steps:
            house = workers.houses[index % count]
            if kind in ("send", "fail"):
                for _ in range(10):
                    route = workers.send(house)
                    if isinstance(route, Route) and kind == "fail":
                        house.unused(route)
                    sent += isinstance(route, Route) and kind == "send"
            elif kind == "look":
                workers.look(house)
            elif kind == "begin look":
                report = house.report()
                found = house.exchange(workers.book, report, workers.clock.now)
                sent += sum(isinstance(workers.send(house), Route) for _ in range(5))
                house.learn(found)
            else:
                house.exchange(workers.book, house.report(is_last=True), workers.clock.now)
            assert sent <= quota


def test_the_worker_that_has_the_mail_gets_what_the_others_do_not_need() -> None:
    with working(4, 200) as workers:
        busy, sent = workers.houses[2], 0
        for _ in range(60):
            sent += sum(isinstance(workers.send(busy), Route) for _ in range(40))
            for house in workers.houses:
                workers.look(house)
            workers.clock.now += 2
        sent += sum(isinstance(workers.send(busy), Route) for _ in range(40))
        assert sent == 200
        workers.clock.now += RETURN_S
        refused = workers.send(busy)
        assert isinstance(refused, ConnectFailure) and refused.retry_after_s is not None
        assert refused.retry_after_s > 40_000 and "for today is used" in refused.last.detail


def test_mail_waits_for_tomorrow_only_when_the_quota_is_used_and_not_when_others_have_their_part_of_it() -> None:
    with working(2, 200) as workers:
        answers = [workers.send(workers.houses[0]) for _ in range(150)]
        refused = [one for one in answers if isinstance(one, ConnectFailure)]
        assert refused and all(one.retry_after_s is not None and one.retry_after_s < 60 for one in refused)


def test_a_new_day_begins_with_a_quota_of_its_own() -> None:
    with working(1, 5) as workers:
        (house,) = workers.houses
        assert sum(isinstance(workers.send(house), Route) for _ in range(9)) == 5
        workers.clock.now += DAY_S
        refused = workers.send(house)
        assert isinstance(refused, ConnectFailure) and "the day has just begun" in refused.last.detail
        workers.look(house)
        assert sum(isinstance(workers.send(house), Route) for _ in range(9)) == 5


def test_what_could_not_be_written_down_is_not_lost() -> None:
    with working(1, 50) as workers:
        (house,) = workers.houses
        assert isinstance(workers.send(house), Route)
        house.failed(house.report(is_last=True))
        assert sum(isinstance(workers.send(house), Route) for _ in range(30)) == 19, "the reserve is as it was"
        workers.look(house)
        assert workers.book.used("2030-03-17") == {("new", ""): 20, ("new", "a.test"): 20}


def test_each_site_has_a_quota_of_its_own_where_it_is_counted_alone() -> None:
    with working(1, 3, is_per_site=True) as workers:
        (house,) = workers.houses
        for site in ("a.test", "b.test"):
            workers.send(house, site)
            workers.look(house)
            assert sum(isinstance(workers.send(house, site), Route) for _ in range(9)) <= 3
            workers.look(house)
        assert sum(isinstance(workers.send(house, "a.test"), Route) for _ in range(9)) <= 3
