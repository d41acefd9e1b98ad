"""`postroad verify` as a person and a script use it: a few addresses, a list, Ctrl-C, --resume."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cli.calls import Done, call, in_thread
from deliver.peers import SILENCE, Host, listening
from dns_server import DnsServer
from postroad.events import escaped
from postroad.store.results import ResultStore

ZONE = {
    "example.net": {"MX": [(10, "mx.example.net")]},
    "mx.example.net": {"A": ["127.0.0.1"]},
    "silent.test": {"MX": [(10, "mx.silent.test")]},
    "mx.silent.test": {"A": ["127.0.0.1"]},
    "nullmx.test": {"MX": [(0, "")]},
}


def decide(command: str, accepted: int) -> bytes | None:
    if command.startswith("RCPT") and "@silent.test" in command:
        return SILENCE
    if command.startswith("RCPT") and not any(f"<{name}@" in command.lower() for name in ("ann", "x")):
        return b"550 5.1.1 no such user\x1b[31m here\r\n"
    return None


class World:
    """A mail host, DNS that leads to it, and a state directory."""

    def __init__(self, host: Host, options: list[str]) -> None:
        self.host = host
        self.options = options

    def verify(self, *arguments: object, stdin: str | bytes = "") -> Done:
        return call("verify", *arguments, *self.options, stdin=stdin)

    @property
    def asked(self) -> Counter[str]:
        return Counter(command for command in self.host.commands if command.startswith("RCPT"))


@contextmanager
def running(state: Path) -> Iterator[World]:
    host = Host(decide=decide)
    with DnsServer(ZONE) as dns, in_thread(listening(host)) as port:
        options = ["--resolver", dns.address, "--port", str(port), "--allow-private", "--state", str(state)]
        yield World(host, [*options, "--hello", "mx.example.net"])


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with running(tmp_path / "state") as made:
        yield made


@pytest.fixture
def people(tmp_path: Path) -> Path:
    path = tmp_path / "people.csv"
    path.write_text("name;E-Mail\nAnn;ann@example.net\nNo;no@example.net\nNull;x@nullmx.test\nAnn;ANN@example.net\n;\n")
    return path


def test_a_few_addresses_make_a_table_with_evidence(world: World) -> None:
    done = world.verify("ann@example.net", "no@example.net", "x@nowhere.test", "a@b@c")
    assert done.status == 0 and not done.err
    rows = [line.split()[:3] for line in done.out.splitlines() if "@" in line]
    assert rows == [
        ["ann@example.net", "deliverable", "accepted"],
        ["no@example.net", "undeliverable", "mailbox_unknown"],
        ["x@nowhere.test", "undeliverable", "no_domain"],
        ["a@b@c", "undeliverable", "bad_syntax"],
    ]
    assert "mx.example.net: 550 5.1.1 no such user" in done.out
    assert "\x1b" not in done.out, "a host cannot reach the terminal (H-11)"


def test_a_list_becomes_csv_its_bad_rows_are_told_with_their_line(world: World, people: Path, tmp_path: Path) -> None:
    output = tmp_path / "result.csv"
    done = world.verify(people, "--output", output)
    assert done.status == 0 and not done.out
    with output.open(newline="") as file:
        rows = {row["address"]: row["verdict"] for row in csv.DictReader(file)}
    assert rows == {
        "ann@example.net": "deliverable",
        "no@example.net": "undeliverable",
        "x@nullmx.test": "undeliverable",
        "ANN@example.net": "deliverable",
    }
    assert "line 6 was left out: there is no address in E-Mail" in done.err
    assert "deliverable" in done.err and "mailbox_unknown 1" in done.err, "the summary"


def test_jsonl_goes_to_standard_output_a_line_each(world: World, people: Path) -> None:
    done = world.verify(people, "--format", "jsonl")
    assert [json.loads(line)["verdict"] for line in done.out.splitlines()] == [
        "deliverable",
        "undeliverable",
        "undeliverable",
        "deliverable",
    ]


def test_a_list_comes_from_standard_input_too(world: World) -> None:
    done = world.verify("-", "--format", "csv", stdin=b"ann@example.net\nno@example.net\n")
    assert [row["verdict"] for row in csv.DictReader(done.out.splitlines())] == ["deliverable", "undeliverable"]


def test_the_column_can_be_named(world: World, tmp_path: Path) -> None:
    path = tmp_path / "two.csv"
    path.write_text("private,work\nno@example.net,ann@example.net\n")
    done = world.verify(path, "--column", "work", "--format", "jsonl")
    assert [json.loads(line)["address"] for line in done.out.splitlines()] == ["ann@example.net"]


def test_resume_of_a_finished_list_gives_its_results_and_asks_nobody(world: World, people: Path) -> None:
    first = world.verify(people, "--format", "jsonl")
    before = world.asked
    assert world.verify(people, "--format", "jsonl", "--resume").out == first.out
    assert world.asked == before
    again = world.verify(people, "--format", "jsonl").out
    assert [json.loads(line)["verdict"] for line in again.splitlines()] == [
        json.loads(line)["verdict"] for line in first.out.splitlines()
    ]
    assert world.asked != before, "without --resume it is asked anew"


def test_resume_without_an_earlier_run_begins_and_says_so(world: World, people: Path) -> None:
    done = world.verify(people, "--resume", "--format", "jsonl")
    assert "no earlier run" in done.err and len(done.out.splitlines()) == 4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing.csv"], "neither a file that is there nor an address"),
        (["ann@example.net", "people"], "neither a file"),
        (["PEOPLE", "ann@example.net"], "is a list: give one list alone"),
        (["PEOPLE", "--column", "nope"], "there is no column 'nope'; the columns are name, E-Mail"),
        (["PEOPLE", "--output", "/nowhere/at/all.csv"], "cannot be written"),
        (["PEOPLE", "--output", "x.csv", "--format", "table"], "a table is for the eye"),
        (["."], "is a directory"),
        (["PROSE"], "no line of it holds an address"),
        (["ZIP"], "spreadsheet"),
        (["EMPTY"], "the list holds no addresses"),
        (["ann@example.net", "--source-address", "192.0.2.1"], "cannot connect from 192.0.2.1"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    world: World, people: Path, tmp_path: Path, arguments: list[str], words: str
) -> None:
    (tmp_path / "prose.txt").write_text("nothing here\nis an address\n")
    (tmp_path / "list.xlsx").write_bytes(b"PK\x03\x04rest")
    (tmp_path / "empty.csv").write_text("")
    named = {
        "EMPTY": str(tmp_path / "empty.csv"),
        "PEOPLE": str(people),
        "PROSE": str(tmp_path / "prose.txt"),
        "ZIP": str(tmp_path / "list.xlsx"),
    }
    done = world.verify(*(named.get(one, one) for one in arguments))
    assert done.status == 1
    assert words in done.sentence
    assert not world.host.commands


@pytest.mark.parametrize(
    "option",
    [
        ["--resolver", "dns.test"],
        ["--resolver", "127.0.0.1:0"],
        ["--mail-from", "a b"],
        ["--hello", "two words"],
        ["--source-address", "here"],
        ["--port", "0"],
    ],
)
def test_a_wrong_option_is_told_with_its_name(option: list[str]) -> None:
    done = call("verify", "ann@example.net", *option)
    assert done.status == 2
    assert option[0] in done.err and "Traceback" not in done.err


def test_a_hostile_file_name_stays_off_the_terminal(world: World) -> None:
    done = world.verify("no\x1b[31m.csv")
    assert done.status == 1 and "\x1b" not in done.err
    assert escaped("\x1b") in done.err


def open_addresses(state: Path) -> int | None:
    """Addresses of the last run that have no verdict yet; None before there is a run."""
    if not (state / "verify.db").exists():
        return None
    with ResultStore(state / "verify.db") as store:
        runs = store.runs()
        return store.counts(runs[-1]).pending if runs and runs[-1].has_all_input else None


def test_ctrl_c_leaves_the_results_so_far_and_resume_asks_only_for_the_rest(tmp_path: Path) -> None:
    people = tmp_path / "list.txt"
    people.write_text("ann@example.net\nno@example.net\nx@silent.test\n")
    output = tmp_path / "result.jsonl"
    with running(tmp_path / "state") as world:
        command = [sys.executable, "-m", "postroad", "verify", str(people), "--output", str(output), *world.options]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ}) as process:
            while open_addresses(tmp_path / "state") != 1:
                assert process.poll() is None
                os.sched_yield()
            process.send_signal(signal.SIGINT)
            process.send_signal(signal.SIGINT)
            _, told = process.communicate(timeout=30)
        assert process.returncode == 130, told
        assert "go on with --resume" in told
        found = [json.loads(line) for line in output.read_text().splitlines()]
        assert {one["address"]: one["verdict"] for one in found} == {
            "ann@example.net": "deliverable",
            "no@example.net": "undeliverable",
        }
        world.host.decide = lambda command, accepted: decide(command.replace("@silent.test", "@example.net"), accepted)
        assert world.verify(people, "--output", output, "--resume").status == 0
        found = [json.loads(line) for line in output.read_text().splitlines()]
        assert [one["verdict"] for one in found] == ["deliverable", "undeliverable", "deliverable"]
        assert world.asked["RCPT TO:<ann@example.net>"] == 1
        assert world.asked["RCPT TO:<x@silent.test>"] == 2, "it had no answer"
