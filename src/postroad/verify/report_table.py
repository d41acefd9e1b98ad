"""The table of addresses: filters, the first rows as HTML, and all chosen rows as data for the script.

Bounded by `MOST_ROWS` of report_tally, by `MOST_DATA_OCTETS`, and by the length of each cell. Pure. Used by
report_page.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from postroad.verify.markup import THIN_SPACE, badge, clean, data, number, safe
from postroad.verify.report_tally import MOST_ROWS, Tally
from postroad.verify.report_values import (
    FLAGS,
    GROUPS,
    VERDICTS,
    Row,
    Summary,
    reason_meaning,
    reason_words,
)

PLAIN_ROWS = 500
"""Rows in the HTML itself, for readers without a script."""
MOST_DATA_OCTETS = 4_000_000
"""Of the rows as data; where texts are long, fewer rows are in the page."""
ADDRESS_CHARS = 320
WORD_CHARS = 80
HOST_CHARS = 255
EVIDENCE_CHARS = 240
_HEADS = ("address", "verdict", "reason", "mail host", "evidence")
MOST_CHOICES = 1_000
"""Different reasons, and different providers, that the filter tells apart."""
_BITS = {flag: 1 << index for index, flag in enumerate(FLAGS)}


def address_table(found: Tally, summary: Summary) -> Iterator[str]:
    """The section, in pieces."""
    yield '<section aria-labelledby="addresses"><h2 id="addresses" tabindex="-1">Addresses</h2>\n'
    embedded = _Data(found.chosen)
    shown = len(embedded.lines)
    yield _notice(shown, found.rows, summary.whole)
    if not shown:
        yield "</section>\n"
        return
    yield _filters(embedded)
    heads = "".join(f'<th scope="col" role="columnheader">{head}</th>' for head in _HEADS)
    yield (
        '<table class="addresses" role="table" id="table"><caption>'
        "Addresses, those with something to do first</caption>\n"
        f'<thead role="rowgroup"><tr role="row">{heads}</tr></thead>\n<tbody role="rowgroup" id="rows">\n'
    )
    for row in found.chosen[: min(PLAIN_ROWS, shown)]:
        yield _plain(row)
    yield '</tbody></table>\n<p class="more"><button type="button" id="more" hidden></button></p>\n'
    if shown > PLAIN_ROWS:
        yield f"<noscript><p>Without a script, the first {number(PLAIN_ROWS)} rows are shown.</p></noscript>\n"
    yield f'<script type="application/json" id="data">{{"names":{data(embedded.names())},"rows":[\n'
    for place, line in enumerate(embedded.lines, 1):
        yield f"{line}\n" if place == shown else f"{line},\n"
    yield "]}</script>\n</section>\n"


class _Data:
    """Rows as JSON arrays while there is room. Texts that many rows share stand once; a row names them by number."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self.lines: list[str] = []
        self.reasons: dict[str, int] = {"": 0}
        self.providers: dict[str, int] = {"": 0}
        self.hosts: dict[str, int] = {"": 0}
        self._room = MOST_DATA_OCTETS
        for row in rows:
            line = self._encoded(row)
            self._room -= len(line.encode()) + 2
            if self._room < 0:
                break
            self.lines.append(line)

    def names(self) -> dict[str, object]:
        """What the numbers stand for, as the script reads it."""
        return {
            "verdicts": VERDICTS,
            "reasons": [[key, reason_words(key), reason_meaning(key)] for key in self.reasons],
            "providers": list(self.providers),
            "hosts": list(self.hosts),
            "flags": list(FLAGS.items()),
            "groups": {name: reasons for name, (_, reasons) in GROUPS.items()},
        }

    def _encoded(self, row: Row) -> str:
        return data(
            [
                clean(row.address, ADDRESS_CHARS),
                VERDICTS.index(row.judged),
                self._number(self.reasons, clean(row.reason, WORD_CHARS), MOST_CHOICES),
                self._number(self.providers, clean(row.provider, WORD_CHARS), MOST_CHOICES),
                self._number(self.hosts, clean(row.mx, HOST_CHARS), MOST_ROWS),
                _percent(row.confidence),
                sum(_BITS[mark] for mark in row.marks),
                clean(row.suggestion, ADDRESS_CHARS),
                clean(row.evidence, EVIDENCE_CHARS),
            ]
        )

    def _number(self, known: dict[str, int], text: str, most: int) -> int:
        """Its place among the names; 0, the empty one, for a new one where there are too many."""
        if text not in known and len(known) <= most:
            known[text] = len(known)
            self._room -= 3 * len(data(text).encode())  # a choice of the filter has it twice more
        return known.get(text, 0)


def _percent(confidence: float) -> int:
    return round(100 * min(1.0, max(0.0, confidence))) if confidence == confidence else 0  # NaN is no number


def _notice(shown: int, there: int, whole: str) -> str:
    kept = f" Every row is in <bdi>{safe(whole)}</bdi>." if whole else ""
    if shown == there:
        told = f"All {number(there)} are here." if there else "There are none."
    else:
        told = (
            f"{number(shown)} of {number(there)} are here: undeliverable ones first, then risky, unknown and"
            " deliverable ones, as far as there is room."
        )
        kept = kept or " The CSV that --output writes holds every row."
    return f'<p class="soft">{told}{kept}</p>\n'


def _filters(embedded: _Data) -> str:
    """Shown by the script alone: without it they would do nothing."""
    groups = "".join(f'<option value="{name}">{words}</option>' for name, (words, _) in GROUPS.items())
    reasons = "".join(_option(key, reason_words(key)) for key in sorted(embedded.reasons) if key)
    providers = "".join(_option(key, key) for key in sorted(embedded.providers) if key)
    return (
        '<form id="filters" hidden>\n'
        '<p><label for="q">Search</label><input id="q" name="q" type="search"'
        ' autocomplete="off" spellcheck="false"></p>\n'
        f'<p><label for="reason">Reason</label><select id="reason" name="reason"><option value="">any</option>'
        f'<optgroup label="Several at once">{groups}</optgroup>'
        f'<optgroup label="One">{reasons}</optgroup></select></p>\n'
        f'<p><label for="provider">Provider</label><select id="provider" name="provider">'
        f'<option value="">any</option>{providers}</select></p>\n'
        f"{_boxes('verdict', 'Verdict', {verdict: verdict for verdict in VERDICTS})}"
        f"{_boxes('flag', 'Marked', FLAGS)}"
        '<p class="count"><output id="count" for="q reason provider" role="status"></output>'
        '<button type="reset">Show all</button></p>\n</form>\n'
    )


def _option(value: str, words: str) -> str:
    return f'<option value="{safe(value, WORD_CHARS)}">{safe(words, WORD_CHARS)}</option>'


def _boxes(name: str, words: str, values: Mapping[str, str]) -> str:
    boxes = "".join(
        f'<label><input type="checkbox" name="{name}" value="{value}"> {label}</label>'
        for value, label in values.items()
    )
    return f"<fieldset><legend>{words}</legend>{boxes}</fieldset>\n"


def _plain(row: Row) -> str:
    """One row as HTML; report.js makes the same."""
    marks = "".join(f'<span class="mark">{FLAGS[mark]}</span> ' for mark in row.marks if mark != "suggestion")
    marks = f'<span class="block">{marks}</span>' if marks else ""
    meant = (
        f'<span class="block soft">perhaps <bdi>{safe(row.suggestion, ADDRESS_CHARS)}</bdi></span>'
        if row.suggestion
        else ""
    )
    host = f"<bdi>{safe(row.mx, HOST_CHARS)}</bdi>"
    provider = f'<span class="block soft"><bdi>{safe(row.provider, WORD_CHARS)}</bdi></span>' if row.provider else ""
    return (
        f'<tr role="row"><th scope="row" role="rowheader"><bdi>{safe(row.address, ADDRESS_CHARS)}</bdi>{meant}'
        f"{marks}</th>"
        f'<td role="cell">{badge(row.judged)}'
        f' <span class="soft">{_percent(row.confidence)}{THIN_SPACE}%</span></td>'
        f'<td role="cell"><span title="{safe(reason_meaning(clean(row.reason, WORD_CHARS)))}">'
        f"{safe(reason_words(row.reason), WORD_CHARS)}</span></td>"
        f'<td role="cell">{host}{provider}</td>'
        f'<td role="cell" class="evidence"><bdi>{safe(row.evidence, EVIDENCE_CHARS)}</bdi></td></tr>\n'
    )
