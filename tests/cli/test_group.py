"""The command as a whole: version, help, completion, and how it ends when something is wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from docs.generate import contexts

import postroad
from cli.calls import call

COMMANDS = [context.command_path.split()[1:] for context in contexts()]


def test_version() -> None:
    assert call("--version").out == f"postroad, version {postroad.__version__}\n"


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help(command: list[str]) -> None:
    done = call(*command, "--help")
    assert done.status == 0 and done.out.startswith("Usage: postroad")
    assert call(*command, "-h").out == done.out


@pytest.mark.parametrize("arguments", [["nonsense"], ["serve", "--nonsense"], ["queue", "nonsense"], ["verify"]])
def test_a_wrong_use_is_told_with_status_2(arguments: list[str]) -> None:
    done = call(*arguments)
    assert done.status == 2 and "Usage: postroad" in done.err and "Traceback" not in done.err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(shell: str) -> None:
    done = call("completion", shell)
    assert done.status == 0 and "_POSTROAD_COMPLETE" in done.out


def test_completion_works_in_a_real_bash(tmp_path: Path) -> None:
    script = tmp_path / "completion.sh"
    script.write_text(call("completion", "bash").out)
    (tmp_path / "postroad").write_text(f'#!/bin/sh\nexec {sys.executable} -m postroad "$@"\n')
    (tmp_path / "postroad").chmod(0o755)
    ask = (
        f"source {script}; COMP_WORDS=(postroad qu); COMP_CWORD=1; COMP_LINE='postroad qu';"
        ' _postroad_completion postroad; echo "${COMPREPLY[@]}"'
    )
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", ask], capture_output=True, text=True, check=False, env={**os.environ, "PATH": path}
    )
    assert done.stdout.strip() == "queue", done.stderr


def test_a_fault_of_ours_is_one_sentence_and_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import postroad.cli.settings as s\n"
        "def broken(*_):\n    raise RuntimeError('inner\\x1b reason')\n"
        "s.config_path = broken\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "postroad", "queue", "list"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == "postroad: RuntimeError: inner\\x1b reason (POSTROAD_DEBUG=1 shows where)\n"


def interrupted(directory: Path, site: str, *arguments: str) -> tuple[int, str]:
    """Ctrl-C after the command wrote a first line on standard output: its status, and standard error."""
    (directory / "sitecustomize.py").write_text(site)
    environment = {**os.environ, "PYTHONPATH": str(directory)}
    command = [sys.executable, "-m", "postroad", *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write("550 5.1.1 User unknown\n")
        process.stdin.flush()
        assert process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=30)
    return process.returncode, told


def test_ctrl_c_while_replies_are_awaited_is_one_sentence_and_status_130(tmp_path: Path) -> None:
    assert interrupted(tmp_path, "", "explain") == (130, "postroad: stopped\n")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["bounce", "-"], "postroad: stopped\n"),
        (["suppress", "import", "-"], "postroad: stopped; before that, 0 rows were added\n"),
        (["verify", "-"], "postroad: stopped; go on with --resume\n"),
    ],
    ids=["bounce", "suppress import", "verify"],
)
def test_ctrl_c_while_standard_input_is_read_is_one_sentence_and_status_130(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], sentence: str
) -> None:
    # Tells when standard input is read, which these commands do before they write anything.
    site = (
        "import os, sys, threading, time\n"
        "def watch():\n"
        "    main = threading.main_thread().ident\n"
        "    reading = ('_octets', '_opened', '_copied', 'copyfileobj')\n"
        "    while sys._current_frames()[main].f_code.co_name not in reading:\n"
        "        time.sleep(0.001)\n"
        "    os.write(1, b'ready\\n')\n"  # without the lock of standard output, which the exit may want
        "threading.Thread(target=watch, daemon=True).start()\n"
    )
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert interrupted(tmp_path, site, *arguments) == (130, sentence)


def test_ctrl_c_while_the_command_itself_is_loaded_is_quiet_and_status_130(tmp_path: Path) -> None:
    site = (
        "import builtins, time\n"
        "load = builtins.__import__\n"
        "def slow(name, *rest, **more):\n"
        "    if name == 'click':\n"
        "        print('ready', flush=True)\n"
        "        time.sleep(30)\n"
        "    return load(name, *rest, **more)\n"
        "builtins.__import__ = slow\n"
    )
    assert interrupted(tmp_path, site, "--version") == (130, "")
