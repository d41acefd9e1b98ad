"""Values as text that HTML, SVG and inline data may hold, whatever a mail host or a list put into them.

Characters that are not printable, bidi controls among them, are written out; then markup is escaped. Numbers, shares
and durations as people read them. Pure. Used by the report page and its charts.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Sequence
from datetime import datetime

from postroad.events import escaped

THIN_SPACE = "\u202f"
_JSON_ESCAPES = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}


def clean(text: str, most: int = 200) -> str:
    """The text with what is not printable written out, but for our own narrow space, cut to `most` characters."""
    text = THIN_SPACE.join(escaped(part) for part in text[: most + 1].split(THIN_SPACE))
    return text if len(text) <= most else text[: most - 1] + "…"


def safe(text: str, most: int = 200) -> str:
    """The text as content of an element or of a quoted attribute."""
    return html.escape(clean(text, most), quote=True)


def data(value: object) -> str:
    """The value as JSON that may stand in a script element: nothing in it ends the element or begins a comment."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).translate(_JSON_ESCAPES)


def number(value: int) -> str:
    """`1 234 567`, by narrow spaces that do not break."""
    return f"{value:,}".replace(",", THIN_SPACE)


def counted(value: int, one: str, many: str) -> str:
    """`1 address`, `2 000 addresses`."""
    return f"{number(value)} {one if value == 1 else many}"


def share(part: int, whole: int) -> str:
    """`12.3 %`; what is neither nothing nor all is never shown as such."""
    if not whole or not part:
        return f"0{THIN_SPACE}%"
    percent = 100 * part / whole
    if part < whole and percent >= 99.95:
        return f">99.9{THIN_SPACE}%"
    if percent < 0.05:
        return f"<0.1{THIN_SPACE}%"
    return f"{percent:.1f}{THIN_SPACE}%" if part < whole else f"100{THIN_SPACE}%"


def duration(seconds: float) -> str:
    """`2 h 14 min`: the two largest units, down to seconds."""
    whole = round(seconds)
    if whole < 1:
        return "less than 1 s"
    parts: list[str] = []
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        count, whole = divmod(whole, size)
        if count or parts:
            parts.append(f"{number(count)} {unit}" if count else "")
        if len(parts) == 2:
            break
    return " ".join(part for part in parts if part)


def moment(when: datetime) -> str:
    """`2026-03-01 14:05 UTC` as a time element."""
    return f'<time datetime="{safe(when.isoformat(timespec="seconds"))}">{safe(f"{when:%Y-%m-%d %H:%M %Z}")}</time>'


def link(text: str, filters: str) -> str:
    """A link to the table of addresses; with the script it sets the filter too. `text` is markup already."""
    return f'<a href="#addresses" data-filter="{safe(filters, 600)}">{text}</a>'


def badge(verdict: str) -> str:
    """A verdict as a coloured word; the colour is not all that tells it."""
    return f'<span class="badge v-{verdict}">{verdict}</span>'


def table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]], *, words: int = 1) -> str:
    """A table of markup cells; the first cell of a row heads it, the columns after the first `words` are numbers."""
    classes = ["" if index < words else ' class="number"' for index in range(len(heads))]
    head = "".join(f'<th scope="col"{class_}>{name}</th>' for name, class_ in zip(heads, classes, strict=True))
    body = "".join(
        f'<tr><th scope="row">{row[0]}</th>'
        + "".join(f"<td{class_}>{cell}</td>" for cell, class_ in zip(row[1:], classes[1:], strict=True))
        + "</tr>\n"
        for row in rows
    )
    return (
        f'<div class="wide"><table><caption>{caption}</caption>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}</tbody></table></div>\n"
    )
