"""`make demo` as its user sees it, with fewer addresses: it ends by itself and leaves nobody behind."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

DEMO = Path(__file__).parents[2] / "examples/demo.py"
pytestmark = pytest.mark.slow


def command(directory: Path, addresses: int) -> list[str]:
    return [sys.executable, str(DEMO), f"--addresses={addresses}", f"--directory={directory}", "--wait=8"]


def environment(**more: str) -> dict[str, str]:
    return {**{key: value for key, value in os.environ.items() if "DISPLAY" not in key}, **more}


def left_behind(directory: Path) -> list[str]:
    """Processes that still work on those files."""
    lines = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout.splitlines()
    return [line for line in lines if str(directory) in line and "postroad" in line]


def test_it_verifies_the_list_and_opens_the_report(tmp_path: Path) -> None:
    directory = tmp_path / "its own"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\nprintf %s "$1" > {tmp_path}/opened\n')
    browser.chmod(0o755)
    done = subprocess.run(
        command(directory, 80),
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=environment(DISPLAY=":0", BROWSER=f"{browser} %s"),
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "opened").read_text() == (directory / "report.html").as_uri()
    assert "opens in your browser" in done.stdout
    assert ", 0 wrong." in done.stdout
    assert "deliverable" in done.stderr, "the summary of the verifier"
    with (directory / "result.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 80
    assert {path.name for path in directory.iterdir()} >= {"clean.csv", "risky.csv", "remove.csv"}
    assert not left_behind(directory)


@pytest.mark.parametrize("is_asking", [False, True], ids=["at the start", "while it asks"])
@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_ends_it_with_all_that_it_started(tmp_path: Path, is_asking: bool, times: int) -> None:
    with subprocess.Popen(
        command(tmp_path, 300), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("$ postroad verify"):
                break
        while is_asking and not (tmp_path / "state/verify.db").exists():
            assert process.poll() is None
            os.sched_yield()
        for _ in range(times):
            process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 130 and told.endswith("\nEnded.\n")
    assert "Traceback" not in told
    assert not left_behind(tmp_path)


def test_a_lab_that_cannot_begin_is_no_traceback(tmp_path: Path) -> None:
    done = subprocess.run(command(tmp_path, 0), capture_output=True, text=True, check=False, env=environment())
    assert done.returncode == 2
    assert "--addresses" in done.stderr and "Traceback" not in done.stderr
