"""One self-contained page about a verification: charts, what to do next, and a table of addresses to filter.

The page asks no other host for anything, and its policy (CSP) lets only its own script run. It can be read without
that script: then the table holds its first rows. The same values give the same page. Pure: values in, pieces of HTML
out; report.css and report.js are the rest of it. Used by the verify command.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from importlib import resources
from urllib.parse import quote

from postroad.verify import charts
from postroad.verify.advice import Advice, advice
from postroad.verify.charts import MOST_ROWS as MOST_GROUPS
from postroad.verify.markup import (
    badge,
    clean,
    counted,
    duration,
    link,
    moment,
    number,
    safe,
    share,
    table,
)
from postroad.verify.report_table import WORD_CHARS, address_table
from postroad.verify.report_tally import Tally, tally
from postroad.verify.report_values import VERDICTS, Group, Row, Summary, reason_meaning, reason_words

MOST_SITES = 100
MOST_SETTINGS = 50


def report_page(summary: Summary, rows: Iterable[Row]) -> Iterator[str]:
    """The page in pieces. `rows`: one for each distinct address; read once, before the first piece is given."""
    found = tally(rows)
    yield _head(summary)
    yield _opening(summary)
    yield _verdicts(summary)
    yield _next_steps(advice(summary, found))
    yield '<div class="pair">\n'
    yield _groups("reasons", "Reasons", summary.by_reason, "reason")
    yield _groups("providers", "Providers", summary.providers, "provider")
    yield _groups("domains", "Domains", summary.domains, "q")
    yield _over_time(summary)
    yield "</div>\n"
    yield _sites(summary)
    yield from address_table(found, summary)
    yield _settings(summary)
    yield _end(found)


@cache
def _file(name: str) -> str:
    return resources.files("postroad.verify").joinpath(name).read_text(encoding="utf-8").strip()


def script_hash(script: str) -> str:
    """The script as a policy names it: `sha256-…`."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"


def _head(summary: Summary) -> str:
    policy = (
        "default-src 'none'; style-src 'unsafe-inline'; "
        f"script-src '{script_hash(_file('report.js'))}'; base-uri 'none'; form-action 'none'"
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<meta name="referrer" content="no-referrer">\n'
        f'<meta name="robots" content="noindex">\n<title>Verification of {safe(summary.title)}</title>\n'
        f"<style>\n{_file('report.css')}\n</style>\n</head>\n<body>\n"
        '<a class="skip" href="#addresses">To the addresses</a>\n'
    )


def _opening(summary: Summary) -> str:
    judged = sum(summary.by_verdict.values())
    pace = f", {number(round(judged / summary.duration_s))} a second" if judged >= summary.duration_s > 0 else ""
    repeated = f" in {counted(summary.rows, 'row', 'rows')}" if summary.rows != summary.addresses else ""
    return (
        '<header>\n<p class="soft">Postroad · verification of addresses</p>\n'
        f"<h1><bdi>{safe(summary.title)}</bdi></h1>\n"
        f'<p class="lead">{counted(summary.addresses, "address", "addresses")}{repeated}. '
        f"Begun {moment(summary.began)}, ended {moment(summary.ended)}, "
        f"took {duration(summary.duration_s)}{pace}.</p>\n</header>\n<main>\n"
    )


def _verdicts(summary: Summary) -> str:
    counts = summary.by_verdict
    total = sum(counts.values())
    figures = "".join(
        f'<div class="figure v-{verdict}"><dt>{badge(verdict)}</dt>'
        f"<dd>{link(number(counts[verdict]), f'verdict={verdict}')}"
        f' <span class="soft">{share(counts[verdict], total)}</span></dd></div>\n'
        for verdict in VERDICTS
    )
    return (
        '<section aria-labelledby="verdicts"><h2 id="verdicts">Verdicts</h2>\n'
        f"{charts.verdict_bar('verdict-chart', counts)}"
        f'<dl class="figures">\n{figures}</dl></section>\n'
    )


def _next_steps(told: Sequence[Advice]) -> str:
    items = []
    for one in told:
        lines = "".join(f"<li><bdi>{safe(line)}</bdi></li>" for line in one.lines)
        lines = f'<ul class="typos">{lines}</ul>' if lines else ""
        show = f" {link('Show them', one.filters)}" if one.filters else ""
        items.append(f"<li><strong>{safe(one.headline, 400)}</strong> {safe(one.detail, 1000)}{show}{lines}</li>\n")
    return (
        '<section aria-labelledby="next"><h2 id="next">What to do next</h2>\n'
        f'<ol class="steps">\n{"".join(items)}</ol></section>\n'
    )


def _groups(name: str, title: str, groups: Sequence[Group], filtered: str) -> str:
    if not groups:
        return ""
    named = reason_words if filtered == "reason" else _named
    shown = [Group(named(one.name), one.counts) for one in groups]
    return (
        f'<section aria-labelledby="{name}"><h2 id="{name}">{title}</h2>\n{charts.legend()}'
        f"{charts.bars(f'{name}-chart', f'Addresses by {title.lower()}', shown)}"
        f"<details><summary>The same as a table</summary>\n"
        f"{table(f'Addresses by {title.lower()}', (title, 'all', *VERDICTS), _group_rows(groups, filtered))}"
        f"{_left_out(len(groups), MOST_GROUPS)}</details></section>\n"
    )


def _group_rows(groups: Sequence[Group], filtered: str) -> Iterator[Sequence[str]]:
    for group in groups[:MOST_GROUPS]:
        name = reason_words(group.name) if filtered == "reason" else _named(group.name)
        wanted = f"@{group.name}" if filtered == "q" else group.name
        cell = f"<bdi>{safe(name)}</bdi>"
        if group.name:
            cell = link(cell, f"{filtered}={_quoted(wanted)}")
        if filtered == "reason" and reason_meaning(group.name):
            cell += f'<span class="soft block">{safe(reason_meaning(group.name))}</span>'
        yield (cell, number(group.total), *(number(group.counts.get(verdict, 0)) for verdict in VERDICTS))


def _named(name: str) -> str:
    return name or "(not known)"


def _quoted(text: str) -> str:
    """A value of a filter as the part of an address after # holds it."""
    return quote(clean(text, WORD_CHARS), safe="@._-")


def _left_out(there: int, most: int) -> str:
    return f'<p class="soft">{number(there - most)} more are left out here.</p>\n' if there > most else ""


def _over_time(summary: Summary) -> str:
    if not summary.found or summary.interval_s <= 0:
        return ""
    counts, every = charts.folded(summary.found)
    seconds = summary.interval_s * every
    unit = f"found in {duration(seconds)}"
    ends = (f"began {summary.began:%H:%M}", f"after {duration(seconds * len(counts))}")
    rows = (
        (f"{duration(seconds * index) if index else '0 s'} to {duration(seconds * (index + 1))}", number(count))
        for index, count in enumerate(counts)
    )
    return (
        '<section aria-labelledby="time"><h2 id="time">Time</h2>\n'
        f"{charts.steps('time-chart', 'Verdicts found over time', counts, ends, unit)}"
        "<details><summary>The same as a table</summary>\n"
        f"{table('Verdicts found over time', ('since the beginning', 'verdicts'), rows)}</details></section>\n"
    )


def _sites(summary: Summary) -> str:
    if not summary.sites:
        return ""
    sites = sorted(summary.sites, key=lambda trouble: (-trouble.count, trouble.site, trouble.what))
    rows = (
        (f"<bdi>{safe(one.site)}</bdi>", f"<bdi>{safe(one.what, 300)}</bdi>", number(one.count))
        for one in sites[:MOST_SITES]
    )
    return (
        '<section aria-labelledby="sites"><h2 id="sites">Sites that slowed or refused us</h2>\n'
        f"{table('Sites, and what they said or did', ('site', 'what', 'times'), rows, words=2)}"
        f"{_left_out(len(sites), MOST_SITES)}</section>\n"
    )


def _settings(summary: Summary) -> str:
    if not summary.settings:
        return ""
    told = "".join(
        f"<div><dt>{safe(name)}</dt><dd><bdi>{safe(value) or '—'}</bdi></dd></div>\n"
        for name, value in summary.settings[:MOST_SETTINGS]
    )
    return (
        '<section aria-labelledby="settings"><h2 id="settings">How it was asked</h2>\n'
        f'<dl class="settings">\n{told}</dl></section>\n'
    )


def _end(found: Tally) -> str:
    script = f"<script>{_file('report.js')}</script>\n" if found.chosen else ""
    return (
        '</main>\n<footer><p class="soft">Made by Postroad. This page asks no other host for anything. It holds'
        f" addresses of people: keep it as you keep the list.</p></footer>\n{script}</body>\n</html>\n"
    )
