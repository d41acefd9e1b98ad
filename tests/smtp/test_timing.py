"""S-30: when a message is to go, by when it is to arrive, how urgent it is, and TLS all the way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.smtp.command import CommandError
from postroad.smtp.extension import MailParameters, mail_parameters, to_parameters
from postroad.smtp.server_events import MailReceived, ServerSettings, offer
from postroad.smtp.timing import MAX_INTERVAL_S, By, print_date, read_by, read_date, release_at
from smtp.dialogue import greeted

ALL = frozenset({"FUTURERELEASE", "DELIVERBY", "MT-PRIORITY", "REQUIRETLS"})
OFFERING = ServerSettings(
    hostname="mx.example.test", hold_s=3600, deliver_by_s=120, has_priorities=True, has_require_tls=True
)
MAIL = b"MAIL FROM:<a@example.test> "


@pytest.mark.parametrize(
    ("keyword", "value", "meaning"),
    [
        ("HOLDFOR", "600", MailParameters(hold_for=600)),
        ("HOLDUNTIL", "1970-01-02T00:00:00Z", MailParameters(hold_until=86_400)),
        ("HOLDUNTIL", "1970-01-02T01:30:00.5+01:30", MailParameters(hold_until=86_400)),
        ("BY", "120;R", MailParameters(by=By(120, "R"))),
        ("BY", "-5;nt", MailParameters(by=By(-5, "N", True))),
        ("BY", "+60;RT", MailParameters(by=By(60, "R", True))),
        ("MT-PRIORITY", "-3", MailParameters(mt_priority=-3)),
        ("MT-PRIORITY", "9", MailParameters(mt_priority=9)),
        ("REQUIRETLS", None, MailParameters(require_tls=True)),
    ],
)
def test_s30_a_parameter_means(keyword: str, value: str | None, meaning: MailParameters) -> None:
    """(S-30)"""
    assert mail_parameters({keyword: value}, ALL) == meaning


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("HOLDFOR", None), ("HOLDFOR", "0"), ("HOLDFOR", "-1"), ("HOLDFOR", "1234567890"), ("HOLDFOR", "\u0661"),
        ("HOLDUNTIL", None), ("HOLDUNTIL", "tomorrow"), ("HOLDUNTIL", "2030-02-30T00:00:00Z"),
        ("HOLDUNTIL", "2030-01-01T00:00:00"), ("HOLDUNTIL", "2030-01-01T24:00:00Z"),
        ("HOLDUNTIL", "2030-01-01T00:00:00+99:00"), ("HOLDUNTIL", "0001-01-01T00:00:00+01:00"),
        ("HOLDUNTIL", "2030-01-01T00:00:00+00:99"), ("HOLDUNTIL", "9" * 5000),
        ("BY", None), ("BY", "120"), ("BY", "120;X"), ("BY", "0;R"), ("BY", "-1;R"), ("BY", "1;RTT"),
        ("BY", "1234567890;N"), ("MT-PRIORITY", None), ("MT-PRIORITY", "10"), ("MT-PRIORITY", "-0"),
        ("MT-PRIORITY", "high"), ("REQUIRETLS", "yes"),
    ],
)  # fmt: skip
def test_s30_h05_a_malformed_value_is_501(keyword: str, value: str | None) -> None:
    """(S-30)"""
    with pytest.raises(CommandError) as caught:
        mail_parameters({keyword: value}, ALL)
    assert str(caught.value.reply).startswith("501 5.5.4")


def test_s30_holdfor_and_holduntil_exclude_each_other() -> None:
    """(S-30)"""
    with pytest.raises(CommandError) as caught:
        mail_parameters({"HOLDFOR": "5", "HOLDUNTIL": "2030-01-01T00:00:00Z"}, ALL)
    assert caught.value.reply.code == 501


@pytest.mark.parametrize("keyword", ["HOLDFOR", "HOLDUNTIL", "BY", "MT-PRIORITY", "REQUIRETLS"])
def test_s30_a_parameter_that_is_not_offered_is_555(keyword: str) -> None:
    """(S-30)"""
    with pytest.raises(CommandError) as caught:
        mail_parameters({keyword: "1"}, frozenset({"DSN", "SIZE"}))
    assert str(caught.value.reply).startswith("555 5.5.4")


@given(
    st.builds(
        MailParameters,
        hold_for=st.none() | st.integers(1, MAX_INTERVAL_S),
        by=st.none() | st.builds(By, st.integers(1, MAX_INTERVAL_S), st.sampled_from("RN"), st.booleans()),
        mt_priority=st.none() | st.integers(-9, 9),
        require_tls=st.booleans(),
    )
    | st.builds(MailParameters, hold_until=st.integers(0, 253_402_300_799))
)
def test_s30_parameters_read_back_as_written(wanted: MailParameters) -> None:
    """(S-30)"""
    assert mail_parameters(to_parameters(wanted), ALL) == wanted


@given(st.text(max_size=40) | st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}[Z+\-0-9:]{0,6}", fullmatch=True))
def test_s30_whatever_is_written_is_a_value_or_a_valueerror(text: str) -> None:
    """(S-30)"""
    for read in (read_date, read_by):
        try:
            value = read(text)
        except ValueError:
            continue
        if isinstance(value, int):
            assert read_date(print_date(value)) == min(value, 253_402_300_799)


def test_s30_ehlo_tells_the_limits() -> None:
    """(S-30)"""
    lines, keywords = offer(OFFERING, True, True, 1_000_000_000.0)
    assert "FUTURERELEASE 3600 2001-09-09T02:46:00Z" in lines
    assert {"DELIVERBY 120", "MT-PRIORITY", "REQUIRETLS"} <= set(lines)
    assert keywords >= ALL


def test_s30_requiretls_is_offered_inside_tls_alone() -> None:
    """(S-30)"""
    assert "REQUIRETLS" not in offer(OFFERING, False, True)[1]


def test_s30_nothing_of_it_is_offered_unless_set() -> None:
    """(S-30)"""
    assert offer(ServerSettings(hostname="mx.example.test"), True, True)[1].isdisjoint(ALL)


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (b"HOLDFOR=3600", b"250 "), (b"HOLDFOR=3601", b"501 5.5.4"), (b"HOLDUNTIL=1970-01-01T00:59:00Z", b"250 "),
        (b"HOLDUNTIL=1970-01-01T01:01:00Z", b"501 5.5.4"), (b"BY=120;R", b"250 "), (b"BY=119;R", b"553 5.4.7"),
        (b"BY=1;N", b"250 "), (b"BY=-10;NT", b"250 "), (b"HOLDFOR=500 BY=400;R", b"501 5.5.4"),
        (b"HOLDFOR=500 BY=600;R", b"250 "), (b"MT-PRIORITY=4", b"250 "), (b"REQUIRETLS", b"555 5.5.4"),
    ],
)  # fmt: skip
def test_s30_what_is_beyond_the_limits_told_is_refused(asked: bytes, code: bytes) -> None:
    """(S-30)"""
    talk = greeted(OFFERING)
    assert talk.send(MAIL + asked + b"\r\n").startswith(code)
    kept = [event for event in talk.events if isinstance(event, MailReceived)]
    assert len(kept) == (code == b"250 ")


def test_s30_a_moment_that_is_past_holds_nothing() -> None:
    """(S-30)"""
    assert release_at(MailParameters(hold_until=50), 100.0) is None
    assert release_at(MailParameters(hold_until=150), 100.0) == 150.0
    assert release_at(MailParameters(hold_for=7), 100.0) == 107.0
