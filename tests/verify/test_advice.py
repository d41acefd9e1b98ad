"""What to do next: a sentence with the number wherever the numbers give reason for one, and none elsewhere."""

from __future__ import annotations

from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.verify.advice import TYPOS_TOLD, Advice, advice
from postroad.verify.report_tally import tally
from postroad.verify.report_values import AGAIN, GROUPS, US, Row, SiteTrouble
from postroad.verify.verdict import REASONS, Judgement
from verify.report_pages import row, summary


def told(*rows: Row, **values: object) -> list[Advice]:
    """The advice on a run that found those rows and had no trouble."""
    return advice(summary(rows, **{"sites": (), "settings": (), **values}), tally(rows))


def the(found: list[Advice], word: str) -> Advice:
    """The one piece of advice whose headline has that word."""
    (one,) = [one for one in found if word in one.headline]
    return one


def test_undeliverable_ones_are_to_be_removed() -> None:
    one = the(told(*[row(verdict="undeliverable", reason="no_domain")] * 1200), "Remove")
    assert one.headline == "Remove 1\u202f200 undeliverable addresses." and one.filters == "verdict=undeliverable"


def test_one_is_spoken_of_as_one() -> None:
    assert the(told(row(verdict="undeliverable", reason="no_domain")), "Remove").headline == (
        "Remove 1 undeliverable address."
    )


@pytest.mark.parametrize("reason", ["catch_all", "accepts_all", "accepts_then_bounces", "inconsistent"])
def test_catch_all_ones_go_in_small_batches(reason: str) -> None:
    one = the(told(row(verdict="risky", reason=reason)), "small batches")
    assert "watch the bounces" in one.headline and one.filters == "verdict=risky&reason=takes-all"


def test_what_may_still_be_answered_is_to_be_run_again_and_says_of_what_kind_it_is() -> None:
    found = [row(verdict="unknown", reason="greylisted")] * 3 + [row(verdict="unknown", reason="timed_out")] * 2
    one = the(told(*found), "Run again later")
    assert "5 addresses" in one.headline and "3 greylisted, 2 timed out" in one.detail
    assert "--resume" in one.detail and "--fresh" in one.detail


def test_refusals_lead_to_how_we_present_ourselves_with_what_is_presented_now() -> None:
    sites = [SiteTrouble("a.example", "421", 3), SiteTrouble("a.example", "550", 1), SiteTrouble("b.example", "554", 1)]
    settings = [("hello", "mail.example.org"), ("mail_from", "bounces@example.org"), ("timeout", "60 s")]
    one = the(told(row(verdict="unknown", reason="blocked"), sites=sites, settings=settings), "present ourselves")
    assert "2 sites slowed or refused us, 1 address is unknown for it" in one.headline
    assert "hello mail.example.org, mail_from bounces@example.org." in one.detail and "60 s" not in one.detail
    for wanted in ("PTR", "sender", "source address"):
        assert wanted in one.detail


def test_typos_are_listed_by_domain_the_most_frequent_twenty() -> None:
    found = [row(f"a@x{index:02}.test", suggestion="a@example.org") for index in range(25)]
    found += [row("b@X07.test", suggestion="b@example.org")]
    one = the(told(*found), "mistyped")
    assert "26 addresses that look" in one.headline and one.filters == "flag=suggestion"
    assert one.lines[0] == "x07.test → example.org: 2"
    assert len(one.lines) == TYPOS_TOLD + 1 and one.lines[-1] == "and 5 more"


def test_full_mailboxes_are_to_be_tried_in_a_week() -> None:
    assert "1 full mailbox again in a week" in the(told(row(verdict="risky", reason="mailbox_full")), "full").headline


def test_disposable_and_role_addresses_are_told_unless_they_are_to_be_removed_anyway() -> None:
    marks = frozenset({"disposable", "role"})
    found = told(row(flags=marks), row(verdict="undeliverable", reason="no_domain", flags=marks))
    assert "1 disposable address." in the(found, "Leave out").headline
    assert "1 role address." in the(found, "Think twice").headline


def test_addresses_on_the_users_own_lists_are_not_to_be_mailed() -> None:
    found = told(row(verdict="unknown", reason="opt_out"), row(verdict="risky", reason="do_not_mail"))
    assert "2 addresses on your own lists" in the(found, "Do not mail").headline


def test_a_run_that_was_stopped_is_to_be_gone_on_with_first() -> None:
    found = told(row(), addresses=8)
    assert found[0].headline == "Go on with the run: 7 addresses not reached." and "--resume" in found[0].detail


def test_other_reasons_are_told_with_their_names() -> None:
    found = told(row(verdict="risky", reason="parked"), row(verdict="unknown", reason="relay_denied"))
    assert the(found, "other risky").filters == "verdict=risky&reason=parked"
    assert the(found, "other unknown").detail.startswith("1 relay denied.")


def test_groups_of_reasons_are_of_reasons_that_there_are_and_do_not_overlap() -> None:
    named = [reason for _, reasons in GROUPS.values() for reason in reasons]
    assert set(named) <= set(REASONS) and len(set(named)) == len(named)
    assert not set(GROUPS) & set(REASONS) and not set(AGAIN) & set(US)


def leads_to(one: Advice, found: Row) -> bool:
    """Whether the filter of that advice shows that row."""
    wanted = parse_qs(one.filters)
    verdicts = wanted.get("verdict", [found.verdict])[0].split(",")
    reason = wanted.get("reason", [found.reason])[0]
    reasons = GROUPS[reason][1] if reason in GROUPS else (reason,)
    flags = wanted["flag"][0].split(",") if "flag" in wanted else []
    return bool(wanted) and found.verdict in verdicts and found.reason in reasons and set(flags) <= set(found.marks)


@given(
    st.lists(
        st.builds(
            row,
            verdict=st.sampled_from([str(judgement) for judgement in Judgement]),
            reason=st.sampled_from(sorted(set(REASONS) - {"disposable"})),
            flags=st.frozensets(st.sampled_from(["catch_all", "disposable", "role", "free"])),
            suggestion=st.sampled_from(["", "a@example.org"]),
        ),
        min_size=1,
        max_size=30,
    )
)
def test_every_address_is_led_to_by_some_advice(rows: list[Row]) -> None:
    found = told(*rows)
    assert all(one.headline.endswith(".") and one.detail.endswith(".") for one in found)
    for one in rows:
        assert any(leads_to(advised, one) for advised in found), one
