"""What is remembered of sites, over restarts and between processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from postroad.store.site_book import FOR_GOOD, MAX_SEEN, SEEN_S, Seen, SiteBook, Wish, claimed

NOW = 1_900_000_000.0


@pytest.fixture
def book(tmp_path: Path) -> Iterator[SiteBook]:
    with SiteBook(tmp_path / "sites.db") as opened:
        yield opened


def seen(key: str, at: float, worker: int = 0) -> Seen:
    return Seen(worker=worker, key=key, source="", at=at, state={"connections": 1})


def test_what_an_operator_wants_is_there_for_other_processes_and_ends_in_time(book: SiteBook) -> None:
    book.want("a.test", {"connections": 2.0}, NOW + 60, NOW)
    with SiteBook(book.path) as other:
        assert other.wishes(NOW) == {"a.test": Wish(key="a.test", limits={"connections": 2.0}, until=NOW + 60)}
        assert other.wishes(NOW + 60)["a.test"].limits == {}


def test_limits_are_added_to_those_wanted_before_until_they_are_cleared(book: SiteBook) -> None:
    book.want("a.test", {"connections": 2.0}, NOW + 60, NOW)
    wish = book.want("a.test", {"messages_per_minute": 6.0}, FOR_GOOD, NOW)
    assert wish.limits == {"connections": 2.0, "messages_per_minute": 6.0}
    assert book.clear("a.test", NOW) and not book.clear("a.test", NOW)
    assert book.wishes(NOW)["a.test"].limits == {}


def test_a_pause_and_limits_do_not_touch_each_other_and_resume_ends_the_pause(book: SiteBook) -> None:
    book.want("a.test", {"connections": 2.0}, FOR_GOOD, NOW)
    book.pause("a.test", NOW + 60, NOW)
    assert book.wishes(NOW)["a.test"].paused_until == NOW + 60
    book.resume("a.test", NOW + 1)
    wish = book.wishes(NOW + 1)["a.test"]
    assert (wish.paused_until, wish.resumed_at, wish.limits) == (0.0, NOW + 1, {"connections": 2.0})


def test_of_each_site_the_last_look_of_each_worker_is_kept_and_not_for_ever(book: SiteBook) -> None:
    book.note([seen("a.test", NOW), seen("a.test", NOW + 5, worker=1), seen("b.test", NOW)])
    book.note([seen("a.test", NOW + 9)])
    assert [(one.worker, one.at) for one in book.seen("a.test")] == [(0, NOW + 9), (1, NOW + 5)]
    book.note([seen("c.test", NOW + SEEN_S + 7)])
    assert {one.key for one in book.seen()} == {"a.test", "c.test"}


def test_so_many_sites_are_remembered_and_no_more(book: SiteBook) -> None:
    book.note([seen(f"{number}.test", NOW + number / 1000) for number in range(MAX_SEEN + 10)])
    keys = {one.key for one in book.seen()}
    assert len(keys) == MAX_SEEN and "0.test" not in keys


def test_what_a_source_sent_is_counted_by_day_and_site(book: SiteBook) -> None:
    book.add_used("2030-01-31", {("s1", ""): 3, ("s1", "a.test"): 2})
    book.add_used("2030-01-31", {("s1", ""): 1})
    assert book.used("2030-01-31") == {("s1", ""): 4, ("s1", "a.test"): 2}
    book.add_used("2030-02-01", {("s1", ""): 1})
    assert book.used("2030-01-31") == {("s1", ""): 4}, "of past days the sites are forgotten"
    assert book.first_days() == {"s1": "2030-01-31"}


def test_of_a_quota_all_together_take_no_more_than_there_is(book: SiteBook) -> None:
    key = ("s1", "")
    assert book.claim("2030-01-31", {key: (5, 8)}) == {key: 5}
    assert book.claim("2030-01-31", {key: (5, 8)}) == {key: 3}
    assert book.claim("2030-01-31", {key: (5, 8)}) == {}
    book.add_used("2030-01-31", {("s1", claimed("")): -2})
    assert book.claim("2030-01-31", {key: (5, 8)}) == {key: 2}
    assert book.totals("2030-01-31") == {("s1", claimed("")): 8}
    assert book.used("2030-01-31") == {} and book.first_days() == {}, "what was not sent is no use"
