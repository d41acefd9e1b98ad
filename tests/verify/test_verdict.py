"""Verdicts: what each answer is worth, and that evidence says so."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.smtp.framing import ReplyReader
from postroad.smtp.outcome import Phase
from postroad.smtp.reply import Reply
from postroad.verify.judge import Known, Step, bad_syntax, judge
from postroad.verify.verdict import REASONS, Judgement, Traits, Verdict, reply_lines


def said(text: str) -> Reply:
    reader = ReplyReader()
    reader.receive(text.encode() + b"\r\n")
    reply = reader.next_reply()
    assert reply is not None
    return reply


def verdict(phase: Phase, text: str) -> Verdict:
    step = Step(phase=phase, reply=said(text), host="mx.x.test", address="192.0.2.1", port=25)
    return judge("a@x.test", (step,), step, Known(mx=("mx.x.test",), traits=Traits(normalised="a@x.test")))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("250 2.1.5 OK", "deliverable:accepted"),
        ("251 2.1.5 Will forward", "deliverable:accepted"),
        ("550 5.1.1 <a@x.test>: User unknown", "undeliverable:mailbox_unknown"),
        ("550 No such user here", "undeliverable:mailbox_unknown"),
        ("550 5.2.1 Mailbox disabled", "undeliverable:mailbox_disabled"),
        ("452 4.2.2 Mailbox full", "risky:mailbox_full"),
        ("552 5.2.2 Over quota", "risky:mailbox_full"),
        ("450 4.2.0 Greylisted, try again in 300 seconds", "unknown:greylisted"),
        ("451 4.3.0 Temporary server error", "unknown:temporary"),
        ("421 4.7.0 Too many connections", "unknown:rate_limited"),
        ("550 5.7.1 Service unavailable; client host [192.0.2.9] blocked using list.test", "unknown:blocked"),
        ("554 5.7.1 Relay access denied", "unknown:relay_denied"),
        ("530 5.7.0 Must issue a STARTTLS command first", "unknown:tls_required"),
        ("550", "unknown:unclear"),
    ],
)
def test_v02_v03_what_the_answer_to_rcpt_says(text: str, expected: str) -> None:
    assert verdict(Phase.RCPT, text).state == expected


@pytest.mark.parametrize("phase", [Phase.GREETING, Phase.EHLO, Phase.STARTTLS, Phase.MAIL])
@pytest.mark.parametrize("text", ["550 5.1.1 User unknown", "554 5.7.1 No", "250 OK", "421 later", "450 4.7.1 later"])
def test_v01_what_is_said_before_rcpt_says_nothing_of_the_mailbox(phase: Phase, text: str) -> None:
    assert verdict(phase, text).verdict is Judgement.UNKNOWN


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (Step(phase=Phase.DNS, reason="no_domain"), "undeliverable:no_domain"),
        (Step(phase=Phase.DNS, reason="null_mx"), "undeliverable:null_mx"),
        (Step(phase=Phase.DNS, reason="no_mail_host"), "undeliverable:no_mail_host"),
        (Step(phase=Phase.DNS, reason="dns_temporary"), "unknown:dns_temporary"),
        (Step(phase=Phase.DNS, reason="private_address"), "undeliverable:private_address"),
        (Step(phase=Phase.DNS, reason="loop"), "unknown:loop"),
        (Step(phase=Phase.CONNECT, detail="connection refused"), "unknown:connect_failed"),
        (Step(phase=Phase.CONNECT, detail="timed out"), "unknown:timed_out"),
        (Step(phase=Phase.GREETING, detail="timed out"), "unknown:timed_out"),
        (Step(phase=Phase.RCPT, detail="connection lost"), "unknown:connection_lost"),
        (Step(phase=Phase.STARTTLS, detail="TLS failed: …"), "unknown:tls_failed"),
        (Step(phase=Phase.EHLO, reason="smtputf8_needed"), "unknown:smtputf8_needed"),
        (Step(phase=Phase.CONNECT, reason="site_paused"), "unknown:site_paused"),
    ],
)
def test_what_comes_of_no_answer(step: Step, expected: str) -> None:
    assert judge("a@x.test", (step,), step, Known()).state == expected


def test_text_that_is_no_address_is_undeliverable_and_says_why() -> None:
    found = bad_syntax("nobody", "there is no @")
    assert found.state == "undeliverable:bad_syntax"
    assert found.proof.detail == "there is no @"


replies = st.builds(
    lambda code, text: Reply(code, (text,)), st.integers(200, 599), st.text(st.characters(codec="utf-8"), max_size=60)
)


@given(st.sampled_from(sorted(Phase)), st.none() | replies, st.sampled_from(["", *sorted(REASONS)]))
def test_every_step_gives_a_verdict_with_a_documented_reason_and_its_evidence(
    phase: Phase, reply: Reply | None, reason: str
) -> None:
    step = Step(phase=phase, reply=reply, reason=reason, host="mx.x.test", detail="why")
    found = judge("a@x.test", (step,), step, Known())
    assert found.reason in REASONS
    assert 0 <= found.confidence <= 1
    assert found.evidence and found.proof.rule
    if found.verdict in (Judgement.DELIVERABLE, Judgement.RISKY) and reason != "do_not_mail":
        assert phase is Phase.RCPT and reply is not None, "only an answer to RCPT can say that a mailbox is there"


@given(replies)
def test_json_gives_the_verdict_back_whole_in_ascii(reply: Reply) -> None:
    step = Step(phase=Phase.RCPT, reply=reply, host="mx.x.test", address="192.0.2.1", port=25)
    found = judge("ä@x.test", (step, step), step, Known(mx=("mx.x.test", "mx2.x.test")))
    text = found.to_json()
    assert text.isascii() and text.isprintable()
    assert Verdict.from_json(text) == found
    assert json.loads(text)["evidence"][0]["reply"] == list(reply_lines(reply))
