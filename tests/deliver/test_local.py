"""Maildirs: durable, idempotent, and nowhere but below their root."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deliver.messages import NULL, TEXT, envelope, message, queue
from postroad.deliver.local import MailboxNameError, Maildirs, MaildirSettings
from postroad.message.envelope import Recipient
from postroad.smtp.address import Address


def maildirs(root: Path, *, separator: str = "+", postmaster: str = "postmaster") -> Maildirs:
    settings = MaildirSettings(root=root, hostname="mail.example.org", separator=separator, postmaster=postmaster)
    return Maildirs(settings)


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_a_message_is_stored_with_its_trace(tmp_path: Path) -> None:
    of = message(envelope("User+tag@example.net"))
    (said,) = maildirs(tmp_path).deliver(of, queue(of))
    assert said.code == 250
    (path,) = (tmp_path / "example.net/user/new").iterdir()
    assert path.read_bytes() == (b"Return-Path: <sender@example.org>\r\nDelivered-To: User+tag@example.net\r\n" + TEXT)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "example.net/user").stat().st_mode) == 0o700
    assert list((tmp_path / "example.net/user/tmp").iterdir()) == []
    assert (tmp_path / "example.net/user/cur").is_dir()


def test_s13_the_null_path_is_an_empty_return_path(tmp_path: Path) -> None:
    of = message(envelope("user@example.net", sender=NULL))
    path = maildirs(tmp_path).store(of, queue(of)[0])
    assert path.read_bytes().startswith(b"Return-Path: <>\r\n")


def test_d01_a_delivery_repeated_after_a_crash_leaves_one_message(tmp_path: Path) -> None:
    of = message(envelope("user@example.net", "user+tag@example.net"))
    for _ in range(3):
        maildirs(tmp_path).deliver(of, queue(of))
    assert len(list((tmp_path / "example.net/user/new").iterdir())) == 2


def test_d01_file_and_directories_are_synced_before_it_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    real_sync, real_rename = os.fsync, Path.rename

    def sync(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        steps.append(f"sync {path.parent.name if path.is_file() else path.name}")
        real_sync(descriptor)

    def rename(self: Path, target: Path) -> Path:
        steps.append("rename")
        return real_rename(self, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "rename", rename)
    of = message(envelope("user@example.net"))
    maildirs(tmp_path).deliver(of, queue(of))
    assert steps[-3:] == ["sync tmp", "rename", "sync new"]
    assert steps[:-3] == [f"sync {tmp_path.name}", "sync example.net", "sync user", "sync user", "sync user"]
    steps.clear()
    maildirs(tmp_path).deliver(of, queue(of))
    assert steps == ["sync tmp", "rename", "sync new"]


def test_s08_postmaster_of_any_local_domain(tmp_path: Path) -> None:
    where = maildirs(tmp_path, postmaster="Alice")
    assert where.mailbox_path(Address("PostMaster", "example.net")) == tmp_path / "example.net/alice"
    assert where.mailbox_path(Address("postmaster", "")) == tmp_path / "mail.example.org/alice"
    assert where.mailbox_path(Address("postmaster+x", "example.net")) == tmp_path / "example.net/alice"


def test_details_are_cut_off(tmp_path: Path) -> None:
    assert maildirs(tmp_path).mailbox_path(Address("a+b+c", "d.example")).name == "a"
    assert maildirs(tmp_path).mailbox_path(Address("+b", "d.example")).name == "+b"
    assert maildirs(tmp_path, separator="-").mailbox_path(Address("a-b+c", "d.example")).name == "a"
    assert maildirs(tmp_path, separator="").mailbox_path(Address("a+b", "d.example")).name == "a+b"


def test_names_that_differ_in_form_only_are_one_mailbox(tmp_path: Path) -> None:
    where = maildirs(tmp_path)
    composed = where.mailbox_path(Address("Ren\u00e9", "example.net"))
    assert composed == where.mailbox_path(Address("rene\u0301", "EXAMPLE.net"))


ODD_NAMES = [
    "",
    ".",
    "..",
    "../x",
    "a/b",
    "/etc/passwd",
    "..\\x",
    "a\0b",
    ".hidden",
    "a\nb",
    "x" * 300,
    "..+x",
    "\ud800",
]


@pytest.mark.parametrize("local", [*ODD_NAMES, "\ud800", "\u202ea"])
def test_h06_names_that_lead_elsewhere_are_refused(tmp_path: Path, local: str) -> None:
    odd = Address(local, "example.net")
    with pytest.raises(MailboxNameError):
        maildirs(tmp_path).mailbox_path(odd)
    of = message(envelope(Recipient(odd)))
    (said,) = maildirs(tmp_path).deliver(of, queue(of))
    assert str(said.enhanced) == "5.1.1"
    assert files(tmp_path) == []


@pytest.mark.parametrize("domain", ["..", "../x", "a/b", ".a"])
def test_h06_domains_that_lead_elsewhere_are_refused(tmp_path: Path, domain: str) -> None:
    with pytest.raises(MailboxNameError):
        maildirs(tmp_path).mailbox_path(Address("a", domain))


@given(st.text(max_size=70), st.text(max_size=20))
def test_h06_whatever_the_name_the_path_is_two_below_the_root(local: str, domain: str) -> None:
    root = Path("/srv/mail")
    try:
        path = maildirs(root).mailbox_path(Address(local, domain))
    except MailboxNameError:
        return
    assert len(path.parts) == len(root.parts) + 2
    assert Path(os.path.normpath(path)) == path
    assert path.parent.parent == root


@pytest.mark.parametrize(("number", "code", "status"), [(errno.ENOSPC, 452, "4.2.2"), (errno.EIO, 451, "4.3.0")])
def test_d02_a_disk_that_fails_is_a_temporary_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: int, status: str
) -> None:
    of = message(envelope("user@example.net"))
    maildirs(tmp_path).deliver(of, queue(of))
    before = files(tmp_path)

    def fail(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    (said,) = maildirs(tmp_path).deliver(of, queue(of, first=2))
    assert (said.code, str(said.enhanced)) == (code, status)
    assert files(tmp_path) == before
