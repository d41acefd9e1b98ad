"""Files that take the place of others when they are whole: what they leave alone, and what they keep of the earlier."""

from __future__ import annotations

import os
import stat
import sys
import threading
from pathlib import Path

import pytest

from postroad.verify.columns import OwnColumns
from postroad.verify.split import replaced, replacement, split_list


def write(path: Path, text: str) -> None:
    with replaced(path) as file:
        file.write(text)


def through_pipe(path: Path, text: str) -> str:
    """What a reader of a named pipe gets when that is written to it."""
    os.mkfifo(path)
    got: list[str] = []
    reader = threading.Thread(target=lambda: got.append(path.read_text()))
    reader.start()
    write(path, text)
    reader.join(10)
    return got[0]


def test_a_device_is_written_into_and_stays_a_device(tmp_path: Path) -> None:
    device = tmp_path / "null"
    try:
        os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        device.write_text("a node of our own that can be written")
    except OSError as error:
        pytest.skip(f"no device can be made here: {error.strerror}")
    write(device, "gone\n")
    with replacement(device) as beside:
        beside.write_bytes(b"gone")
    assert stat.S_ISCHR(device.stat().st_mode) and device.stat().st_rdev == os.makedev(1, 3)
    assert [path.name for path in tmp_path.iterdir()] == ["null"]


def test_a_named_pipe_hands_on_what_is_written_and_stays(tmp_path: Path) -> None:
    assert through_pipe(tmp_path / "pipe", "a,b\n") == "a,b\n"
    assert (tmp_path / "pipe").is_fifo()


def test_a_link_to_a_pipe_stays_a_link(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    reader = threading.Thread(target=(tmp_path / "pipe").read_bytes)
    reader.start()
    write(tmp_path / "link", "a\n")
    reader.join(10)
    assert (tmp_path / "link").is_symlink() and (tmp_path / "pipe").is_fifo()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc is Linux's")
def test_an_open_file_of_the_process_gets_what_is_written_after_what_it_holds(tmp_path: Path) -> None:
    held = tmp_path / "all.csv"
    held.write_text("earlier\n")
    with held.open("a") as file:
        (tmp_path / "stdout").symlink_to(f"/proc/self/fd/{file.fileno()}")
        write(tmp_path / "stdout", "new\n")
    assert held.read_text() == "earlier\nnew\n"
    assert (tmp_path / "stdout").is_symlink()


def test_what_a_link_leads_to_is_replaced_and_the_link_stays(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "real.csv").write_text("earlier")
    (tmp_path / "link").symlink_to("far/real.csv")
    write(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "far" / "real.csv").read_text() == "new"
    assert [path.name for path in (tmp_path / "far").iterdir()] == ["real.csv"]


def test_a_link_to_a_file_that_is_not_there_yet_makes_it(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("real.csv")
    write(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real.csv").read_text() == "new"


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
def test_a_file_keeps_its_mode(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "private.csv"
    path.write_text("earlier")
    path.chmod(mode)
    write(path, "new")
    assert path.read_text() == "new" and stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_keeps_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "theirs.csv"
    path.write_text("earlier")
    os.chown(path, 12345, 23456)
    write(path, "new")
    assert (path.stat().st_uid, path.stat().st_gid) == (12345, 23456)


def test_a_new_file_has_the_mode_that_any_new_file_has(tmp_path: Path) -> None:
    write(tmp_path / "new.csv", "new")
    (tmp_path / "usual").touch()
    assert (tmp_path / "new.csv").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_a_file_stays_as_it_was_when_writing_fails(tmp_path: Path) -> None:
    path = tmp_path / "result.csv"
    path.write_text("earlier")
    with pytest.raises(OSError, match="full"), replaced(path) as file:
        file.write("half")
        raise OSError("the disk is full")
    assert path.read_text() == "earlier"
    assert [one.name for one in tmp_path.iterdir()] == ["result.csv"]


def test_a_file_may_have_the_longest_name_there_is(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 251 + ".csv")
    write(path, "new")
    assert path.read_text() == "new"


def test_a_pipe_for_the_rows_not_reached_stays_when_all_were(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "unchecked.csv")
    split_list(tmp_path, [], OwnColumns())
    assert (tmp_path / "unchecked.csv").is_fifo()
