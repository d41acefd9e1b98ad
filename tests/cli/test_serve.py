"""`postroad serve` from the shell: what it says when it starts, and when it cannot."""

from __future__ import annotations

import os
import re
import signal
import smtplib
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from peers.processes import kill_group

FREE = ["--listen", "mx=127.0.0.1:0", "--listen", "submission=127.0.0.1:0", "--listen", "submissions=127.0.0.1:0"]


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "postroad", "serve", *map(str, arguments)]


@contextmanager
def serving(directory: Path, *arguments: object) -> Iterator[list[str]]:
    """A running server; gives the lines it printed when it was ready."""
    with subprocess.Popen(
        command(*arguments),
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
        env={**os.environ, "POSTROAD_HTTP__PORT": "0"},
    ) as process:
        try:
            assert process.stdout is not None
            lines = [process.stdout.readline()]
            while lines[-1] and not lines[-1].startswith("  submissions"):
                lines.append(process.stdout.readline())
            yield lines
            process.send_signal(signal.SIGTERM)
            lines += process.stdout.read().splitlines(keepends=True)
            assert process.wait(30) == 0
        finally:
            kill_group(process)


def refused(directory: Path, *arguments: object) -> str:
    """The one sentence of a server that cannot start, without the log lines before it."""
    done = subprocess.run(command(*arguments), cwd=directory, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return next(line for line in done.stderr.splitlines() if line.startswith("postroad: "))


def test_it_says_where_it_listens_and_the_administrators_password_once(tmp_path: Path) -> None:
    with serving(tmp_path, *FREE) as first:
        pass
    text = "".join(first)
    assert re.match(r"Postroad \S+ serves as \S+\n", text)
    for role, purpose in (("mx", "mail for"), ("submission", "STARTTLS and AUTH"), ("submissions", "TLS and AUTH")):
        assert re.search(rf"^  {role:<12} 127\.0\.0\.1:\d+ +{purpose}", text, re.MULTILINE)
    assert len(re.findall(r"administrator admin@\S+, password \S+ \(shown this once\)", text)) == 1
    with serving(tmp_path, *FREE) as second:
        pass
    assert "password" not in "".join(second)
    assert (tmp_path / "var").stat().st_mode & 0o077 == 0


def test_it_listens_on_ipv6_too(tmp_path: Path) -> None:
    with serving(tmp_path, "--listen", "mx=[::1]:0", "--listen", "submissions=127.0.0.1:0") as lines:
        port = re.search(r"mx +\[::1\]:(\d+)", "".join(lines))
        assert port is not None
        with smtplib.SMTP("::1", int(port[1])) as client:
            assert client.ehlo("client.test")[0] == 250


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        assert f"cannot listen on {place}" in refused(tmp_path, "--listen", f"mx={place}")


def test_a_state_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert f"{tmp_path}/file/var" in refused(tmp_path, *FREE, "--state", tmp_path / "file" / "var")


@pytest.mark.parametrize("content", ["", "no certificate"])
def test_a_certificate_that_is_none_is_named(tmp_path: Path, content: str) -> None:
    for name in ("chain.pem", "key.pem"):
        (tmp_path / name).write_text(content)
    (tmp_path / "postroad.toml").write_text('[tls]\ncertificate = "chain.pem"\nkey = "key.pem"\n')
    assert "chain.pem" in refused(tmp_path, *FREE)


def test_a_user_that_does_not_exist_is_named(tmp_path: Path) -> None:
    (tmp_path / "postroad.toml").write_text('[server]\nuser = "nobody-of-that-name"\n')
    assert "nobody-of-that-name" in refused(tmp_path, *FREE)
