"""The benchmarks: Postroad against Postfix in the same run, its memory, and its durability under kill -9.

`python -m bench` runs them all and prints plain tables; `python -m bench accept` only that one.
They talk to addresses of the loopback interface only, and every load is bounded in count and time.
"""

from __future__ import annotations

import sys
from pathlib import Path

_TESTS = str(Path(__file__).parents[1] / "tests")
if _TESTS not in sys.path:
    sys.path.insert(0, _TESTS)
