"""Facts beyond one run: kept for their time, found by name, forgotten by address and by age (V-10)."""

from __future__ import annotations

import sqlite3
import stat
import tempfile
import threading
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroad.store.facts import (
    ASKED_TOGETHER,
    FILLED_TOGETHER,
    CachedVerdict,
    Cause,
    Delivered,
    DeliveryOutcome,
    FactStore,
    Suppressed,
)
from postroad.store.spool import SpoolError
from postroad.store.sqlite import _migrations, _statements

NOW = 1_800_000_000.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FactStore]:
    with FactStore(tmp_path / "facts.db") as made:
        yield made


def found(address: str, verdict: str = "{}", *, at: float = NOW, expires: float = NOW + 100) -> CachedVerdict:
    return CachedVerdict(address=address, found_at=at, expires_at=expires, verdict=verdict)


def delivered(
    address: str, outcome: DeliveryOutcome = DeliveryOutcome.BOUNCED, *, at: float = NOW, said: str = ""
) -> Delivered:
    return Delivered(address=address, domain=address.partition("@")[2], at=at, outcome=outcome, said=said)


def suppressed(name: str, cause: Cause = Cause.OPT_OUT, note: str = "") -> Suppressed:
    return Suppressed(name=name, cause=cause, added_at=NOW, note=note)


def test_the_file_is_for_its_owner_alone_and_is_found_again(tmp_path: Path) -> None:
    path = tmp_path / "facts.db"
    with FactStore(path) as store:
        store.keep_verdicts([found("ann@a.test", "one")])
        store.keep_domain("a.test", catch_all=True, now=NOW)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with FactStore(path) as store:
        assert store.verdicts(["ann@a.test"], now=NOW)["ann@a.test"].verdict == "one"
        assert store.catch_all(["a.test"], since=NOW - 1) == {"a.test": True}


def test_a_file_that_is_no_database_is_one_clear_sentence(tmp_path: Path) -> None:
    path = tmp_path / "facts.db"
    path.write_bytes(b"nothing of the kind" * 100)
    with pytest.raises(SpoolError, match=r"facts\.db"):
        FactStore(path)


def test_a_verdict_is_found_until_it_expires_and_the_last_one_counts(store: FactStore) -> None:
    store.keep_verdicts([found("ann@a.test", "one", expires=NOW + 10)])
    store.keep_verdicts([found("ann@a.test", "two", expires=NOW + 20)])
    kept = store.verdicts(["ann@a.test", "bob@a.test"], now=NOW + 19)
    assert [(name, one.verdict) for name, one in kept.items()] == [("ann@a.test", "two")]
    assert store.verdicts(["ann@a.test"], now=NOW + 20) == {}


@pytest.mark.parametrize("count", [0, 1, ASKED_TOGETHER, ASKED_TOGETHER + 1, 3 * ASKED_TOGETHER])
def test_however_many_are_asked_for_at_a_time_all_are_found(store: FactStore, count: int) -> None:
    addresses = [f"u{number}@d{number % 7}.test" for number in range(count)]
    store.keep_verdicts(found(address) for address in addresses)
    store.suppress(suppressed(address) for address in addresses)
    store.note_deliveries(delivered(address, DeliveryOutcome.BOUNCED_LATER) for address in addresses)
    assert store.verdicts(addresses, now=NOW).keys() == set(), "deliveries tell more than verdicts"
    assert store.suppressed(addresses).keys() == set(addresses)
    assert store.deliveries(addresses).keys() == set(addresses)
    assert sum(store.bounced_later([f"d{number}.test" for number in range(7)]).values()) == count


@pytest.mark.parametrize("catch_all", [True, False, None])
def test_what_a_domain_takes_is_found_while_it_is_recent_and_known(store: FactStore, catch_all: bool | None) -> None:
    store.keep_domain("a.test", catch_all=catch_all, now=NOW)
    expected = {} if catch_all is None else {"a.test": catch_all}
    assert store.catch_all(["a.test", "b.test"], since=NOW - 1) == expected
    assert store.catch_all(["a.test"], since=NOW) == {}


def test_what_is_not_known_any_more_replaces_what_was(store: FactStore) -> None:
    store.keep_domain("a.test", catch_all=True, now=NOW)
    store.keep_domain("a.test", catch_all=None, now=NOW + 1)
    assert store.catch_all(["a.test"], since=0.0) == {}


def test_the_list_of_those_not_to_be_mailed_holds_addresses_and_domains(store: FactStore) -> None:
    assert store.suppress([suppressed("ann@a.test", Cause.OPT_OUT, "wrote"), suppressed("b.test")]) == 2
    entry = store.suppressed(["ann@a.test", "a.test", "b.test", "c.test"])
    assert set(entry) == {"ann@a.test", "b.test"}
    assert entry["ann@a.test"] == suppressed("ann@a.test", Cause.OPT_OUT, "wrote")


def test_an_entry_replaces_the_earlier_of_its_name_and_can_be_taken_off(store: FactStore) -> None:
    store.suppress([suppressed("a.test", Cause.BOUNCED)])
    store.suppress([suppressed("a.test", Cause.BLOCKED_DOMAIN)])
    assert store.suppressed(["a.test"])["a.test"].cause is Cause.BLOCKED_DOMAIN
    assert store.release("a.test") is True and store.release("a.test") is False
    assert store.suppressed(["a.test"]) == {}


def test_the_whole_list_is_read_by_name_also_where_it_is_long_and_changes_meanwhile(store: FactStore) -> None:
    names = sorted(f"u{number:05}@a.test" for number in range(2500))
    store.suppress(suppressed(name) for name in names)
    reading = store.suppressions()
    first = [next(reading).name for _ in range(10)]
    store.suppress([suppressed("zoe@a.test")])
    assert first + [one.name for one in reading] == [*names, "zoe@a.test"]
    assert len(list(store.suppressions())) == 2501


def test_the_last_outcome_of_a_delivery_counts_and_a_verdict_gives_way_to_it(store: FactStore) -> None:
    store.keep_verdicts([found("ann@a.test"), found("bob@a.test")])
    store.note_deliveries([delivered("ann@a.test", DeliveryOutcome.BOUNCED_LATER, said="550 5.1.1 gone")])
    assert store.verdicts(["ann@a.test", "bob@a.test"], now=NOW).keys() == {"bob@a.test"}
    assert store.bounced_later(["a.test", "b.test"]) == {"a.test": 1}
    assert store.deliveries(["ann@a.test"])["ann@a.test"].said == "550 5.1.1 gone"
    store.note_deliveries([delivered("ann@a.test", DeliveryOutcome.DELIVERED)])
    assert store.bounced_later(["a.test"]) == {}
    assert store.deliveries(["ann@a.test"])["ann@a.test"].outcome is DeliveryOutcome.DELIVERED


def test_v10_an_address_is_forgotten_but_for_its_place_on_the_list(store: FactStore) -> None:
    store.keep_verdicts([found("ann@a.test"), found("joann@a.test"), found("bob@a.test")])
    store.note_deliveries([delivered("ann@b.test")])
    store.suppress([suppressed("ann@a.test")])
    assert store.forget_address("ANN@a.test") == 1
    assert store.verdicts(["ann@a.test", "joann@a.test", "bob@a.test"], now=NOW).keys() == {
        "joann@a.test",
        "bob@a.test",
    }
    assert store.suppressed(["ann@a.test"]), "or it would be mailed again"
    assert store.forget_address("ann@b.test") == 1 and store.deliveries(["ann@b.test"]) == {}
    assert store.forget_address("ann@a.test") == 0


def test_v10_where_others_facts_mention_an_address_it_is_forgotten_there_too(store: FactStore) -> None:
    store.keep_verdicts([found("bob@a.test", '{"reply": ["551 5.7.1 forward to <ann@a.test>"]}')])
    store.note_deliveries([delivered("eve@a.test", said="550 for <ann@a.test>")])
    store.forget_address("ann@a.test")
    assert store.verdicts(["bob@a.test"], now=NOW) == {}
    assert store.deliveries(["eve@a.test"])["eve@a.test"].said == ""


def test_v10_what_is_old_is_forgotten(store: FactStore) -> None:
    store.keep_verdicts([found("ann@a.test", expires=NOW + 10), found("bob@a.test", expires=NOW + 1000)])
    store.keep_domain("old.test", catch_all=True, now=NOW - 100)
    store.keep_domain("new.test", catch_all=True, now=NOW + 100)
    store.note_deliveries([delivered("joe@a.test", at=NOW - 100), delivered("eve@a.test", at=NOW + 100)])
    assert store.forget_before(now=NOW + 10, since=NOW) == 3
    assert store.verdicts(["ann@a.test", "bob@a.test"], now=0.0).keys() == {"bob@a.test"}
    assert store.catch_all(["old.test", "new.test"], since=0.0).keys() == {"new.test"}
    assert store.deliveries(["joe@a.test", "eve@a.test"]).keys() == {"eve@a.test"}
    assert store.forget_before(now=NOW + 10, since=NOW + 1) == 1, "and verdicts by when they were found, too"


# One mailbox, whatever the spelling ----------------------------------------------------------------------------------


def mailbox_of(name: str) -> str:
    """At one.test dots and what follows a + do not count."""
    local, _, domain = name.lower().partition("@")
    return f"{local.partition('+')[0].replace('.', '')}@{domain}" if domain == "one.test" else name.lower()


@pytest.fixture
def knowing(tmp_path: Path) -> Iterator[FactStore]:
    with FactStore(tmp_path / "facts.db", mailbox_of=mailbox_of) as made:
        yield made


def test_an_entry_counts_for_every_spelling_of_the_mailbox(knowing: FactStore) -> None:
    knowing.suppress([suppressed("a.nn@one.test"), suppressed("two.test", Cause.BLOCKED_DOMAIN)])
    asked = ["ann@one.test", "A.N.N+news@one.test", "ann@three.test", "two.test", "one.test", "ann@two.test"]
    found = knowing.suppressed(asked)
    assert {name: entry.name for name, entry in found.items()} == {
        "ann@one.test": "a.nn@one.test",
        "A.N.N+news@one.test": "a.nn@one.test",
        "two.test": "two.test",
    }


def test_an_entry_of_the_very_spelling_comes_first_and_then_the_last_that_was_added(knowing: FactStore) -> None:
    entries = [("a.nn@one.test", NOW), ("ann+x@one.test", NOW + 2), ("an.n@one.test", NOW + 1)]
    knowing.suppress(Suppressed(name=name, cause=Cause.OPT_OUT, added_at=at) for name, at in entries)
    found = knowing.suppressed(["a.nn@one.test", "ann@one.test"])
    assert [entry.name for entry in found.values()] == ["a.nn@one.test", "ann+x@one.test"]


def test_any_spelling_takes_all_entries_of_the_mailbox_off(knowing: FactStore) -> None:
    knowing.suppress(suppressed(name) for name in ("a.nn@one.test", "ann+x@one.test", "bo@one.test", "one.test"))
    assert knowing.release("an.n@one.test") is True and knowing.release("ann@one.test") is False
    assert [one.name for one in knowing.suppressions()] == ["bo@one.test", "one.test"]


def test_the_last_outcome_of_a_delivery_counts_for_the_mailbox(knowing: FactStore) -> None:
    knowing.note_deliveries([delivered("a.nn@one.test", said="550 gone")])
    assert knowing.deliveries(["ann+x@one.test", "bo@one.test"])["ann+x@one.test"].said == "550 gone"
    knowing.note_deliveries([delivered("ann@one.test", DeliveryOutcome.DELIVERED, at=NOW + 1)])
    found = knowing.deliveries(["a.nn@one.test", "ann+x@one.test"])
    assert {one.outcome for one in found.values()} == {DeliveryOutcome.DELIVERED} and len(found) == 2


def test_two_spellings_of_one_mailbox_that_came_back_are_one(knowing: FactStore) -> None:
    for name in ("a.nn@one.test", "ann@one.test", "bo@one.test"):
        knowing.note_deliveries([delivered(name, DeliveryOutcome.BOUNCED_LATER)])
    assert knowing.bounced_later(["one.test"]) == {"one.test": 2}


def test_v10_all_spellings_of_a_mailbox_are_forgotten(knowing: FactStore) -> None:
    knowing.keep_verdicts([found("a.nn@one.test"), found("ANN+x@one.test"), found("joann@one.test")])
    knowing.keep_verdicts([found("eve@a.test", '{"reply": "551 try <an.n+y@one.test>"}')])
    knowing.note_deliveries([delivered("ann@one.test"), delivered("bo@one.test", said="550 for ann+z@one.test.")])
    assert knowing.forget_address("an.n@one.test") == 3
    assert knowing.verdicts(["a.nn@one.test", "ANN+x@one.test", "eve@a.test", "joann@one.test"], now=NOW).keys() == {
        "joann@one.test"
    }
    assert {name: one.said for name, one in knowing.deliveries(["ann@one.test", "bo@one.test"]).items()} == {
        "bo@one.test": ""
    }


@pytest.mark.parametrize("count", [0, 1, FILLED_TOGETHER, 2 * FILLED_TOGETHER + 1])
def test_what_was_kept_before_mailboxes_were_is_found_by_every_spelling(tmp_path: Path, count: int) -> None:
    names = [f"u.{number}@one.test" for number in range(count)]
    with closing(sqlite3.connect(tmp_path / "facts.db", isolation_level=None)) as old:
        for statement in _statements(_migrations("facts")[0]):
            old.execute(statement)
        old.executemany("INSERT INTO suppression VALUES (?, 'opt_out', 1, '')", [(name,) for name in names])
        old.executemany("INSERT INTO delivery VALUES (?, 'one.test', 1, 'bounced', '')", [(name,) for name in names])
        old.execute(f"PRAGMA application_id = {zlib.crc32(b'postroad facts') & 0x7FFFFFFF}")
        old.execute("PRAGMA user_version = 1")
    asked = [name.replace(".", "", 1) for name in names]
    with FactStore(tmp_path / "facts.db", mailbox_of=mailbox_of) as store:
        assert store.suppressed(asked).keys() == store.deliveries(asked).keys() == set(asked)


def test_a_thousand_addresses_are_looked_up_by_few_statements_and_by_index(knowing: FactStore) -> None:
    addresses = [f"u{number}@one.test" for number in range(1000)]
    said: list[str] = []
    knowing._connection.set_trace_callback(said.append)
    knowing.suppressed(addresses)
    knowing.deliveries(addresses)
    knowing.bounced_later(["one.test"])
    knowing._connection.set_trace_callback(None)
    asked = [statement for statement in said if statement.startswith("SELECT")]
    assert len(asked) == 2 * (2 + 2) + 1, "500 names each, by name and by mailbox"
    with closing(sqlite3.connect(knowing.path)) as other:
        plans = [row[3] for one in asked for row in other.execute(f"EXPLAIN QUERY PLAN {one}")]
    assert plans and not [step for step in plans if "SCAN" in step]


def test_several_threads_may_use_one_store(store: FactStore) -> None:
    def work(number: int) -> None:
        for count in range(20):
            store.keep_verdicts([found(f"u{count}@d{number}.test", str(number))])
            store.verdicts([f"u{count}@d{number}.test"], now=NOW)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    every = [f"u{count}@d{number}.test" for count in range(20) for number in range(4)]
    assert len(store.verdicts(every, now=NOW)) == 80


def test_two_stores_may_use_one_file(tmp_path: Path) -> None:
    path = tmp_path / "facts.db"
    with FactStore(path) as one, FactStore(path) as other:
        one.keep_verdicts([found("ann@a.test")])
        other.note_deliveries([delivered("ann@a.test")])
        assert one.verdicts(["ann@a.test"], now=NOW) == {}


names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=30)


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(names, st.tuples(names, st.floats(0, 100)), max_size=20), st.floats(0, 100))
def test_whatever_the_names_what_was_kept_is_found(facts: dict[str, tuple[str, float]], now: float) -> None:
    with tempfile.TemporaryDirectory() as folder, FactStore(Path(folder) / "facts.db") as store:
        store.keep_verdicts(found(name, verdict, expires=expires) for name, (verdict, expires) in facts.items())
        expected = {name: verdict for name, (verdict, expires) in facts.items() if expires > now}
        assert {name: one.verdict for name, one in store.verdicts(list(facts), now=now).items()} == expected
        store.suppress(suppressed(name) for name in facts)
        assert store.suppressed(list(facts)).keys() == facts.keys()
        assert [one.name for one in store.suppressions()] == sorted(facts)


def test_an_entry_ends_by_itself_and_holds_for_its_scope_alone(store: FactStore) -> None:
    entry = Suppressed(name="ann@a.test", cause=Cause.BOUNCED, added_at=NOW, expires_at=NOW + 50, scope="news.test")
    store.suppress([entry, suppressed("bob@a.test")])
    names = ["ann@a.test", "bob@a.test"]
    assert set(store.suppressed(names)) == {"bob@a.test"}
    assert store.suppressed(names, scopes=["", "news.test"], now=NOW + 1)["ann@a.test"] == entry
    assert set(store.suppressed(names, scopes=["", "news.test"], now=NOW + 50)) == {"bob@a.test"}
    assert store.expire_suppressions(NOW + 50) == 1
    assert [one.name for one in store.suppressions()] == ["bob@a.test"]


def test_who_is_taken_off_the_list_is_no_longer_known_as_bounced(store: FactStore) -> None:
    store.note_deliveries([delivered("ann@a.test"), delivered("bob@a.test", DeliveryOutcome.DELIVERED)])
    assert store.listed(["ann@a.test", "bob@a.test"]) == {"ann@a.test"}
    assert store.release("ann@a.test") and not store.release("bob@a.test")
    assert set(store.deliveries(["ann@a.test", "bob@a.test"])) == {"bob@a.test"}
