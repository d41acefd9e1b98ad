"""The `postroad_server` fixture, used by a real run of pytest over a project of somebody else's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

THEIR_TESTS = """
import smtplib

import pytest


def send(server, recipient):
    with smtplib.SMTP(server.host, server.port, timeout=20) as client:
        client.sendmail("ann@example.org", [recipient], "Subject: Hello\\r\\n\\r\\nGood day.\\r\\n")


def test_it_sends(postroad_server):
    send(postroad_server, "bob@example.org")
    assert postroad_server.messages[0].subject == "Hello"
    assert postroad_server.messages[0].recipients == ("bob@example.org",)


def test_each_test_has_a_server_of_its_own(postroad_server):
    assert postroad_server.messages == []


def test_it_copes_with_refusal(postroad_server):
    postroad_server.refuse("nobody@example.org")
    with pytest.raises(smtplib.SMTPRecipientsRefused):
        send(postroad_server, "nobody@example.org")


def test_that_needs_no_server():
    pass
"""


def run_pytest(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-W", "error", *arguments],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_project_that_has_postroad_installed_has_the_fixture(tmp_path: Path) -> None:
    (tmp_path / "test_theirs.py").write_text(THEIR_TESTS)
    run = run_pytest(tmp_path, "-q")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "4 passed" in run.stdout


def test_the_fixture_is_listed_with_its_meaning(tmp_path: Path) -> None:
    run = run_pytest(tmp_path, "--fixtures")
    assert "postroad_server" in run.stdout
    assert "A server that takes every message" in run.stdout
