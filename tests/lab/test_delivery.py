"""Mail for domains of every personality, through a real server: each recipient ends one way, and all records agree.

The whole run, of 100,000 letters to 5,000 domains, is `python -m bench deliver` (docs/guides/scale.md).
"""

from __future__ import annotations

import pytest
from bench.deliver import Order, Outcome, print_outcome, run

from postroad.lab.catalogue import EVERY
from postroad.lab.fate import Fate

SMALL = {"sessions": 8, "users": 2, "retry_s": 1.0, "greylist_s": 1.0, "pace": 0.02, "is_hasty": True}


def shown(order: Order) -> Outcome:
    outcome = run(order)
    print_outcome(order, outcome)
    return outcome


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_of_a_thousand_letters_each_recipient_ends_delivered_bounced_returned_or_waiting_and_all_records_agree() -> (
    None
):
    outcome = shown(Order(letters=1000, domains=150, settle_s=8.0, lifetime_s=600.0, **SMALL))  # type: ignore[arg-type]
    assert outcome.judged.faults == []
    assert outcome.difference == 0
    assert sum(outcome.judged.by.values()) == outcome.recipients >= 1000
    assert {name for name, _ in outcome.judged.by} >= set(EVERY)
    ends = {fate: sum(count for (_, end), count in outcome.judged.by.items() if end is fate) for fate in Fate}
    assert all(ends.values()), ends
    assert ends[Fate.DELIVERED] > outcome.recipients / 3
    assert outcome.judged.twice, "hosts that broke off after the dot have it twice (RFC 1047)"


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_kill_in_the_middle_loses_no_recipient_whose_letter_was_accepted() -> None:
    order = Order(letters=600, domains=100, seed=3, settle_s=8.0, lifetime_s=600.0, is_killed=True, **SMALL)  # type: ignore[arg-type]
    outcome = shown(order)
    assert outcome.judged.faults == []
    assert outcome.difference == 0
    assert len(outcome.submitted.accepted) + len(outcome.submitted.unknown) == outcome.letters
