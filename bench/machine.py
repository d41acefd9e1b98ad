"""The facts of the machine and of the rivals that stand above every table, and the tables themselves."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from peers.need import find_program

if TYPE_CHECKING:
    from collections.abc import Sequence


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _file_system(directory: Path) -> str:
    best = ("", "unknown")
    for line in Path("/proc/mounts").read_text().splitlines():
        device, mount, kind = line.split()[:3]
        if directory.resolve().is_relative_to(mount) and len(mount) >= len(best[0]):
            best = (mount, f"{kind} on {device}")
    return best[1]


def sync_ms(directory: Path, rounds: int = 100) -> float:
    """Median milliseconds of appending 4 KB to a file and waiting for the disk."""
    path = directory / "sync-probe"
    times = []
    with path.open("wb", buffering=0) as file:
        for _ in range(rounds):
            begun = time.perf_counter()
            file.write(bytes(4096))
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - begun)
    path.unlink()
    return statistics.median(times) * 1000


def postfix_version() -> str:
    postconf = find_program("postconf")
    if postconf is None:
        return "absent"
    done = subprocess.run([postconf, "-d", "-h", "mail_version"], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def print_machine(directory: Path) -> None:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**30
    print(f"machine: {os.cpu_count()} cores, {_processor()}, {memory} GiB, Linux {platform.release()}")
    print(f"disk: {_file_system(directory)}; append of 4 KB with fdatasync: {sync_ms(directory):.2f} ms (median)")
    print(f"Python {sys.version.split()[0]}; Postfix {postfix_version()}", flush=True)


def print_table(title: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A plain table: first column to the left, the others to the right."""
    cells = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    print(f"\n{title}")
    for number, row in enumerate(cells):
        rest = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        print("  ".join([row[0].ljust(widths[0]), *rest]))
        if number == 0:
            print("  ".join("-" * width for width in widths))
    sys.stdout.flush()


def spread(values: Sequence[float], digits: int = 0) -> str:
    """Median with the lowest and the highest in brackets."""
    return f"{statistics.median(values):,.{digits}f} [{min(values):,.{digits}f}..{max(values):,.{digits}f}]"
