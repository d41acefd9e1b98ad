"""The look of the report page: legible in light and dark; and its script, in a real browser where there is one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from importlib import resources
from pathlib import Path

import pytest

from postroad.verify.report_values import VERDICTS
from verify.report_pages import Page, row, written

CSS = resources.files("postroad.verify").joinpath("report.css").read_text(encoding="utf-8")
HEX = re.compile(r"--([a-z-]+): (#[0-9a-f]{6});")


def colours(scheme: str) -> dict[str, str]:
    """Role → colour of that scheme."""
    light, dark = CSS.split("@media screen and (prefers-color-scheme: dark)", 1)
    found = dict(HEX.findall(light))
    return found if scheme == "light" else found | dict(HEX.findall(dark.split("\n*,", 1)[0]))


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2)."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_the_contrast_of_level_aa(scheme: str) -> None:
    colour = colours(scheme)
    pairs = [(ink, ground) for ink in ("ink", "soft", "link") for ground in ("ground", "surface")]
    pairs += [("ink", "track"), *((f"{verdict}-ink", f"{verdict}-tint") for verdict in VERDICTS)]
    ratios = {pair: contrast(colour[pair[0]], colour[pair[1]]) for pair in pairs}
    assert {pair: ratio for pair, ratio in ratios.items() if ratio < 4.5} == {}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_bars_and_edges_of_controls_have_the_contrast_of_level_aa(scheme: str) -> None:
    colour = colours(scheme)
    marks = [*VERDICTS, "time", "edge", "link"]
    assert {mark: ratio for mark in marks if (ratio := contrast(colour[mark], colour["surface"])) < 3} == {}


def test_both_schemes_paper_phones_and_the_keyboard_are_thought_of() -> None:
    for wanted in ("prefers-color-scheme: dark", "@media print", "max-width: 45rem", ":focus-visible"):
        assert wanted in CSS


def opened(page: str, directory: Path, filters: str = "") -> Page:
    """The page as a browser has it once its script ran; `filters` stand after # in its address."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("chromium is not installed on this machine")
    file = directory / "report.html"
    file.write_text(page, encoding="utf-8")
    command = [program, "--headless", "--disable-gpu", f"--user-data-dir={directory / 'profile'}"]
    if os.geteuid() == 0:
        command.append("--no-sandbox")
    command += ["--virtual-time-budget=5000", "--dump-dom", f"{file.as_uri()}#{filters}"]
    done = subprocess.run(command, capture_output=True, timeout=90, check=True)
    return Page(done.stdout.decode())


def shown(page: Page) -> list[str]:
    """The addresses that the table shows; in a run without troubled sites no other row is headed so."""
    return [text for where, text in page.texts if where[-3:] == ("tr", "th", "bdi")]


def count(page: Page) -> str:
    """What the filters say of how many are shown."""
    return next(text for where, text in page.texts if where[-1] == "output").replace("\u202f", "")


def body(page: Page) -> list[tuple[str, dict[str, str]]]:
    """The elements of the rows of addresses."""
    ids = [attributes.get("id") for _, attributes in page.elements]
    return page.elements[ids.index("rows") : ids.index("more")]


ROWS = [
    row("gone@example.org", "undeliverable", "mailbox_unknown", evidence="550 5.1.1 No such user"),
    row("<script>alert(1)</script>@example.org", "risky", "catch_all", flags=frozenset({"catch_all", "role"})),
    row("slow@example.net", "unknown", "greylisted", provider="other&more", suggestion="slow@example.com"),
    row("silent@example.net", "unknown", "timed_out", evidence=""),
    row("barred@example.net", "unknown", "blocked", provider=""),
    *(row(f"person{index}@example.org", flags=frozenset({"free"})) for index in range(1200)),
]


def test_in_a_browser_the_script_runs_and_shows_the_first_rows(tmp_path: Path) -> None:
    page = opened(written(ROWS, sites=()), tmp_path)
    assert "hidden" not in page.all("form")[0]
    assert count(page) == "1205 of 1205 addresses"
    assert shown(page) == [one.address for one in ROWS[:100]]
    assert "Show 500 more of 1\u202f105" in page.text()


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ("verdict=undeliverable,risky&q=EXAMPLE.ORG", ["gone@example.org", "<script>alert(1)</script>@example.org"]),
        ("reason=worth-asking-again", ["slow@example.net", "silent@example.net"]),
        ("verdict=unknown&reason=blocked", ["barred@example.net"]),
        ("provider=other%26more", ["slow@example.net"]),
        ("flag=catch_all,role", ["<script>alert(1)</script>@example.org"]),
        ("flag=suggestion", ["slow@example.net"]),
        ("q=no+such%20user", ["gone@example.org"]),
        ("provider=nobody&verdict=undeliverable", ["gone@example.org"]),
        ("flag=disposable", []),
    ],
)
def test_in_a_browser_the_address_of_the_page_sets_the_filter(
    filters: str, expected: list[str], tmp_path: Path
) -> None:
    page = opened(written(ROWS, sites=()), tmp_path, filters)
    assert shown(page) == expected
    assert count(page) == f"{len(expected)} of 1205 addresses"


def test_in_a_browser_the_script_draws_rows_as_the_page_has_them_without(tmp_path: Path) -> None:
    text = written(ROWS[:6])
    page, plain = opened(text, tmp_path), Page(text)
    assert body(page) == body(plain)
    told, plainly = ["".join(text for where, text in one.texts if "bdi" in where) for one in (page, plain)]
    assert told == plainly
