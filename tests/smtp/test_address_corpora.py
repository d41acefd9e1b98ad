"""S-07, S-22: three public collections of addresses against ours; each disagreement stands here with who is right.

Entries are named by collection and place (line or index), never by their text. RFC 5321 §4.1.2, §4.1.3 and RFC 6531
§3.3 decide: what is a Mailbox of an SMTP command, not what a header may hold (RFC 5322: display names, comments), nor
what is wise to take as a sign-up.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from postroad.smtp.address import Address, AddressError

CORPORA = Path(__file__).parents[3] / "shared/corpora/addresses"

pytestmark = pytest.mark.skipif(not CORPORA.exists(), reason="the address corpora are not beside this checkout")


def is_taken(text: str, *, smtputf8: bool = False) -> bool:
    try:
        Address.parse(text, smtputf8=smtputf8)
    except AddressError:
        return False
    return True


# isemail ----------------------------------------------------------------------------------------------------------

ISEMAIL = {
    71: "`::` for one group of zeros: RFC 5321 §4.1.3 says two at least, RFC 4291 §2.2 one; taken, and written out.",
}
"""Its id → why we take it although its diagnosis is an error, or the other way about."""


def test_s07_isemail() -> None:
    disagreements = set()
    for line in (CORPORA / "isemail.dev.jsonl").read_text().splitlines():
        case = json.loads(line)
        is_valid = case["category"] in ("ISEMAIL_VALID_CATEGORY", "ISEMAIL_RFC5321", "ISEMAIL_DNSWARN")
        if is_taken(case["address"]) != is_valid:
            disagreements.add(case["id"])
    assert disagreements == set(ISEMAIL)


def test_s07_two_colons_for_one_group_have_one_canonical_form() -> None:
    assert Address.parse("a@[IPv6:1:2:3:4:5:6::8]") == Address.parse("a@[IPv6:1:2:3:4:5:6:0:8]")
    assert "::" not in str(Address.parse("a@[IPv6:1:2:3:4:5:6::8]"))


# python-email-validator -------------------------------------------------------------------------------------------

NOT_A_MAILBOX = "A display name with an address is RFC 5322's, no Mailbox of SMTP."
DOTLESS = "One label is a Domain by the grammar of §4.1.2; whether it has a mail host, DNS says."
NOT_GRAMMAR = "Its policy (top-level domains, reserved labels, no literals) is no rule of RFC 5321 §4.1.2."
NOT_NORMALISED = "RFC 6531 §3.3 takes any UTF-8 in a local part; normalising it is the mailbox owner's business."

VALIDATOR: dict[tuple[str, int], str] = {
    ("test_email_valid", 9): NOT_A_MAILBOX,
    ("test_email_valid", 10): NOT_A_MAILBOX,
    ("test_email_valid", 11): NOT_A_MAILBOX,
    ("test_email_valid_intl_local_part", 13): NOT_A_MAILBOX,
    ("test_email_invalid_syntax", 3): DOTLESS,
    ("test_email_invalid_syntax", 36): NOT_NORMALISED,
    ("test_email_invalid_syntax", 54): NOT_NORMALISED,
    ("test_email_invalid_syntax", 57): DOTLESS,
    ("test_email_invalid_syntax", 58): NOT_GRAMMAR,
    ("test_email_invalid_syntax", 60): NOT_GRAMMAR,
    ("test_email_invalid_syntax", 62): NOT_GRAMMAR,
    ("test_email_invalid_syntax", 64): NOT_GRAMMAR,
    ("test_email_invalid_syntax", 66): "A General-address-literal by the grammar; the router knows no such tag: 550.",
    ("test_email_unsafe_character", 3): NOT_NORMALISED,
    ("test_email_unsafe_character", 5): NOT_NORMALISED,
    ("test_email_unsafe_character", 6): NOT_NORMALISED,
    ("test_email_unsafe_character", 8): NOT_NORMALISED,
    ("test_email_unsafe_character", 9): NOT_NORMALISED,
    ("test_email_unsafe_character", 10): NOT_NORMALISED,
    ("test_pyisemail_tests", 47): "The quotes do not count: 64 octets is the length of a local part, and it has them.",
    ("test_pyisemail_tests", 48): "Nor does the backslash.",
    ("test_pyisemail_tests", 54): "A General-address-literal by the grammar, its tag a number; the router refuses it.",
    ("test_pyisemail_tests", 59): ISEMAIL[71],
}
"""Group and index → why we judge it otherwise. With SMTPUTF8 granted, quoted local parts and literals taken."""

TAKEN_GROUPS = {
    "test_email_valid",
    "test_email_valid_intl_local_part",
    "test_email_valid_only_if_quoted_local_part",
    "test_email_invalid_reserved_domain",  # special use is policy, not syntax
}
_REFUSED_STATUS = ("ERR", "CFWS", "DEPREC", "RFC5322")


def validator_cases() -> Iterator[tuple[str, int, str, bool]]:
    """Group, index, address, whether the collection takes it."""
    groups: dict[str, dict[str, Any]] = json.loads((CORPORA / "python-email-validator.json").read_text())
    for group, held in groups.items():
        for index, case in enumerate(held["cases"]):
            text = case["email_input"] if "email_input" in case else f"a{case['s']}b@example.com"
            if not isinstance(text, str):
                continue  # an expression of its own language
            is_valid = group in TAKEN_GROUPS
            if group == "test_pyisemail_tests":
                is_valid = not any(word in case["status"] for word in _REFUSED_STATUS)
            yield group, index, text, is_valid


def test_s07_s22_python_email_validator() -> None:
    disagreements = {
        (group, index)
        for group, index, text, is_valid in validator_cases()
        if group != "test_email_invalid_character_smtputf8_off" and is_taken(text, smtputf8=True) != is_valid
    }
    assert disagreements == set(VALIDATOR)


def test_s22_what_needs_utf8_is_refused_without_smtputf8() -> None:
    """A U-label counts: without the parameter a domain comes as A-labels (RFC 6531 §3.3)."""
    taken = [(group, index) for group, index, text, _ in validator_cases() if not text.isascii() and is_taken(text)]
    assert taken == []


# flanker ----------------------------------------------------------------------------------------------------------

FLANKER = {
    "mailbox_valid": {
        **dict.fromkeys((67, 68, 69, 70), NOT_A_MAILBOX),
        **dict.fromkeys((200, 201, 202, 203), "Comments are RFC 5322's."),
    },
    "mailbox_invalid": {},
    "abridged_localpart_valid": {},
    "abridged_localpart_invalid": {},
    "domain_typos_valid": {},
}
"""File → line number, from 1 → why we judge it otherwise."""


@pytest.mark.parametrize("name", FLANKER)
def test_s07_flanker(name: str) -> None:
    disagreements = set()
    for number, line in enumerate((CORPORA / f"flanker-{name}.txt").read_text().splitlines(), 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        if "localpart" in name:
            text += "@example.com"
        elif "domain" in name:
            text = f"a@{text.split(',')[1]}"  # the domain that was meant
        if is_taken(text, smtputf8=True) != name.endswith("_valid"):
            disagreements.add(number)
    assert disagreements == set(FLANKER[name])
