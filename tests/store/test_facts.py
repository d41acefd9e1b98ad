"""Facts beyond one run: kept for their time, found by name, forgotten by address and by age (V-10)."""

from __future__ import annotations

import stat
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroad.store.facts import (
    ASKED_TOGETHER,
    CachedVerdict,
    Cause,
    Delivered,
    DeliveryOutcome,
    FactStore,
    Suppressed,
)
from postroad.store.spool import SpoolError

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
