"""What docs/guides/lab.md tells is so: its example runs, and its table names every personality."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from postroad.lab.catalogue import EVERY

GUIDE = (Path(__file__).parents[2] / "docs" / "guides" / "lab.md").read_text()


def test_the_table_names_every_personality() -> None:
    rows = re.findall(r"^\| ([a-z_, ]+) \|", GUIDE, re.MULTILINE)
    named = [name for row in rows[1:] for name in row.split(", ")]
    assert sorted(named) == sorted(EVERY)


def test_the_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    exec(compile(example.replace("10_000", "300"), "docs/guides/lab.md", "exec"), {})
    figures, measured = capsys.readouterr().out.splitlines()
    assert "data=0" in figures
    assert all(0.0 <= float(share) <= 1.0 for share in measured.split())
