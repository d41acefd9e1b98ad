"""Report pages for tests: made from a few values, and read back by the standard library's parser."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

from postroad.verify.report_page import report_page
from postroad.verify.report_values import Group, Row, SiteTrouble, Summary

BEGAN = datetime(2026, 3, 1, 14, 5, tzinfo=UTC)
VOID = {"meta", "input", "link", "br"}


def summary(rows: Sequence[Row] = (), **values: Any) -> Summary:
    """A run that found those rows."""
    given: dict[str, Any] = {
        "title": "people.csv",
        "began": BEGAN,
        "ended": BEGAN + timedelta(seconds=4987),
        "rows": len(rows),
        "addresses": len(rows),
        "by_state": Counter(f"{row.verdict}:{row.reason}" for row in rows),
        "providers": [Group("mail.example", {"deliverable": 3, "unknown": 1})],
        "domains": [Group("example.org", {"risky": 2})],
        "found": [1, 5, 2],
        "interval_s": 60.0,
        "sites": [SiteTrouble("mail.example", "421 4.7.0 Too many connections", 7)],
        "settings": [("hello", "mail.example.org"), ("mail_from", "bounces@example.org"), ("connections", "50")],
    }
    return Summary(**given | values)


def row(address: str = "ann@example.org", verdict: str = "deliverable", reason: str = "accepted", **values: Any) -> Row:
    """One address."""
    given: dict[str, Any] = {"provider": "mail.example", "mx": "mx.example.org", "confidence": 0.9}
    return Row(address=address, verdict=verdict, reason=reason, **given | {"evidence": "250 OK"} | values)


def written(rows: Iterable[Row], **values: Any) -> str:
    """The page of those rows."""
    kept = list(rows)
    return "".join(report_page(summary(kept, **values), kept))


class Page(HTMLParser):
    """What a page holds: elements in order, text by element, the content of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[tuple[tuple[str, ...], str]] = []
        """Where each text stands (names of the elements around it), and the text."""
        self.scripts: list[tuple[dict[str, str], str]] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open, f"not closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), f"an attribute twice: {attrs}"
        kept = {name: value or "" for name, value in attrs}
        self.elements.append((tag, kept))
        if tag == "script":
            self.scripts.append((kept, ""))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self._open and self._open.pop() == tag, f"</{tag}> ends nothing that is open"

    def handle_data(self, data: str) -> None:
        if self._open[-1:] == ["script"]:
            self.scripts[-1] = (self.scripts[-1][0], self.scripts[-1][1] + data)
        elif data.strip():
            self.texts.append((tuple(self._open), data))

    def all(self, tag: str, **attributes: str) -> list[dict[str, str]]:
        """The attributes of each such element."""
        return [found for name, found in self.elements if name == tag and attributes.items() <= found.items()]

    def text(self) -> str:
        """All text, each piece on a line."""
        return "\n".join(text for _, text in self.texts)

    def data(self) -> dict[str, Any]:
        """The rows for the script, and the names that they share."""
        (text,) = [text for attributes, text in self.scripts if attributes.get("type") == "application/json"]
        found: dict[str, Any] = json.loads(text)
        return found

    def program(self) -> str:
        """The script itself."""
        (text,) = [text for attributes, text in self.scripts if not attributes]
        return text
