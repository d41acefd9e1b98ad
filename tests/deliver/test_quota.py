"""Quotas: a full mailbox is told in words, its size is known without counting, and others may count with us."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from deliver.messages import TEXT, envelope, message, queue
from postroad.deliver.local import Maildirs, MaildirSettings
from postroad.deliver.maildir_size import MAX_FILE_OCTETS, RECOUNT_AFTER_S, Quota, Usage, add, recount, usage
from postroad.smtp.address import Address

ANN = Address("ann", "example.net")
NOW = 0.0


def maildirs(root: Path, quota: Quota, wall: float = NOW) -> Maildirs:
    settings = MaildirSettings(
        root=root, hostname="mail.example.org", quota=lambda user, domain: quota, wall=lambda: wall
    )
    return Maildirs(settings)


def deliver(where: Maildirs, number: int, to: str = "ann@example.net", body: bytes = TEXT) -> str:
    of = message(envelope(to), number=number, body=body)
    (said,) = where.deliver(of, queue(of))
    return str(said)


def test_messages_are_taken_until_the_mailbox_is_full_and_again_when_there_is_room(tmp_path: Path) -> None:
    where = maildirs(tmp_path, Quota(messages=2))
    assert [deliver(where, number)[:3] for number in (1, 2)] == ["250", "250"]
    assert deliver(where, 3) == "452 4.2.2 The mailbox of ann@example.net is full: it holds 2 of 2 messages"
    box = tmp_path / "example.net/ann"
    sizes = [path.stat().st_size for path in (box / "new").iterdir()]
    assert (box / "maildirsize").read_text() == f"2C\n0 0\n{sizes[0]} 1\n{sizes[1]} 1\n"
    next((box / "new").iterdir()).unlink()
    add(box, -sizes[0], -1)  # as programs do that know the file
    assert deliver(where, 3).startswith("250")


def test_what_a_program_deletes_that_knows_nothing_of_quotas_shows_after_a_while(tmp_path: Path) -> None:
    where = maildirs(tmp_path, Quota(messages=1))
    deliver(where, 1)
    box = tmp_path / "example.net/ann"
    next((box / "new").iterdir()).unlink()
    written_at = (box / "maildirsize").stat().st_mtime
    assert deliver(maildirs(tmp_path, Quota(messages=1), written_at + RECOUNT_AFTER_S - 1), 2).startswith("452")
    assert deliver(maildirs(tmp_path, Quota(messages=1), written_at + RECOUNT_AFTER_S + 1), 2).startswith("250")


def test_octets_are_counted_with_what_delivery_adds(tmp_path: Path) -> None:
    added = len(b"Return-Path: <sender@example.org>\r\nDelivered-To: ann@example.net\r\n")
    exact = maildirs(tmp_path, Quota(octets=2 * (len(TEXT) + added)))
    assert [deliver(exact, number)[:3] for number in (1, 2, 3)] == ["250", "250", "452"]
    assert deliver(exact, 4, body=TEXT + b"x" * 1000).startswith("552 5.2.3")


def test_d01_a_delivery_repeated_after_a_crash_is_neither_refused_nor_counted_again(tmp_path: Path) -> None:
    where = maildirs(tmp_path, Quota(messages=1))
    assert [deliver(where, 1)[:3] for _ in range(3)] == ["250"] * 3
    assert usage(tmp_path / "example.net/ann", Quota(messages=1), 0, NOW).messages == 1


def test_s08_postmaster_has_room_always(tmp_path: Path) -> None:
    where = maildirs(tmp_path, Quota(messages=1))
    assert [deliver(where, number, "Postmaster@example.net")[:3] for number in (1, 2)] == ["250", "250"]
    assert where.refusal(Address("postmaster", "example.net")) is None


def test_at_rcpt_a_full_mailbox_is_known(tmp_path: Path) -> None:
    where = maildirs(tmp_path, Quota(messages=1, octets=10_000))
    assert where.refusal(ANN) is None
    deliver(where, 1)
    said = where.refusal(Address("Ann+tag", "example.net"))
    assert said is not None and (said.code, str(said.enhanced)) == (452, "4.2.2")
    assert str(where.refusal(ANN, 20_000)).startswith("552 5.2.3")
    assert maildirs(tmp_path, Quota()).refusal(ANN) is None
    assert where.refusal(Address("../ann", "example.net")) is None


def test_folders_count_and_the_waste_basket_does_not(tmp_path: Path) -> None:
    for name, octets in {
        "new/1.a": 10,
        "cur/2.a,S=500:2,S": 1,
        "cur/3.a:2,ST": 99,
        ".Archive/cur/4.a": 20,
        ".Trash/cur/5.a": 99,
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * octets)
    (tmp_path / "tmp").mkdir()
    quota = Quota(octets=1000)
    assert recount(tmp_path, quota) == Usage(530, 3)
    assert (tmp_path / "maildirsize").read_text() == "1000S\n530 3\n"
    assert usage(tmp_path, quota, 0, NOW) == Usage(530, 3)
    assert usage(tmp_path, Quota(octets=2000, messages=5), 0, NOW) == Usage(530, 3)
    assert (tmp_path / "maildirsize").read_text().startswith("2000S,5C\n")


@given(st.binary(max_size=200))
def test_a_damaged_file_is_counted_anew(tmp_path_factory: object, text: bytes) -> None:
    root = tmp_path_factory.mktemp("box")  # type: ignore[attr-defined]
    for name in ("tmp", "new"):
        (root / name).mkdir()
    (root / "new/1.a,S=7").touch()
    (root / "maildirsize").write_bytes(b"100S\nx" + text)
    assert usage(root, Quota(octets=100), 0, NOW) == Usage(7, 1)


def test_the_file_stays_short(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    quota = Quota(messages=10_000)
    recount(tmp_path, quota)
    for _ in range(2000):
        add(tmp_path, 1)
        usage(tmp_path, quota, 0, NOW)
    assert (tmp_path / "maildirsize").stat().st_size <= MAX_FILE_OCTETS + 100
