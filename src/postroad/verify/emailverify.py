"""Verdicts in the words of EmailVerify.io's v1 API, for those who come from there. Pure."""

from __future__ import annotations

from collections.abc import Mapping

STATUSES = ("valid", "invalid", "catch_all", "do_not_mail", "role_based", "unknown", "skipped")
SUB_STATUSES = (
    "permitted",
    "failed_syntax_check",
    "mailbox_quota_exceeded",
    "mailbox_not_found",
    "no_dns_entries",
    "disposable",
    "none",
    "opt_out",
    "blocked_domain",
)

_BY_REASON: Mapping[str, tuple[str, str]] = {
    "accepted": ("valid", "permitted"),
    "catch_all": ("catch_all", "none"),
    "accepts_all": ("catch_all", "none"),
    "accepts_then_bounces": ("catch_all", "none"),
    "inconsistent": ("catch_all", "none"),
    "cannot_tell": ("catch_all", "none"),
    "disposable": ("do_not_mail", "disposable"),
    "do_not_mail": ("do_not_mail", "none"),
    "mx_listed": ("do_not_mail", "none"),
    "parked": ("do_not_mail", "none"),
    "opt_out": ("skipped", "opt_out"),
    "blocked_domain": ("skipped", "blocked_domain"),
    "mailbox_full": ("invalid", "mailbox_quota_exceeded"),
    "bad_syntax": ("invalid", "failed_syntax_check"),
    "no_domain": ("invalid", "no_dns_entries"),
    "null_mx": ("invalid", "no_dns_entries"),
    "no_mail_host": ("invalid", "no_dns_entries"),
    "private_address": ("invalid", "no_dns_entries"),
}


_OWN_LISTS = frozenset({"do_not_mail", "opt_out", "blocked_domain"})


def status(verdict: str, reason: str, *, is_role: bool = False, is_disposable: bool = False) -> tuple[str, str]:
    """`status` and `sub_status` of a verdict."""
    if is_disposable and verdict != "undeliverable" and reason not in _OWN_LISTS:
        return "do_not_mail", "disposable"
    if verdict == "deliverable" and is_role:
        return "role_based", "none"
    found = _BY_REASON.get(reason)
    if found is not None:
        return found
    return ("invalid", "mailbox_not_found") if verdict == "undeliverable" else ("unknown", "none")
