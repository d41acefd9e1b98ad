"""What the door remembers: bans that grow with each time, triplets, and bounds for both."""

from __future__ import annotations

import multiprocessing
import pathlib
from multiprocessing.synchronize import Barrier

import pytest

from postroad.store import guard_book
from postroad.store.guard_book import Ban, GuardBook, Known, Step, Triplet


@pytest.fixture
def book(tmp_path: pathlib.Path) -> GuardBook:
    return GuardBook(tmp_path / "guard.db")


def again(book: GuardBook, now: float) -> Ban:
    return book.ban_again("192.0.2.1/32", "network", now=now, first_s=100, longest_s=350, reason="guessing")


def test_each_ban_within_a_day_lasts_twice_as_long_up_to_the_longest(book: GuardBook) -> None:
    lengths = []
    now = 1000.0
    for _ in range(4):
        ban = again(book, now)
        lengths.append(ban.until - now)
        now = ban.until + 1
    assert lengths == [100, 200, 350, 350]
    assert again(book, now + guard_book.BAN_REMEMBERED_S + 1).until - now - guard_book.BAN_REMEMBERED_S - 1 == 100


def test_a_ban_by_hand_is_not_shortened_by_a_failure(book: GuardBook) -> None:
    by_hand = Ban(subject="192.0.2.1/32", kind="network", reach="all", made_at=0.0, until=1e9, reason="spam")
    book.ban(by_hand)
    assert again(book, 1000.0) == by_hand
    assert book.bans(1000.0) == [by_hand]


def test_whoever_looks_sees_that_bans_have_changed_and_those_that_ended_are_gone(book: GuardBook) -> None:
    before = book.revision()
    ban = again(book, 1000.0)
    assert book.revision() != before
    assert book.bans(ban.until - 1) == [ban]
    assert book.bans(ban.until) == []
    changed = book.revision()
    assert book.unban("192.0.2.1/32")
    assert not book.unban("192.0.2.1/32")
    assert book.revision() != changed


def test_bans_are_bounded_and_the_one_that_ends_soonest_goes(book: GuardBook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard_book, "MAX_BANS", 3)
    for number in range(5):
        book.ban(Ban(subject=f"192.0.2.{number}/32", kind="network", reach="all", made_at=0.0, until=100.0 + number))
    assert [ban.subject for ban in book.bans(0.0)] == ["192.0.2.2/32", "192.0.2.3/32", "192.0.2.4/32"]


def test_a_triplet_is_written_as_was_decided_and_its_network_counts_the_passes(book: GuardBook) -> None:
    one = Triplet("192.0.2.0/24", "ann@a.test", "bob@us.test")
    asked: list[tuple[Known | None, int]] = []

    def decide(step: Step) -> object:
        def decided(known: Known | None, passes: int) -> tuple[float, Step]:
            asked.append((known, passes))
            return 7.0, step

        return decided

    for now, step in ((1.0, Step.BEGIN), (2.0, Step.NOTHING), (3.0, Step.PASS), (4.0, Step.SEEN), (5.0, Step.NOTHING)):
        assert book.greylist([one], decide(step), now=now) == [7.0]  # type: ignore[arg-type]
    assert asked == [
        (None, 0),
        (Known(1.0, 1.0, False), 0),
        (Known(1.0, 1.0, False), 0),
        (Known(1.0, 3.0, True), 1),
        (Known(1.0, 4.0, True), 1),
    ]
    assert book.triplets(10) == [(one, Known(1.0, 4.0, True))]


def test_old_triplets_are_forgotten_and_one_network_can_be(book: GuardBook, monkeypatch: pytest.MonkeyPatch) -> None:
    def begin(known: Known | None, passes: int) -> tuple[float, Step]:
        return 1.0, Step.BEGIN if known is None else Step.PASS

    waiting = [Triplet("192.0.2.0/24", "ann@a.test", f"{number}@us.test") for number in range(4)]
    passed = Triplet("198.51.100.0/24", "bob@a.test", "x@us.test")
    book.greylist(waiting[:2], begin, now=10.0)
    book.greylist([*waiting[2:], passed], begin, now=20.0)
    book.greylist([passed], begin, now=21.0)
    assert book.forget_triplets(waiting_before=15.0, passed_before=15.0) == 2
    monkeypatch.setattr(guard_book, "MAX_TRIPLETS", 2)
    assert book.forget_triplets(waiting_before=0.0, passed_before=0.0) == 1
    assert {one.sender for one, _ in book.triplets(10)} == {"ann@a.test", "bob@a.test"}, "who came again is kept"
    assert book.clear_triplets("192.0.2.0/24") == 1
    assert book.clear_triplets() == 1


def _open(path: pathlib.Path, together: Barrier) -> None:
    together.wait(30)
    GuardBook(path).close()


def test_workers_that_start_at_once_all_open_the_new_file(tmp_path: pathlib.Path) -> None:
    fork = multiprocessing.get_context("fork")
    for number in range(8):
        together = fork.Barrier(4)
        workers = [fork.Process(target=_open, args=(tmp_path / f"{number}.db", together)) for _ in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(60)
        assert [worker.exitcode for worker in workers] == [0] * 4
