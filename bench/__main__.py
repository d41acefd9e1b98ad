"""`python -m bench [NAME...]`: run the named benchmarks, or all of them, one after the other."""

from __future__ import annotations

import importlib
import sys

NAMES = ("accept", "relay", "idle", "kill", "spool")


def main(arguments: list[str]) -> None:
    unknown = [name for name in arguments if name not in NAMES]
    if unknown:
        raise SystemExit(f"there is no benchmark {unknown[0]!r}; there are: {', '.join(NAMES)}")
    for name in arguments or NAMES:
        print(f"\n=== {name} ===", flush=True)
        importlib.import_module(f"bench.{name}").main()


if __name__ == "__main__":
    main(sys.argv[1:])
