"""`postroad log` as an operator uses it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cli.calls import Done, call
from postroad.log.file import numbered

EVENTS: list[dict[str, object]] = [
    {"event": "message.accepted", "queue_id": "0sb20shh40000", "recipients": 2, "timestamp": "2026-11-24T21:15:10Z"},
    {
        "event": "delivery.deferred",
        "queue_id": "0sb20shh40000",
        "reply": "451 \x1b[31mred",
        "timestamp": "2026-11-24T21:15:11Z",
    },
    {"event": "delivery.bounced", "queue_id": "0sb20shh40001", "level": "warning", "timestamp": "2026-11-24T21:15:12Z"},
]


def line(event: dict[str, object]) -> str:
    return json.dumps({"level": "info", **event}) + "\n"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log"
    numbered(path, 1).write_text(line(EVENTS[0]))
    path.write_text("no JSON\n" + "".join(map(line, EVENTS[1:])))
    return path


def show(log: Path, *arguments: object) -> Done:
    return call("log", "--file", log, *arguments)


def test_the_log_is_told_in_order_over_its_files(log: Path) -> None:
    done = show(log)
    assert [told.split()[2] for told in done.out.splitlines()] == [
        "message.accepted",
        "delivery.deferred",
        "delivery.bounced",
    ]
    assert "recipients=2" in done.out


def test_h11_what_stands_in_a_log_cannot_reach_the_terminal(log: Path) -> None:
    for arguments in ([], ["--json"]):
        assert show(log, *arguments).out.replace("\n", "").isprintable()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--event", "delivery.*"], [1, 2]),
        (["--event", "message.accepted", "--event", "delivery.bounced"], [0, 2]),
        (["--queue-id", "0SB20SHH40000"], [0, 1]),
        (["--level", "warning"], [2]),
        (["--since", "2026-11-24T21:15:11Z"], [1, 2]),
        (["--since", "1s"], []),
    ],
)
def test_what_is_asked_for_is_told(log: Path, arguments: list[str], expected: list[int]) -> None:
    found = [json.loads(told) for told in show(log, "--json", *arguments).out.splitlines()]
    assert [one["timestamp"] for one in found] == [EVENTS[index]["timestamp"] for index in expected]


def test_a_log_is_read_from_standard_input(log: Path) -> None:
    assert "delivery.bounced" in call("log", "--file", "-", stdin=log.read_bytes()).out


def test_the_configured_file_is_read_and_where_there_is_none_it_says_what_to_do(tmp_path: Path, log: Path) -> None:
    config = tmp_path / "postroad.toml"
    config.write_text(f'[server]\nstate_dir = "{tmp_path}"\n[log]\nfile = "log"\n')
    assert "delivery.bounced" in call("log", "--config", config).out
    config.write_text('[log]\nfile = "/nowhere/log"\n')
    assert "there is no log /nowhere/log" in call("log", "--config", config).sentence
    config.write_text("")
    assert "[log] file" in call("log", "--config", config).sentence


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--event", "delivery.delivred"], "there is no event"),
        (["--queue-id", "x"], "is no queue id"),
        (["--since", "yesterday"], "write 2h"),
        (["--unit", "postroad"], "not both"),
    ],
)
def test_mistakes_are_told(log: Path, arguments: list[str], words: str) -> None:
    done = show(log, *arguments)
    assert done.status == 2 and words in done.err


def test_the_journal_is_asked_through_its_own_program(
    tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin" / "journalctl"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >{tmp_path}/asked\ncat {log}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent) + os.pathsep + os.environ["PATH"])
    assert "delivery.bounced" in call("log", "--unit", "postroad.service", "--since", "1970-01-01T00:00:07Z").out
    assert "--unit=postroad.service" in (tmp_path / "asked").read_text()
    assert "--since=@7" in (tmp_path / "asked").read_text()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "journalctl cannot be run" in call("log", "--unit", "postroad").sentence


def test_following_tells_what_comes_and_ends_at_ctrl_c(log: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "postroad",
        "log",
        "--file",
        str(log),
        "--follow",
        "--since",
        "2026-11-24T21:15:12Z",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        assert "delivery.bounced" in following.stdout.readline()
        with log.open("a") as file:
            file.write(line({"event": "worker.stopped", "timestamp": f"{time.strftime('%Y')}-12-31T00:00:00Z"}))
        assert "worker.stopped" in following.stdout.readline()
        following.send_signal(signal.SIGINT)
        assert following.wait(10) == 130
