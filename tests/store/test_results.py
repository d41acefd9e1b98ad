"""What verify keeps of a run: each address once, resumed after a kill, forgotten when asked."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from itertools import groupby
from pathlib import Path

import pytest

from postroad.store.results import TURN, InputRow, Recorded, ResultStore, Run, RunCounts
from postroad.store.spool import SpoolError


def rows(*texts: str, start: int = 0) -> Iterable[InputRow]:
    for position, text in enumerate(texts, start):
        yield InputRow(position=position, text=text, address=text.strip().lower())


def answer(store: ResultStore, run: Run, limit: int = 100) -> list[str]:
    pending = store.pending(run, limit=limit)
    assert store.record(run, [Recorded(id=one.id, state="ok", verdict="{}") for one in pending]) == len(pending)
    return [one.address for one in pending]


def test_v07_a_resumed_run_asks_no_address_twice(tmp_path: Path) -> None:
    path = tmp_path / "results.db"
    texts = ["A@x.org", "b@x.org", " a@x.org", "c@x.org", "B@x.org"]
    with ResultStore(path) as store:
        run = store.open_run("list", now=1.0)
        assert not run.is_resumed
        assert store.add_rows(run, rows(*texts[:4])) == 4
        asked = answer(store, run, limit=2)
    with ResultStore(path) as store:
        run = store.open_run("list", now=2.0)
        assert (run.is_resumed, run.created_at, run.rows, run.has_all_input) == (True, 1.0, 4, False)
        assert store.add_rows(run, rows(*texts)) == 1
        store.input_complete(run)
        assert store.open_run("list", now=3.0).has_all_input
        asked += answer(store, run)
        assert asked == ["a@x.org", "b@x.org", "c@x.org"]
        assert store.pending(run, limit=10) == ()
        assert [(one.position, one.text, one.state) for one in store.results(run)] == [
            (position, text, "ok") for position, text in enumerate(texts)
        ]
        store.finish(run, now=9.0)
        assert [one.finished_at for one in store.runs()] == [9.0]
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_first_verdict_stays(tmp_path: Path) -> None:
    with ResultStore(tmp_path / "results.db") as store:
        run = store.open_run("list", now=1.0)
        store.add_rows(run, rows("a@x.org"))
        (pending,) = store.pending(run, limit=1)
        assert store.record(run, [Recorded(id=pending.id, state="ok", verdict="1")]) == 1
        assert store.record(run, [Recorded(id=pending.id, state="bad", verdict="2")]) == 0
        assert [(one.state, one.verdict) for one in store.results(run)] == [("ok", "1")]


def test_pending_pages_and_counts(tmp_path: Path) -> None:
    with ResultStore(tmp_path / "results.db") as store:
        run = store.open_run("list", now=1.0)
        other = store.open_run("other", now=1.0)
        store.add_rows(other, rows("z@x.org"))
        store.add_rows(run, rows(*[f"u{number % 30}@x.org" for number in range(50)]))
        first = store.pending(run, limit=20)
        second = store.pending(run, limit=20, after=first[-1].place)
        assert [one.address for one in first + second] == [f"u{number}@x.org" for number in range(30)]
        store.record(run, [Recorded(id=one.id, state="ok" if one.id % 2 else "bad", verdict="") for one in first])
        assert store.counts(run) == RunCounts(rows=50, addresses=30, pending=10, by_state={"ok": 10, "bad": 10})


def test_a_long_list_streams_through(tmp_path: Path) -> None:
    with ResultStore(tmp_path / "results.db") as store:
        run = store.open_run("list", now=1.0)
        count = 25_001
        assert store.add_rows(run, rows(*[f"u{number}@x.org" for number in range(count)])) == count
        seen = 0
        for result in store.results(run):
            assert result.position == seen
            if seen == 5:  # recording goes on while results are read
                assert len(answer(store, run, limit=10)) == 10
            seen += 1
        assert seen == count


def test_v10_personal_data_goes_by_address_and_by_age(tmp_path: Path) -> None:
    with ResultStore(tmp_path / "results.db") as store:
        old, new = store.open_run("old", now=1.0), store.open_run("new", now=100.0)
        for run in (old, new):
            store.add_rows(run, rows("a@x.org", "b@x.org", "A@x.org"))
        assert store.forget_address("a@x.org") == 4
        assert [one.text for one in store.results(new)] == ["b@x.org"]
        assert store.counts(old).rows == 1
        assert store.forget_before(50.0) == 1
        assert [run.key for run in store.runs()] == ["new"]
        store.forget(new)
        assert store.runs() == ()
        assert store.counts(new) == RunCounts(rows=0, addresses=0, pending=0, by_state={})


def test_trouble_is_told_and_rolled_back(tmp_path: Path) -> None:
    path = tmp_path / "results.db"
    with ResultStore(path) as store:
        run = store.open_run("list", now=1.0)

        def broken() -> Iterable[InputRow]:
            yield InputRow(position=0, text="\udcff", address="a@x.org")

        with pytest.raises(UnicodeEncodeError):
            store.add_rows(run, broken())
        assert store.counts(run).addresses == 0
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("DROP TABLE input")
        with pytest.raises(SpoolError, match="input"):
            store.add_rows(run, rows("a@x.org"))


def test_addresses_of_a_domain_come_together_and_a_large_domain_in_turns(tmp_path: Path) -> None:
    with ResultStore(tmp_path / "results.db") as store:
        run = store.open_run("list", now=1.0)
        large = [f"u{number}@large.org" for number in range(2 * TURN + 1)]
        store.add_rows(run, rows(*large, "a@small.org", "a@tiny.org", "b@small.org"))
        store.input_complete(run)
        asked = [one.address for one in store.pending(run, limit=1000)]
        domains = [domain for domain, _ in groupby(address.rpartition("@")[2] for address in asked)]
        assert domains == ["large.org", "small.org", "tiny.org", "large.org"]
        assert asked[:TURN] == large[:TURN]
        assert store.forget_address("a@tiny.org") == 1
        assert "a@tiny.org" not in [one.address for one in store.pending(run, limit=1000)]
