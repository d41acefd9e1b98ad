"""Charts as inline SVG, made without a script: a stacked bar, horizontal bars stacked by verdict, steps over time.

Widths are shares of the width there is, heights and text are in pixels: a chart fits a phone and text keeps its size.
Each has a title and a description; the table of the same numbers is the page's. Colours are classes of report.css.
Pure. Used by report_page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from postroad.verify.markup import clean, number, safe, share
from postroad.verify.report_values import VERDICTS, Group

MOST_BARS = 12
"""Bars in one chart; the table under it goes further."""
MOST_ROWS = 50
"""Rows of the table under a chart."""
MOST_STEPS = 120
_LABEL_CHARS = 30
_BAR_PITCH = 36
_STEP_HEIGHT = 150


def verdict_bar(name: str, counts: Mapping[str, int]) -> str:
    """One bar for all addresses, a part for each verdict."""
    total = sum(counts.get(verdict, 0) for verdict in VERDICTS)
    told = ", ".join(f"{verdict} {number(counts.get(verdict, 0))}" for verdict in VERDICTS)
    return _chart(name, "Addresses by verdict", f"{told}.", 28, _parts(counts, total, 0, 28))


def bars(name: str, title: str, groups: Sequence[Group]) -> str:
    """A bar for each of the first `MOST_BARS` groups, as long as its share of the largest."""
    shown = groups[:MOST_BARS]
    most = max((group.total for group in shown), default=0)
    drawn = []
    for index, group in enumerate(shown):
        top = index * _BAR_PITCH
        drawn.append(
            f'<text class="label" x="0" y="{top + 13}">{safe(group.name, _LABEL_CHARS)}</text>'
            f'<text class="value" x="100%" y="{top + 13}" text-anchor="end">{number(group.total)}</text>'
            f'<rect class="track" x="0" y="{top + 19}" width="100%" height="9"/>'
            + _parts(group.counts, most, top + 19, 9)
        )
    told = "; ".join(f"{clean(group.name, _LABEL_CHARS)}: {number(group.total)}" for group in shown[:5])
    more = f" The first {number(len(shown))} of {number(len(groups))} are drawn." if len(groups) > len(shown) else ""
    return _chart(name, title, f"Stacked by verdict. {told}.{more}", max(1, len(shown)) * _BAR_PITCH, "".join(drawn))


def steps(name: str, title: str, counts: Sequence[int], labels: tuple[str, str], unit: str) -> str:
    """An area of steps: one for each interval. `labels`: under its beginning and its end; `unit`: of the height."""
    most = max(counts, default=0)
    width = max(1, len(counts))
    path = [f"M0 {_STEP_HEIGHT}"]
    for index, count in enumerate(counts):
        height = _STEP_HEIGHT - (_STEP_HEIGHT * count / most if most else 0)
        path.append(f"V{height:.1f}H{(index + 1) * 1000 / width:.1f}")
    path.append(f"V{_STEP_HEIGHT}Z")
    foot = _STEP_HEIGHT + 24
    drawn = (
        f'<text class="label" x="0" y="13">{number(most)} {safe(unit)}</text>'
        f'<line class="line" x1="0" x2="100%" y1="20.5" y2="20.5"/>'
        f'<svg x="0" y="21" width="100%" height="{_STEP_HEIGHT}" viewBox="0 0 1000 {_STEP_HEIGHT}"'
        f' preserveAspectRatio="none"><path class="area" d="{"".join(path)}"/></svg>'
        f'<line class="axis" x1="0" x2="100%" y1="{foot - 2.5}" y2="{foot - 2.5}"/>'
        f'<text class="label" x="0" y="{foot + 15}">{safe(labels[0])}</text>'
        f'<text class="label" x="100%" y="{foot + 15}" text-anchor="end">{safe(labels[1])}</text>'
    )
    told = f"From {labels[0]} to {labels[1]}; the most is {number(most)} {unit}."
    return _chart(name, title, told, foot + 22, drawn)


def folded(counts: Sequence[int], most: int = MOST_STEPS) -> tuple[list[int], int]:
    """The counts in at most `most` intervals, and how many of the old make a new one."""
    every = max(1, -(-len(counts) // most))
    return [sum(counts[start : start + every]) for start in range(0, len(counts), every)], every


def legend(counts: Mapping[str, int] | None = None) -> str:
    """What the colours mean."""
    total = sum(counts.values()) if counts else 0
    items = "".join(
        f'<li><span class="key v-{verdict}"></span>{verdict}'
        + (f' <span class="soft">{share(counts.get(verdict, 0), total)}</span>' if counts else "")
        + "</li>"
        for verdict in VERDICTS
    )
    return f'<ul class="legend">{items}</ul>'


def _parts(counts: Mapping[str, int], whole: int, top: int, height: int) -> str:
    """Rectangles side by side, each as wide as its share of `whole`."""
    left = 0.0
    drawn: list[str] = []
    for verdict in VERDICTS:
        count = counts.get(verdict, 0)
        if not count or not whole:
            continue
        width = 100 * count / whole
        edge = f'<rect class="gap" x="{left:.3f}%" y="{top}" width="1.5" height="{height}"/>' if drawn else ""
        drawn.append(
            f'<rect class="part v-{verdict}" x="{left:.3f}%" y="{top}" width="{width:.3f}%" height="{height}">'
            f"<title>{verdict}: {number(count)}</title></rect>{edge}"
        )
        left += width
    return "".join(drawn)


def _chart(name: str, title: str, description: str, height: int, drawn: str) -> str:
    return (
        f'<svg class="chart" role="img" aria-labelledby="{name}-title {name}-text" width="100%" height="{height}">'
        f'<title id="{name}-title">{safe(title)}</title><desc id="{name}-text">{safe(description, 400)}</desc>'
        f"{drawn}</svg>\n"
    )
