"""A copy of a state directory taken while it is written, and its return: whole, or refused in one sentence."""

from __future__ import annotations

import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from postroad.store.accounts import SqliteAccounts
from postroad.store.backup import BackupError, Kept, back_up, restore
from postroad.store.queue_admin import QueueAdmin
from postroad.store.sqlite_spool import SqliteSpool
from store.spool_conformance import WALL, message, run


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state directory with an account, a secret, a message in the queue and one in a mailbox."""
    where = tmp_path / "var"
    (where / "spool").mkdir(parents=True)
    (where / "run").mkdir()
    (where / "run" / "junk").write_bytes(b"x")
    (where / "secret").write_bytes(b"s" * 32)
    (where / "big").write_bytes(b"b" * 3_000_000)
    for name in ("new", "tmp"):
        (where / "mail" / "local.test" / "ann" / name).mkdir(parents=True)
        (where / "mail" / "local.test" / "ann" / name / "1").write_bytes(b"Subject: x\r\n\r\n")
    accounts = SqliteAccounts(where / "accounts.db")
    accounts.add("ann@local.test", "a long password")
    accounts.close()
    return where


def copy(state: Path, archive: Path, *, with_mail: bool = True) -> tuple[Kept, ...]:
    return back_up(
        state, archive, mail=state / "mail", with_mail=with_mail, config=None, at=WALL, say=lambda name: None
    )


def test_everything_comes_back_as_it_was(state: Path, tmp_path: Path) -> None:
    async def work() -> None:
        spool = SqliteSpool.open(state / "spool" / "spool-0.db", shard=0)
        await spool.commit(message(spool.new_id(WALL), "bob@example.net"), WALL)
        kept = copy(state, tmp_path / "b.tar")  # while the spool is open
        assert {one.name for one in kept} == {
            "state/accounts.db",
            "state/secret",
            "state/big",
            "state/spool/spool-0.db",
            "mail/local.test/ann/new/1",
        }
        await spool.close()

    run(work())
    assert (tmp_path / "b.tar").stat().st_mode & 0o077 == 0
    there = tmp_path / "again"
    restore(tmp_path / "b.tar", there, mail=None, say=lambda name: None)
    with QueueAdmin(there / "spool") as admin:
        assert admin.counts(WALL).recipients == 1
    accounts = SqliteAccounts(there / "accounts.db")
    assert [one.name for one in accounts.all()] == ["ann@local.test"]
    accounts.close()
    assert (there / "big").read_bytes() == (state / "big").read_bytes()
    assert (there / "mail/local.test/ann/new/1").exists()
    assert not (there / "run").exists()


@contextmanager
def writing(path: Path) -> Iterator[list[int]]:
    """Messages are committed one after the other until the end; those that are known to be kept."""
    kept: list[int] = []
    over = threading.Event()

    def work() -> None:
        async def commit() -> None:
            spool = SqliteSpool.open(path, shard=0)
            while not over.is_set():
                one = message(spool.new_id(WALL), body=b"Subject: x\r\n\r\n" + b"y" * 2000)
                await spool.commit(one, WALL)
                kept.append(one.id)
            await spool.close()

        run(commit())

    thread = threading.Thread(target=work)
    thread.start()
    try:
        while len(kept) < 50:
            over.wait(0.01)
        yield kept
    finally:
        over.set()
        thread.join()


def test_a_copy_taken_under_load_is_a_moment_of_the_queue(state: Path, tmp_path: Path) -> None:
    with writing(state / "spool" / "spool-0.db") as kept:
        before = list(kept)
        copy(state, tmp_path / "b.tar", with_mail=False)
        after = list(kept)
    restore(tmp_path / "b.tar", tmp_path / "again", mail=None, say=lambda name: None)
    with QueueAdmin(tmp_path / "again" / "spool") as admin:
        found = [entry.id for entry in admin.list(limit=100_000)]
        tally = admin.tally()
    assert set(before) <= set(found) and len(found) <= len(after) + 50
    assert tally["accepted"] == len(found), "a moment, not a mixture"


def test_what_is_not_whole_is_refused_and_leaves_nothing(state: Path, tmp_path: Path) -> None:
    archive = tmp_path / "b.tar"
    copy(state, archive)
    whole = archive.read_bytes()
    there = tmp_path / "again"
    for damage, why in (
        (whole[: len(whole) // 2], "cut short|damaged"),
        (whole.replace(b"b" * 1000, b"c" + b"b" * 999, 1), "not as it was written"),
        (b"no archive", "no backup"),
    ):
        archive.write_bytes(damage)
        with pytest.raises(BackupError, match=why):
            restore(archive, there, mail=None, say=lambda name: None)
        assert not there.exists()


def test_h13_names_that_lead_out_of_the_directory_are_refused(tmp_path: Path, state: Path) -> None:
    archive = tmp_path / "b.tar"
    copy(state, archive)
    with tarfile.open(archive, "a") as tar:
        tar.add(state / "secret", "../../escaped")
    with pytest.raises(BackupError, match="no list of its files at its end"):
        restore(archive, tmp_path / "again", mail=None, say=lambda name: None)
    assert not (tmp_path.parent / "escaped").exists()


def test_nothing_is_written_over(state: Path, tmp_path: Path) -> None:
    copy(state, tmp_path / "b.tar")
    with pytest.raises(BackupError, match="is there already"):
        copy(state, tmp_path / "b.tar")
    with pytest.raises(BackupError, match="is not empty"):
        restore(tmp_path / "b.tar", state, mail=None, say=lambda name: None)
