"""C-11: an extension is used where it is offered only, and what cannot do without it is refused."""

from __future__ import annotations

import pytest

from deliver.messages import NULL, TEXT, envelope, recipient
from postroad.deliver.fitness import fit, rcpt_for
from postroad.message.envelope import BodyType, Notify, Return
from postroad.smtp.address import Address
from postroad.smtp.extension import Capabilities
from postroad.smtp.reply import Reply

GREETED = "mx.example.net"
ALL = ("SIZE 100000", "8BITMIME", "SMTPUTF8", "DSN", "CHUNKING", "BINARYMIME", "PIPELINING")
EIGHT_BIT = "Subject: x\r\n\r\nGrüße\r\n".encode()
UTF8_HEADER = "Subject: Grüße\r\n\r\nx\r\n".encode()


def offers(*keywords: str) -> Capabilities:
    return Capabilities.parse(Reply(250, (GREETED, *keywords)))


def test_c11_nothing_is_said_to_a_host_that_offers_nothing() -> None:
    of = envelope("a@example.net", body_type=BodyType.EIGHT_BIT, smtputf8=True, ret=Return.FULL, envid="x")
    fitting = fit(of, TEXT, of.recipients, offers())
    assert fitting.mail is not None
    assert fitting.mail.parameters == {}
    assert not any(fitting.refused)
    asked = recipient("a@example.net", frozenset({Notify.SUCCESS}), "rfc822;b@example.org")
    assert rcpt_for(asked, offers()).parameters == {}


def test_c11_everything_is_said_to_a_host_that_offers_all() -> None:
    of = envelope("ü@example.net", body_type=BodyType.EIGHT_BIT, smtputf8=True, ret=Return.HEADERS, envid="a+b")
    fitting = fit(of, EIGHT_BIT, of.recipients, offers(*ALL))
    assert fitting.mail is not None
    assert fitting.mail.parameters == {
        "SIZE": str(len(EIGHT_BIT)),
        "BODY": "8BITMIME",
        "SMTPUTF8": None,
        "RET": "HDRS",
        "ENVID": "a+2Bb",
    }
    asked = recipient("a@example.net", frozenset({Notify.SUCCESS, Notify.DELAY}), "rfc822;b@example.org")
    assert rcpt_for(asked, offers("DSN")).parameters == {"NOTIFY": "SUCCESS,DELAY", "ORCPT": "rfc822;b@example.org"}
    assert rcpt_for(recipient("a@example.net"), offers("DSN")).parameters == {}


def test_c11_too_big_for_the_host() -> None:
    of = envelope("a@example.net", "b@example.net")
    fitting = fit(of, b"x" * 11, of.recipients, offers("SIZE 10"))
    assert fitting.mail is None
    assert [(refused.code, str(refused.enhanced)) for refused in fitting.refused if refused] == [(552, "5.3.4")] * 2
    assert fit(of, b"x" * 11, of.recipients, offers("SIZE 0")).mail is not None
    assert fit(of, b"x" * 11, of.recipients, offers("SIZE")).mail is not None


@pytest.mark.parametrize(
    ("body_type", "body", "keywords", "expected"),
    [
        (BodyType.SEVEN_BIT, TEXT, ALL, None),
        (BodyType.EIGHT_BIT, TEXT, (), None),
        (BodyType.EIGHT_BIT, EIGHT_BIT, ("8BITMIME",), "8BITMIME"),
        (BodyType.EIGHT_BIT, EIGHT_BIT, (), "5.6.3"),
        (BodyType.BINARY, b"\0\n\xff", ("CHUNKING", "BINARYMIME", "8BITMIME"), "BINARYMIME"),
        (BodyType.BINARY, b"\0\n\xff", ("BINARYMIME", "8BITMIME"), "5.6.3"),
        (BodyType.BINARY, b"A: b\r\n\r\n" + b"x" * 999 + b"\r\n", ("8BITMIME",), "5.6.3"),
        (BodyType.BINARY, b"A: b\r\n\r\nno end", ("8BITMIME",), "5.6.3"),
        (BodyType.BINARY, TEXT, (), None),
        (BodyType.BINARY, EIGHT_BIT, ("8BITMIME",), "8BITMIME"),
        (BodyType.BINARY, EIGHT_BIT, (), "5.6.3"),
    ],
)
def test_s21_bodies(body_type: BodyType, body: bytes, keywords: tuple[str, ...], expected: str | None) -> None:
    of = envelope("a@example.net", body_type=body_type)
    fitting = fit(of, body, of.recipients, offers(*keywords))
    if fitting.mail is None:
        assert [str(refused.enhanced) for refused in fitting.refused if refused] == [expected]
    else:
        assert fitting.mail.parameters.get("BODY") == expected


def test_s22_what_needs_smtputf8_is_refused_and_the_rest_goes() -> None:
    of = envelope("ü@example.net", "a@example.net", smtputf8=True)
    fitting = fit(of, TEXT, of.recipients, offers())
    assert fitting.mail is not None
    assert "SMTPUTF8" not in fitting.mail.parameters
    first, second = fitting.refused
    assert first is not None
    assert str(first.enhanced) == "5.6.7"
    assert second is None
    assert fit(of, TEXT, of.recipients[:1], offers()).mail is None


def test_s22_a_sender_or_header_in_utf8_is_refused_for_all() -> None:
    of = envelope("a@example.net", sender=Address("ü", "example.org"), smtputf8=True)
    (refused,) = fit(of, TEXT, of.recipients, offers("8BITMIME")).refused
    assert refused is not None
    assert str(refused.enhanced) == "5.6.7"
    of = envelope("a@example.net", smtputf8=True, body_type=BodyType.EIGHT_BIT)
    (refused,) = fit(of, UTF8_HEADER, of.recipients, offers("8BITMIME")).refused
    assert refused is not None
    assert str(refused.enhanced) == "5.6.9"


def test_s22_smtputf8_is_not_asked_for_without_need() -> None:
    of = envelope("a@example.net", smtputf8=True, sender=NULL)
    fitting = fit(of, TEXT, of.recipients, offers("SMTPUTF8"))
    assert fitting.mail is not None
    assert "SMTPUTF8" not in fitting.mail.parameters
