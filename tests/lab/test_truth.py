"""Verdicts against the truth, and the lab's own log as the witness of politeness; all in the simulated loop.

`python -m bench truth` prints the same for larger worlds, per verdict and per personality.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from functools import cache
from itertools import pairwise

import pytest
from bench.truth import LEAST_DECIDED, SEEDS, SETTINGS, Measured, measure

from postroad.lab.catalogue import NAMES
from postroad.lab.log import Ending, Event, What
from postroad.lab.truth import VERDICTS, Kind
from postroad.smtp.address import Address
from postroad.verify.again import GREYLIST_DELAYS_S
from postroad.verify.source import canonical

SEED = 1
ADDRESSES = 3_000
PER_SITE, PER_SESSION, PER_MINUTE = 3, 7, 100
CROWDED_OUT = 452
OUT_OF_STEP = "out_of_step"
"""Whose replies nobody can tell apart: an answer to QUIT would be another command's."""


@cache
def ordinary() -> Measured:
    """A list as people have them, with the defaults."""
    return measure(SEED, ADDRESSES)


@cache
def under(per_site: int) -> Measured:
    """A smaller list, with limits much tighter than the defaults."""
    tight = replace(
        SETTINGS, per_site=per_site, recipients_per_session=PER_SESSION, recipients_per_minute=float(PER_MINUTE)
    )
    return measure(SEED, 800, tight)


def sessions(measured: Measured) -> dict[int, list[Event]]:
    found: defaultdict[int, list[Event]] = defaultdict(list)
    for event in measured.log.events:
        found[event.session].append(event)
    return found


def personality(measured: Measured, event: Event) -> str:
    return measured.world.hosts[event.host].personality


def askings(measured: Measured) -> dict[str, list[Event]]:
    """Recipient → the RCPT commands that named it, in the order of time."""
    found: defaultdict[str, list[Event]] = defaultdict(list)
    for event in measured.log.events:
        if event.verb == "RCPT":
            found[str(Address.parse(event.argument.partition("<")[2].rpartition(">")[0], smtputf8=True))].append(event)
    return found


def made_up(measured: Measured) -> dict[str, list[str]]:
    """Domain → recipients asked about that nobody has on the list."""
    listed = {canonical(text) for text in measured.world.addresses()}
    found: defaultdict[str, list[str]] = defaultdict(list)
    for address in askings(measured):
        if address not in listed:
            found[address.rpartition("@")[2]].append(address)
    return found


# Truth --------------------------------------------------------------------------------------------------------------


def test_the_world_holds_every_personality() -> None:
    assert {truth.personality for truth in ordinary().world.by_address.values()} >= set(NAMES)


def test_every_address_of_the_list_has_a_verdict() -> None:
    assert ordinary().verdicts.keys() == set(ordinary().world.addresses())


def test_no_existing_mailbox_is_ever_called_undeliverable() -> None:
    exist = [truth for truth in ordinary().world.by_address.values() if truth.kind is Kind.EXISTS]
    assert len(exist) > ADDRESSES / 4
    assert ordinary().written_off == []


def test_99_of_100_decidable_addresses_are_decided_and_all_that_is_decided_is_right() -> None:
    measured = ordinary()
    assert measured.decidable > ADDRESSES / 2
    assert measured.decided >= LEAST_DECIDED * measured.decidable
    assert measured.score.wrong == []


@pytest.mark.parametrize("verdict", VERDICTS)
def test_precision_and_recall_of_each_verdict(verdict: str) -> None:
    assert ordinary().score.precision(verdict) >= LEAST_DECIDED
    assert ordinary().score.recall(verdict) >= LEAST_DECIDED


def test_what_nobody_polite_can_find_out_stays_unknown() -> None:
    open_ones = [truth for truth in ordinary().world.by_address.values() if truth.kind is Kind.UNDECIDABLE]
    assert {OUT_OF_STEP, "temporary", "endless", "mute"} <= {truth.personality for truth in open_ones}
    said = {ordinary().verdicts[truth.address] for truth in open_ones if not truth.also}
    assert said == {"unknown"}


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_the_same_of_ten_thousand_addresses(seed: int) -> None:
    measured = measure(seed)
    assert measured.written_off == [] and measured.score.wrong == []
    assert measured.decided >= LEAST_DECIDED * measured.decidable


# Politeness ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("per_site", [1, PER_SITE])
def test_v09_no_site_sees_more_connections_or_a_higher_rate_than_configured(per_site: int) -> None:
    figures = under(per_site).log.politeness()
    assert figures.whole.most_connections == per_site, "it is used, and never exceeded"
    assert PER_MINUTE / 2 < figures.whole.most_recipients_a_minute <= PER_MINUTE


@pytest.mark.parametrize("per_site", [1, PER_SITE])
def test_v07_a_session_holds_at_most_so_many_recipients_as_configured(per_site: int) -> None:
    whole = under(per_site).log.politeness().whole
    assert whole.most_recipients_a_session == whole.most_recipients_a_transaction == PER_SESSION


def test_tight_limits_cost_time_and_no_verdict() -> None:
    measured = under(1)
    assert measured.written_off == []
    assert measured.decided >= LEAST_DECIDED * measured.decidable


@pytest.mark.parametrize("per_site", [1, PER_SITE])
def test_every_session_ends_by_quit_unless_the_host_ended_it_or_never_greeted(per_site: int) -> None:
    measured = under(per_site)
    ends = [
        (events[-1].ending, personality(measured, events[0]))
        for events in sessions(measured).values()
        if any(event.what is What.GREETED for event in events)
    ]
    assert {ending for ending, host in ends if host != OUT_OF_STEP} <= {Ending.QUIT, Ending.HOST}
    assert sum(ending == Ending.QUIT for ending, _ in ends) > len(ends) / 2


@pytest.mark.parametrize("per_site", [1, PER_SITE])
def test_c15_a_probe_never_sends_data_or_bdat(per_site: int) -> None:
    measured = under(per_site)
    assert measured.log.politeness().whole.data == ordinary().log.politeness().whole.data == 0
    verbs = {event.verb for event in measured.log.events if event.what is What.COMMAND}
    assert verbs <= {"EHLO", "HELO", "STARTTLS", "MAIL", "RCPT", "RSET", "QUIT"}


@pytest.mark.parametrize("per_site", [1, PER_SITE])
def test_v07_a_made_up_recipient_is_asked_about_once_in_each_domain(per_site: int) -> None:
    measured = under(per_site)
    asked, found = askings(measured), made_up(measured)
    assert len(found) > 20
    assert not [names for names in found.values() if len(names) > 2]
    for first, *_ in (names for names in found.values() if len(names) == 2):
        domain = first.rpartition("@")[2]
        codes = {event.code // 100 for name, events in asked.items() if name.endswith(f"@{domain}") for event in events}
        assert {2, 5} <= codes, "a second one only where answers contradict each other"


@pytest.mark.parametrize("per_site", [1, PER_SITE])
def test_v07_an_address_that_was_answered_is_not_asked_about_again(per_site: int) -> None:
    measured = under(per_site)
    for address, events in askings(measured).items():
        for event in events[:-1]:
            is_answered = event.code // 100 in (2, 5) and personality(measured, event) != "endless"
            assert not is_answered, f"{address} was asked about again after {event.code}"


@pytest.mark.parametrize("per_site", [1, PER_SITE])
def test_v07_a_greylisted_address_is_asked_about_again_only_after_its_delay(per_site: int) -> None:
    measured = under(per_site)
    waits = []
    for events in askings(measured).values():
        for before, after in pairwise(events):
            host = measured.world.hosts[before.host]
            if before.code // 100 == 4 and before.code != CROWDED_OUT:
                least = min(host.options.get("delay_s", GREYLIST_DELAYS_S[0]), GREYLIST_DELAYS_S[0], 60.0)
                assert after.at - before.at >= least
                waits.append(host.personality)
    assert waits.count("greylisting") > 20


def test_each_address_is_asked_about_once_where_no_host_puts_it_off() -> None:
    measured = ordinary()
    plain = {"honest", "tarpit", "slow", "wants_tls", "breaks_tls", "no_pipelining", "wants_name", "rejects_null"}
    for address, events in askings(measured).items():
        if {personality(measured, event) for event in events} <= plain:
            again = [event for event in events[:-1] if event.code != CROWDED_OUT]
            assert not again, f"{address} was asked about {len(events)} times"
