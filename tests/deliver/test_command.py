"""A program that takes mail: what it is told, what its status means, and that it ends."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path

import pytest

from deliver.messages import NULL, TEXT, envelope, message, queue, recipient
from postroad.deliver.command import CommandDelivery, CommandSettings
from postroad.smtp.reply import Reply
from postroad.store.spool import SpooledMessage

ONE = message(envelope("Ann+tag@us.test"))


def run(argv: list[str], of: SpooledMessage = ONE, **changes: float) -> list[Reply]:
    settings = CommandSettings(
        argv=tuple(argv),
        timeout_s=changes.get("timeout_s", 20.0),
        output_octets=int(changes.get("output_octets", 65_536)),
    )

    async def main() -> list[Reply]:
        return list(await CommandDelivery(settings).deliver(of, queue(of)))

    return asyncio.run(main())


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_the_message_comes_on_standard_input_and_the_envelope_in_the_environment(tmp_path: Path) -> None:
    code = f"""
import os, sys, json
got = {{"body": sys.stdin.buffer.read().decode(), "env": dict(os.environ), "argv": sys.argv[1:], "cwd": os.getcwd()}}
open({str(tmp_path / "got")!r}, "w").write(json.dumps(got))
"""
    of = message(envelope(recipient("Ann+tag@us.test", None, "rfc822;sales@us.test"), sender=NULL))
    (said,) = run([*python(code), "--flag", "$HOME; rm"], of)
    assert said.code == 250
    got = json.loads((tmp_path / "got").read_text())
    assert got["body"] == "Return-Path: <>\r\nDelivered-To: Ann+tag@us.test\r\n" + TEXT.decode()
    told = {
        "SENDER": "",
        "RECIPIENT": "Ann+tag@us.test",
        "ORIGINAL_RECIPIENT": "sales@us.test",
        "USER": "Ann",
        "DETAIL": "tag",
        "DOMAIN": "us.test",
        "CLIENT_ADDRESS": "192.0.2.1",
        "CLIENT_USER": "",
    }
    assert {name: got["env"][name] for name in told} == told
    assert got["argv"] == ["--flag", "$HOME; rm"]
    assert got["cwd"] == "/"
    assert not set(os.environ) & set(got["env"]) - {"PATH", "LC_CTYPE", "PWD", "USER", "SHLVL", "_"}


@pytest.mark.parametrize(
    ("status", "code", "enhanced"),
    [
        (0, 250, "2.0.0"),
        (65, 554, "5.6.0"),
        (67, 550, "5.1.1"),
        (69, 554, "5.3.0"),
        (73, 550, "5.2.0"),
        (75, 451, "4.3.0"),
        (77, 550, "5.7.1"),
        (1, 451, "4.3.0"),
        (255, 451, "4.3.0"),
    ],
)
def test_the_exit_status_is_the_answer(status: int, code: int, enhanced: str) -> None:
    (said,) = run(["/bin/sh", "-c", f"echo first; echo why it is so >&2; exit {status}"])
    assert (said.code, str(said.enhanced)) == (code, enhanced)
    assert status == 0 or "why it is so" in str(said)


def test_each_recipient_has_a_run_and_an_answer_of_his_own() -> None:
    of = message(envelope("ann@us.test", "ben@us.test"))
    said = run(["/bin/sh", "-c", 'cat >/dev/null; [ "$USER" = ann ] || exit 67'], of)
    assert [one.code for one in said] == [250, 550]


def test_a_program_that_reads_nothing_is_judged_by_its_status() -> None:
    large = message(envelope("ann@us.test"), body=TEXT + b"x" * 1_000_000 + b"\r\n")
    assert [one.code for one in run(["/bin/sh", "-c", "exit 0"], large)] == [250]


def test_h10_a_program_that_does_not_end_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    script = f"sleep 300 & echo $! > {tmp_path}/child; wait"
    (said,) = run(["/bin/sh", "-c", script], timeout_s=1.0)
    assert said.code == 451 and "had not ended" in str(said)
    child = int((tmp_path / "child").read_text())
    deadline = time.monotonic() + 10
    while _is_running(child):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _is_running(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


def test_what_it_leaves_running_does_not_hold_up_its_answer() -> None:
    (said,) = run(["/bin/sh", "-c", "sleep 300 & exit 0"])
    assert said.code == 250


def test_h02_a_program_that_prints_without_end_is_killed() -> None:
    (said,) = run(["/bin/sh", "-c", "yes"], output_octets=100_000)
    assert said.code == 451 and "printed more than 100000 octets" in str(said)


def test_a_program_killed_by_a_signal_is_run_again_later() -> None:
    (said,) = run(["/bin/sh", "-c", "kill -9 $$"])
    assert said.code == 451 and "signal 9" in str(said)


def test_a_program_that_is_not_there_is_told_and_tried_again() -> None:
    (said,) = run(["/no/such/program"])
    assert said.code == 451 and "program cannot be started: no such file" in str(said)


def test_h06_what_it_prints_is_harmless_on_a_terminal() -> None:
    (said,) = run(["/bin/sh", "-c", "printf 'a\\033[2Jb\\n'; exit 70"])
    assert "\x1b" not in str(said) and "a?[2Jb" in str(said)
