"""Counts in a mapped file: shared by all who map it, kept over a restart, made anew where they are another's."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from postroad.store.shared_counts import SharedCounts
from postroad.store.spool import SpoolError


def test_what_one_process_writes_the_others_and_later_ones_see(tmp_path: Path) -> None:
    path = tmp_path / "guard.counts"
    one, other = (SharedCounts(path, (10, 20), secret=b"s") for _ in range(2))
    assert [len(region) for region in one.regions] == [10, 20]
    one.regions[1][3] = 7
    assert other.regions[1][3] == 7
    assert bytes(other.regions[0]) == bytes(10), "the regions do not touch"
    assert SharedCounts(path, (10, 20), secret=b"s").regions[1][3] == 7
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_of_another_secret_or_layout_starts_anew_and_harms_nobody_who_has_it_mapped(tmp_path: Path) -> None:
    path = tmp_path / "guard.counts"
    old = SharedCounts(path, (4096 * 10,), secret=b"s")
    old.regions[0][-1] = 7
    for new in (SharedCounts(path, (4096 * 10,), secret=b"other"), SharedCounts(path, (10,), secret=b"s")):
        assert not any(new.regions[0])
    assert old.regions[0][-1] == 7


def test_a_file_that_cannot_be_made_is_told_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SpoolError, match="cannot be opened"):
        SharedCounts(tmp_path / "absent" / "guard.counts", (10,), secret=b"s")
