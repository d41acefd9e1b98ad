"""`postroad lab` as a person uses it: it writes the list and the truth, says how to verify, and tells what it saw."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cli.calls import Done, call
from postroad.lab.build import build_world
from postroad.lab.catalogue import Pace
from postroad.lab.log import politeness_of, read_events


def lab(directory: Path, *options: object) -> Done:
    files = ("--list", directory / "list.csv", "--truth", directory / "truth.csv")
    return call("lab", *files, "--addresses", 120, "--for", 0, *options)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_list_is_one_that_verify_reads_and_the_truth_has_a_row_for_each_address(tmp_path: Path) -> None:
    done = lab(tmp_path, "--seed", 5, "--greylist", 4)
    assert done.status == 0 and not done.err
    world = build_world(5, addresses=120, pace=Pace(greylist_s=(2, 4), factor=0.1))
    assert [row["email"] for row in rows(tmp_path / "list.csv")] == world.addresses()
    truths = {row["address"]: row for row in rows(tmp_path / "truth.csv")}
    assert truths.keys() == set(world.addresses())
    for address, row in truths.items():
        assert row["truth"] == world.truth(address).kind and row["right"] == " ".join(world.truth(address).right)
    assert "Nobody came." in done.out


def test_it_says_the_very_command_that_verifies_against_it(tmp_path: Path) -> None:
    done = lab(tmp_path)
    (command,) = [line for line in done.out.splitlines() if line.startswith("  postroad verify ")]
    assert re.search(r"--resolver 127\.0\.0\.1:\d+ --port \d+ --allow-private --hello prober\.example", command)
    assert str(tmp_path / "list.csv") in command


def test_a_few_personalities_can_be_asked_for(tmp_path: Path) -> None:
    lab(tmp_path, "--personalities", "honest,null_mx")
    assert {row["personality"] for row in rows(tmp_path / "truth.csv")} <= {"honest", "null_mx", "no_domain", "-"}
    done = lab(tmp_path, "--personalities", "rude")
    assert done.status == 2 and "no personality is called rude; there are honest," in done.err


@contextmanager
def running(directory: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """The command in a process of its own, once it has said that Ctrl-C ends it."""
    arguments = ["--list", str(directory / "list.csv"), "--truth", str(directory / "truth.csv"), *options]
    command = [sys.executable, "-m", "postroad", "lab", "--addresses", "60", *arguments]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            yield process
        finally:
            process.kill()


def test_ctrl_c_ends_it_with_a_summary_of_what_its_hosts_saw(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    with running(tmp_path, "--personalities", "honest", "--log", str(log), "--latency", "0") as process:
        assert process.stdout is not None
        for line in process.stdout:
            found = re.search(r"--port (\d+)", line)
            if found:
                port = int(found[1])
            if "Ctrl-C" in line:
                break
        with socket.create_connection(("127.1.0.1", port)) as client, client.makefile("r") as replies:
            assert replies.readline().startswith("220")
            client.sendall(b"QUIT\r\n")
            assert any(line.startswith("221") for line in replies)
        process.send_signal(signal.SIGINT)
        told = process.stdout.read()
        assert process.wait(30) == 0
    assert "1 sessions, 0 recipients asked about." in told
    assert "Sessions left without QUIT: 0. DATA commands: 0." in told
    with log.open() as file:
        assert politeness_of(read_events(file)).whole.sessions == 1
    with log.open() as file:
        assert [json.loads(line)["what"] for line in file] == ["open", "greeted", "command", "farewell", "close"]


@pytest.mark.parametrize("option", ["--list", "--truth", "--log"])
def test_a_file_that_cannot_be_written_is_told_in_one_sentence(tmp_path: Path, option: str) -> None:
    done = lab(tmp_path, option, "/nowhere/at/all")
    assert done.status == 1 and done.sentence == "postroad: /nowhere/at/all: no such file or directory"


def test_a_port_that_is_taken_is_told_in_one_sentence(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = lab(tmp_path, "--dns-port", taken.getsockname()[1])
    assert done.status == 1 and "cannot serve DNS on 127.0.0.1:" in done.sentence


def test_without_dnslib_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dnslib", None)
    done = lab(tmp_path)
    assert done.status == 1
    assert done.sentence == 'postroad: the lab\'s DNS server needs dnslib: install it with pip install "postroad[lab]"'
