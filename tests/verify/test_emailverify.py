"""Verdicts in EmailVerify.io's words: every reason has some, and each says what that status means."""

from __future__ import annotations

import pytest

from postroad.verify.emailverify import STATUSES, SUB_STATUSES, status
from postroad.verify.verdict import REASONS, Judgement


@pytest.mark.parametrize("verdict", list(Judgement))
@pytest.mark.parametrize("reason", sorted(REASONS))
def test_every_verdict_has_a_status_that_the_api_knows(verdict: str, reason: str) -> None:
    for is_role in (False, True):
        for is_disposable in (False, True):
            name, sub_status = status(verdict, reason, is_role=is_role, is_disposable=is_disposable)
            assert name in STATUSES and sub_status in SUB_STATUSES


@pytest.mark.parametrize(
    ("verdict", "reason", "expected"),
    [
        ("deliverable", "accepted", ("valid", "permitted")),
        ("undeliverable", "mailbox_unknown", ("invalid", "mailbox_not_found")),
        ("undeliverable", "mailbox_disabled", ("invalid", "mailbox_not_found")),
        ("undeliverable", "bounced", ("invalid", "mailbox_not_found")),
        ("undeliverable", "bad_syntax", ("invalid", "failed_syntax_check")),
        ("undeliverable", "no_domain", ("invalid", "no_dns_entries")),
        ("undeliverable", "null_mx", ("invalid", "no_dns_entries")),
        ("risky", "catch_all", ("catch_all", "none")),
        ("risky", "mailbox_full", ("invalid", "mailbox_quota_exceeded")),
        ("risky", "disposable", ("do_not_mail", "disposable")),
        ("risky", "do_not_mail", ("do_not_mail", "none")),
        ("unknown", "greylisted", ("unknown", "none")),
        ("unknown", "blocked", ("unknown", "none")),
        ("unknown", "opt_out", ("skipped", "opt_out")),
        ("unknown", "blocked_domain", ("skipped", "blocked_domain")),
    ],
)
def test_statuses_mean_what_the_api_says(verdict: str, reason: str, expected: tuple[str, str]) -> None:
    assert status(verdict, reason) == expected


def test_a_function_is_told_from_a_person_and_a_throw_away_address_is_not_to_be_mailed() -> None:
    assert status("deliverable", "accepted", is_role=True) == ("role_based", "none")
    assert status("unknown", "timed_out", is_disposable=True) == ("do_not_mail", "disposable")
    assert status("undeliverable", "mailbox_unknown", is_disposable=True) == ("invalid", "mailbox_not_found")
