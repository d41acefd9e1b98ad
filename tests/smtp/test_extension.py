"""Parameters of extensions, and what an EHLO reply offers."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroad.smtp.command import CommandError
from postroad.smtp.extension import (
    Capabilities,
    MailParameters,
    RcptParameters,
    mail_parameters,
    rcpt_parameters,
    to_parameters,
    xtext_decode,
    xtext_encode,
)
from postroad.smtp.reply import Reply

ALL = frozenset({"SIZE", "8BITMIME", "BINARYMIME", "SMTPUTF8", "DSN", "AUTH", "CHUNKING"})


@pytest.mark.parametrize(
    ("keyword", "value", "meaning"),
    [
        ("SIZE", "1000", MailParameters(size=1000)),
        ("BODY", "8bitmime", MailParameters(body="8BITMIME")),
        ("BODY", "BINARYMIME", MailParameters(body="BINARYMIME")),
        ("SMTPUTF8", None, MailParameters(smtputf8=True)),
        ("RET", "hdrs", MailParameters(ret="HDRS")),
        ("ENVID", "QQ+2B1", MailParameters(envid="QQ+1")),
        ("AUTH", "<>", MailParameters(auth="<>")),
        ("AUTH", "e+3Dmc2@example.com", MailParameters(auth="e=mc2@example.com")),
    ],
)
def test_s20_s21_s22_s27_mail_parameter_means(keyword: str, value: str | None, meaning: MailParameters) -> None:
    assert mail_parameters({keyword: value}, ALL) == meaning


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("SIZE", None), ("SIZE", "x"), ("SIZE", "-1"), ("SIZE", "1" * 21), ("SIZE", "\u0661"), ("BODY", None),
        ("BODY", "9BIT"), ("SMTPUTF8", "yes"), ("RET", "ALL"), ("RET", None), ("ENVID", None), ("ENVID", "a" * 101),
        ("ENVID", "+0D+0A"), ("ENVID", "+zz"), ("ENVID", "+C3+BC"), ("AUTH", None), ("AUTH", "+ff"), ("AUTH", "+00"),
    ],
)  # fmt: skip
def test_s27_h05_bad_mail_value_is_501(keyword: str, value: str | None) -> None:
    with pytest.raises(CommandError) as caught:
        mail_parameters({keyword: value}, ALL)
    assert str(caught.value.reply).startswith("501 5.5.4")


@pytest.mark.parametrize("keyword", ["SIZE", "BODY", "SMTPUTF8", "RET", "ENVID", "AUTH", "FOO", "NOTIFY"])
def test_s06_parameter_of_an_extension_not_offered_is_555(keyword: str) -> None:
    with pytest.raises(CommandError) as caught:
        mail_parameters({keyword: "1"}, frozenset())
    assert str(caught.value.reply).startswith("555 5.5.4")


def test_s21_each_body_needs_its_own_extension() -> None:
    assert mail_parameters({"BODY": "7BIT"}, frozenset({"8BITMIME"})).body == "7BIT"
    with pytest.raises(CommandError):
        mail_parameters({"BODY": "BINARYMIME"}, frozenset({"8BITMIME"}))


@pytest.mark.parametrize(
    ("keyword", "value", "meaning"),
    [
        ("NOTIFY", "NEVER", RcptParameters(notify=frozenset({"NEVER"}))),
        ("NOTIFY", "success,DELAY", RcptParameters(notify=frozenset({"SUCCESS", "DELAY"}))),
        ("ORCPT", "rfc822;a+2Bb@x.test", RcptParameters(orcpt="rfc822;a+b@x.test")),
        ("ORCPT", r"utf-8;m\x{FC}ller@x.test", RcptParameters(orcpt="utf-8;müller@x.test")),
    ],
)
def test_s27_rcpt_parameter_means(keyword: str, value: str, meaning: RcptParameters) -> None:
    assert rcpt_parameters({keyword: value}, ALL) == meaning


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("NOTIFY", None), ("NOTIFY", "NEVER,SUCCESS"), ("NOTIFY", "SUCCESS,SUCCESS"), ("NOTIFY", "SUCCESS,"),
        ("NOTIFY", "MAYBE"), ("ORCPT", None), ("ORCPT", "rfc822"), ("ORCPT", "rfc822;"), ("ORCPT", ";a@b"),
        ("ORCPT", "rfc822;a+0Ab"), ("ORCPT", "rfc822;" + "a" * 500), ("ORCPT", r"utf-8;\x{0A}"),
        ("ORCPT", r"utf-8;\x{D800}"), ("ORCPT", r"utf-8;\x{FFFFFF}"),
    ],
)  # fmt: skip
def test_s27_h05_bad_rcpt_value_is_501(keyword: str, value: str | None) -> None:
    with pytest.raises(CommandError) as caught:
        rcpt_parameters({keyword: value}, ALL)
    assert caught.value.reply.code == 501


_TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=30)
_WIDE = st.text(
    st.characters(min_codepoint=0xA0, max_codepoint=0x2000) | st.sampled_from("a +=\\{}"), min_size=1, max_size=20
)


@settings(max_examples=150)
@given(
    st.builds(
        MailParameters,
        size=st.none() | st.integers(0, 10**20 - 1),
        body=st.sampled_from([None, "7BIT", "8BITMIME", "BINARYMIME"]),
        smtputf8=st.booleans(),
        ret=st.sampled_from([None, "FULL", "HDRS"]),
        envid=st.none() | _TEXT,
        auth=st.none() | st.just("<>") | _TEXT | _WIDE,
    )
)
def test_mail_parameters_read_back_as_written(wanted: MailParameters) -> None:
    assert mail_parameters(to_parameters(wanted), ALL) == wanted


@settings(max_examples=150)
@given(
    st.none()
    | st.just(frozenset({"NEVER"}))
    | st.frozensets(st.sampled_from(["SUCCESS", "FAILURE", "DELAY"]), min_size=1),
    st.none() | st.tuples(st.sampled_from(["rfc822", "utf-8", "x-y"]), _TEXT | _WIDE).map(";".join),
)
def test_rcpt_parameters_read_back_as_written(notify: frozenset[str] | None, orcpt: str | None) -> None:
    wanted = RcptParameters(notify, orcpt)
    assert rcpt_parameters(to_parameters(wanted), ALL) == wanted


@settings(max_examples=150)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_xtext_is_ascii_and_decodes_to_its_source(text: str) -> None:
    assert xtext_encode(text).isascii()
    assert xtext_decode(xtext_encode(text)) == text


@settings(max_examples=150)
@given(st.text(max_size=40))
def test_any_parameter_value_is_read_or_refused(value: str) -> None:
    for keyword in ("SIZE", "BODY", "RET", "ENVID", "AUTH"):
        try:
            mail_parameters({keyword: value}, ALL)
        except CommandError as error:
            assert error.reply.code == 501
    for keyword in ("NOTIFY", "ORCPT"):
        try:
            rcpt_parameters({keyword: value}, ALL)
        except CommandError as error:
            assert error.reply.code == 501


def test_c11_capabilities_are_read() -> None:
    lines = ("mx.test at your service", "PIPELINING", "size 1000", "AUTH PLAIN login", "AUTH=LOGIN XOLD",
             "LIMITS RCPTMAX=20 MAILMAX=0 x", "", "!garbage", "A=B")  # fmt: skip
    offered = Capabilities.parse(Reply(250, lines))
    assert offered.name == "mx.test"
    assert offered.has("PIPELINING")
    assert not offered.has("A")
    assert offered.size_limit == 1000
    assert offered.auth_mechanisms == ("PLAIN", "LOGIN", "XOLD")
    assert offered.limits == {"RCPTMAX": 20}


@pytest.mark.parametrize("line", ["SIZE", "SIZE 0", "SIZE many", "SIZE " + "9" * 21])
def test_no_size_limit_is_none(line: str) -> None:
    offered = Capabilities.parse(Reply(250, ("x", line)))
    assert offered.has("SIZE")
    assert offered.size_limit is None


def test_refused_ehlo_offers_nothing() -> None:
    assert not Capabilities.parse(Reply(502, ("x", "PIPELINING"))).keywords


@settings(max_examples=150)
@given(st.integers(0, 999), st.lists(st.text(max_size=40), max_size=6))
def test_h10_capabilities_never_raise(code: int, lines: list[str]) -> None:
    Capabilities.parse(Reply(code, tuple(lines)))
