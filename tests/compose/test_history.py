"""The history as a worker keeps it: behind the mail, and never in its way."""

from __future__ import annotations

import asyncio
import io
from dataclasses import replace
from pathlib import Path

import pytest

from deliver.messages import envelope, message
from postroad.clock import SystemClock
from postroad.compose.history import History, ledger_path
from postroad.config import Config
from postroad.config.history import HistorySection
from postroad.config.values import ServerSection
from postroad.deliver.returns import Happened, Return
from postroad.events import configure
from postroad.smtp.address import Address
from postroad.store.ledger import Ledger
from postroad.store.spool import SpooledMessage

BODY = b"Received: x\r\nSubject: a\r\n secret\r\nMessage-ID:\r\n <1@example.org>\r\n\r\nMessage-ID: <2@example.org>\r\n"


def config(state: Path, **history: object) -> Config:
    section = HistorySection(**history)  # type: ignore[arg-type]
    return Config(server=ServerSection(state_dir=str(state)), history=section)


def mail(number: int = 7) -> SpooledMessage:
    return message(envelope("bob@example.net", "carl@example.net"), number=number, body=BODY)


def test_a_message_that_left_is_known_for_what_comes_back_about_it(tmp_path: Path) -> None:
    async def work() -> None:
        history = History(config(tmp_path), SystemClock())
        history.accepted(mail())
        original = await history.original(7)
        assert original is not None
        assert original.reverse_path == Address("sender", "example.org")
        assert [address for _, address in original.recipients] == ["bob@example.net", "carl@example.net"]
        assert await history.by_header("<1@example.org>") == 7
        assert await history.by_header("<2@example.org>") is None, "a body is no header"
        assert await history.original(8) is None
        history.heard(
            Return(
                message_id=7,
                address="bob@example.net",
                happened=Happened.BOUNCED,
                is_gone=True,
                meaning="mailbox_unknown",
                status="5.1.1",
                said="no such user",
                sender="sender@example.org",
                at=2000.0,
            )
        )
        await history.close()

    asyncio.run(work())
    with Ledger(ledger_path(config(tmp_path))) as ledger:
        story = ledger.story(7)
        assert story is not None and story.accepted.subject is None
        assert {one.address: one.fate for one in story.recipients} == {
            "bob@example.net": "bounced",
            "carl@example.net": None,
        }


@pytest.mark.parametrize(("subjects", "expected"), [(True, "a secret"), (False, None)])
def test_a_subject_is_kept_only_where_that_is_wanted(tmp_path: Path, subjects: bool, expected: str | None) -> None:
    async def work() -> None:
        history = History(config(tmp_path, subjects=subjects), SystemClock())
        history.accepted(mail())
        await history.close()

    asyncio.run(work())
    with Ledger(tmp_path / "ledger.db") as ledger:
        story = ledger.story(7)
        assert story is not None and story.accepted.subject == expected


def test_where_none_is_kept_nothing_is_written(tmp_path: Path) -> None:
    async def work() -> None:
        history = History(config(tmp_path, enabled=False), SystemClock())
        history.accepted(mail())
        assert len(history.behind) == 0
        await history.close()

    asyncio.run(work())
    assert not (tmp_path / "ledger.db").exists()


def test_a_history_that_cannot_be_read_is_told_and_tried_again(tmp_path: Path) -> None:
    log = io.StringIO()
    configure(stream=log)
    path = tmp_path / "ledger.db"
    path.write_bytes(b"this is no database" * 1000)

    async def work() -> None:
        history = History(config(tmp_path), SystemClock())
        history.accepted(mail())
        assert not await history.behind.flush()
        assert len(history.behind) == 1
        path.unlink()
        assert await history.behind.flush()
        await history.close()

    asyncio.run(work())
    assert "history.failed" in log.getvalue()
    with Ledger(path) as ledger:
        assert ledger.story(7) is not None


def test_an_entry_that_cannot_be_written_holds_up_no_other(tmp_path: Path) -> None:
    log = io.StringIO()
    configure(stream=log)

    async def work() -> None:
        history = History(config(tmp_path), SystemClock())
        history.accepted(replace(mail(), id=1 << 70))
        history.accepted(mail(8))
        assert await history.behind.flush()
        await history.close()

    asyncio.run(work())
    assert log.getvalue().count("history.failed") == 1
    with Ledger(tmp_path / "ledger.db") as ledger:
        assert ledger.story(8) is not None
