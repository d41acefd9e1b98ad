"""Verifies a list of 2,000 addresses in a simulated internet on this machine, and opens the report.

    make demo

Starts `postroad lab` (docs/guides/lab.md) on loopback with greylisting of a few seconds, runs `postroad verify` on its
list, compares the verdicts with the truth, which the lab knows, and shows the report in a browser where there is a
display. It asks nobody in the world, takes about a minute, and leaves its files in var/demo. Ctrl-C ends it early.
"""

from __future__ import annotations

import argparse
import csv
import os
import shlex
import shutil
import signal
import subprocess
import sys
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ADDRESSES = 2000
GREYLIST_S = 6
WAIT_S = 40
"""How long an address may wait to be asked again: enough for most that greylisting hosts want to see again."""
LAB_ENDS_S = 300
"""The lab ends by itself after so long, should nobody be left to end it."""
GRACE_S = 15
"""For a process to end in order."""
POSTROAD = (sys.executable, "-m", "postroad")


class Ended(Exception):
    """Somebody wants the demonstration to end."""


class _Ending:
    """The handler of Ctrl-C: raises Ended, but not between the start of a process and the duty to end it."""

    def __init__(self) -> None:
        self._is_wanted = False
        self._is_held = False

    def __call__(self, _number: int, _frame: object) -> None:
        self._is_wanted = True
        if not self._is_held:
            raise Ended

    def hold(self) -> None:
        self._is_held = True

    def let_go(self) -> None:
        self._is_held = False
        if self._is_wanted:
            raise Ended


_ending = _Ending()


def main() -> int:
    options = _options()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _ending)
    files = Path(os.path.relpath(options.directory))
    try:
        shutil.rmtree(files / "state", ignore_errors=True)
        files.mkdir(parents=True, exist_ok=True)
        return _run(files, options)
    except Ended:
        print("\nEnded.", file=sys.stderr)
        return 130
    except OSError as error:
        print(f"demo: {error.filename or files}: {error.strerror}", file=sys.stderr)
        return 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Verify a list in a simulated internet, and open the report.")
    parser.add_argument("--addresses", type=int, default=ADDRESSES, help="length of the list (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same internet (%(default)s)")
    parser.add_argument("--directory", default="var/demo", help="where the files go (%(default)s)")
    parser.add_argument(
        "--wait", type=int, default=WAIT_S, metavar="SECONDS", help="for addresses to be asked again (%(default)s)"
    )
    parser.add_argument("--no-browser", action="store_true", help="only say where the report is")
    return parser.parse_args()


def _run(files: Path, options: argparse.Namespace) -> int:
    people, truth, result, report = (files / name for name in ("list.csv", "truth.csv", "result.csv", "report.html"))
    lab = [*POSTROAD, "lab", f"--seed={options.seed}", f"--addresses={options.addresses}"]
    lab += [f"--greylist={GREYLIST_S}", "--latency=10"]
    lab += [f"--list={people}", f"--truth={truth}", f"--for={LAB_ENDS_S}"]
    print(f"$ postroad {shlex.join(lab[len(POSTROAD) :])}", flush=True)
    with _started(lab, stdout=subprocess.PIPE) as process:
        reach = _how_to_reach(process)
        if reach is None:
            return process.wait(GRACE_S) or 1
        verify = ["verify", str(people), *reach, "--mail-from", "check@prober.example", "--wait", f"{options.wait}s"]
        verify += ["--output", str(result), "--report", str(report), "--split", str(files), "--state", f"{files}/state"]
        print(f"\n$ postroad {shlex.join(verify)}", flush=True)
        with _started([*POSTROAD, *verify]) as verifier:
            status = verifier.wait()
        if status:
            return status
    print(f"\nThe lab knows the truth: {_compared(result, truth)}.")
    print(f"Every verdict with its evidence is in {result}; clean.csv, risky.csv and remove.csv are beside it.")
    if not options.no_browser and _has_display() and webbrowser.open(report.absolute().as_uri()):
        print(f"The report, {report}, opens in your browser.")
    else:
        print(f"The report is {report.absolute()}: open it in a browser.")
    return 0


@contextmanager
def _started(command: list[str], stdout: int | None = None) -> Iterator[subprocess.Popen[str]]:
    """A process that is not there afterwards, whatever happens; a second Ctrl-C does not wait for its end.

    It has a session of its own: Ctrl-C would reach the lab before the verifier has taken its leave of it."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    _ending.hold()
    process = subprocess.Popen(  # noqa: S603 - a command of ours
        command, stdout=stdout, text=True, env=environment, start_new_session=True
    )
    try:
        _ending.let_go()
        yield process
    finally:
        try:
            if process.poll() is None:
                process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(GRACE_S)
        finally:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


def _how_to_reach(lab: subprocess.Popen[str]) -> list[str] | None:
    """The options by which the lab says that it is verified in; None where it ended before it said so."""
    assert lab.stdout is not None
    found = None
    for line in lab.stdout:
        if line.startswith("  postroad verify "):
            found = line[line.index("--resolver") :].split()
        if line.startswith("Ctrl-C"):
            return found
        if line.startswith("World"):
            print(line.strip(), flush=True)
    return None


def _compared(result: Path, truth: Path) -> str:
    """How many verdicts are right (unknown, where nobody could know), more careful than need be, and wrong."""
    with truth.open(newline="", encoding="utf-8") as file:
        truths = {row["address"]: row for row in csv.DictReader(file)}
    right = unsure = wrong = 0
    with result.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            told = truths.get(row["email"], {"right": "", "also_right": ""})
            if row["verdict"] in told["right"].split() or row["verdict"] in told["also_right"].split():
                right += 1
            elif row["verdict"] in ("unknown", "risky"):
                unsure += 1
            else:
                wrong += 1
    return f"{right:,} verdicts are right, {unsure:,} more careful than need be, {wrong:,} wrong"


def _has_display() -> bool:
    return sys.platform == "darwin" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


if __name__ == "__main__":
    sys.exit(main())
