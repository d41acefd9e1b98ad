"""Counts in a table of fixed size: exact for who is in it, sliding in time, and nobody at his limit is pushed out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.receive.guard.tally import SLOT_OCTETS, SLOTS, Tally, table_octets

NOW = 1_700_000_000.0


def tally(keys: int = 1000, window_s: float = 60.0) -> Tally:
    return Tally(bytearray(table_octets(keys)), secret=b"secret", window_s=window_s)


@given(st.lists(st.tuples(st.text(max_size=8), st.integers(1, 50)), max_size=30))
def test_within_one_window_every_count_is_the_sum_of_what_was_added(added: list[tuple[str, int]]) -> None:
    table = tally(5000)
    sums: dict[str, int] = {}
    for key, times in added:
        sums[key] = sums.get(key, 0) + times
        assert table.add(key, NOW, 100, times) == sums[key]
    assert {key: table.count(key, NOW) for key in sums} == sums
    assert table.count("never \0 seen", NOW) == 0


def test_what_happened_counts_less_as_time_goes_on_and_not_at_all_after_two_windows() -> None:
    table = tally()
    table.add("a", NOW, 10, 6)
    counts = [table.count("a", NOW + second) for second in (0, 59, 62, 91, 110, 121, 500)]
    assert counts[:2] == [6, 6]
    assert counts == sorted(counts, reverse=True)
    assert 2 < counts[3] < 4
    assert counts[-2:] == [0, 0]


def test_a_clock_that_was_set_back_bars_nobody_for_longer_than_a_window() -> None:
    table = tally()
    table.add("a", NOW + 1_000_000, 10, 10)
    assert table.count("a", NOW) == 0
    assert table.add("a", NOW, 10) == 1


def test_h07_a_flood_of_networks_pushes_out_nobody_who_has_reached_his_limit() -> None:
    table = tally(256)
    barred = [f"barred {number}" for number in range(20)]
    for key in barred:
        table.add(key, NOW, 10, 10)
    for number in range(20_000):
        table.add(f"flood {number}", NOW, 10)
    assert all(table.count(key, NOW) >= 10 for key in barred)


def test_where_all_have_reached_their_limit_a_newcomer_is_not_counted_and_nobody_is_forgotten() -> None:
    table = Tally(bytearray(SLOT_OCTETS * SLOTS), secret=b"s", window_s=60)
    for number in range(SLOTS):
        table.add(str(number), NOW, 1)
    assert table.add("late", NOW, 5) == 1
    assert table.count("late", NOW) == 0
    assert all(table.count(str(number), NOW) == 1 for number in range(SLOTS))
    assert table.add("late", NOW + 200, 5) == 1, "once those are over there is room"
    assert table.count("late", NOW + 200) == 1


def test_two_workers_with_one_buffer_count_together() -> None:
    buffer = bytearray(table_octets(100))
    one, other = (Tally(buffer, secret=b"s", window_s=60) for _ in range(2))
    one.add("a", NOW, 10, 2)
    assert other.add("a", NOW, 10, 3) == 5
    other.clear("a")
    assert one.count("a", NOW) == 0


@given(st.binary(min_size=192, max_size=192), st.text(max_size=5), st.floats(1, 4e9))
def test_whatever_stands_in_the_table_it_is_read_and_written(content: bytes, key: str, now: float) -> None:
    table = Tally(bytearray(content), secret=b"s", window_s=60)
    assert table.count(key, now) >= 0
    assert table.add(key, now, 10) >= 0
    table.clear(key)


def test_a_table_without_room_for_a_bucket_is_refused() -> None:
    with pytest.raises(ValueError, match="needs 192 octets"):
        Tally(bytearray(10), secret=b"s", window_s=60)
