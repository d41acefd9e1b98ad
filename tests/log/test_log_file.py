"""A log file that several processes write: whole lines, bounded files, and a reader that follows."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.log.file import LOOK_S, LogFile
from postroad.log.read import MAX_LINE_OCTETS, Tail, Wanted, files, instant, lines, moment, record


class Hands:
    """A clock whose hands the test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def whole(path: Path) -> list[str]:
    return [line.decode() for one in files(path) for line in one.read_bytes().splitlines(keepends=True)]


def test_lines_of_several_processes_stay_whole_over_rotation(tmp_path: Path) -> None:
    path = tmp_path / "log"
    children = []
    for name in range(4):
        child = os.fork()
        if not child:
            log = LogFile(path, rotate_octets=65_536, keep=900)
            for number in range(2000):
                log.write(json.dumps({"event": "x", "who": name, "number": number, "pad": "p" * (number % 200)}) + "\n")
            os._exit(0)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 4
    found = [json.loads(line) for line in whole(path)]
    assert sorted((one["who"], one["number"]) for one in found) == [(who, n) for who in range(4) for n in range(2000)]
    assert len(files(path)) > 3
    for one in files(path):
        assert one.stat().st_mode & 0o777 == 0o600


def test_no_more_files_stay_than_are_to_be_kept(tmp_path: Path) -> None:
    path = tmp_path / "log"
    hands = Hands()
    log = LogFile(path, rotate_octets=100, keep=2, monotonic=hands)
    for number in range(50):
        hands.now += LOOK_S
        log.write(f"{number:02d}{'x' * 97}\n")
    assert [one.name for one in files(path)] == ["log.2", "log.1", "log"]
    assert [line[:2] for line in whole(path)] == ["47", "48", "49"]
    log.close()
    with pytest.raises(OSError, match="closed"):
        log.write("more\n")


def test_a_file_that_was_moved_away_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "log"
    hands = Hands()
    log = LogFile(path, rotate_octets=1000, keep=2, monotonic=hands)
    log.write("one\n")
    path.rename(tmp_path / "elsewhere")
    hands.now += LOOK_S
    log.write("two\n")
    assert path.read_text() == "two\n"


def test_a_follower_reads_each_line_once_over_rotation(tmp_path: Path) -> None:
    path = tmp_path / "log"
    hands = Hands()
    log = LogFile(path, rotate_octets=300, keep=9, monotonic=hands)
    tail = Tail(path)
    seen: list[bytes] = []
    for number in range(60):
        hands.now += LOOK_S
        log.write(f"line {number} {'y' * 20}\n")
        if number % 2:
            while new := tail.more():
                seen += new
    assert [line.split()[1] for line in seen] == [b"%d" % number for number in range(60)]
    tail.close()


def test_a_follower_waits_for_a_log_that_is_not_there_yet_and_for_the_end_of_a_line(tmp_path: Path) -> None:
    path = tmp_path / "log"
    tail = Tail(path)
    assert tail.more() == []
    path.write_bytes(b"begun")
    assert tail.more() == []
    with path.open("ab") as file:
        file.write(b" and ended\nnext")
    assert tail.more() == [b"begun and ended\n"]
    tail.close()


def test_threads_share_a_log(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = LogFile(path, rotate_octets=65_536, keep=99)

    def write(name: int) -> None:
        for number in range(500):
            log.write(f"{name} {number} {'z' * 100}\n")

    threads = [threading.Thread(target=write, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(whole(path)) == 2000


def test_a_line_beyond_all_bounds_is_cut_and_the_next_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"a" * (3 * MAX_LINE_OCTETS) + b'\n{"event": "x"}\n')
    with path.open("rb") as file:
        found = list(lines(file))
    assert len(found) == 2 and record(found[0]) is None
    assert record(found[1]) == {"event": "x"}


@given(st.binary(max_size=200))
def test_any_octets_are_an_event_or_none(octets: bytes) -> None:
    found = record(octets)
    assert found is None or isinstance(found["event"], str)


def test_which_lines_are_wanted() -> None:
    told = {
        "event": "delivery.deferred",
        "queue_id": "0sb20shh40000",
        "level": "info",
        "timestamp": "2026-11-24T21:15:10.5Z",
    }
    about = {**told, "event": "dsn.queued", "queue_id": "0sb20shh40001", "about": "0sb20shh40000", "level": "warning"}
    assert Wanted().takes(told)
    assert Wanted(events=("delivery.*",)).takes(told) and not Wanted(events=("delivery.*",)).takes(about)
    assert Wanted(queue_id="0sb20shh40000").takes(told) and Wanted(queue_id="0sb20shh40000").takes(about)
    assert not Wanted(queue_id="0sb20shh40001").takes(told)
    assert Wanted(level="warning").takes(about) and not Wanted(level="warning").takes(told)
    at = instant("2026-11-24T21:15:10Z")
    assert at is not None and Wanted(since=at).takes(told) and not Wanted(since=at + 1).takes(told)
    assert not Wanted(since=at).takes({"event": "x"}), "without a time nobody knows"


@pytest.mark.parametrize(
    ("text", "expected"), [("2h", -7200.0), ("1.5m", -90.0), ("1d", -86_400.0), ("1970-01-01T00:00:05Z", 5.0)]
)
def test_a_moment_is_an_age_or_a_time(text: str, expected: float) -> None:
    assert moment(text, 0.0) == expected
    assert moment(text + "?", 0.0) is None
