"""Aliases that are changed while others read them, and senders that are remembered for their bounces."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from postroad.smtp.address import Address
from postroad.store.mailbox_book import MAX_TARGETS, AliasError, MailboxBook, make_alias


@pytest.fixture
def book(tmp_path: Path) -> Iterator[MailboxBook]:
    with closing(MailboxBook(tmp_path / "mailboxes.db")) as made:
        yield made


def goes(book: MailboxBook, name: str) -> list[str]:
    return [str(one) for one in book.targets(name)]


def test_an_alias_is_kept_and_found_in_any_case(book: MailboxBook) -> None:
    assert not book.has_aliases()
    book.put(make_alias("Sales@Example.ORG", ["ann", "Ben@elsewhere.example", "ann"], "the shop"))
    assert book.has_aliases()
    assert goes(book, "sales@example.org") == ["ann@example.org", "Ben@elsewhere.example"]
    found = book.get("SALES@example.org")
    assert found is not None and found.note == "the shop"
    assert [one.name for one in book.aliases()] == ["sales@example.org"]
    assert stat.S_IMODE(book.path.stat().st_mode) == 0o600


def test_an_alias_is_changed_on_purpose_only(book: MailboxBook) -> None:
    book.put(make_alias("a@example.org", ["ann"]))
    with pytest.raises(AliasError, match="already"):
        book.put(make_alias("a@example.org", ["ben"]))
    assert goes(book, "a@example.org") == ["ann@example.org"]
    book.put(make_alias("a@example.org", ["ben"]), replace=True)
    assert goes(book, "a@example.org") == ["ben@example.org"]
    assert book.remove("A@example.org")
    assert not book.remove("a@example.org")
    assert not book.has_aliases() and goes(book, "a@example.org") == []


def test_what_another_process_changed_shows_at_the_next_look(book: MailboxBook) -> None:
    assert goes(book, "a@example.org") == []
    with closing(MailboxBook(book.path)) as other:
        other.put(make_alias("a@example.org", ["ann"]))
        assert goes(book, "a@example.org") == []
        book.look()
        assert goes(book, "a@example.org") == ["ann@example.org"]
        other.remove("a@example.org")
        book.look()
        assert not book.has_aliases() and goes(book, "a@example.org") == []


@pytest.mark.parametrize(
    ("name", "targets", "words"),
    [
        ("sales", ["ann"], "no address"),
        ("sales@[192.0.2.1]", ["ann"], "domain name"),
        ("sales@example.org", [], "nowhere"),
        ("sales@example.org", ["a b"], "no address to go to"),
        ("sales@example.org", ["x@"], "no address to go to"),
        ("sales@example.org", [f"u{n}" for n in range(MAX_TARGETS + 1)], "at most"),
    ],
)
def test_what_cannot_be_an_alias_is_said(name: str, targets: list[str], words: str) -> None:
    with pytest.raises(AliasError, match=words):
        make_alias(name, targets)


def test_aliases_are_read_page_by_page(book: MailboxBook) -> None:
    for number in range(5):
        book.put(make_alias(f"a{number}@example.org", ["ann"]))
    first = book.aliases(limit=2)
    assert [one.name for one in first] == ["a0@example.org", "a1@example.org"]
    assert [one.name for one in book.aliases(after=first[-1].name)] == [f"a{n}@example.org" for n in (2, 3, 4)]


def test_a_long_sender_is_remembered_until_he_is_not_seen_any_more(book: MailboxBook) -> None:
    sender = Address("b" * 40, "bounces.mailing.elsewhere.example")
    book.remember("name", sender, 1000.0)
    book.remember("name", sender, 2000.0)
    book.remember("other", sender, 1500.0)
    assert book.recall("name") == sender
    assert book.recall("nobody") is None
    assert book.forget_senders(before=1800.0) == 1
    assert book.recall("name") == sender and book.recall("other") is None
    assert book.forget_senders(before=0.0, most=0) == 1
