"""Bans as a worker holds them: who may not connect, who may not authenticate, and what they are told."""

from __future__ import annotations

from postroad.receive.guard.bans import Bans, refusal
from postroad.store.guard_book import FOR_GOOD, Ban, BanKind, Reach


def ban(subject: str, kind: BanKind = "network", reach: Reach = "all", until: float = FOR_GOOD) -> Ban:
    return Ban(subject=subject, kind=kind, reach=reach, made_at=0.0, until=until)


def test_a_ban_holds_for_all_of_its_network_until_it_ends() -> None:
    bans = Bans([ban("192.0.2.0/24", until=100.0), ban("2001:db8::/48"), ban("no network")])
    assert bans.of_peer("192.0.2.9", 99.0, is_submission=False) is not None
    assert bans.of_peer("192.0.2.9", 100.0, is_submission=False) is None
    assert bans.of_peer("192.0.3.9", 99.0, is_submission=False) is None
    assert bans.of_peer("2001:db8:0:5::1", 99.0, is_submission=False) is not None
    assert bans.of_peer("unknown", 99.0, is_submission=False) is None


def test_who_failed_to_authenticate_may_still_bring_mail() -> None:
    bans = Bans([ban("192.0.2.9/32", reach="auth")])
    assert bans.of_peer("192.0.2.9", 0.0, is_submission=False) is None
    assert bans.of_peer("192.0.2.9", 0.0, is_submission=True) is not None


def test_an_account_is_banned_under_every_spelling_of_its_name() -> None:
    bans = Bans([ban("ann@us.test", "account")])
    assert bans.of_account("ANN@us.test", 0.0) is not None
    assert bans.of_account(" ann@us.test", 0.0) is not None
    assert bans.of_account("bob@us.test", 0.0) is None


def test_the_refusal_says_how_long_or_that_it_is_for_good() -> None:
    assert str(refusal(ban("192.0.2.1/32", until=130.0), 100.0)) == (
        "421 4.7.0 Your address is banned for now: try again in 30 seconds"
    )
    assert str(refusal(ban("192.0.2.1/32"), 100.0)).startswith("554 5.7.1 Your address is banned here")
