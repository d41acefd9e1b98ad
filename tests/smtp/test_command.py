"""Commands: each line has one meaning or one refusal, and what we send reads back as what was meant."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroad.smtp.address import NULL, Address
from postroad.smtp.command import (
    Auth,
    Bdat,
    Command,
    CommandError,
    Data,
    Ehlo,
    Expn,
    Helo,
    Help,
    Mail,
    Noop,
    Quit,
    Rcpt,
    Rset,
    StartTls,
    Vrfy,
    parse_command,
    to_line,
)
from postroad.smtp.errors import LocalProtocolError

A = Address("a", "b.test")

UNDERSTOOD: dict[bytes, Command] = {
    b"EHLO mx.example.org": Ehlo("mx.example.org"),
    b"ehlo [192.0.2.1]": Ehlo("[192.0.2.1]"),
    b"EHLO [IPv6:2001:db8::1]": Ehlo("[IPv6:2001:db8::1]"),
    b"EHLO my_host": Ehlo("my_host"),
    b"EHLO host.": Ehlo("host."),
    b"HELO x#y": Helo("x#y"),
    b"MAIL FROM:<>": Mail(NULL, {}),
    b"mail from:<a@b.test>": Mail(A, {}),
    b"MAIL FROM: <a@b.test> ": Mail(A, {}),
    b"MAIL FROM:<a@b.test> size=10 BODY=8BITMIME": Mail(A, {"SIZE": "10", "BODY": "8BITMIME"}),
    b"RCPT TO:<a@b.test>": Rcpt(A, {}),
    b"rcpt to: <@r.test:a@b.test> NOTIFY=NEVER": Rcpt(A, {"NOTIFY": "NEVER"}),
    b"RCPT TO:<Postmaster>": Rcpt(Address("postmaster", ""), {}),
    b"DATA": Data(),
    b"data \t": Data(),
    b"BDAT 0 LAST": Bdat(0, True),
    b"bdat 1000": Bdat(1000, False),
    b"BDAT 5 last": Bdat(5, True),
    b"RSET": Rset(),
    b"NOOP": Noop(),
    b"NOOP what ever": Noop("what ever"),
    b"QUIT": Quit(),
    b"VRFY user": Vrfy("user"),
    b"EXPN list": Expn("list"),
    b"HELP": Help(),
    b"HELP MAIL": Help("MAIL"),
    b"StartTLS": StartTls(),
    b"AUTH plain": Auth("PLAIN"),
    b"AUTH PLAIN =": Auth("PLAIN", b""),
    b"AUTH PLAIN AGEAYg==": Auth("PLAIN", b"\0a\0b"),
}

REFUSED = {
    b"": "500 5.5.2",
    b"FOO": "500 5.5.2",
    b"MAILFROM:<a@b.test>": "500 5.5.2",
    b"\xff\xfe": "500 5.5.2",
    b"EHLO": "501 5.5.4",
    b"EHLO a b": "501 5.5.4",
    b"EHLO <script>": "501 5.5.4",
    b"EHLO \xc3\xbc": "501 5.5.2",
    b"EHLO a\0b": "501 5.5.2",
    b"HELO": "501 5.5.4",
    b"HELO a b": "501 5.5.4",
    b"MAIL": "501 5.5.4",
    b"MAIL TO:<a@b.test>": "501 5.5.4",
    b"MAIL FROM:<a@b.test": "501 5.1.7",
    b"MAIL FROM:<a..b@b.test>": "501 5.1.7",
    b"MAIL FROM:<a@b.test>x": "501 5.5.4",
    b"MAIL FROM:<a@b.test> SIZE=": "501 5.5.4",
    b"MAIL FROM:<a@b.test> =1": "501 5.5.4",
    b"MAIL FROM:<a@b.test> SIZE=1 size=2": "501 5.5.4",
    b"MAIL FROM:<a@b.test>\x00": "501 5.5.2",
    b"MAIL FROM:<\xc3\xbc@b.test>": "553 5.6.7",
    b"RCPT TO:<>": "501 5.1.3",
    b"RCPT TO:<a\x07@b.test>": "501 5.5.2",
    b"RCPT FROM:<a@b.test>": "501 5.5.4",
    b"DATA now": "501 5.5.4",
    b"RSET x": "501 5.5.4",
    b"QUIT x": "501 5.5.4",
    b"STARTTLS x": "501 5.5.4",
    b"BDAT": "501 5.5.4",
    b"BDAT -1": "501 5.5.4",
    b"BDAT 1 FIRST": "501 5.5.4",
    b"BDAT 999999999999999999999": "501 5.5.4",
    b"AUTH": "501 5.5.4",
    b"AUTH PLAIN !!": "501 5.5.2",
    b"AUTH PLAIN AGEAYg": "501 5.5.2",
    b"AUTH PLAIN a b": "501 5.5.4",
    b"VRFY": "501 5.5.4",
    b"EXPN ": "501 5.5.4",
    b"NOOP \x1b[2J": "501 5.5.2",
}


@pytest.mark.parametrize("line", UNDERSTOOD)
def test_s03_s05_s06_s07_s17_line_is_understood(line: bytes) -> None:
    command = parse_command(line, smtputf8=False)
    assert command == UNDERSTOOD[line]
    assert parse_command(to_line(command)[:-2], smtputf8=False) == command


@pytest.mark.parametrize("line", REFUSED)
def test_s06_s07_s17_h05_line_is_refused(line: bytes) -> None:
    with pytest.raises(CommandError) as caught:
        parse_command(line, smtputf8=False)
    assert str(caught.value.reply).startswith(REFUSED[line])
    assert caught.value.reply.text.isprintable()


def test_s22_utf8_address_needs_leave_and_valid_utf8() -> None:
    line = "MAIL FROM:<ü@münchen.de> SMTPUTF8".encode()
    command = parse_command(line, smtputf8=True)
    assert command == Mail(Address("ü", "xn--mnchen-3ya.de"), {"SMTPUTF8": None})
    assert to_line(command) == "MAIL FROM:<ü@xn--mnchen-3ya.de> SMTPUTF8\r\n".encode()
    for bad in (b"MAIL FROM:<\xff@b.test>", "NOOP ü".encode(), "MAIL FROM:<a@b.test> X=\u0085".encode()):
        with pytest.raises(CommandError) as caught:
            parse_command(bad, smtputf8=True)
        assert caught.value.reply.code == 501


@settings(max_examples=300)
@given(
    st.one_of(
        st.binary(max_size=60),
        st.tuples(st.sampled_from([line.split(b" ")[0] for line in UNDERSTOOD]), st.binary(max_size=40)).map(b" ".join),
        st.tuples(st.sampled_from([b"MAIL FROM:<a@b", b"RCPT TO:<", b"MAIL FROM:<a@b> "]), st.binary(max_size=40)).map(
            b"".join
        ),
    ),
    st.booleans(),
)
def test_h05_any_bytes_are_a_command_or_a_command_error(line: bytes, smtputf8: bool) -> None:
    try:
        command = parse_command(line, smtputf8=smtputf8)
    except CommandError as error:
        assert error.reply.is_permanent
        return
    if not isinstance(command, Vrfy | Expn):
        assert parse_command(to_line(command)[:-2], smtputf8=True) == command


@pytest.mark.parametrize(
    "command",
    [
        Ehlo("a\r\nMAIL"), Ehlo("a b"), Ehlo(""), Helo("a\0"), Helo("ü"), Noop("x\r\nQUIT"), Noop("ü"), Help("\0"),
        Vrfy(""), Vrfy("a\n"), Expn("\r"), Bdat(-1, True), Bdat(10**20, False), Auth("A B"), Auth(""), Auth("A\r\n"),
        Mail(Address("a\r\nb", "c.test"), {}), Mail(Address("a", "c.test\r\nDATA"), {}), Mail(NULL, {"X": "a b"}),
        Mail(NULL, {"X": "a\r\nDATA"}), Mail(NULL, {"X Y": None}), Mail(NULL, {"X": "ü"}), Mail(NULL, {"X": ""}),
        Rcpt(Address("a", "[IPv6:fe80::1%\r\nDATA]"), {}), Rcpt(Address("a", "c.test> X=<y"), {}),
        Rcpt(Address("\ud800", "c.test"), {}),
    ],
)  # fmt: skip
def test_h06_what_cannot_stand_on_a_line_is_never_sent(command: Command) -> None:
    with pytest.raises(LocalProtocolError):
        to_line(command)
