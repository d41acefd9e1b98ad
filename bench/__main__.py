"""`python -m bench [NAME...]`: run the named benchmarks, or all of them, one after the other."""

from __future__ import annotations

import importlib
import sys

from bench.rivals import work_directory

NAMES = ("accept", "relay", "idle", "kill", "spool", "bounces", "replies", "truth", "verify", "lists", "deliver")


def main(arguments: list[str]) -> None:
    unknown = [name for name in arguments if name not in NAMES]
    if unknown:
        raise SystemExit(f"there is no benchmark {unknown[0]!r}; there are: {', '.join(NAMES)}")
    for name in arguments or NAMES:
        print(f"\n=== {name} ===", flush=True)
        if name == "spool":
            _spool()
        else:
            importlib.import_module(f"bench.{name}").main()


def _spool() -> None:
    """The spool's benchmark has a command line of its own: it gets the directory of the others."""
    with work_directory() as base:
        sys.argv = ["spool", str(base)]
        importlib.import_module("bench.spool").main()


if __name__ == "__main__":
    main(sys.argv[1:])
