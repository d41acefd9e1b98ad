"""The report page: whole in one file, asks nobody, holds hostile words harmlessly, and can be read by everyone."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import re
import unicodedata
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from postroad.smtp.outcome import Phase
from postroad.verify.charts import MOST_BARS, MOST_STEPS, bars, folded, steps, verdict_bar
from postroad.verify.markup import clean, data, duration, number, safe, share
from postroad.verify.report_page import report_page
from postroad.verify.report_table import MOST_DATA_OCTETS, PLAIN_ROWS
from postroad.verify.report_tally import MOST_ROWS, MOST_TYPOS, tally
from postroad.verify.report_values import FLAGS, VERDICTS, Group, Row, SiteTrouble
from postroad.verify.verdict import Evidence, Judgement, Traits, Verdict
from verify.report_pages import BEGAN, Page, row, summary, written

_ALLOWED = (
    "html head meta title style body a header main footer section h1 h2 p time strong bdi span div dl dt dd ol ul li"
    " svg desc text rect line path details summary table caption thead tbody tr th td form label input select optgroup"
    " option fieldset legend output button noscript script"
)
ALLOWED = frozenset(_ALLOWED.split())
HOSTILE = (
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "<!--<script>",
    "]]>",
    "javascript:alert(1)",
    "\u202eevil\u2066",
    "\u2028\u2029\x00\x1b[31m\r\n\ud800",
    "&lt;b&gt;&amp;",
    "${7*7}{{7*7}}\\",
)
texts = st.text(st.characters(), max_size=60) | st.sampled_from(HOSTILE)
counts = st.dictionaries(st.sampled_from(VERDICTS) | texts, st.integers(0, 10**9), max_size=4)
rows = st.builds(
    Row,
    address=texts,
    verdict=st.sampled_from(VERDICTS) | texts,
    reason=st.sampled_from(["accepted", "greylisted", "mailbox_full", "blocked"]) | texts,
    provider=texts,
    mx=texts,
    confidence=st.floats(),
    suggestion=texts,
    flags=st.frozensets(st.sampled_from(list(FLAGS)) | texts, max_size=3),
    evidence=texts,
)


def elements_are_ours(page: Page) -> None:
    for tag, attributes in page.elements:
        assert tag in ALLOWED
        assert not [
            name for name in attributes if name.startswith("on") or name in ("style", "src", "srcset", "action")
        ]
        assert attributes.get("href", "#").startswith("#")


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(found=st.lists(rows, max_size=4), words=texts, groups=st.lists(st.builds(Group, texts, counts), max_size=3))
def test_h11_no_word_from_outside_becomes_markup(found: list[Row], words: str, groups: list[Group]) -> None:
    text = written(
        found,
        title=words,
        by_state={f"{one.verdict}:{one.reason}": 1 for one in found},
        providers=groups,
        domains=groups,
        sites=[SiteTrouble(words, words, 1)],
        settings=[(words, words), ("hello", words)],
        whole=words,
    )
    page = Page(text)
    elements_are_ours(page)
    assert len(page.scripts) == (2 if found else 0)
    assert text.lower().count("<script") == text.lower().count("</script") == len(page.scripts)
    text.encode()
    odd = {char for char in text if not char.isprintable()} - {"\n", "\u202f"}
    assert not odd, "neither control characters nor bidi controls"


@given(st.lists(rows, min_size=1, max_size=5))
@settings(deadline=None)
def test_h11_rows_come_back_from_the_data_as_they_are_shown(found: list[Row]) -> None:
    page = Page(written(found))
    embedded = page.data()
    assert len(embedded["rows"]) == len(found)
    shown = {(one[0], embedded["names"]["verdicts"][one[1]], one[8]) for one in embedded["rows"]}
    assert shown == {(clean(one.address, 320), one.judged, clean(one.evidence, 240)) for one in found}


@given(texts | st.recursive(texts, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=5))
def test_h11_data_in_a_script_cannot_end_it(value: object) -> None:
    told = data(value)
    assert not set(told) & set("<>&\u2028\u2029")


@given(texts)
def test_h11_text_is_one_line_without_markup(text: str) -> None:
    told = safe(text, 50)
    assert not set(told) & set("<>\"'\n\r") and "\x00" not in told
    assert len(clean(text, 50)) <= 50


def test_the_policy_lets_only_its_own_script_run_and_nothing_be_loaded() -> None:
    page = Page(written([row()]))
    (policy,) = page.all("meta", **{"http-equiv": "Content-Security-Policy"})
    digest = base64.b64encode(hashlib.sha256(page.program().encode()).digest()).decode()
    told = dict(part.strip().split(" ", 1) for part in policy["content"].split(";"))
    assert told["default-src"] == "'none'"
    assert told["script-src"] == f"'sha256-{digest}'"
    assert "img-src" not in told and "connect-src" not in told
    tags = [tag for tag, _ in page.elements]
    assert tags.index("meta") < tags.index("style") < tags.index("script")


def test_nothing_in_it_names_another_host() -> None:
    text = written([row()])
    assert not re.search(r"https?:|//[a-z]|url\(|@import|<link|<img|<iframe", text)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|fetch\(|XMLHttp", text)


def test_the_same_values_give_the_same_page() -> None:
    found = [row(f"a{index}@example.org", flags=frozenset({"role", "free", "disposable"})) for index in range(20)]
    assert written(found) == written(found)


def many(verdict: str, count: int) -> Iterator[Row]:
    return (row(f"{verdict}{index}@example.org", verdict, "accepted") for index in range(count))


def test_it_holds_ten_thousand_rows_at_most_those_with_something_to_do_first() -> None:
    found = tally(one for verdict in VERDICTS for one in many(verdict, 4000))
    assert found.rows == 16_000 and len(found.chosen) == MOST_ROWS == 10_000
    assert [one.verdict for one in found.chosen] == ["undeliverable"] * 4000 + ["risky"] * 4000 + ["unknown"] * 2000


def test_it_says_when_there_are_more_and_where_they_are() -> None:
    found = list(many("deliverable", MOST_ROWS + 5))
    told = Page(written(found, whole="result.csv")).text().replace("\u202f", "")
    assert "10000 of 10005 are here" in told and "result.csv" in told
    assert "The CSV that --output writes holds every row." in Page(written(found)).text()


def test_a_page_of_ten_thousand_rows_stays_below_five_megabytes() -> None:
    found = [
        row(f"{'<' * 300}{index}@example.org", "unknown", mx=f"{'&' * 250}{index}", evidence="\U0001f4a3<\x00" * 200)
        for index in range(MOST_ROWS)
    ]
    text = written(found)
    assert len(text.encode()) < 5_000_000
    embedded = Page(text).data()["rows"]
    assert 0 < len(embedded) < MOST_ROWS
    assert f"{number(len(embedded))} of {number(MOST_ROWS)} are here" in text
    assert MOST_DATA_OCTETS < 5_000_000


def test_rows_are_read_once_and_not_all_are_kept() -> None:
    given_out = 0

    def endless_looking() -> Iterator[Row]:
        nonlocal given_out
        for one in many("deliverable", 30_000):
            given_out += 1
            yield one

    found = tally(endless_looking())
    assert given_out == found.rows == 30_000 and len(found.chosen) == MOST_ROWS


def test_pairs_of_typos_are_bounded() -> None:
    found = tally(row(f"a@x{index}.test", suggestion="a@example.org") for index in range(MOST_TYPOS + 50))
    assert len(found.typos) == MOST_TYPOS and found.marked("suggestion") == MOST_TYPOS + 50


def test_without_a_script_the_first_rows_are_a_plain_table() -> None:
    page = Page(written(many("risky", PLAIN_ROWS + 7)))
    shown = page.all("th", scope="row", role="rowheader")
    assert len(shown) == PLAIN_ROWS
    (form,) = page.all("form")
    assert "hidden" in form, "filters that would do nothing are not shown"
    assert f"the first {PLAIN_ROWS} rows" in page.text()


def test_an_empty_run_gives_a_page() -> None:
    page = Page(written([], providers=(), domains=(), found=(), sites=(), settings=()))
    assert "There is nothing to do." in page.text() and not page.scripts


def test_headings_are_in_order_and_each_section_bears_one() -> None:
    page = Page(written([row()]))
    assert len(page.all("h1")) == 1
    assert [found["aria-labelledby"] for found in page.all("section")] == [found["id"] for found in page.all("h2")]
    assert [found["id"] for found in page.all("h2")] == [
        *("verdicts", "next", "reasons", "providers", "domains", "time", "sites", "addresses", "settings"),
    ]


def test_every_table_says_what_it_is_and_heads_its_columns_and_rows() -> None:
    page = Page(written([row(), row("b@example.org", "risky", "catch_all")]))
    assert len(page.all("caption")) == len(page.all("table")) == 6
    assert all(found.get("scope") in ("row", "col") for found in page.all("th"))


def test_every_chart_has_a_title_a_description_and_its_numbers_as_a_table() -> None:
    page = Page(written([row()]))
    ids = [found["id"] for _, found in page.elements if "id" in found]
    assert len(set(ids)) == len(ids)
    charts = page.all("svg", role="img")
    assert len(charts) == 5
    for chart in charts:
        assert set(chart["aria-labelledby"].split()) <= set(ids)
    assert len(page.all("details")) == 4, "the numbers of the first are beside it"


def test_every_control_has_a_label_and_the_count_is_announced() -> None:
    page = Page(written([row()]))
    labelled = {found["for"] for found in page.all("label") if "for" in found}
    for found in (*page.all("select"), *page.all("input", type="search")):
        assert found["id"] in labelled
    assert {found["value"] for found in page.all("input", name="verdict")} == set(VERDICTS)
    assert {found["value"] for found in page.all("input", name="flag")} == set(FLAGS)
    assert page.all("output", id="count", role="status")


def test_links_lead_to_the_table_and_say_what_it_is_to_show() -> None:
    page = Page(
        written([row(reason="mailbox_full", verdict="risky", provider="a&b=c")], providers=[Group("a&b=c", {})])
    )
    filters = [found["data-filter"] for found in page.all("a", href="#addresses") if "data-filter" in found]
    assert {"verdict=risky", "reason=mailbox_full", "provider=a%26b%3Dc", "q=@example.org"} <= set(filters)


def test_a_verdict_becomes_a_row() -> None:
    verdict = Verdict(
        address="info@gmial.example",
        verdict=Judgement.RISKY,
        reason="catch_all",
        traits=Traits(role=True, suggestion="info@gmail.example"),
        catch_all=True,
        provider="gmail",
        mx=("mx1.gmail.example", "mx2.gmail.example"),
        confidence=0.5,
        evidence=(Evidence(phase=str(Phase.RCPT), host="mx2.gmail.example", reply=("250 OK",)),),
    )
    shown = Row.of(verdict)
    assert shown.marks == ("catch_all", "role", "suggestion") and shown.mx == "mx2.gmail.example"
    assert shown.evidence == "mx2.gmail.example: 250 OK" and shown.provider == "gmail"
    assert Row.of(dataclasses.replace(verdict, evidence=())).mx == "mx1.gmail.example"


def test_what_is_no_verdict_is_shown_as_unknown() -> None:
    assert row(verdict="<b>").judged == "unknown"
    assert summary(by_state={"strange:x": 3}).by_verdict["unknown"] == 3


def test_times_without_a_zone_are_refused_in_one_sentence() -> None:
    with pytest.raises(ValueError, match="need a time zone"):
        summary(began=datetime(2026, 3, 1))
    assert summary(ended=BEGAN - timedelta(seconds=5)).duration_s == 0.0


def test_numbers_are_for_people() -> None:
    assert number(1234567) == "1\u202f234\u202f567" and number(999) == "999"
    assert [duration(seconds) for seconds in (0.2, 48, 185, 3600, 8040, 3605, 187200)] == [
        *("less than 1 s", "48 s", "3 min 5 s", "1 h", "2 h 14 min", "1 h", "2 d 4 h"),
    ]
    shares = [share(1, 3), share(0, 5), share(5, 5), share(1, 10**6), share(10**6 - 1, 10**6), share(0, 0)]
    assert [one.replace("\u202f", "") for one in shares] == ["33.3%", "0%", "100%", "<0.1%", ">99.9%", "0%"]


@given(st.lists(st.integers(0, 10**6), max_size=1000))
def test_time_is_folded_without_losing_any(found: list[int]) -> None:
    shown, every = folded(found)
    assert sum(shown) == sum(found) and len(shown) <= MOST_STEPS
    assert (len(shown) - 1) * every < max(1, len(found)) or not found


@given(st.lists(st.builds(Group, texts, counts), max_size=30), st.lists(st.integers(0, 10**9), max_size=50))
def test_parts_of_a_bar_fill_no_more_than_its_width(groups: list[Group], found: list[int]) -> None:
    for svg in (
        bars("a", "A", groups),
        verdict_bar("b", groups[0].counts if groups else {}),
        steps("c", "C", found, ("", ""), ""),
    ):
        page = Page(svg)
        elements_are_ours(page)
        for part in page.elements:
            if part[0] == "rect" and part[1]["class"].startswith("part"):
                assert float(part[1]["x"][:-1]) + float(part[1]["width"][:-1]) <= 100.01
    assert len(Page(bars("a", "A", groups)).all("rect", **{"class": "track"})) == min(MOST_BARS, len(groups))


def test_the_page_comes_in_pieces() -> None:
    pieces = list(report_page(summary([row()]), [row()] * 3000))
    assert len(pieces) > 3000 and max(map(len, pieces)) < 40_000
    assert all(unicodedata.category(char) != "Cc" or char == "\n" for piece in pieces for char in piece)
