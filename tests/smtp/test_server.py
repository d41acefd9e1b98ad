"""The server session keeps the S-lines of the conformance list."""

from __future__ import annotations

import pytest

from postroad.smtp.address import NULL
from postroad.smtp.errors import LocalProtocolError
from postroad.smtp.reply import Reply, reply
from postroad.smtp.server import ALLOWED, ServerSession, State
from postroad.smtp.server_events import (
    Event,
    HelloReceived,
    MailReceived,
    RcptReceived,
    ServerSettings,
    StartTlsReceived,
)
from smtp.dialogue import Talk, codes, greeted, in_transaction

NO = reply(550, "No", "5.7.1")


def test_s01_greets_with_220_and_its_name_first() -> None:
    assert Talk().greeting == b"220 mx.example.test ESMTP Postroad\r\n"


def test_s01_a_server_that_does_not_serve_greets_554_and_takes_only_quit() -> None:
    session = ServerSession(ServerSettings(hostname="mx.example.test"), nonce=str)
    session.greet(reply(554, "No service"))
    session.receive(b"EHLO x\r\nMAIL FROM:<>\r\nQUIT\r\n")
    assert session.next_event() is None
    assert codes(session.take_output()) == [554, 503, 503, 221]
    assert session.is_closed


def test_s01_a_421_greeting_closes() -> None:
    session = ServerSession(ServerSettings(hostname="mx.example.test"), nonce=str)
    session.greet(reply(421, "Busy", "4.3.2"))
    assert session.take_output().startswith(b"421 mx.example.test Busy")
    assert session.is_closed


@pytest.mark.parametrize("hello", [b"EHLO c.example.test\r\n", b"HELO c.example.test\r\n"])
def test_s02_ehlo_and_helo_clear_the_transaction(hello: bytes) -> None:
    talk = in_transaction()
    assert talk.codes(hello + b"DATA\r\n") == [250, 503]


def test_s02_extensions_only_after_ehlo() -> None:
    talk = Talk()
    talk.send(b"HELO client.example.test\r\n")
    assert talk.codes(b"MAIL FROM:<a@example.test> SIZE=10\r\n") == [555]
    assert talk.send(b"EHLO client.example.test\r\n").count(b"\r\n") > 5
    assert talk.codes(b"MAIL FROM:<a@example.test> SIZE=10\r\n") == [250]


@pytest.mark.parametrize(
    ("argument", "code"),
    [
        (b"client.example.test", 250),
        (b"[192.0.2.1]", 250),
        (b"[IPv6:2001:db8::1]", 250),
        (b"DESKTOP_1", 250),
        (b"localhost.", 250),
        (b"", 501),
        (b"two words", 501),
        (b"bad\x00name", 501),
        (b"b\xe4d", 501),
    ],
)
def test_s02_odd_hello_names_are_taken_and_bad_ones_are_not(argument: bytes, code: int) -> None:
    assert Talk().codes(b"EHLO " + argument + b"\r\n") == [code]


def test_s03_commands_and_keywords_in_any_case_and_local_parts_keep_theirs() -> None:
    talk = Talk()
    talk.send(b"ehlo Client\r\n")
    assert talk.codes(b"mAiL fRoM:<User.Name@EXAMPLE.test> size=10 body=8bitmime\r\n") == [250]
    event = talk.events[-1]
    assert isinstance(event, MailReceived)
    assert str(event.reverse_path) == "User.Name@example.test"


def test_s04_order_of_commands() -> None:
    talk = Talk()
    assert talk.codes(b"MAIL FROM:<a@example.test>\r\n") == [503]
    assert talk.codes(b"NOOP\r\nRSET\r\nHELP\r\nVRFY x\r\n") == [250, 250, 214, 252]
    talk = greeted()
    assert talk.codes(b"RCPT TO:<b@example.test>\r\nDATA\r\n") == [503, 503]
    assert talk.codes(b"MAIL FROM:<a@example.test>\r\nMAIL FROM:<a@example.test>\r\nDATA\r\n") == [250, 503, 503]
    assert talk.codes(b"RCPT TO:<b@example.test>\r\nRSET\r\nNOOP\r\nQUIT\r\n") == [250, 250, 250, 221]
    assert talk.session.is_closed


@pytest.mark.parametrize("state", list(ALLOWED))
def test_s04_every_state_says_which_commands_are_in_order(state: State) -> None:
    assert ALLOWED[state], state


def test_s05_the_null_reverse_path_is_its_own_value() -> None:
    talk = greeted()
    assert talk.codes(b"MAIL FROM:<>\r\n") == [250]
    event = talk.events[-1]
    assert isinstance(event, MailReceived)
    assert event.reverse_path is NULL


def test_s06_unknown_and_duplicate_parameters() -> None:
    talk = greeted()
    assert talk.codes(b"MAIL FROM:<a@example.test> FOO=1\r\n") == [555]
    assert talk.codes(b"MAIL FROM:<a@example.test> SIZE=1 SIZE=1\r\n") == [501]
    assert talk.codes(b"MAIL FROM: <a@example.test>\r\n") == [250]


def test_s09_at_least_100_recipients_and_452_beyond_the_limit() -> None:
    talk = greeted(ServerSettings(hostname="mx.example.test", recipients=100))
    talk.send(b"MAIL FROM:<a@example.test>\r\n")
    said = talk.codes(b"".join(b"RCPT TO:<u%d@example.test>\r\n" % number for number in range(101)))
    assert said == [250] * 100 + [452]
    assert talk.codes(b"DATA\r\nx\r\n.\r\n") == [354, 250]
    assert len(talk.messages[0].recipients) == 100


def test_s09_limits_are_told() -> None:
    talk = Talk(ServerSettings(hostname="mx.example.test", recipients=123))
    assert b"LIMITS RCPTMAX=123" in talk.send(b"EHLO c\r\n")


def test_s10_a_long_line_is_refused_and_held_nowhere() -> None:
    talk = greeted()
    for _ in range(100):
        talk.session.receive(b"x" * 1000)
        assert talk.session.next_event() is None
        assert talk.session.buffered_octets <= 3048
    assert talk.codes(b"\r\nNOOP\r\n") == [500, 250]


def test_s10_a_long_text_line_is_refused() -> None:
    talk = in_transaction()
    assert talk.codes(b"DATA\r\n" + b"x" * 998 + b"\r\n.\r\n") == [354, 250]
    talk = in_transaction()
    assert talk.codes(b"DATA\r\n" + b"x" * 999 + b"\r\n.\r\n") == [354, 550]


def test_s11_data_without_a_valid_recipient() -> None:
    def refuse(event: Event) -> Reply | None:
        return NO if isinstance(event, RcptReceived) and event.forward_path.local == "no" else None

    talk = greeted(decide=refuse)
    assert talk.codes(b"MAIL FROM:<a@example.test>\r\nRCPT TO:<no@example.test>\r\nDATA\r\n") == [250, 550, 503]
    assert talk.codes(b"RCPT TO:<yes@example.test>\r\nDATA\r\nhi\r\n.\r\n") == [250, 354, 250]
    assert [rcpt.forward_path.local for rcpt in talk.messages[0].recipients] == ["yes"]


def test_s12_leading_dots_are_unstuffed() -> None:
    talk = in_transaction()
    talk.send(b"DATA\r\n..one\r\n...two\r\n.x\r\n\r\n..\r\n.\r\n")
    assert talk.messages[0].body == b".one\r\n..two\r\nx\r\n\r\n.\r\n"


def test_s12_an_empty_message_ends_at_once() -> None:
    talk = in_transaction()
    assert talk.codes(b"DATA\r\n.\r\n") == [354, 250]
    assert talk.messages[0].body == b""


@pytest.mark.parametrize("bare", [b"a\nb", b"a\rb", b"\n.\n", b"\n.\r\n", b"\r.\r\n", b"\r\n.\n", b"\r\n.\r", b"\0\r"])
def test_s12_bare_newlines_are_refused_whole(bare: bytes) -> None:
    talk = in_transaction()
    assert talk.codes(b"DATA\r\nx" + bare + b"MAIL FROM:<evil@example.test>\r\n.\r\n") == [354, 550]
    assert talk.messages == []


def test_s12_bare_newlines_are_converted_where_a_setting_says_so() -> None:
    talk = in_transaction(ServerSettings(hostname="mx.example.test", convert_bare_newlines=True))
    assert talk.codes(b"DATA\r\na\nb\rc\n.\nd\r\n.\r\n") == [354, 250]
    assert talk.messages[0].body == b"a\r\nb\r\nc\r\n.\r\nd\r\n"


def test_s17_vrfy_expn_help_and_unknown() -> None:
    assert greeted().codes(b"VRFY root\r\nEXPN all\r\nHELP\r\nFOO\r\n") == [252, 502, 214, 500]


def test_s18_every_line_has_the_code_and_the_enhanced_status() -> None:
    talk = greeted(decide=lambda event: reply(550, "one\ntwo", "5.7.1") if isinstance(event, MailReceived) else None)
    assert talk.send(b"MAIL FROM:<a@example.test>\r\n") == b"550-5.7.1 one\r\n550 5.7.1 two\r\n"


def test_s19_a_batch_is_answered_in_order_by_one_write() -> None:
    talk = greeted()
    said = talk.send(
        b"MAIL FROM:<a@example.test>\r\nRCPT TO:<b@example.test>\r\nBOGUS\r\nDATA\r\nx\r\n.\r\nRSET\r\nQUIT\r\n"
    )
    assert codes(said) == [250, 250, 500, 354, 250, 250, 221]


def test_s19_nothing_is_read_while_a_command_is_being_decided() -> None:
    session = greeted().session
    session.receive(b"MAIL FROM:<a@example.test>\r\nRCPT TO:<b@example.test>\r\n")
    assert isinstance(session.next_event(), MailReceived)
    assert session.next_event() is None
    session.answer(None)
    assert isinstance(session.next_event(), RcptReceived)


def test_answering_nothing_is_our_own_fault() -> None:
    with pytest.raises(LocalProtocolError):
        greeted().session.answer(None)


def test_s20_declared_and_real_size() -> None:
    settings = ServerSettings(hostname="mx.example.test", message_octets=100)
    talk = greeted(settings)
    assert b"552 5.3.4" in talk.send(b"MAIL FROM:<a@example.test> SIZE=101\r\n")
    talk = in_transaction(settings)
    assert talk.codes(b"DATA\r\n" + b"x" * 99 + b"\r\n.\r\n") == [354, 552]
    talk = in_transaction(settings)
    talk.send(b"DATA\r\n")
    for _ in range(1000):
        talk.send(b"y" * 70 + b"\r\n")
        assert talk.session.buffered_octets < 2000
    assert talk.codes(b".\r\nNOOP\r\n") == [552, 250]


def test_s21_8bitmime_and_binarymime() -> None:
    talk = greeted()
    assert talk.codes(b"MAIL FROM:<a@example.test> BODY=BINARYMIME\r\nRCPT TO:<b@example.test>\r\n") == [250, 250]
    assert talk.codes(b"DATA\r\n") == [503]
    assert talk.codes(b"BDAT 5 LAST\r\na\nb\r\x00") == [250]
    assert talk.messages[0].body == b"a\nb\r\x00"


def test_s22_utf8_addresses_only_with_smtputf8() -> None:
    talk = greeted()
    assert talk.codes("MAIL FROM:<jörg@example.test>\r\n".encode()) == [553]
    assert talk.codes("MAIL FROM:<jörg@example.test> SMTPUTF8\r\n".encode()) == [250]
    assert talk.codes("RCPT TO:<jörg@bücher.test>\r\n".encode()) == [250]
    event = talk.events[-1]
    assert isinstance(event, RcptReceived)
    assert event.forward_path.domain == "xn--bcher-kva.test"
    talk = in_transaction()
    assert talk.codes("RCPT TO:<jörg@example.test>\r\n".encode()) == [553]


def test_s23_chunks_are_counted_exactly() -> None:
    talk = in_transaction()
    assert talk.codes(b"BDAT 3\r\nabcBDAT 4\r\nd\r\ne") == [250, 250]
    assert talk.codes(b"BDAT 2 LAST\r\n\r\nNOOP\r\n") == [250, 250]
    assert talk.messages[0].body == b"abcd\r\ne\r\n"


def test_s23_a_zero_length_last_chunk_ends_the_message() -> None:
    talk = in_transaction()
    assert talk.codes(b"BDAT 5\r\nabc\r\nBDAT 0 LAST\r\n") == [250, 250]
    assert talk.messages[0].body == b"abc\r\n"


def test_s23_bdat_does_not_mix_with_data_or_other_commands() -> None:
    talk = in_transaction()
    assert talk.codes(b"BDAT 3\r\nabcDATA\r\nRCPT TO:<c@example.test>\r\n") == [250, 503, 503]
    assert talk.codes(b"RSET\r\n") == [250]


def test_s23_a_refused_chunk_is_drained_before_the_reply() -> None:
    talk = greeted()
    talk.session.receive(b"BDAT 12 LAST\r\nQUIT\r\n")
    assert talk.session.next_event() is None
    assert talk.session.take_output() == b""
    assert talk.codes(b"QUIT\r\nNOOP\r\n") == [503, 250]


def test_s23_a_chunk_that_is_too_big_fails_the_transaction_and_is_not_held() -> None:
    talk = in_transaction(ServerSettings(hostname="mx.example.test", message_octets=10))
    talk.session.receive(b"BDAT 1000000\r\n")
    for _ in range(100):
        talk.send(b"x" * 9999)
        assert talk.session.buffered_octets <= 10_000
    assert talk.codes(b"x" * 100 + b"BDAT 2 LAST\r\nab") == [552, 503]
    assert talk.messages == []


TLS = ServerSettings(hostname="mx.example.test", has_starttls=True, auth_mechanisms=("PLAIN",))


def test_s24_what_was_pipelined_behind_starttls_is_never_obeyed() -> None:
    talk = greeted(TLS)
    assert talk.codes(b"STARTTLS\r\nMAIL FROM:<evil@example.test>\r\n") == [220]
    talk.session.receive(b"RCPT TO:<evil@example.test>\r\n")
    talk.session.tls_started()
    assert talk.session.next_event() is None
    assert talk.codes(b"MAIL FROM:<a@example.test>\r\n") == [503]
    assert b"STARTTLS" not in talk.send(b"EHLO c\r\n")
    assert talk.codes(b"STARTTLS\r\n") == [503]


def test_s24_tls_that_is_unavailable_is_454_or_not_offered() -> None:
    def refuse(event: Event) -> Reply | None:
        return reply(454, "Not now", "4.7.0") if isinstance(event, StartTlsReceived) else None

    assert greeted(TLS, refuse).codes(b"STARTTLS\r\nNOOP\r\n") == [454]
    assert greeted().codes(b"STARTTLS\r\n") == [502]


def test_s25_auth_is_not_offered_without_tls() -> None:
    talk = Talk(TLS)
    assert b"AUTH" not in talk.send(b"EHLO c\r\n")
    assert talk.codes(b"AUTH PLAIN AGEAYg==\r\n") == [538]


def test_s28_submission_needs_auth_before_mail() -> None:
    settings = ServerSettings(
        hostname="mx.example.test", has_starttls=True, auth_mechanisms=("PLAIN",), is_auth_required=True
    )
    assert greeted(settings).codes(b"MAIL FROM:<a@example.test>\r\n") == [530]
    talk = greeted(settings, is_tls=True)
    assert talk.codes(b"MAIL FROM:<a@example.test>\r\n") == [530]
    assert talk.codes(b"AUTH PLAIN AGEAYg==\r\n") == [235]
    assert talk.codes(b"MAIL FROM:<a@example.test>\r\n") == [250]


def auth_talk(decide_code: int = 235) -> Talk:
    settings = ServerSettings(hostname="mx.example.test", auth_mechanisms=("PLAIN", "LOGIN", "SCRAM-SHA-256"))
    decision = None if decide_code == 235 else reply(decide_code, "No", "5.7.8")
    return greeted(
        settings, lambda event: None if isinstance(event, HelloReceived | MailReceived) else decision, is_tls=True
    )


def test_s25_one_success_a_session_and_none_within_a_transaction() -> None:
    talk = auth_talk()
    assert talk.codes(b"AUTH PLAIN AGEAYg==\r\n") == [235]
    assert talk.codes(b"AUTH PLAIN AGEAYg==\r\n") == [503]
    assert b"AUTH" not in talk.send(b"EHLO c\r\n")
    talk = auth_talk()
    assert talk.codes(b"MAIL FROM:<a@example.test>\r\n") == [250]
    assert talk.codes(b"AUTH PLAIN AGEAYg==\r\n") == [503]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([b"AUTH PLAIN\r\n", b"*\r\n"], [334, 501]),
        ([b"AUTH PLAIN =\r\n"], [501]),
        ([b"AUTH PLAIN !!!\r\n"], [501]),
        ([b"AUTH PLAIN\r\n", b"!!!\r\n"], [334, 501]),
        ([b"AUTH KERBEROS_V4\r\n"], [504]),
        ([b"AUTH LOGIN\r\n", b"YQ==\r\n", b"Yg==\r\n"], [334, 334, 235]),
        ([b"AUTH LOGIN YQ==\r\n", b"Yg==\r\n"], [334, 235]),
        ([b"AUTH PLAIN\r\n", b"A" * 13000 + b"\r\n"], [334, 500]),
    ],
)
def test_s25_cancelling_malformed_and_unknown_exchanges(lines: list[bytes], expected: list[int]) -> None:
    talk = auth_talk()
    assert [code for line in lines for code in talk.codes(line)] == expected
    assert talk.codes(b"NOOP\r\n") == [250]


def test_s25_a_wrong_password_is_535() -> None:
    talk = auth_talk(535)
    assert talk.codes(b"AUTH PLAIN AGEAYg==\r\n") == [535]
    assert talk.session.user is None


def test_s25_what_was_pipelined_behind_auth_is_discarded() -> None:
    talk = auth_talk()
    assert talk.codes(b"AUTH PLAIN AGEAYg==\r\nMAIL FROM:<evil@example.test>\r\n") == [235]
    assert talk.codes(b"NOOP\r\n") == [250]


def test_too_many_errors_close_the_session_with_421() -> None:
    talk = greeted(ServerSettings(hostname="mx.example.test", errors=3))
    assert talk.codes(b"FOO\r\n" * 5) == [500, 500, 500, 421]
    assert talk.session.is_closed


def test_too_many_commands_without_a_message_close_the_session_with_421() -> None:
    talk = greeted(ServerSettings(hostname="mx.example.test", idle_commands=5))
    assert talk.codes(b"NOOP\r\n" * 9)[-1] == 421
    assert talk.session.is_closed


def test_h04_nothing_is_executed_after_quit() -> None:
    talk = greeted()
    assert talk.codes(b"QUIT\r\nMAIL FROM:<a@example.test>\r\n") == [221]
    assert talk.send(b"NOOP\r\n") == b""


@pytest.mark.parametrize(
    "line", [b"MAIL FROM:<a\x00b@example.test>", b"NOOP \x1b[31m\x07", b"RCPT TO:<a@b\x01>", b"\xff\xfe"]
)
def test_h05_control_and_8bit_characters_in_commands_are_refused_and_never_echoed(line: bytes) -> None:
    talk = greeted()
    said = talk.send(line + b"\r\n")
    assert codes(said)[0] // 100 == 5 or line.startswith(b"NOOP")
    assert all(32 <= octet < 127 or octet in b"\r\n" for octet in said)


def test_a_bare_lf_or_cr_in_a_command_is_refused() -> None:
    talk = greeted()
    assert talk.codes(b"NOOP\n") == [500]
    assert talk.codes(b"NOOP\rRSET\r\n") == [500]


def test_s16_a_message_refused_after_its_end_leaves_a_clean_session() -> None:
    talk = in_transaction(decide=lambda event: reply(452, "Later", "4.3.1") if hasattr(event, "body") else None)
    assert talk.codes(b"DATA\r\nx\r\n.\r\n") == [354, 452]
    assert talk.codes(b"DATA\r\n") == [503]
    assert talk.codes(b"MAIL FROM:<a@example.test>\r\n") == [250]


def test_a_421_decision_closes_the_session() -> None:
    talk = greeted(decide=lambda event: reply(421, "Busy", "4.3.2") if isinstance(event, MailReceived) else None)
    assert talk.codes(b"MAIL FROM:<a@example.test>\r\nNOOP\r\n") == [421]
    assert talk.session.is_closed
