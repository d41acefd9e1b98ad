"""How a setting is written down: its default, its one line of documentation, its bounds."""

from __future__ import annotations

from dataclasses import field
from typing import Any


def setting(default: Any, doc: str, **bounds: float) -> Any:
    """A field of a section; `low` and `high` bound numbers. docs/reference/configuration.md shows `doc`."""
    return field(default=default, metadata={"doc": doc, **bounds})
