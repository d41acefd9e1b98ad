"""Enhanced status codes and their register."""

from __future__ import annotations

import pytest

from postroad.smtp.status import EnhancedStatus, describe
from postroad.smtp.status_registry import REGISTERED


@pytest.mark.parametrize("text", ["2.0.0", "4.7.28", "5.999.999"])
def test_status_prints_as_it_was_parsed(text: str) -> None:
    assert str(EnhancedStatus.parse(text)) == text


@pytest.mark.parametrize("text", ["", "3.0.0", "5.1", "5.1.1 ", "5.1.1000", "5.\u0661.1", "5.1.1\n"])
def test_what_is_no_status_is_none(text: str) -> None:
    assert EnhancedStatus.parse(text) is None


def test_registered_codes_are_described_whatever_their_class() -> None:
    assert describe(EnhancedStatus(5, 1, 1)) == describe(EnhancedStatus(4, 1, 1)) == "Bad destination mailbox address"
    assert describe(EnhancedStatus(5, 7, 30)) == "REQUIRETLS support required"
    assert describe(EnhancedStatus(5, 99, 1)) is None


def test_registry_has_no_holes() -> None:
    for subject in {key[0] for key in REGISTERED}:
        details = sorted(detail for known, detail in REGISTERED if known == subject)
        assert details == list(range(len(details)))
