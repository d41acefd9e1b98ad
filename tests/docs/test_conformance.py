"""docs/conformance.md names tests that exist, and says something of each requirement."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/conformance.md").read_text()
NAMED = re.findall(r"(tests/[\w/]+\.py)::(\w+)", PAGE)
ROWS = dict(re.findall(r"^\| ([SCHDVTA]-\d\d) \|[^|]*\| (.*) \|$", PAGE, re.MULTILINE))
IN_SCOPE = {"S": 32, "C": 15, "T": 4, "A": 5, "H": 14, "D": 7, "V": 10}
"""Letter → how many requirements it numbers."""


@cache
def functions_in(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / file).read_text())
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_each_test_that_is_named_exists() -> None:
    missing = [
        f"{file}::{name}" for file, name in NAMED if not (ROOT / file).exists() or name not in functions_in(file)
    ]
    assert missing == []


def test_each_requirement_has_a_row_with_a_test_or_a_reason() -> None:
    wanted = {f"{letter}-{number:02d}" for letter, last in IN_SCOPE.items() for number in range(1, last + 1)}
    assert set(ROWS) == wanted
    assert [id_ for id_, shown in ROWS.items() if "::" not in shown and "later: " not in shown] == []
