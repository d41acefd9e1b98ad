"""Asking the machine for what a test needs: a program, root, network namespaces.

Absent: the test is skipped with the reason; with CI set in the environment it fails with it.
`ABSENT` remembers each reason given, for the summary at the end of the run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from typing import NoReturn

import pytest

ABSENT: dict[str, str] = {}
"""What was absent → the reason as it stands in the reports."""

SBIN = ("/usr/sbin", "/sbin", "/usr/local/sbin")


def absent(what: str, reason: str) -> NoReturn:
    """End the test: a skip with the reason, or a failure where CI is set."""
    ABSENT[what] = reason
    if os.environ.get("CI"):
        pytest.fail(f"{reason}, and with CI set every peer must be there", pytrace=False)
    pytest.skip(reason)


def find_program(name: str) -> str | None:
    """The path of the program, also where sbin is not in PATH."""
    return shutil.which(name) or shutil.which(name, path=os.pathsep.join(SBIN))


def need_program(name: str) -> str:
    """The path of the program, or the end of the test."""
    path = find_program(name)
    if path is None:
        absent(name, f"the program {name} is not installed on this machine")
    return path


def need_swaks_with_tls() -> str:
    """The path of swaks, where it can speak TLS too, or the end of the test."""
    swaks = need_program("swaks")
    if subprocess.run(["perl", "-MNet::SSLeay", "-e", "1"], capture_output=True, check=False).returncode != 0:
        absent("Net::SSLeay", "swaks lacks its Perl module for TLS, Net::SSLeay, on this machine")
    return swaks


@cache
def _namespaces_work() -> bool:
    ip = find_program("ip")
    if ip is None or os.geteuid() != 0:
        return False
    name = f"prprobe{os.getpid()}"
    made = subprocess.run([ip, "netns", "add", name], capture_output=True, check=False)
    if made.returncode == 0:
        subprocess.run([ip, "netns", "delete", name], capture_output=True, check=False)
    return made.returncode == 0


def need_root(what: str) -> None:
    """Postfix's master and port 25 want root."""
    if os.geteuid() != 0:
        absent("root", f"{what} needs root")


def need_netns() -> None:
    """Root, the `ip` program and a kernel that lets us make network namespaces."""
    if os.geteuid() != 0:
        absent("network namespaces", "making network namespaces needs root")
    need_program("ip")
    if not _namespaces_work():
        absent("network namespaces", "this machine does not let us make network namespaces")
