"""A mistyped domain is told from one that is merely another's."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.road.site import is_public_suffix
from postroad.verify.data_lists import DataLists
from postroad.verify.traits import suggest
from postroad.verify.typo import typo_data

CORPUS = Path(__file__).parents[3] / "shared/corpora/addresses"
LISTS = DataLists.load()
DATA = typo_data()
TARGETS = (*DATA.leaders, *DATA.others)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("gmial.com", "gmail.com"),
        ("gmai.com", "gmail.com"),
        ("gnail.com", "gmail.com"),
        ("gmail.con", "gmail.com"),
        ("gmail.co", "gmail.com"),
        ("gmail.com.com", "gmail.com"),
        ("gmailcom", "gmail.com"),
        ("hotmial.com", "hotmail.com"),
        ("hotmial.fr", "hotmail.fr"),
        ("hotmai.co.uk", "hotmail.co.uk"),
        ("yaho.com", "yahoo.com"),
        ("yah0o.com", "yahoo.com"),
        ("yahoo.co.ku", "yahoo.co.uk"),
        ("outlok.com", "outlook.com"),
        ("icloud.cm", "icloud.com"),
        ("web.d", "web.de"),
        ("t-onlin.de", "t-online.de"),
        ("wanado.fr", "wanadoo.fr"),
        ("sbcgloabl.net", "sbcglobal.net"),
        ("example.con", "example.com"),
        ("example.ogr", "example.org"),
        ("example.nte", "example.net"),
        ("example.co.ku", "example.co.uk"),
    ],
)
def test_a_slip_is_understood(typed: str, meant: str) -> None:
    assert suggest(typed) == meant


@pytest.mark.parametrize(
    "domain",
    [
        *("gmail.com", "mail.com", "ymail.com", "email.com", "web.de", "gmx.net", "mailinator.com", "tamil.com"),
        *("cloud.com", "grail.com", "web.com", "orage.fr", "yahoo.xyz", "gmail.de", "small.com", "example.org"),
        *("lookout.com", "trampolino.com", "lucido.com", "yoohoo.com", "hicloud.com"),
        *("example.co", "example.cm", "example.om", "gmail.example.org", "x.test", "con", ".con", "a..con", "ann"),
    ],
)
def test_what_is_known_or_could_be_anothers_is_left_alone(domain: str) -> None:
    assert suggest(domain) == ""


def test_every_domain_suggested_is_one_that_people_have_addresses_at() -> None:
    assert [domain for domain in TARGETS if not LISTS.is_free(domain) or LISTS.is_disposable(domain)] == []


def test_no_end_that_is_corrected_is_held_by_a_registry() -> None:
    assert [wrong for wrong in DATA.ends if is_public_suffix(wrong) and "." not in wrong] == []
    assert [wrong for wrong in DATA.ends if "." in wrong and is_public_suffix(wrong)] == []


@given(st.sampled_from(TARGETS), st.data())
def test_a_suggestion_is_a_known_domain_or_mends_only_the_end(domain: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(domain) - 1))
    typed = domain[:at] + data.draw(st.text("abcdefghijklmnopqrstuvwxyz.-0", max_size=2)) + domain[at + 1 :]
    meant = suggest(typed)
    assert meant != typed
    if meant:
        assert LISTS.is_known(meant) or any(
            typed.endswith(f".{wrong}") and meant == typed.removesuffix(wrong) + right
            for wrong, right in DATA.ends.items()
        )


@given(st.text(max_size=100))
def test_any_text_may_be_asked_about(text: str) -> None:
    assert suggest(text) != text or not text


def corpus(name: str) -> list[str]:
    path = CORPUS / name
    if not path.exists():
        pytest.skip(f"the corpus is not here: {path.name}")
    lines = (line.strip() for line in path.read_text().splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def test_of_the_slips_that_were_collected_most_are_understood() -> None:
    rows = [line.split(",") for line in corpus("flanker-domain_typos_valid.txt")]
    missed = [typed for typed, meant in rows if suggest(typed) != meant]
    assert len(missed) <= 0.05 * len(rows), missed


def test_no_domain_of_those_that_were_collected_as_right_is_corrected() -> None:
    assert {domain: suggest(domain) for domain in corpus("flanker-domain_typos_invalid.txt") if suggest(domain)} == {}
