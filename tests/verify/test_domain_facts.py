"""Whether a domain takes everybody, by what is said of recipients made up by chance (V-04, V-05)."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from postroad.smtp.address import Address
from postroad.smtp.outcome import Phase
from postroad.smtp.reply import reply
from postroad.verify.domain_facts import MAX_MADE_UP, DomainFacts, made_up
from postroad.verify.judge import Known, Step, read, weigh
from postroad.verify.verdict import Judgement
from verify.hearsay import ABSENT, FULL, OK, POLICY, TROUBLE, step


def note(facts: DomainFacts, found: Step) -> bool:
    return facts.note_random(found, read(found))


def test_v04_one_that_is_taken_shows_a_catch_all() -> None:
    facts = DomainFacts()
    assert note(facts, step(OK)) is False
    assert facts.catch_all is True and facts.is_settled
    assert facts.random_step is not None and facts.random_step.is_random


def test_v05_one_that_is_refused_shows_that_there_is_none() -> None:
    facts = DomainFacts()
    note(facts, step(ABSENT))
    assert facts.catch_all is False and facts.is_settled


def test_what_says_nothing_of_the_recipient_leaves_it_open() -> None:
    for found in (step(POLICY), step(TROUBLE), step(FULL), step(detail="timed out"), step(reason="private_address")):
        facts = DomainFacts()
        assert note(facts, found) is False
        assert facts.catch_all is None and facts.is_settled, "once is enough, whatever came of it (V-07)"


def test_a_contradiction_is_asked_about_once_more_in_either_order() -> None:
    for refusal_first in (True, False):
        facts = DomainFacts()
        first = facts.note_refusal() if refusal_first else note(facts, step(OK))
        second = note(facts, step(OK)) if refusal_first else facts.note_refusal()
        assert (first, second) == (False, True) and not facts.is_settled
        note(facts, step(ABSENT))
        assert facts.is_inconsistent and facts.catch_all is None and facts.is_settled


def test_no_contradiction_no_further_question() -> None:
    facts = DomainFacts()
    note(facts, step(ABSENT))
    assert facts.note_refusal() is False and facts.catch_all is False
    taken = DomainFacts()
    note(taken, step(OK))
    assert taken.is_settled and taken.catch_all is True


def test_what_an_earlier_run_found_is_asked_about_anew_where_it_is_contradicted() -> None:
    facts = DomainFacts(catch_all=True, is_settled=True)
    assert facts.note_refusal() is True and not facts.is_settled
    assert note(facts, step(OK)) is True, "the one who was refused stands against it"
    assert note(facts, step(OK)) is False and facts.catch_all is True
    known = DomainFacts(catch_all=False, is_settled=True)
    assert known.note_refusal() is False and known.catch_all is False


@given(st.lists(st.sampled_from(["refusal", OK, ABSENT, POLICY, ""]), max_size=12), st.sampled_from([None, True]))
def test_v07_whatever_is_said_at_most_two_are_asked_about(heard: list[str], before: bool | None) -> None:
    facts = DomainFacts(catch_all=before, is_settled=before is not None)
    is_open = before is None
    questions = int(is_open)
    for what in heard:
        if what == "refusal":
            is_wanted = facts.note_refusal()
        elif not is_open:
            continue
        else:
            is_open = False
            is_wanted = note(facts, step(what, detail="" if what else "connection lost"))
        assert not (is_wanted and is_open), "one at a time"
        is_open = is_open or is_wanted
        questions += is_wanted
        assert facts.is_settled is not is_open
    assert questions <= MAX_MADE_UP


@given(st.integers())
def test_a_made_up_name_is_a_plain_local_part_and_never_the_same(seed: int) -> None:
    rng = random.Random(seed)
    names = {made_up(rng) for _ in range(20)}
    assert len(names) == 20
    assert all(Address.parse(f"{name}@a.test") == Address(name, "a.test") and len(name) == 15 for name in names)


def test_v05_an_acceptance_is_open_where_the_host_would_not_be_asked_about_a_made_up_one() -> None:
    facts = DomainFacts()
    said = Step(phase=Phase.RCPT, reply=reply(450, "Rate limit: too many recipients in this minute", "4.7.1"))
    facts.note_random(said, read(said))
    assert facts.is_put_off and facts.catch_all is None
    accepted = read(Step(phase=Phase.RCPT, reply=reply(250, "ok", "2.1.5")))
    judgement, reason, _ = weigh(accepted, Known(is_put_off=facts.is_put_off))
    assert (judgement, reason) == (Judgement.UNKNOWN, "rate_limited")
    assert weigh(accepted, Known(is_put_off=True, catch_all=False))[0] is Judgement.DELIVERABLE
