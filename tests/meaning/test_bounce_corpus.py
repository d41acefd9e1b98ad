"""How well the messages of a public corpus are read: floors a little under what was reached (bench/bounces.py)."""

from __future__ import annotations

import pytest
from bench.bounces import CORPUS, Score, score

pytestmark = pytest.mark.skipif(not CORPUS.exists(), reason="the corpus of bounces is not beside this checkout")


@pytest.fixture(scope="module")
def made() -> Score:
    return score()


@pytest.mark.parametrize(
    ("name", "floor"),
    [("is_bounce", 0.99), ("kind", 0.95), ("status", 0.98), ("code", 0.98), ("suppress", 0.97), ("hard", 0.95)],
)
def test_what_a_message_says(made: Score, name: str, floor: float) -> None:
    assert made.rate(name) >= floor


def test_whom_it_names(made: Score) -> None:
    assert made.found["both"] >= 0.95 * made.found["theirs"]
    assert made.found["both"] >= 0.95 * made.found["ours"]


def test_what_it_means(made: Score) -> None:
    assert made.meaning >= 0.94
