"""The ledger: a message's whole life, found by id, address and Message-ID, forgotten by age and address (V-10)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from postroad.store.ledger import Accepted, Ledger, Note, Tried

NOW = 1_800_000_000.0
CAME = Accepted(
    id=7,
    at=NOW,
    sender="ann@example.org",
    user="ann",
    peer="192.0.2.1",
    helo="client",
    protocol="ESMTPSA",
    size=120,
    header_id="<1@example.org>",
    recipients=((None, "Bob@example.net"), (None, "carl@example.net")),
)
TRIED = Tried(
    message_id=7,
    row=4,
    address="Bob@example.net",
    number=1,
    at=NOW + 1,
    outcome="deferred",
    host="mx.example.net[192.0.2.9]",
    phase="rcpt",
    reply="451 4.7.1 Greylisted",
    meaning="greylisted",
    rule="greylisted",
    due_at=NOW + 300,
    secured="TLSv1.3 AES",
    dialogue="C: MAIL FROM:<ann@example.org>\nS: 250 ok",
)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger.db") as made:
        yield made


def test_a_messages_whole_life_is_told(ledger: Ledger) -> None:
    ledger.write([CAME, TRIED, replace(TRIED, number=2, outcome="delivered", at=NOW + 301, due_at=None)])
    ledger.write([Note(message_id=7, at=NOW + 900, address="Bob@example.net", what="bounced", said="550 gone")])
    ledger.write([replace(CAME, id=8, about=7, header_id=None, recipients=((None, "ann@example.org"),))])
    story = ledger.story(7)
    assert story is not None
    bob, carl = story.recipients if story.recipients[0].address.startswith("B") else reversed(story.recipients)
    assert (bob.fate, [one.outcome for one in bob.attempts]) == ("bounced", ["deferred", "delivered"])
    assert bob.attempts[0] == replace(TRIED, row=0)
    assert carl.fate is None and story.notices == (8,)
    assert dict(story.accepted.recipients) == {4: "Bob@example.net", None: "carl@example.net"}
    assert ledger.story(9) is None


def test_it_is_found_by_address_in_any_case_and_by_message_id(ledger: Ledger) -> None:
    ledger.write([CAME, replace(CAME, id=8, at=NOW + 1, header_id="<2@example.org>", sender="")])
    assert ledger.find("bob@EXAMPLE.net") == [8, 7]
    assert ledger.find("ann@example.org") == [7]
    assert ledger.find("1@example.org") == [7] and ledger.by_header("<1@example.org>") == 7
    assert ledger.find("nobody@example.org") == [] and ledger.by_header("<3@example.org>") is None


def test_an_attempt_may_be_noted_before_its_message(ledger: Ledger) -> None:
    ledger.write([replace(TRIED, outcome="delivered", due_at=None)])
    story = ledger.story(7)
    assert story is not None and story.accepted.peer == "" and story.recipients[0].fate == "delivered"
    ledger.write([CAME])
    story = ledger.story(7)
    assert story is not None and story.accepted.peer == "192.0.2.1"
    assert {one.address: one.fate for one in story.recipients} == {
        "Bob@example.net": "delivered",
        "carl@example.net": None,
    }


def test_v10_it_is_forgotten_by_age_and_by_address(ledger: Ledger) -> None:
    ledger.write([CAME, TRIED, replace(CAME, id=8, at=NOW + 500, header_id=None)])
    assert ledger.forget_address("bob@example.net") >= 2
    story = ledger.story(7)
    assert story is not None and [one.address for one in story.recipients] == ["carl@example.net"]
    assert ledger.forget_address("ann@example.org") >= 1
    assert ledger.find("ann@example.org") == []
    assert ledger.prune(NOW + 1) == 1
    assert ledger.story(7) is None and ledger.story(8) is not None
