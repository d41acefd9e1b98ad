"""`postroad verify` against a real Postfix: existing, missing and unreachable addresses are told apart."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from peers.internet import Internet, internet

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.peer, pytest.mark.netns]

LIST = Path(__file__).parents[2] / "examples/list.csv"


@pytest.fixture(scope="module")
def world() -> Iterator[Internet]:
    with internet() as made:
        yield made


def verify(world: Internet, directory: Path, *arguments: str) -> str:
    options = ["--resolver", world.dns, "--allow-private", "--state", str(directory)]
    done = subprocess.run(
        [sys.executable, "-m", "postroad", "verify", *arguments, *options],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_list_of_the_examples_is_told_apart_as_it_should_be(world: Internet, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in verify(world, tmp_path, str(LIST), "--format", "jsonl").splitlines()]
    with LIST.open(newline="") as file:
        expected = {row["email"]: row["expected"] for row in csv.DictReader(file)}
    assert {row["address"]: row["verdict"] for row in rows} == expected


def test_each_verdict_carries_the_evidence_of_postfixs_own_words(world: Internet, tmp_path: Path) -> None:
    output = verify(world, tmp_path, "alice@postfix.test", "nobody@postfix.test", "--format", "jsonl")
    rows: dict[str, dict[str, Any]] = {row["address"]: row for row in map(json.loads, output.splitlines())}
    assert "250" in json.dumps(rows["alice@postfix.test"])
    assert "User unknown in virtual mailbox table" in json.dumps(rows["nobody@postfix.test"])


def test_c15_a_probe_never_sends_data(world: Internet, tmp_path: Path) -> None:
    verify(world, tmp_path, "alice@postfix.test", "bob@postfix.test", "--format", "jsonl")
    assert "data=" not in world.postfix.log()
    assert world.postfix.mailbox("alice") == []
