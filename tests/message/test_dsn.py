"""Notifications: that programs can read them, that people can, and that nothing from outside breaks their form."""

from __future__ import annotations

import email
import email.message
import email.policy
from dataclasses import replace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.message.dsn import Action, Dsn, Notice, RecipientReport, build_dsn
from postroad.message.envelope import BodyType, Envelope, Recipient, Return
from postroad.smtp.address import Address
from postroad.smtp.errors import LocalProtocolError
from postroad.smtp.outcome import Phase
from postroad.smtp.reply import Reply, reply
from postroad.smtp.status import EnhancedStatus

SENDER = Address("sender", "example.org")
ORIGINAL = b"From: sender@example.org\r\nSubject: hello\r\nMessage-ID: <1@example.org>\r\n\r\nthe body\r\n"
REPORT = RecipientReport(
    recipient=Recipient(Address("someone", "example.net"), original="rfc822;first@example.com"),
    action=Action.FAILED,
    status="5.1.1",
    phase=Phase.RCPT,
    reply=Reply(550, ("No such user", "here"), EnhancedStatus(5, 1, 1)),
    remote="mx.example.net",
    attempted_at=1_700_000_100,
)
NOTICE = Notice(
    to=SENDER,
    reporting_mta="mail.example.org",
    reports=(REPORT,),
    envelope=Envelope(reverse_path=SENDER, recipients=(REPORT.recipient,), envid="QQ+3=1"),
    body=ORIGINAL,
    arrived_at=1_700_000_000,
    now=1_700_000_200,
    boundary="b1234567890",
    message_id="abc@mail.example.org",
)


def parsed(dsn: Dsn) -> email.message.EmailMessage:
    message = email.message_from_bytes(dsn.body, policy=email.policy.default)
    assert isinstance(message, email.message.EmailMessage)
    assert not message.defects
    return message


def parts(dsn: Dsn) -> list[email.message.EmailMessage]:
    found = list(parsed(dsn).iter_parts())
    assert len(found) == 3
    for part in found:
        assert not part.defects
    return found  # type: ignore[return-value]


def fields(dsn: Dsn) -> tuple[email.message.Message, list[email.message.Message]]:
    first, *each = cast("list[email.message.Message]", parts(dsn)[1].get_payload())
    return first, [one for one in each if one.keys()]


def test_c14_the_whole_is_a_report() -> None:
    message = parsed(build_dsn(NOTICE))
    assert message.get_content_type() == "multipart/report"
    assert message.get_param("report-type") == "delivery-status"
    assert message["To"] == "sender@example.org"
    assert message["From"] == "Mail Delivery System <MAILER-DAEMON@mail.example.org>"
    assert message["Auto-Submitted"] == "auto-replied"
    assert message["Message-ID"] == "<abc@mail.example.org>"
    assert message["MIME-Version"] == "1.0"


def test_c14_the_machine_part_says_all() -> None:
    whole, each = fields(build_dsn(NOTICE))
    assert whole["Reporting-MTA"] == "dns; mail.example.org"
    assert whole["Original-Envelope-Id"] == "QQ+3=1"
    assert whole["Arrival-Date"] == "Tue, 14 Nov 2023 22:13:20 +0000"
    assert len(each) == 1
    assert each[0]["Original-Recipient"] == "rfc822;first@example.com"
    assert each[0]["Final-Recipient"] == "rfc822;someone@example.net"
    assert each[0]["Action"] == "failed"
    assert each[0]["Status"] == "5.1.1"
    assert each[0]["Remote-MTA"] == "dns; mx.example.net"
    assert each[0]["Diagnostic-Code"].replace("\r\n", "\n").split() == (
        ["smtp;", "550-5.1.1", "No", "such", "user", "550", "5.1.1", "here"]
    )
    assert each[0]["Last-Attempt-Date"] == "Tue, 14 Nov 2023 22:15:00 +0000"
    assert each[0]["Will-Retry-Until"] is None


def test_c14_a_person_can_read_it() -> None:
    text = parts(build_dsn(NOTICE))[0].get_content()
    assert "This is the mail system of mail.example.org." in text
    assert "could not be delivered" in text
    assert "<someone@example.net>" in text
    assert "The host mx.example.net said to the recipient's address:" in text
    assert "550-5.1.1 No such user" in text


def test_c14_a_delay_says_until_when() -> None:
    report = replace(
        REPORT, action=Action.DELAYED, status="4.4.1", reply=None, detail="timed out", will_retry_until=1_700_400_000
    )
    dsn = build_dsn(replace(NOTICE, reports=(report,)))
    _, (each,) = fields(dsn)
    assert each["Action"] == "delayed"
    assert each["Diagnostic-Code"] == "X-Postroad; timed out"
    assert each["Will-Retry-Until"] == "Sun, 19 Nov 2023 13:20:00 +0000"
    assert "need not send it again" in parts(dsn)[0].get_content()
    assert parsed(dsn)["Subject"] == "Your message is delayed"


@pytest.mark.parametrize("action", list(Action))
def test_c14_every_action_parses(action: Action) -> None:
    dsn = build_dsn(replace(NOTICE, reports=(replace(REPORT, action=action), REPORT)))
    _, each = fields(dsn)
    assert [one["Action"] for one in each] == [str(action), "failed"]


def test_c14_headers_come_back_unless_the_whole_was_asked_for() -> None:
    assert parts(build_dsn(NOTICE))[2].get_content_type() == "text/rfc822-headers"
    assert "the body" not in parts(build_dsn(NOTICE))[2].get_content()
    full = replace(NOTICE, envelope=replace(NOTICE.envelope, ret=Return.FULL))
    returned = parts(build_dsn(full))[2]
    assert returned.get_content_type() == "message/rfc822"
    assert returned.get_content()["Subject"] == "hello"
    assert "the body" in returned.get_content().get_content()


def test_c14_full_return_has_a_limit_and_is_for_failures_only() -> None:
    full = replace(NOTICE, envelope=replace(NOTICE.envelope, ret=Return.FULL))
    small = replace(full, return_octets=len(ORIGINAL) - 1)
    delay = replace(full, reports=(replace(REPORT, action=Action.DELAYED),))
    binary = replace(full, envelope=replace(full.envelope, body_type=BodyType.BINARY))
    for notice in (small, delay, binary):
        assert parts(build_dsn(notice))[2].get_content_type() == "text/rfc822-headers"


def test_h02_returned_headers_are_bounded() -> None:
    dsn = build_dsn(replace(NOTICE, body=b"X-A: " + b"b" * 900 + b"\r\n" + b"X-B: c\r\n" * 100_000))
    assert len(dsn.body) < 80_000
    assert len(parts(dsn)) == 3


def test_the_reply_of_a_hostile_host_stays_inside_its_field() -> None:
    evil = Reply(550, ("a\r\nAction: delivered\x00\x1b[31m", "caf\udce9 \u2028 é", "y" * 3000, "--b1234567890--"))
    dsn = build_dsn(replace(NOTICE, reports=(replace(REPORT, reply=evil),)))
    _, (each,) = fields(dsn)
    assert each["Action"] == "failed"
    assert "\\x{1B}" in each["Diagnostic-Code"]
    assert "\\x{E9}" in each["Diagnostic-Code"]
    assert dsn.body.isascii()
    assert b"\x1b" not in dsn.body


def test_c14_words_of_our_own_are_not_called_those_of_smtp() -> None:
    ours = replace(REPORT, remote="", reply=reply(550, "The domain does not exist", "5.1.2"))
    _, (each,) = fields(build_dsn(replace(NOTICE, reports=(ours,))))
    assert each["Remote-MTA"] is None
    assert each["Diagnostic-Code"] == "X-Postroad; 550 5.1.2 The domain does not exist"


def test_s22_a_message_with_smtputf8_gets_the_global_forms() -> None:
    recipient = Recipient(Address("用户", "example.net"), original="utf-8;用户@example.net")
    sender = Address("müller", "example.org")
    body = "From: müller@example.org\r\nSubject: Grüße\r\n\r\nx\r\n".encode()
    notice = replace(
        NOTICE,
        to=sender,
        body=body,
        reports=(replace(REPORT, recipient=recipient),),
        envelope=Envelope(reverse_path=sender, recipients=(recipient,), smtputf8=True),
    )
    for ret, kind in ((Return.HEADERS, "message/global-headers"), (Return.FULL, "message/global")):
        dsn = build_dsn(replace(notice, envelope=replace(notice.envelope, ret=ret)))
        assert dsn.smtputf8
        assert dsn.body_type is BodyType.EIGHT_BIT
        assert "Final-Recipient: utf-8;用户@example.net\r\n".encode() in dsn.body
        assert "Original-Recipient: utf-8;用户@example.net\r\n".encode() in dsn.body
        assert "To: <müller@example.org>\r\n".encode() in dsn.body
        message = email.message_from_bytes(dsn.body, policy=email.policy.SMTPUTF8)
        assert message.get_param("report-type") == "global-delivery-status"
        assert [part.get_content_type() for part in message.iter_parts()] == [
            "text/plain",
            "message/global-delivery-status",
            kind,
        ]


def test_s22_without_smtputf8_everything_is_ascii() -> None:
    recipient = Recipient(Address("someone", "example.net"), original="utf-8;用户@example.net")
    notice = replace(
        NOTICE, body="Subject: Grüße\r\n\r\nx\r\n".encode(), reports=(replace(REPORT, recipient=recipient),)
    )
    dsn = build_dsn(notice)
    assert dsn.body.isascii()
    assert not dsn.smtputf8
    assert b"Original-Recipient: utf-8;\\x{7528}\\x{6237}@example.net\r\n" in dsn.body
    returned = parts(dsn)[2].get_payload(decode=True)
    assert isinstance(returned, bytes)
    assert "Grüße".encode() in returned


def test_an_8bit_message_given_back_whole_says_so() -> None:
    notice = replace(
        NOTICE, body="Subject: x\r\n\r\nGrüße\r\n".encode(), envelope=replace(NOTICE.envelope, ret=Return.FULL)
    )
    dsn = build_dsn(notice)
    assert dsn.body_type is BodyType.EIGHT_BIT
    assert b"Content-Transfer-Encoding: 8bit" in dsn.body


@pytest.mark.parametrize("boundary", ["", "a b", "a\r\nb", 'a"b', "x" * 71])
def test_h06_a_boundary_that_is_none_is_refused(boundary: str) -> None:
    with pytest.raises(LocalProtocolError):
        build_dsn(replace(NOTICE, boundary=boundary))


def test_h06_no_header_of_ours_takes_a_line_break() -> None:
    with pytest.raises(LocalProtocolError):
        build_dsn(replace(NOTICE, message_id="a\r\nBcc: b"))
    with pytest.raises(LocalProtocolError):
        build_dsn(replace(NOTICE, reporting_mta="a\r\nBcc: b"))
    with pytest.raises(LocalProtocolError):
        build_dsn(replace(NOTICE, to=Address("a\r\nBcc: b", "example.org")))
    with pytest.raises(LocalProtocolError):
        build_dsn(replace(NOTICE, reports=()))


@given(
    st.lists(st.text(max_size=400), min_size=1, max_size=5),
    st.text(max_size=30),
    st.binary(max_size=300),
    st.sampled_from([None, Return.FULL, Return.HEADERS]),
)
def test_whatever_was_said_the_form_holds(lines: list[str], local: str, body: bytes, ret: Return | None) -> None:
    recipient = Recipient(Address(local, "example.net"))
    report = replace(REPORT, recipient=recipient, reply=Reply(554, tuple(lines)), detail=lines[0])
    text = b"Subject: x\r\n" + body.replace(b"\r", b"").replace(b"\n", b"").replace(b"\0", b"") + b"\r\n\r\nx\r\n"
    dsn = build_dsn(replace(NOTICE, reports=(report,), body=text, envelope=replace(NOTICE.envelope, ret=ret)))
    assert dsn.body.count(b"\r\n") == dsn.body.count(b"\n") == dsn.body.count(b"\r")
    assert max(len(line) for line in dsn.body.split(b"\r\n")) <= 998
    assert len(parts(dsn)) == 3
    _, each = fields(dsn)
    assert [one["Action"] for one in each] == ["failed"]
