"""What follows from answers: one verdict for each address, no question before its time, none without need."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from postroad.smtp.outcome import Phase
from postroad.verify import inquiry as module
from postroad.verify.domain_facts import MAX_MADE_UP
from postroad.verify.inquiry import RE_ASK_S, Inquiry, Outcome
from postroad.verify.plan import Batch, Item
from postroad.verify.probe import Answer, Asked
from postroad.verify.verdict import RANDOM_RULE, Judgement, Traits, Verdict
from verify.hearsay import (
    ABSENT,
    BLOCK,
    BYE,
    FULL,
    GREY,
    GREY_NO_HINT,
    OK,
    POLICY,
    RATE,
    TROUBLE,
    answer,
    answers,
    item,
)

WAIT_S = 900.0
SITE = "a.test"
SILENT = answer(phase=Phase.CONNECT, detail="timed out")


def opened(domain: str = "a.test", *, wait_s: float = WAIT_S, **known: Any) -> tuple[Inquiry, tuple[Item, ...]]:
    """A run that has just found the way to a domain, and what it asks about it."""
    made = Inquiry(rng=random.Random(1), wait_s=wait_s, describe=lambda address: Traits())
    return made, made.open_domain(domain, mx=("mx.a.test",), **known)


def hear(
    inquiry: Inquiry, heard: Mapping[Item, str | Answer], now: float = 0.0, *, distrusted: tuple[Item, ...] = ()
) -> Outcome:
    """The answers of one session, each to an RCPT where it is text."""
    found = {one.id: answer(what) if isinstance(what, str) else what for one, what in heard.items()}
    asked = Asked(found, distrusted=distrusted)
    return inquiry.hear(Batch("a.test", SITE, tuple(heard)), asked, now)


def unreachable(inquiry: Inquiry, items: tuple[Item, ...], why: Answer, now: float = 0.0) -> Outcome:
    asked = Asked(dict.fromkeys((one.id for one in items), why), is_unreachable=True)
    return inquiry.hear(Batch("a.test", SITE, items), asked, now)


def verdicts(outcome: Outcome) -> dict[int, str]:
    return {one.id: one.verdict.state for one in outcome.settled}


def verdict(outcome: Outcome) -> Verdict:
    (one,) = outcome.settled
    return one.verdict


# Takes everybody or not ---------------------------------------------------------------------------------------


def test_v04_accepted_where_a_made_up_one_is_too_is_risky_catch_all() -> None:
    inquiry, (made_up,) = opened()
    outcome = hear(inquiry, {made_up: OK, item(1): OK, item(2): OK})
    assert verdicts(outcome) == {1: "risky:catch_all", 2: "risky:catch_all"}
    assert all(one.verdict.catch_all is True for one in outcome.settled)


def test_v05_accepted_where_a_made_up_one_is_refused_is_deliverable_and_both_replies_are_evidence() -> None:
    inquiry, (made_up,) = opened()
    found = verdict(hear(inquiry, {made_up: ABSENT, item(1): OK}))
    assert found.state == "deliverable:accepted" and found.catch_all is False and found.confidence > 0.9
    assert [one.rule for one in found.evidence][-1] == RANDOM_RULE
    assert found.proof.reply == ("250 2.1.5 OK",), "what decided is the word about the address itself"


def test_accepted_ones_wait_until_the_domain_is_known_and_are_then_released() -> None:
    inquiry, (made_up,) = opened()
    assert hear(inquiry, {item(1): OK, item(2): ABSENT}).settled[0].id == 2
    assert inquiry.held == 1
    assert verdicts(hear(inquiry, {made_up: ABSENT})) == {1: "deliverable:accepted"}
    assert inquiry.held == 0


def test_without_a_word_about_the_made_up_one_accepted_is_deliverable_and_less_sure() -> None:
    inquiry, (made_up,) = opened()
    hear(inquiry, {item(1): OK})
    found = verdict(hear(inquiry, {made_up: POLICY}))
    assert found.state == "deliverable:accepted" and found.catch_all is None and found.confidence < 0.9


def test_v07_the_made_up_one_is_asked_once_for_each_domain_and_run() -> None:
    inquiry, (made_up,) = opened()
    assert hear(inquiry, {made_up: ABSENT, item(1): OK}).first == []
    inquiry.close_domain("a.test")
    assert inquiry.open_domain("a.test", mx=()) == ()
    assert verdict(hear(inquiry, {item(2): OK})).catch_all is False


def test_a_domain_that_takes_a_made_up_one_and_refuses_a_listed_one_is_asked_once_more() -> None:
    inquiry, (made_up,) = opened()
    outcome = hear(inquiry, {made_up: OK, item(1): ABSENT, item(2): OK})
    assert verdicts(outcome) == {1: "undeliverable:mailbox_unknown"} and inquiry.held == 1
    (another,) = outcome.first
    assert another.address != made_up.address
    assert verdicts(hear(inquiry, {another: ABSENT})) == {2: "risky:inconsistent"}


def test_twice_taken_is_catch_all_whatever_is_refused_beside_it() -> None:
    inquiry, (made_up,) = opened()
    (another,) = hear(inquiry, {made_up: OK, item(1): ABSENT, item(2): OK}).first
    outcome = hear(inquiry, {another: OK, item(3): ABSENT})
    assert verdicts(outcome)[2] == "risky:catch_all" and outcome.first == []


def test_a_refusal_that_contradicts_what_an_earlier_run_found_makes_the_domain_be_asked_anew() -> None:
    inquiry = Inquiry(rng=random.Random(1), wait_s=WAIT_S, describe=lambda address: Traits())
    facts = inquiry.facts("a.test")
    facts.catch_all, facts.is_settled = True, True
    assert inquiry.open_domain("a.test", mx=()) == ()
    (made_up,) = hear(inquiry, {item(1): ABSENT}).first
    assert hear(inquiry, {item(2): OK}).settled == []
    assert verdicts(hear(inquiry, {made_up: ABSENT})) == {2: "deliverable:accepted"}


@pytest.mark.parametrize(
    ("known", "expected"),
    [({"answers": "accepts_all"}, "risky:accepts_all"), ({"is_parked": True}, "risky:parked")],
)
def test_providers_known_to_take_everybody_are_not_asked_about_a_made_up_one(
    known: dict[str, Any], expected: str
) -> None:
    inquiry, questions = opened(**known)
    assert questions == ()
    assert verdict(hear(inquiry, {item(1): OK})).state == expected


def test_providers_known_to_reject_probes_write_nobody_off() -> None:
    inquiry, _ = opened(answers="rejects_probes")
    assert verdict(hear(inquiry, {item(1): ABSENT})).state == "unknown:rejects_probes"


def test_who_wants_no_made_up_ones_asked_gets_none_even_where_answers_contradict() -> None:
    inquiry = Inquiry(rng=random.Random(1), wait_s=WAIT_S, describe=lambda address: Traits(), is_asking_at_random=False)
    facts = inquiry.facts("a.test")
    facts.catch_all = True
    assert inquiry.open_domain("a.test", mx=()) == ()
    assert hear(inquiry, {item(1): ABSENT}).first == []


def test_no_way_to_a_host_is_no_word_about_a_made_up_one() -> None:
    inquiry, (made_up,) = opened("[127.0.0.1]")
    private = answer(phase=Phase.DNS, reason="private_address")
    asked = Asked({made_up.id: private, 1: private}, is_unreachable=True)
    outcome = inquiry.hear(Batch("[127.0.0.1]", SITE, (made_up, item(1, "[127.0.0.1]"))), asked, 0.0)
    found = verdict(outcome)
    assert found.state == "undeliverable:private_address" and found.catch_all is None


# Asked again --------------------------------------------------------------------------------------------------


def test_v03_greylisted_is_asked_again_after_the_delay_that_the_host_names() -> None:
    inquiry, _ = opened(answers="accepts_all")
    (later,) = hear(inquiry, {item(1): GREY}, now=50.0).later
    assert 350 < later[0] < 400 and later[1] == item(1)
    found = verdict(hear(inquiry, {item(1): OK}, now=later[0]))
    assert found.evidence[0].reply == (GREY,), "what was said before is kept"


def test_greylisting_in_answer_to_mail_is_waited_out_too() -> None:
    inquiry, (made_up,) = opened()
    greylisted = answer("450 4.7.1 Greylisted, come back in 5 minutes", Phase.MAIL)
    assert len(hear(inquiry, {made_up: greylisted, item(1): greylisted}).later) == 2


@pytest.mark.parametrize("text", [GREY, GREY_NO_HINT, TROUBLE, RATE])
def test_what_stays_open_ends_unknown_within_the_time_that_may_be_waited(text: str) -> None:
    inquiry, _ = opened(answers="accepts_all")
    now, times = 0.0, 0
    while (outcome := hear(inquiry, {item(1): text}, now)).later:
        now, times = outcome.later[0][0], times + 1
        assert now <= WAIT_S and times < 20
    assert times >= 1 and verdict(outcome).verdict is Judgement.UNKNOWN


@pytest.mark.parametrize("text", [GREY, TROUBLE, RATE, BYE])
def test_who_does_not_wait_asks_nobody_again(text: str) -> None:
    inquiry, _ = opened(wait_s=0.0, answers="accepts_all")
    outcome = hear(inquiry, {item(1): text})
    assert outcome.later == [] and verdict(outcome).verdict is Judgement.UNKNOWN


def test_full_is_risky_and_asked_once() -> None:
    inquiry, _ = opened(answers="accepts_all")
    assert verdict(hear(inquiry, {item(1): FULL})).state == "risky:mailbox_full"


def test_items_without_an_answer_come_again_at_once() -> None:
    inquiry, _ = opened(answers="accepts_all")
    asked = Asked(answers({1: ABSENT}), again=(item(2),))
    outcome = inquiry.hear(Batch("a.test", SITE, (item(1), item(2))), asked, 0.0)
    assert outcome.again == [item(2)] and verdicts(outcome) == {1: "undeliverable:mailbox_unknown"}


# Signs that we are not wanted ---------------------------------------------------------------------------------


def test_v06_a_refusal_after_signs_of_blocking_is_asked_again_later_and_then_believed() -> None:
    inquiry, _ = opened(answers="accepts_all")
    (later,) = hear(inquiry, {item(1): ABSENT}, distrusted=(item(1),)).later
    assert later[0] >= RE_ASK_S
    assert verdicts(hear(inquiry, {item(1): ABSENT}, later[0])) == {1: "undeliverable:mailbox_unknown"}


def test_v06_said_twice_under_such_signs_it_is_never_believed() -> None:
    inquiry, _ = opened(answers="accepts_all")
    hear(inquiry, {item(1): ABSENT}, distrusted=(item(1),))
    outcome = hear(inquiry, {item(1): ABSENT}, RE_ASK_S, distrusted=(item(1),))
    assert verdicts(outcome) == {1: "unknown:blocked"}


def test_v06_who_does_not_wait_does_not_ask_again_and_does_not_believe_either() -> None:
    inquiry, _ = opened(wait_s=0.0, answers="accepts_all")
    outcome = hear(inquiry, {item(1): ABSENT}, distrusted=(item(1),))
    assert outcome.later == [] and verdicts(outcome) == {1: "unknown:blocked"}


def test_v06_a_distrusted_refusal_of_the_made_up_one_makes_nobody_deliverable_for_sure() -> None:
    inquiry, (made_up,) = opened(wait_s=0.0)
    found = verdict(hear(inquiry, {item(1): OK, made_up: ABSENT}, distrusted=(made_up,)))
    assert found.catch_all is None and found.confidence < 0.9


@pytest.mark.parametrize("sign", [BLOCK, RATE])
def test_v06_after_such_signs_a_site_that_accepts_nobody_is_not_believed_in_later_sessions_either(sign: str) -> None:
    inquiry, _ = opened(answers="accepts_all")
    hear(inquiry, {item(1): sign})
    (later,) = hear(inquiry, {item(2): ABSENT}, 10.0).later
    assert verdicts(hear(inquiry, {item(2): ABSENT}, later[0])) == {2: "unknown:blocked"}


def test_v06_a_site_that_accepts_somebody_is_believed_again() -> None:
    inquiry, _ = opened(answers="accepts_all")
    hear(inquiry, {item(1): BLOCK})
    outcome = hear(inquiry, {item(2): ABSENT, item(3): OK}, 10.0)
    assert verdicts(outcome)[2] == "undeliverable:mailbox_unknown"
    assert verdicts(hear(inquiry, {item(4): ABSENT}, 20.0)) == {4: "undeliverable:mailbox_unknown"}


def test_too_many_errors_are_no_sign_that_a_site_lies() -> None:
    inquiry, _ = opened(answers="accepts_all")
    hear(inquiry, {item(1): "421 4.7.0 too many errors"})
    assert verdicts(hear(inquiry, {item(2): ABSENT}, 10.0)) == {2: "undeliverable:mailbox_unknown"}


def test_v09_a_site_that_blocks_us_twice_is_not_asked_any_more() -> None:
    inquiry, _ = opened(answers="accepts_all")
    hear(inquiry, {item(1): BLOCK})
    assert inquiry.refusal(SITE) is None
    hear(inquiry, {item(2): BLOCK}, 1.0)
    refusal = inquiry.refusal(SITE)
    assert refusal is not None
    (rest,) = inquiry.answer_all("a.test", [item(3)], refusal)
    assert rest.verdict.state == "unknown:blocked" and rest.verdict.proof.reply == (BLOCK,)
    assert inquiry.troubles() == [(SITE, BLOCK, 2)]


def test_what_waits_at_a_refused_site_gets_its_words_and_no_further_question() -> None:
    inquiry, _ = opened(answers="accepts_all")
    for now in (0.0, 1.0):
        hear(inquiry, {item(int(now)): BLOCK}, now)
    outcome = hear(inquiry, {item(3): GREY}, 2.0)
    assert outcome.later == [] and verdicts(outcome) == {3: "unknown:greylisted"}


def test_sites_in_trouble_that_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT_SITES", 3)
    inquiry, _ = opened(answers="accepts_all")
    for number in range(9):
        inquiry.note_pause(f"s{number % 5}.test", 0.0)
        inquiry.hear(Batch("a.test", "s0.test", (item(number),)), Asked(answers({number: BLOCK})), float(number))
    assert len(inquiry.troubles()) <= 3
    assert inquiry.refusal("s0.test") is not None, "the one that showed it last is not forgotten"


def test_facts_of_domains_that_are_done_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT_FACTS", 10)
    inquiry, _ = opened()
    for number in range(100):
        domain = f"d{number}.test"
        inquiry.facts(domain)
        inquiry.answer_all(domain, [item(number, domain)], answer(phase=Phase.DNS, reason="no_domain"))
        inquiry.open_domain(f"e{number}.test", mx=())
        inquiry.close_domain(f"e{number}.test")
    assert len(inquiry._facts) <= 10


# No way -------------------------------------------------------------------------------------------------------


def test_silence_is_tried_once_more_and_the_rest_of_the_domain_waits_with_it() -> None:
    inquiry, (made_up,) = opened()
    outcome = unreachable(inquiry, (made_up, item(1)), SILENT)
    assert outcome.settled == [] and outcome.rest_until == max(due for due, _ in outcome.later)
    outcome = unreachable(inquiry, (made_up, item(1)), SILENT, outcome.rest_until)
    assert verdicts(outcome) == {1: "unknown:timed_out"} and outcome.gives_up is not None
    rest = inquiry.answer_all("a.test", [item(2)], outcome.gives_up)
    assert rest[0].verdict.state == "unknown:timed_out"


def test_those_held_are_released_when_their_domain_is_given_up() -> None:
    inquiry, (made_up,) = opened()
    hear(inquiry, {item(1): OK})
    settled = inquiry.answer_all("a.test", [made_up, item(2)], SILENT)
    assert {one.id: one.verdict.state for one in settled} == {1: "deliverable:accepted", 2: "unknown:timed_out"}
    assert inquiry.held == 0


class InquiryMachine(RuleBasedStateMachine):
    """Whatever is said in whatever order: one verdict each, in time, and never «undeliverable» after a yes."""

    def __init__(self) -> None:
        super().__init__()
        self.inquiry, first = opened()
        self.now = 0.0
        self.count = 0
        self.waiting: list[Item] = list(first)
        self.later: list[tuple[float, Item]] = []
        self.verdicts: dict[int, Verdict] = {}
        self.accepted: set[int] = set()
        self.first_asked: dict[int, float] = {}
        self.made_up = {one.address for one in first}

    @property
    def due(self) -> list[Item]:
        return self.waiting + [one for at, one in self.later if at <= self.now]

    @rule(count=st.integers(1, 4))
    def more(self, count: int) -> None:
        for _ in range(count):
            self.count += 1
            self.waiting.append(item(self.count))

    @rule(seconds=st.floats(0, 400))
    def time_goes_on(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.due)
    @rule(data=st.data())
    def a_session(self, data: st.DataObject) -> None:
        asked = data.draw(st.lists(st.sampled_from(self.due), min_size=1, max_size=4, unique=True))
        words = st.sampled_from([OK, OK, ABSENT, FULL, GREY, GREY_NO_HINT, TROUBLE, RATE, BYE, BLOCK, POLICY, ""])
        heard: dict[Item, str] = {one: data.draw(words) for one in asked}
        unheard = [one for one in asked[1:] if data.draw(st.booleans())]
        distrusted = tuple(one for one in asked if one not in unheard and data.draw(st.booleans()))
        self._take_out(asked)
        found = {
            one.id: answer(text, detail="" if text else "connection lost")
            for one, text in heard.items()
            if one not in unheard
        }
        for one in asked:
            if one not in unheard:
                self.first_asked.setdefault(one.id, self.now)
                if heard[one] == OK:
                    self.accepted.add(one.id)
        batch = Batch("a.test", SITE, tuple(asked))
        self._take_in(self.inquiry.hear(batch, Asked(found, tuple(unheard), distrusted), self.now))

    @precondition(lambda self: self.due)
    @rule(data=st.data(), permanent=st.booleans())
    def no_host(self, data: st.DataObject, permanent: bool) -> None:
        asked = data.draw(st.lists(st.sampled_from(self.due), min_size=1, max_size=4, unique=True))
        why = answer(phase=Phase.DNS, reason="private_address") if permanent else SILENT
        self._take_out(asked)
        for one in asked:
            self.first_asked.setdefault(one.id, self.now)
        outcome = unreachable(self.inquiry, tuple(asked), why, self.now)
        self._take_in(outcome)
        if outcome.gives_up is not None:
            waiting, self.waiting = self.waiting, []
            self._settle(self.inquiry.answer_all("a.test", waiting, outcome.gives_up))

    @rule(seconds=st.floats(0, 1000))
    def a_pause(self, seconds: float) -> None:
        self.inquiry.note_pause(SITE, self.now)

    @precondition(lambda self: self.inquiry.refusal(SITE) is not None)
    @rule()
    def the_site_is_left_alone(self) -> None:
        refusal = self.inquiry.refusal(SITE)
        assert refusal is not None
        due = self.due
        self._take_out(due)
        self._settle(self.inquiry.answer_all("a.test", due, refusal))

    def _take_out(self, asked: list[Item]) -> None:
        self.waiting = [one for one in self.waiting if one not in asked]
        self.later = [(at, one) for at, one in self.later if one not in asked]

    def _take_in(self, outcome: Outcome) -> None:
        for at, one in outcome.later:
            assert at > self.now, "asked again at once"
            assert at <= self.first_asked[one.id] + WAIT_S, "asked again after the deadline"
        self.later += outcome.later
        self.waiting += [*outcome.again, *outcome.first]
        self.made_up |= {one.address for one in outcome.first}
        self._settle(outcome.settled)

    def _settle(self, settled: list[module.Settled]) -> None:
        for one in settled:
            assert one.id > 0, "a made-up recipient has no verdict"
            assert one.id not in self.verdicts, "two verdicts"
            self.verdicts[one.id] = one.verdict

    @invariant()
    def everybody_is_open_or_has_a_verdict(self) -> None:
        under_way = [one.id for one in [*self.waiting, *(one for _, one in self.later)] if one.id > 0]
        assert len(under_way) + self.inquiry.held + len(self.verdicts) == self.count
        assert not set(under_way) & set(self.verdicts)

    @invariant()
    def nobody_is_held_without_a_question(self) -> None:
        questions = [one for one in [*self.waiting, *(one for _, one in self.later)] if one.id < 0]
        assert questions or not self.inquiry.held
        assert len(self.made_up) <= MAX_MADE_UP

    @invariant()
    def an_accepted_address_is_never_undeliverable(self) -> None:
        written_off = {number for number, found in self.verdicts.items() if found.verdict is Judgement.UNDELIVERABLE}
        assert not written_off & self.accepted

    def teardown(self) -> None:
        while self.due or self.later:
            self.now = max([self.now, *(at for at, _ in self.later)])
            self._settle_all(self.due)
        assert len(self.verdicts) == self.count and self.inquiry.held == 0
        assert self.inquiry._past == {}, "nothing is left behind"

    def _settle_all(self, due: list[Item]) -> None:
        self._take_out(due)
        batch = Batch("a.test", SITE, tuple(due))
        self._take_in(self.inquiry.hear(batch, Asked({one.id: answer(POLICY) for one in due}), self.now))


TestInquiryMachine = InquiryMachine.TestCase
