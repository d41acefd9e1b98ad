"""Bounces of many mail systems, written by hand in the form of each, and what is to be read from them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroad.meaning.bounce import BounceReport, ReportKind, read_bounce

SAMPLES = Path(__file__).parent / "bounces"
NAMES = sorted(path.stem for path in SAMPLES.glob("*.eml"))


def read(name: str) -> BounceReport:
    return read_bounce((SAMPLES / f"{name}.eml").read_bytes())


ANN = "ann@example.org"
BOB = "bob@example.com"

EXPECTED: dict[str, list[tuple[str, str | None, int | None, str, str, bool]]] = {
    "postfix": [(ANN, "5.1.1", 550, "mailbox_unknown", "hard", True)],
    "postfix-alias": [(ANN, "5.2.2", None, "mailbox_full", "hard", False)],
    "smtputf8": [("jörg@bücher.example", "5.1.1", 550, "mailbox_unknown", "hard", True)],
    "two-recipients": [
        (ANN, "5.2.2", 552, "mailbox_full", "hard", False),
        ("bob@example.org", "5.1.1", 550, "mailbox_unknown", "hard", True),
    ],
    "sendmail": [(ANN, "5.1.1", 550, "mailbox_unknown", "hard", True)],
    "sendmail-old": [
        (ANN, None, 550, "mailbox_unknown", "hard", True),
        (BOB, None, 552, "mailbox_full", "hard", False),
    ],
    "exchange-2010": [(ANN, "5.1.1", 550, "mailbox_unknown", "hard", True)],
    "exchange-2003": [(BOB, None, None, "mailbox_unknown", "hard", True)],
    "exim": [
        (ANN, "5.1.1", 550, "mailbox_unknown", "hard", True),
        (BOB, "5.3.4", 552, "message_too_big", "hard", False),
    ],
    "qmail": [
        (ANN, "5.1.1", 550, "mailbox_unknown", "hard", True),
        (BOB, "5.1.2", None, "domain_unknown", "hard", True),
    ],
    "yahoo": [(ANN, "5.7.9", 554, "policy_content", "hard", False)],
    "gmail-old": [(ANN, "5.1.1", 550, "mailbox_unknown", "hard", True)],
    "opensmtpd": [
        (ANN, "5.2.2", 550, "mailbox_full", "hard", False),
        ("bob@example.org", "5.1.1", 550, "mailbox_unknown", "hard", True),
    ],
    "dragonfly": [(ANN, "5.7.26", 550, "policy_content", "hard", False)],
    "domino": [(ANN, None, None, "mailbox_unknown", "hard", True)],
    "gmx": [(ANN, "5.1.1", None, "mailbox_unknown", "hard", True)],
    "zoho": [(ANN, "5.1.1", 550, "mailbox_unknown", "hard", True)],
    "imail": [(ANN, "5.3.0", 553, "mailbox_unknown", "hard", True)],
    "ses-json": [(ANN, "5.1.1", 550, "mailbox_unknown", "hard", True)],
    "hmailserver": [(ANN, "5.1.1", 550, "mailbox_unknown", "hard", True)],
    "mobile-jp": [(ANN, None, 550, "mailbox_unknown", "hard", True)],
    "russian-koi8": [(ANN, "5.2.2", 550, "mailbox_full", "hard", False)],
    "gateway-jp": [(ANN, "5.1.1", 550, "mailbox_unknown", "hard", True)],
    "html-only": [(ANN, None, 550, "mailbox_unknown", "hard", True)],
    "unnamed-boundary": [(ANN, "5.1.1", None, "mailbox_unknown", "hard", True)],
    "mailmarshal": [(ANN, "5.1.1", 550, "mailbox_unknown", "hard", True)],
    "reply-in-brackets": [(ANN, "5.1.1", 550, "mailbox_unknown", "hard", True)],
    "gateway-transcript": [(ANN, "5.1.1", 550, "mailbox_unknown", "hard", True)],
    "mdaemon": [(ANN, "5.1.1", 550, "mailbox_unknown", "hard", True)],
    "netscape": [(ANN, None, None, "mailbox_unknown", "hard", True)],
    "zoho-retry": [(ANN, None, 421, "system_temporary", "soft", False)],
    "smail": [(ANN, None, None, "mailbox_unknown", "hard", True)],
    "exchange-2000": [(ANN, "5.1.1", 550, "mailbox_unknown", "hard", True)],
    "exchange-german": [(ANN, "5.1.1", 550, "mailbox_unknown", "hard", True)],
    "exchange-french": [(ANN, None, None, "mailbox_full", "hard", False)],
    "exchange-spanish": [(ANN, "5.1.1", 550, "mailbox_unknown", "hard", True)],
    "transcript-alone": [(ANN, None, 550, "mailbox_unknown", "hard", True)],
    "two-hyphens": [(ANN, "5.1.1", 550, "mailbox_unknown", "hard", True)],
    "courier": [(ANN, "5.1.1", 550, "mailbox_unknown", "hard", True)],
    "transcript-of-attempts": [(ANN, None, 550, "mailbox_unknown", "hard", True)],
    "recipient-label": [(ANN, None, 550, "mailbox_unknown", "hard", True)],
    "chinese": [(ANN, None, 550, "mailbox_unknown", "hard", True)],
    "italian": [(ANN, None, 552, "mailbox_full", "hard", False)],
    "portuguese": [(ANN, None, 550, "mailbox_unknown", "hard", True)],
    "russian": [(ANN, "5.1.1", 550, "mailbox_unknown", "hard", True)],
    "sendmail-expired": [(ANN, None, None, "system_temporary", "soft", False)],
    "messaging-server": [(ANN, None, None, "domain_unknown", "hard", True)],
    "forwarded": [(ANN, "5.1.1", 550, "mailbox_unknown", "hard", True)],
}
"""Address, status, code, meaning, hard or soft, and whether to mail it no more."""


@pytest.mark.parametrize("name", EXPECTED)
def test_a_bounce_names_its_recipients_and_why(name: str) -> None:
    report = read(name)
    assert (report.kind, report.is_bounce) == (ReportKind.BOUNCE, True)
    found = [
        (one.address, one.status, one.code, str(one.meaning), one.bounce, one.suppress) for one in report.recipients
    ]
    assert found == EXPECTED[name]
    assert {one.action for one in report.recipients} == {"failed"}


@pytest.mark.parametrize(
    ("name", "kind", "address", "action"),
    [
        ("postfix-delay", "delay", ANN, "delayed"),
        ("gmail-delay", "delay", ANN, "delayed"),
        ("sendmail-warning", "delay", ANN, "delayed"),
        ("exim-warning", "delay", ANN, "delayed"),
        ("postfix-success", "delivered", ANN, "relayed"),
        ("disposition", "delivered", ANN, "delivered"),
        ("feedback", "feedback", ANN, None),
        ("feedback-jmrp", "feedback", ANN, None),
        ("vacation", "auto_reply", ANN, None),
    ],
)
def test_what_is_no_failure_is_told_apart(name: str, kind: str, address: str, action: str | None) -> None:
    report = read(name)
    assert str(report.kind) == kind
    assert [(one.address, one.action, one.suppress) for one in report.recipients] == [(address, action, False)]


def test_a_delay_counts_as_a_bounce_that_is_soft() -> None:
    report = read("exim-warning")
    (one,) = report.recipients
    assert report.is_bounce and one.bounce == "soft"
    assert (one.code, one.status, str(one.meaning)) == (451, "4.7.1", "greylisted")
    assert not read("vacation").is_bounce and not read("feedback").is_bounce and not read("postfix-success").is_bounce


def test_an_ordinary_letter_is_none_of_them() -> None:
    assert read("letter") == BounceReport(kind=ReportKind.NONE)
    assert read_bounce(b"ann@example.org\nbob@example.org\n") == BounceReport(kind=ReportKind.NONE)
    assert read_bounce(b"") == BounceReport(kind=ReportKind.NONE)


def test_an_absence_is_no_bounce_whatever_it_says() -> None:
    octets = (
        b"Return-Path: <>\nFrom: Ann <ann@example.org>\nSubject: Re: Invoice\nAuto-Submitted: auto-replied\n\n"
        b"I cannot be reached until Monday; mail to bob@example.org could not be delivered, try carl@example.org.\n"
    )
    assert read_bounce(octets).kind is ReportKind.AUTO_REPLY
    assert read_bounce(octets.replace(b"Auto-Submitted: auto-replied\n", b"").replace(b"Re:", b"Absence:")).kind is (
        ReportKind.AUTO_REPLY
    )


def test_who_writes_about_a_bounce_sends_none() -> None:
    octets = (
        b"From: Ann <ann@example.org>\nSubject: Re: our server\nIn-Reply-To: <1@example.net>\n\n"
        b"It says 550 5.1.1 No such user.\n\n-----Original Message-----\nFrom: Bob\n\nWhy?\n"
    )
    assert read_bounce(octets).kind is ReportKind.NONE


def test_the_remotes_words_are_whole_on_one_line() -> None:
    (one,) = read("dragonfly").recipients
    assert one.diagnostic.startswith("550-5.7.26 Unauthenticated mail") and one.diagnostic.endswith("DMARC policy")
    (postfix,) = read("postfix").recipients
    assert postfix.diagnostic == "550 5.1.1 <ann@example.org>: Recipient address rejected: User unknown"
    (qmail, _) = read("qmail").recipients
    assert qmail.diagnostic.startswith("550 5.1.1 unknown or illegal alias")


def test_a_refusal_before_the_recipient_says_nothing_of_the_mailbox() -> None:
    for name in ("postfix-greeting", "qmail-sender"):
        (one,) = read(name).recipients
        assert str(one.meaning) != "mailbox_unknown" and not one.suppress, name


WITHOUT_ID = {
    *("letter", "exchange-2003", "exchange-2000", "domino", "hmailserver", "html-only", "vacation", "forwarded"),
    *("exim-warning", "mailmarshal", "reply-in-brackets", "gateway-transcript", "mdaemon", "netscape", "zoho-retry"),
    *("courier", "transcript-of-attempts", "recipient-label", "chinese", "italian", "portuguese", "russian"),
    *("sendmail-expired", "sendmail-warning"),
    *("smail", "exchange-german", "exchange-french", "exchange-spanish", "transcript-alone", "two-hyphens"),
}


@pytest.mark.parametrize("name", sorted(set(NAMES) - WITHOUT_ID))
def test_the_message_that_came_back_is_known_by_its_id(name: str) -> None:
    assert read(name).original_message_id == "<letter-1@example.net>"


@pytest.mark.parametrize("name", sorted(WITHOUT_ID - {"vacation"}))
def test_the_notices_own_id_is_not_taken_for_it(name: str) -> None:
    assert read(name).original_message_id is None


@pytest.mark.parametrize("name", NAMES)
def test_line_ends_do_not_matter(name: str) -> None:
    octets = (SAMPLES / f"{name}.eml").read_bytes()
    assert read_bounce(octets.replace(b"\n", b"\r\n")) == read_bounce(octets)


@pytest.mark.parametrize("name", NAMES)
def test_the_report_is_json_of_printable_ascii(name: str) -> None:
    assert json.dumps(read(name).to_dict()).isascii()


# Hostile and broken messages --------------------------------------------------------------------------------------


@given(st.binary(max_size=4000))
def test_any_octets_are_read_without_an_error(octets: bytes) -> None:
    json.dumps(read_bounce(octets).to_dict())


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_broken_bounces_are_read_without_an_error(data: st.DataObject) -> None:
    octets = (SAMPLES / f"{data.draw(st.sampled_from(NAMES))}.eml").read_bytes()
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(octets)))
        end = min(len(octets), start + data.draw(st.integers(0, 200)))
        octets = octets[:start] + data.draw(st.binary(max_size=30)) + octets[end:]
    report = read_bounce(octets)
    json.dumps(report.to_dict())
    assert all(len(one.diagnostic) <= 2000 for one in report.recipients)


def _dsn(groups: bytes) -> bytes:
    return (
        b"From: MAILER-DAEMON@mx.example.net\nSubject: Undelivered\nMIME-Version: 1.0\n"
        b"Content-Type: multipart/report; boundary=b\n\n--b\nContent-Type: message/delivery-status\n\n"
        + groups
        + b"--b--\n"
    )


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(b"From: mailer-daemon@x.test\n\n" + b"a" * 10_000_000, id="one line of ten megabytes"),
        pytest.param(b"From: mailer-daemon@x.test\n\n" + b"<a@b.test>: 550 no\n" * 500_000, id="a million lines"),
        pytest.param(b"".join(b"X-%d: y\n" % n for n in range(400_000)) + b"\nbody", id="headers without end"),
        pytest.param(b"Subject: " + b"=?utf-8?b?" * 100_000, id="encoded words"),
        pytest.param(b"Subject: undeliverable" + b" x\n" * 300_000 + b"\n", id="a folded header"),
        pytest.param(
            b"".join(b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (n, n) for n in range(20_000)),
            id="deep nesting",
        ),
        pytest.param(b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\n" * 200_000, id="many parts"),
        pytest.param(b'Subject: Undelivered\n\n{"notificationType":' + b"[" * 300_000, id="deep JSON"),
        pytest.param(b"From: mailer-daemon@x.test\n\n" + b"<" * 300_000 + b"@" * 300_000, id="brackets"),
        pytest.param(
            b"From: mailer-daemon@x.test\n\nto " + b"a@" * 300_000 + b"\n" + b"a.a@a." * 90_000, id="at signs"
        ),
        pytest.param(
            b"From: mailer-daemon@x.test\n\n" + (b"unable to deliver message to a.b@c " * 17 + b"\n") * 3000,
            id="near misses",
        ),
        pytest.param(
            b"From: mailer-daemon@x.test\n\n" + (b"<a@b" * 140 + b"\n") * 3000, id="addresses that do not end"
        ),
        pytest.param(b"From: mailer-daemon@x.test\n\n" + (b"a/" * 290 + b"@\n") * 3000, id="slashes"),
        pytest.param(
            b"From: mailer-daemon@x.test\n\n" + (b"could not be sent to " * 27 + b"@\n") * 3000, id="failures"
        ),
        pytest.param(b"Content-Type: text/html\n\n" + b"<!--<style<a " * 70_000, id="unfinished tags"),
        pytest.param(b"From: mailer-daemon@x.test\n\n" + b"> " * 400_000 + b"\n" + b">\n" * 200_000, id="quotes"),
        pytest.param(b"From: mailer-daemon@x.test\n\n" + b"-" * 500_000 + b" " * 500_000, id="rules and blanks"),
        pytest.param(b"From: mailer-daemon@x.test\n\n" + (b" " * 590 + b"@x\n") * 1700, id="blanks before a sign"),
        pytest.param(b"From: mailer-daemon@x.test\n\n" + (b"- " * 290 + b"a@x.test\n") * 1700, id="broken rules"),
        pytest.param(
            b"From: mailer-daemon@x.test\nSubject: Undelivered\n\nfailed\n----- original message -----\n" * 4000,
            id="notices within notices",
        ),
    ],
)
def test_hostile_messages_cost_little(octets: bytes) -> None:
    read_bounce(octets)  # the timeout of the suite is the judge


def test_thousands_of_recipients_and_as_many_words_cost_little() -> None:
    group = b"Final-Recipient: rfc822; a%d@example.org\nAction: failed\nStatus: 5.1.1\n\n"
    for same in (False, True):
        numbers = [0 if same else number for number in range(4500)]
        notice = b"".join(b"<a%d@example.org>: 550 No\n" % number for number in numbers)
        groups = b"".join(group % number for number in numbers)
        octets = _dsn(groups).replace(b"--b\n", b"--b\nContent-Type: text/plain\n\n" + notice + b"\n--b\n", 1)
        assert read_bounce(octets).is_bounce


def test_thousands_of_recipients_are_read_up_to_a_limit() -> None:
    group = b"Final-Recipient: rfc822; a%d@example.org\nAction: failed\nStatus: 5.1.1\n\n"
    report = read_bounce(_dsn(b"".join(group % number for number in range(6000))))
    assert len(report.recipients) == 1000
    assert report.recipients[999].address == "a999@example.org"


@pytest.mark.parametrize("value", [b"rfc822;", b"", b"x400; c=us;s=x", b"rfc822; <>", b"rfc822; |/bin/prog", b"\xff"])
def test_a_recipient_without_an_address_has_none(value: bytes) -> None:
    report = read_bounce(_dsn(b"Final-Recipient: " + value + b"\nAction: failed\nStatus: 5.1.1\n\n"))
    assert [one.address for one in report.recipients] in ([None], [])
    assert report.kind in (ReportKind.BOUNCE, ReportKind.NONE)


ORDINARY = {
    "a newsletter about bounces": (
        b"From: News <news@shop.example>\nSubject: Lower your undeliverable rate\nList-Unsubscribe: <mailto:u@x.test>"
        b"\n\nWhat could not be delivered costs money.\n"
    ),
    "a parcel": (
        b"From: Parcels <service@post.example>\nSubject: Delivery failed: your parcel\n\nIt could not be delivered.\n"
    ),
    "an answer to a bounce": (
        b"From: Ann <ann@example.org>\nSubject: Re: Undelivered Mail Returned to Sender\nIn-Reply-To: <1@x.test>\n\n"
        b"What is this?\n> Your message could not be delivered\n> <bob@example.com>: host mx said: 550 5.1.1 Unknown\n"
    ),
    "a post to a mailing list": (
        b"From: ann@example.org\nSender: list-bounces@l.test\nSubject: [ops] Undelivered Mail\nList-Id: <ops.l.test>"
        b"\n\nMy message could not be delivered: 550 5.7.1 blocked\n"
    ),
    "a report of TLS": (
        b"From: tls@g.example\nSubject: Report Domain: example.org\n"
        b"Content-Type: multipart/report; report-type=tlsrpt; boundary=b\n\n"
        b"--b\nContent-Type: text/plain\n\n3 sessions failed.\n--b\nContent-Type: application/tlsrpt+gzip\n\nx\n--b--\n"
    ),
}


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_mail_is_no_bounce_whatever_it_talks_about(name: str) -> None:
    assert read_bounce(ORDINARY[name]).kind is ReportKind.NONE


def test_a_report_that_gave_up_on_a_mailbox_called_unknown_for_days_suppresses_it_and_stays_soft() -> None:
    group = b"Final-Recipient: rfc822; ann@example.org\nAction: %s\nStatus: 4.1.1\nDiagnostic-Code: smtp; %s\n\n"
    (failed,) = read_bounce(_dsn(group % (b"failed", b"450 4.1.1 No such user here"))).recipients
    assert (failed.meaning, failed.bounce, failed.suppress) == ("mailbox_unknown", "soft", True)
    (delayed,) = read_bounce(_dsn(group % (b"delayed", b"450 4.1.1 No such user here"))).recipients
    assert not delayed.suppress
    (passing,) = read_bounce(_dsn(group % (b"failed", b"450 4.1.1 Unknown user, try again later"))).recipients
    assert not passing.suppress


def test_a_host_that_turned_us_away_at_its_door_until_the_end_blocks_us() -> None:
    notice = b"<ann@example.org>: host mx.example.org refused to\n    talk to me: 421 Closing the channel\n"
    group = b"Final-Recipient: rfc822; ann@example.org\nAction: failed\nStatus: 4.0.0\n\n"
    octets = _dsn(group).replace(b"--b\n", b"--b\nContent-Type: text/plain\n\n" + notice + b"\n--b\n", 1)
    (one,) = read_bounce(octets).recipients
    assert (one.meaning, one.suppress) == ("blocked_reputation", False)
