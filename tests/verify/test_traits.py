"""What an address is, known from lists alone: nothing is asked of anybody."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from postroad.smtp.address import Address, AddressError
from postroad.verify.data_lists import DataLists
from postroad.verify.traits import describe, mailbox, suggest
from postroad.verify.verdict import Traits

LISTS = DataLists.load()


def described(text: str, lists: DataLists = LISTS) -> Traits:
    return describe(Address.parse(text, smtputf8=True), lists)


def changed(directory: Path, **files: str) -> DataLists:
    for name, text in files.items():
        (directory / f"{name}.txt").write_text(text)
    return DataLists.load(directory)


def test_an_ordinary_address_is_nothing_special() -> None:
    assert described("Ann.Lee@example.org") == Traits(normalised="Ann.Lee@example.org")


def test_a_domain_of_throw_away_addresses_is_disposable_with_all_below_it() -> None:
    assert described("ann@mailinator.com").disposable
    assert described("ann@x.y.mailinator.com").disposable
    assert not described("ann@mailinator.com.example.org").disposable


def test_a_public_suffix_is_not_taken_for_the_parent_of_what_stands_below_it(tmp_path: Path) -> None:
    lists = changed(tmp_path, disposable="github.io\nexample.org\n")
    assert described("ann@github.io", lists).disposable
    assert not described("ann@ann.github.io", lists).disposable
    assert described("ann@mx.example.org", lists).disposable


def test_what_is_excepted_is_not_disposable_nor_what_is_below_it(tmp_path: Path) -> None:
    lists = changed(tmp_path, disposable="example.org\n!good.example.org\n-mailinator.com\n")
    assert described("ann@bad.example.org", lists).disposable
    assert not described("ann@x.good.example.org", lists).disposable
    assert not described("ann@mailinator.com", lists).disposable


def test_free_is_where_anybody_can_have_an_address_unless_it_is_disposable() -> None:
    assert described("ann@gmail.com").free
    assert described("ann@tutanota.com").free, "a provider's own domain counts without standing in the list"
    assert not described("ann@example.org").free
    assert not described("ann@0-mail.com").free, "the list of free domains holds disposable ones"


@pytest.mark.parametrize(
    "local",
    [
        "info", "INFO", "info2", "info-2", "sales-de", "Support.FR", "uk-sales", "sales.team", "no-reply", "no_reply",
        "postmaster", "abuse", "customer.service", "info+list", "hr", "bewerbung", "rechnung", "ventas", "comercial",
        "facturation", "suporte", "informazioni", "kundenservice", "biuro", "verkoop", "kontakt", "muhasebe", "zakaz",
    ],
)  # fmt: skip
def test_the_name_of_a_function_is_a_role(local: str) -> None:
    assert described(f"{local}@example.org").role


@pytest.mark.parametrize(
    "local",
    ["ann", "ann.lee", "ann.info", "info.ann", "infomann", "ann+info", "salesi", "2", "mark", "page", "de", '"."'],
)
def test_a_person_is_no_role(local: str) -> None:
    assert not described(f"{local}@example.org").role


@pytest.mark.parametrize(
    ("given_", "normalised"),
    [
        ("J.Doe+news@GoogleMail.com", "jdoe@gmail.com"),
        ("J.Doe+news@Outlook.com", "j.doe@outlook.com"),
        ("J.Doe+news@Example.ORG", "J.Doe+news@example.org"),
        ("j-doe@yahoo.com", "j-doe@yahoo.com"),
        ("JDoe@me.com", "jdoe@me.com"),
        ("+@gmail.com", "+@gmail.com"),
        ("J.Doe@bücher.example", "J.Doe@xn--bcher-kva.example"),
        ("ann@[192.0.2.1]", "ann@[192.0.2.1]"),
    ],
)
def test_spellings_of_one_mailbox_have_one_normalised_form(given_: str, normalised: str) -> None:
    assert described(given_).normalised == normalised


def test_a_mistyped_domain_gets_the_whole_address_suggested() -> None:
    assert described("Ann.Lee@gmial.com").suggestion == "Ann.Lee@gmail.com"
    assert described('"ann lee"@example.con').suggestion == '"ann lee"@example.com'
    assert described("ann@gmail.com").suggestion == ""


def test_a_domain_the_user_knows_is_never_corrected(tmp_path: Path) -> None:
    assert described("ann@hotmaill.com").suggestion == "ann@hotmail.com"
    assert described("ann@hotmaill.com", changed(tmp_path, free="hotmaill.com\n")).suggestion == ""


def test_suggest_needs_no_lists_and_takes_any_text() -> None:
    assert suggest("gmial.com") == "gmail.com"
    assert suggest("gmail.com?") == "gmail.com"
    assert suggest("") == suggest("[192.0.2.1]") == suggest("example.org") == ""


LOCALS = st.text(min_size=1, max_size=20) | st.sampled_from(["info", "A.B+c", "..", "+", "a+", ".+.", "İ", "ß+x"])
DOMAINS = st.sampled_from(
    [
        "gmail.com",
        "googlemail.com",
        "gmial.com",
        "yahoo.con",
        "ya.ru",
        "fastmail.fm",
        "example.org",
        "x.test",
        "a.co.ku",
    ]
) | st.from_regex(r"[a-z]{1,12}\.(com|cmo|con|de|co\.uk)", fullmatch=True)


@given(LOCALS, DOMAINS)
def test_describe_never_raises_and_normalising_twice_changes_nothing(local: str, domain: str) -> None:
    try:
        address = Address.parse(str(Address(local, domain)), smtputf8=True)
    except AddressError:
        return
    traits = describe(address, LISTS)
    again = describe(Address.parse(traits.normalised, smtputf8=True), LISTS)
    assert again.normalised == traits.normalised
    assert traits.suggestion != str(address)
    if traits.suggestion:
        assert traits.suggestion.startswith(str(address).rpartition("@")[0])


@given(st.text(max_size=80), st.text(max_size=80))
def test_describe_bears_addresses_that_no_parser_gave(local: str, domain: str) -> None:
    describe(Address(local, domain), LISTS)


@pytest.mark.parametrize(
    "spelling", ["ann@gmail.com", "A.N.N@gmail.com", "a.nn+news@googlemail.com", '"ann"@gmail.com']
)
def test_all_spellings_of_a_mailbox_stand_for_one(spelling: str) -> None:
    assert mailbox(spelling) == "ann@gmail.com"


@pytest.mark.parametrize(
    "name", ["a.nn+news@example.org", "example.org", "gmail.com", "[192.0.2.1]", "no address", "@gmail.com"]
)
def test_where_no_rule_is_known_a_name_stands_for_itself(name: str) -> None:
    assert mailbox(name) == mailbox(name.upper()) == name


@example("\u212a.x", "@gmail.com")  # the Kelvin sign, whose small letter is a k
@given(st.text(max_size=30), st.sampled_from(["@gmail.com", "@googlemail.com", "@example.org", ""]))
def test_what_stands_for_a_mailbox_stands_for_itself(local: str, domain: str) -> None:
    once = mailbox(local + domain)
    assert mailbox(once) == once
