"""A message as JSON: nothing of it is lost, and no message breaks it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from email.message import EmailMessage
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from postroad.message.web_form import MAX_DEPTH, as_json, signature, told

ENVELOPE = told(["ann@us.test"], "ben@far.test", id="0123456789abc")


def shown(message: bytes, *, is_raw: bool = False) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(as_json(ENVELOPE, message, is_raw=is_raw))
    return found


def test_text_html_and_attachments_stand_apart() -> None:
    letter = EmailMessage()
    letter["Subject"] = "Grüße aus Köln"
    letter["From"] = "Ben <ben@far.test>"
    letter.set_content("Hällo\n")
    letter.add_alternative("<p>Hällo</p>\n", subtype="html")
    letter.add_attachment(b"\0\1\2", maintype="application", subtype="pdf", filename="Rechnung für.pdf", cid="<x@y>")
    got = shown(letter.as_bytes().replace(b"\n", b"\r\n"))
    assert got["envelope"] == {"from": "ben@far.test", "to": ["ann@us.test"]} and got["id"] == "0123456789abc"
    assert ["subject", "Grüße aus Köln"] in got["headers"]
    assert (got["text"], got["html"]) == ("Hällo\n", "<p>Hällo</p>\n")
    assert got["attachments"] == [
        {
            "filename": "Rechnung für.pdf",
            "content_type": "application/pdf",
            "content_id": "x@y",
            "octets": 3,
            "content": base64.b64encode(b"\0\1\2").decode(),
        }
    ]


def test_a_plain_message_and_one_without_a_header() -> None:
    assert shown(b"Subject: x\r\n\r\nbody\r\n")["text"] == "body\n"
    assert shown(b"Content-Type: text/plain; charset=iso-8859-1\r\n\r\n\xe9\r\n")["text"] == "é\n"
    assert shown(b"\r\njust text\r\n")["text"] == "just text\n"
    assert shown(b"")["text"] == ""


def test_the_raw_form_has_the_message_whole() -> None:
    message = b"Subject: \xff\r\n\r\n\0body\r\n"
    got = shown(message, is_raw=True)
    assert base64.b64decode(got["raw"]) == message
    assert "text" not in got


def test_a_forwarded_message_is_an_attachment_as_it_is() -> None:
    inner = b"Subject: inner\r\n\r\ninside\r\n"
    message = (
        b'Content-Type: multipart/mixed; boundary="b"\r\n\r\npreamble\r\n--b\r\n\r\ntext\r\n'
        b"--b\r\nContent-Type: message/rfc822\r\n\r\n" + inner + b"\r\n--b--\r\nepilogue\r\n"
    )
    got = shown(message)
    assert got["text"] == "text"
    assert [(one["content_type"], base64.b64decode(one["content"])) for one in got["attachments"]] == [
        ("message/rfc822", inner)
    ]


def test_a_line_that_only_begins_like_a_delimiter_is_content() -> None:
    message = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\none\r\n--bee\r\ntwo\r\n--b--\r\n"
    assert shown(message)["text"] == "one\n--bee\ntwo"


def test_h02_containers_within_containers_end_at_a_depth() -> None:
    message = b"body"
    for number in range(MAX_DEPTH * 3):
        message = b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n%b\r\n--b%d--\r\n" % (
            number,
            number,
            message,
            number,
        )
    (left,) = shown(message)["attachments"]
    assert left["content_type"] == "multipart/mixed"


@given(st.binary(max_size=300))
@example(b"Content-Type: multipart/mixed; boundary=\r\n\r\n--\r\n")
@example(b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b")
@example(b"Content-Transfer-Encoding: base64\r\n\r\nQUJ!D=\r\n")
@example(b"Content-Type: text/plain; charset=nonsense\r\n\r\n\xff")
@example(b"Content-Type: text/plain; charset=idna\r\n\r\n\xff")
@example(b"Subject: =?x?b?q?=\r\nContent-Type: text/plain; name*0*=x''%ff\r\n\r\n")
def test_h02_no_message_breaks_it(message: bytes) -> None:
    for prefix in (b"", b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n", b"Content-Type: "):
        got = shown(prefix + message)
        assert isinstance(got["attachments"], list)


def test_the_signature_is_made_of_the_time_and_the_body() -> None:
    said = signature(b"key", b"body", 1_790_000_000.9)
    expected = hmac.new(b"key", b"1790000000.body", hashlib.sha256).hexdigest()
    assert said == f"t=1790000000,v1={expected}"
