"""`postroad verify` and the files it is to write: it never destroys the list, a device or a link, and keeps results."""

from __future__ import annotations

import csv
import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.calls import call
from cli.test_verify import World, running

LIST = "email\nann@example.net\nno@example.net\n"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with running(tmp_path / "state") as made:
        yield made


@pytest.fixture
def people(tmp_path: Path) -> Path:
    path = tmp_path / "people.csv"
    path.write_text(LIST)
    return path


def device(path: Path, minor: int) -> Path:
    """A private node of the null device (3) or of the full disk (7)."""
    try:
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, minor))
        path.open("wb").close()
    except OSError as error:
        pytest.skip(f"no device can be made here: {error.strerror}")
    return path


# Devices -----------------------------------------------------------------------------------------------------------


def test_results_and_report_written_to_a_device_leave_it_a_device(world: World, people: Path, tmp_path: Path) -> None:
    null = device(tmp_path / "null", 3)
    done = world.verify(people, "--output", null, "--report", null)
    assert done.status == 0, done.err
    assert world.verify(people, "--resume", "--output", null, "--format", "parquet").status == 0
    assert stat.S_ISCHR(null.stat().st_mode)


def test_parquet_goes_through_a_link_and_keeps_the_mode_of_the_file(world: World, people: Path, tmp_path: Path) -> None:
    real = tmp_path / "real.parquet"
    real.write_bytes(b"earlier")
    real.chmod(0o600)
    (tmp_path / "link.parquet").symlink_to(real)
    assert world.verify(people, "--output", tmp_path / "link.parquet").status == 0
    assert real.read_bytes()[:4] == b"PAR1" and stat.S_IMODE(real.stat().st_mode) == 0o600
    assert (tmp_path / "link.parquet").is_symlink()


def test_the_suppression_list_written_to_a_device_leaves_it_a_device(tmp_path: Path) -> None:
    null = device(tmp_path / "null", 3)
    call("suppress", "add", "ann@example.net", "--state", tmp_path / "state")
    assert call("suppress", "export", "--output", null, "--state", tmp_path / "state").status == 0
    assert stat.S_ISCHR(null.stat().st_mode)


# The list itself ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["--output", "--report"])
@pytest.mark.parametrize("way", ["itself", "symbolic", "hard"])
def test_a_list_is_never_overwritten_by_what_was_found(
    world: World, people: Path, tmp_path: Path, option: str, way: str
) -> None:
    target = people
    if way != "itself":
        target = tmp_path / "link.csv"
        (target.symlink_to if way == "symbolic" else target.hardlink_to)(people)
    for arguments in ([people, option, target], [target, option, people, "--resume"]):
        done = world.verify(*arguments)
        assert done.status == 1
        assert f"is the list itself, which would be lost: choose another file for {option}" in done.sentence
    assert people.read_text() == LIST and not world.host.commands


@pytest.mark.parametrize("name", ["clean", "risky", "remove", "unchecked"])
def test_a_list_is_never_overwritten_by_a_part_of_it(world: World, tmp_path: Path, name: str) -> None:
    people = tmp_path / f"{name}.csv"
    people.write_text(LIST)
    done = world.verify(people, "--split", tmp_path)
    assert done.status == 1
    assert "is the list itself, which would be lost: choose another directory for --split" in done.sentence
    assert people.read_text() == LIST and not world.host.commands


def test_a_list_that_a_shell_opened_as_standard_input_is_not_overwritten_either(
    world: World, people: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "postroad", "verify", "-", "--output", str(people), *world.options]
    with people.open("rb") as file:
        done = subprocess.run(command, stdin=file, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "is the list itself" in done.stderr
    assert people.read_text() == LIST and not world.host.commands


def test_results_report_and_parts_do_not_overwrite_each_other(world: World, people: Path, tmp_path: Path) -> None:
    (tmp_path / "link.csv").symlink_to("x.csv")
    for arguments, words in (
        (["--output", tmp_path / "x.csv", "--report", tmp_path / "x.csv"], "for both --output and --report"),
        (["--output", tmp_path / "x.csv", "--report", tmp_path / "link.csv"], "for both --output and --report"),
        (["--output", tmp_path / "d" / "risky.csv", "--split", tmp_path / "d"], "for both --output and --split"),
    ):
        done = world.verify(people, *arguments)
        assert done.status == 1 and words in done.sentence
    assert world.verify("ann@example.net", "--output", "x", "--report", "x").status == 1
    assert not world.host.commands and not (tmp_path / "x.csv").exists()


# A full disk -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "ending"), [("--output", ".csv"), ("--output", ".parquet"), ("--report", ".html"), ("--split", "")]
)
def test_a_full_disk_is_told_with_the_file_and_the_results_are_had_elsewhere_without_asking(
    world: World, people: Path, tmp_path: Path, option: str, ending: str
) -> None:
    if option == "--split":
        place = tmp_path / "parts"
        place.mkdir()
        device(place / "clean.csv", 7)
    else:
        place = device(tmp_path / f"full{ending}", 7)
    done = world.verify(people, option, place)
    assert done.status == 1
    assert (
        f"postroad: {place} could not be written: No space left on device; the results are kept, and the same command"
        f" with --resume {option} ELSEWHERE writes them, and asks nobody again"
    ) in done.err
    asked = world.asked
    assert world.verify(people, "--resume", option, tmp_path / f"else{ending}").status == 0
    assert (tmp_path / f"else{ending}").exists() and world.asked == asked


def test_a_full_disk_is_told_with_the_file_for_a_few_addresses_too(world: World, tmp_path: Path) -> None:
    full = device(tmp_path / "full.csv", 7)
    done = world.verify("ann@example.net", "--output", full)
    assert done.status == 1
    assert f"{full} could not be written: No space left on device; choose another place by --output" in done.sentence


# Two processes -----------------------------------------------------------------------------------------------------


def test_a_second_process_does_not_ask_about_a_list_that_the_first_works_on(tmp_path: Path) -> None:
    people, copy, other = (tmp_path / name for name in ("list.txt", "copy.txt", "other.txt"))
    people.write_text("ann@example.net\nx@silent.test\n")
    copy.write_text(people.read_text())
    other.write_text("no@example.net\n")
    with running(tmp_path / "state") as world:
        command = [sys.executable, "-m", "postroad", "verify", str(people), *world.options]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            try:
                while not (world.asked["RCPT TO:<x@silent.test>"] and world.asked["RCPT TO:<ann@example.net>"]):
                    assert process.poll() is None
                    os.sched_yield()
                for name in (people, copy):
                    for more in ([], ["--resume"], ["--column", "1"]):
                        done = world.verify(name, *more)
                        assert done.status == 1
                        assert "another process works on this list already" in done.sentence
                assert world.asked["RCPT TO:<x@silent.test>"] == world.asked["RCPT TO:<ann@example.net>"] == 1
                done = world.verify(other, "--format", "jsonl")
                assert [json.loads(line)["verdict"] for line in done.out.splitlines()] == ["undeliverable"]
            finally:
                process.kill()
        world.host.decide = lambda command, accepted: None
        done = world.verify(copy, "--resume", "--format", "csv")  # a killed process holds nothing
        assert done.status == 0, done.err
        assert [row["address"] for row in csv.DictReader(done.out.splitlines())] == people.read_text().split()
        assert not list((tmp_path / "state").glob("list-*")), "nothing stays of who worked on it"
