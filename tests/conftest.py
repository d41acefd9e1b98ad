"""What the whole suite shares: import paths, hypothesis profiles, and the honest account of absent peers.

A test that needs a real program, root, or something else of the machine says so by `need_program`,
`need_root_netns`, or the markers `peer` and `netns`. Where it is absent the test is skipped with the
reason, and the summary at the end lists what was absent and which tests that left out. With CI set
in the environment an absent peer is a failure: there the machine must have them all.
"""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

TESTS = Path(__file__).parent
for _directory in (TESTS, TESTS.parent):
    if str(_directory) not in sys.path:
        sys.path.insert(0, str(_directory))

from peers.need import ABSENT, need_netns  # noqa: E402
from postroad import events  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

    from _pytest.terminal import TerminalReporter

settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile(
    "ci", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("ci" if os.environ.get("CI") else "default")


@pytest.fixture(autouse=True)
def the_usual_log() -> Iterator[None]:
    """No test leaves the log to the next one otherwise than it found it."""
    yield
    events.configure()
    events.watch(None)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("netns") is not None:
        need_netns()


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """One block that says which real peers were absent and which tests did not run for it."""
    left_out: dict[str, list[str]] = defaultdict(list)
    for report in (*terminalreporter.stats.get("skipped", []), *terminalreporter.stats.get("failed", [])):
        text = str(getattr(report, "longrepr", ""))
        for what, why in ABSENT.items():
            if why in text:
                left_out[what].append(report.nodeid)
    terminalreporter.section("real peers")
    if not left_out:
        terminalreporter.line("every real peer that the tests asked for was present")
    for what, tests in sorted(left_out.items()):
        terminalreporter.line(f"absent: {what} ({ABSENT[what]}); left out {len(tests)}:")
        for test in tests:
            terminalreporter.line(f"  {test}")
