"""The book of TLS keeps policies for their time and counts for their days, for all workers at once (T-01, T-03)."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from postroad.message.mta_sts import KeptPolicy
from postroad.message.tls_report import AppliedPolicy, PolicyKind, TlsSession
from postroad.store import tls_book
from postroad.store.tls_book import TlsBook

POLICY = KeptPolicy(
    domain="example.net", record_id="1", content=b"version: STSv1", fetched_at=1000.0, expires_at=2000.0
)
SESSION = TlsSession(
    domain="example.net",
    policy=AppliedPolicy(PolicyKind.TLSA, "example.net", ("3 1 1 aa",), ("mx.example.net",)),
    host="mx.example.net",
    address="192.0.2.1",
    source_address="",
    result="validation-failure",
    reason="no TLSA record names it",
)
CLEAR = replace(SESSION, policy=None, result="", reason="")
DAY = 20_000


def test_t01_a_policy_outlives_the_process(tmp_path: Path) -> None:
    with TlsBook(tmp_path / "tls.db") as book:
        assert book.policy("example.net") is None
        book.keep(POLICY)
    with TlsBook(tmp_path / "tls.db") as book:
        assert book.policy("example.net") == POLICY
        book.keep(replace(POLICY, record_id="2"))
        assert [one.record_id for one in book.policies(10)] == ["2"]


def test_t01_old_policies_that_still_hold_are_to_be_fetched_again(tmp_path: Path) -> None:
    with TlsBook(tmp_path / "tls.db") as book:
        for number, (fetched, expires) in enumerate([(10.0, 5000.0), (900.0, 5000.0), (5.0, 100.0), (20.0, 5000.0)]):
            book.keep(replace(POLICY, domain=f"d{number}.test", fetched_at=fetched, expires_at=expires))
        assert book.stale(fetched_before=500, now=1000, most=9) == ["d0.test", "d3.test"]
        assert book.stale(fetched_before=500, now=1000, most=1) == ["d0.test"]


def test_no_more_policies_are_kept_than_there_is_room_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls_book, "MAX_POLICIES", 3)
    with TlsBook(tmp_path / "tls.db") as book:
        for number in range(5):
            book.keep(replace(POLICY, domain=f"d{number}.test", expires_at=1000.0 + number))
        assert [one.domain for one in book.policies(9)] == ["d2.test", "d3.test", "d4.test"]


def test_t03_equal_sessions_are_counted_together_by_day(tmp_path: Path) -> None:
    with TlsBook(tmp_path / "tls.db") as book:
        book.count({(DAY, SESSION): 2, (DAY, CLEAR): 1})
        book.count({(DAY, SESSION): 3, (DAY + 1, CLEAR): 9})
        assert sorted(book.sessions(DAY, "example.net"), key=lambda one: one[1]) == [(CLEAR, 1), (SESSION, 5)]
        assert book.domains(DAY, 9) == [("example.net", 1, 5)]
        assert book.domains(DAY + 1, 9) == [("example.net", 9, 0)]


def test_t03_who_was_told_is_not_told_again(tmp_path: Path) -> None:
    with TlsBook(tmp_path / "tls.db") as book:
        book.count({(DAY, CLEAR): 1, (DAY, replace(CLEAR, domain="b.test")): 1})
        assert book.to_report(DAY, 9) == ["b.test", "example.net"]
        book.reported(DAY, [("b.test", "not asked for")], 1.0)
        assert book.to_report(DAY, 9) == ["example.net"]
        assert book.report_outcomes(DAY) == {"b.test": "not asked for"}


def test_one_day_has_so_many_different_sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls_book, "MAX_DAY_ROWS", 4)
    with TlsBook(tmp_path / "tls.db") as book:
        for number in range(9):
            book.count({(DAY, replace(CLEAR, domain=f"d{number}.test")): 1})
        book.count({(DAY, replace(CLEAR, domain="d0.test")): 1})
        assert [(domain, good) for domain, good, _ in book.domains(DAY, 99)] == [
            ("d0.test", 2),
            ("d1.test", 1),
            ("d2.test", 1),
            ("d3.test", 1),
        ]


def test_what_is_old_is_forgotten(tmp_path: Path) -> None:
    with TlsBook(tmp_path / "tls.db") as book:
        book.keep(POLICY)
        book.count({(DAY, CLEAR): 1, (DAY + 29, CLEAR): 1})
        book.reported(DAY, [("example.net", "told")], 1.0)
        book.forget(today=DAY + 31, now=2000.0 + 31 * 86_400)
        assert book.policies(9) == []
        assert book.sessions(DAY, "example.net") == []
        assert book.sessions(DAY + 29, "example.net") == [(CLEAR, 1)]
        assert book.report_outcomes(DAY) == {}


def test_two_workers_count_into_one_book(tmp_path: Path) -> None:
    def work() -> None:
        with TlsBook(tmp_path / "tls.db") as book:
            for _ in range(20):
                book.count({(DAY, SESSION): 1})

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with TlsBook(tmp_path / "tls.db") as book:
        assert book.sessions(DAY, "example.net") == [(SESSION, 60)]
