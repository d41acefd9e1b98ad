"""D-01 with real processes: kill -9 under load loses nothing that was answered 250."""

from __future__ import annotations

import pytest
from bench.kill import KILLS, MESSAGES, print_outcome, run_kills


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_d01_twenty_kills_in_a_load_of_two_thousand_messages_lose_none_that_got_250() -> None:
    outcome = run_kills(messages=MESSAGES, kills=KILLS)
    print_outcome(outcome)
    assert len(outcome.rounds) >= KILLS
    assert len(outcome.accepted) >= MESSAGES
    assert outcome.lost == set()
