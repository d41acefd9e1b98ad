"""The client's transaction keeps the C-lines, against servers that behave and servers that do not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.smtp.address import NULL, Address
from postroad.smtp.client import Answer, ClientSession, Unsolicited
from postroad.smtp.command import Ehlo, Mail, Rcpt
from postroad.smtp.errors import LocalProtocolError, RemoteProtocolError
from postroad.smtp.outcome import Phase, TransactionResult
from postroad.smtp.transaction import Transaction

EHLO_PIPELINING = b"220 mx ESMTP\r\n250-mx\r\n250-PIPELINING\r\n250-CHUNKING\r\n250 SIZE 1000\r\n"
EHLO_PLAIN = b"220 mx ESMTP\r\n250 mx\r\n"
RCPTS = [Rcpt(Address("one", "example.test"), {}), Rcpt(Address("two", "example.test"), {})]
MAIL = Mail(Address("from", "example.test"), {})
BODY = b"Subject: x\r\n\r\n.dot\r\n"


def session_after(hello: bytes) -> ClientSession:
    session = ClientSession()
    session.send(Ehlo("client.example.test"))
    session.take_output()
    session.receive(hello)
    while session.next_answer() is not None:
        pass
    return session


class Road:
    """A transaction driven by hand."""

    def __init__(self, hello: bytes = EHLO_PIPELINING, body: bytes | None = BODY, mail: Mail = MAIL) -> None:
        self.session = session_after(hello)
        self.transaction = Transaction(self.session, mail, RCPTS, body)
        self.transaction.start()
        self.sent = self.session.take_output()
        self.unsolicited: list[Unsolicited] = []

    def hear(self, data: bytes) -> bytes:
        """What is sent next after the server has said this."""
        self.session.receive(data)
        while (item := self.session.next_answer()) is not None:
            if isinstance(item, Answer) and not self.transaction.is_done:
                self.transaction.receive(item)
            elif isinstance(item, Unsolicited):
                self.unsolicited.append(item)
        self.sent = self.session.take_output()
        return self.sent

    def result(self) -> TransactionResult:
        assert self.transaction.is_done
        return self.transaction.result()

    def fates(self) -> list[tuple[Phase, int | None]]:
        return [(result.phase, result.reply.code if result.reply else None) for result in self.result().recipients]


COMMANDS = b"MAIL FROM:<from@example.test>\r\nRCPT TO:<one@example.test>\r\nRCPT TO:<two@example.test>\r\n"


def test_pipelining_sends_one_batch_and_the_body_after_354() -> None:
    road = Road()
    assert road.sent == COMMANDS + b"DATA\r\n"
    assert road.hear(b"250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n") == b"Subject: x\r\n\r\n..dot\r\n.\r\n"
    road.hear(b"250 2.0.0 taken\r\n")
    assert road.fates() == [(Phase.BODY, 250)] * 2
    assert road.transaction.is_clean


def test_without_pipelining_each_command_waits_for_its_reply() -> None:
    road = Road(EHLO_PLAIN)
    assert road.sent == COMMANDS.splitlines(keepends=True)[0]
    assert road.hear(b"250 ok\r\n") == b"RCPT TO:<one@example.test>\r\n"
    assert road.hear(b"550 no\r\n") == b"RCPT TO:<two@example.test>\r\n"
    assert road.hear(b"250 ok\r\n") == b"DATA\r\n"
    assert road.hear(b"354 go\r\n").endswith(b"\r\n.\r\n")
    road.hear(b"250 ok\r\n")
    assert road.fates() == [(Phase.RCPT, 550), (Phase.BODY, 250)]


def test_c08_each_recipient_has_its_own_fate() -> None:
    road = Road()
    assert road.hear(b"250 ok\r\n250 ok\r\n452 4.2.2 full\r\n354 go\r\n") != b""
    road.hear(b"250 ok\r\n")
    assert road.fates() == [(Phase.BODY, 250), (Phase.RCPT, 452)]


def test_c08_none_accepted_and_data_granted_ends_with_the_lone_dot() -> None:
    road = Road()
    assert road.hear(b"250 ok\r\n550 no\r\n550 no\r\n354 go\r\n") == b".\r\n"
    road.hear(b"554 nobody\r\n")
    assert road.fates() == [(Phase.RCPT, 550)] * 2
    assert road.transaction.is_clean


def test_c08_none_accepted_and_data_refused_ends_with_rset() -> None:
    road = Road()
    assert road.hear(b"250 ok\r\n550 no\r\n450 later\r\n503 no recipients\r\n") == b"RSET\r\n"
    road.hear(b"250 ok\r\n")
    assert road.fates() == [(Phase.RCPT, 550), (Phase.RCPT, 450)]


def test_a_refused_mail_is_every_recipients_fate() -> None:
    road = Road()
    assert road.hear(b"550 5.7.1 not you\r\n503 no\r\n503 no\r\n503 no\r\n") == b"RSET\r\n"
    road.hear(b"250 ok\r\n")
    assert road.fates() == [(Phase.MAIL, 550)] * 2


def test_data_refused_is_the_fate_of_those_accepted() -> None:
    road = Road()
    assert road.hear(b"250 ok\r\n250 ok\r\n550 no\r\n451 not now\r\n") == b"RSET\r\n"
    road.hear(b"250 ok\r\n")
    assert road.fates() == [(Phase.DATA, 451), (Phase.RCPT, 550)]


@pytest.mark.parametrize("said", [b"250 ok", b"220 hello", b"299 what"])
def test_h10_2yz_to_data_is_no_consent(said: bytes) -> None:
    road = Road()
    assert road.hear(b"250 ok\r\n250 ok\r\n250 ok\r\n" + said + b"\r\n") == b""
    assert road.fates() == [(Phase.DATA, 451)] * 2
    assert not road.transaction.is_clean


@pytest.mark.parametrize(
    ("said", "fates"),
    [
        (b"421 bye\r\n", [(Phase.MAIL, 421)] * 2),
        (b"250 ok\r\n421 bye\r\n", [(Phase.RCPT, 421)] * 2),
        (b"250 ok\r\n550 no\r\n421 bye\r\n", [(Phase.RCPT, 550), (Phase.RCPT, 421)]),
        (b"250 ok\r\n250 ok\r\n250 ok\r\n421 bye\r\n", [(Phase.DATA, 421)] * 2),
        (b"250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n421 bye\r\n", [(Phase.BODY, 421)] * 2),
    ],
)
def test_c06_421_at_any_time_ends_this_connection_only(said: bytes, fates: list[tuple[Phase, int]]) -> None:
    road = Road()
    road.hear(said)
    assert road.fates() == fates
    assert road.session.is_closing
    assert not road.transaction.is_clean


def test_c09_lost_after_the_final_dot_is_unknown_and_told_apart() -> None:
    road = Road()
    road.hear(b"250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n")
    road.transaction.abandon(road.session.phase, "connection lost")
    assert road.fates() == [(Phase.BODY, None)] * 2
    road = Road()
    road.hear(b"250 ok\r\n250 ok\r\n")
    road.transaction.abandon(road.session.phase, "connection lost")
    assert road.fates() == [(Phase.RCPT, None)] * 2


def test_c15_a_probe_sends_mail_rcpt_and_rset_and_nothing_else() -> None:
    road = Road(body=None)
    assert road.sent == COMMANDS + b"RSET\r\n"
    road.hear(b"250 ok\r\n250 ok\r\n550 5.1.1 no\r\n250 ok\r\n")
    assert road.fates() == [(Phase.RCPT, 250), (Phase.RCPT, 550)]
    assert road.transaction.is_clean


def test_c15_a_probe_without_pipelining_asks_one_by_one() -> None:
    road = Road(EHLO_PLAIN, body=None)
    heard = road.sent
    for said in (b"250 ok\r\n", b"250 ok\r\n", b"250 ok\r\n", b"250 ok\r\n"):
        heard += road.hear(said)
    assert heard == COMMANDS + b"RSET\r\n"
    assert road.fates() == [(Phase.RCPT, 250)] * 2


def test_v06_what_was_accepted_before_a_lost_connection_stays_so_for_a_probe() -> None:
    road = Road(body=None)
    road.hear(b"250 ok\r\n250 ok\r\n")
    road.transaction.abandon(road.session.phase, "connection lost")
    assert road.fates() == [(Phase.RCPT, 250), (Phase.RCPT, None)]


def test_binarymime_travels_by_bdat() -> None:
    road = Road(mail=Mail(NULL, {"BODY": "BINARYMIME"}), body=b"a\nb\r\0")
    assert b"DATA" not in road.sent
    assert road.hear(b"250 ok\r\n250 ok\r\n250 ok\r\n") == b"BDAT 5 LAST\r\na\nb\r\0"
    road.hear(b"250 ok\r\n")
    assert road.fates() == [(Phase.BODY, 250)] * 2


def test_c07_an_unsolicited_reply_is_noticed() -> None:
    session = session_after(EHLO_PLAIN)
    session.receive(b"421 4.4.2 idle too long\r\n")
    item = session.next_answer()
    assert isinstance(item, Unsolicited)
    assert item.reply.code == 421
    assert session.is_closing


def test_c07_replies_have_limits() -> None:
    session = ClientSession(max_reply_lines=3)
    session.receive(b"220-x\r\n" * 4)
    with pytest.raises(RemoteProtocolError):
        session.next_answer()
    session = ClientSession(max_reply_octets=100)
    session.receive(b"220 " + b"x" * 200)
    with pytest.raises(RemoteProtocolError):
        session.next_answer()


@pytest.mark.parametrize(
    "garbage", [b"hello\r\n", b"\r\n", b"2\r\n", b"2500 ok\r\n", b"SSH-2.0-x\r\n", b"\xff\xfe\r\n"]
)
def test_h10_what_is_no_reply_is_the_remotes_fault(garbage: bytes) -> None:
    session = ClientSession()
    session.receive(garbage)
    with pytest.raises(RemoteProtocolError):
        session.next_answer()


@pytest.mark.parametrize("code", [0, 99, 299, 600, 999])
def test_h10_odd_codes_are_judged_by_their_first_digit(code: int) -> None:
    road = Road()
    road.hear(b"250 ok\r\n" + b"%03d strange\r\n" % code * 2 + b"354 go\r\n")
    road.hear(b"250 ok\r\n")
    assert road.fates() == [(Phase.BODY, 250) if code == 299 else (Phase.RCPT, code)] * 2


def test_c07_8_bit_text_survives() -> None:
    session = ClientSession()
    session.receive(b"220 h\xe9llo \xc3\xa9\r\n")
    item = session.next_answer()
    assert item is not None
    assert item.reply.encode() == b"220 h\xe9llo \xc3\xa9\r\n"


def test_multi_line_replies_keep_every_line_and_one_status() -> None:
    session = ClientSession()
    session.receive(b"550-5.1.1 No such user.\r\n550-5.1.1 Try again,\r\n550 5.1.1 or do not.\r\n")
    item = session.next_answer()
    assert item is not None
    assert item.reply.lines == ("No such user.", "Try again,", "or do not.")
    assert str(item.reply.enhanced) == "5.1.1"


def test_h01_a_body_with_a_bare_newline_is_never_sent_by_data() -> None:
    session = session_after(EHLO_PLAIN)
    with pytest.raises(LocalProtocolError):
        session.send_body(b"x\n.\nMAIL FROM:<evil@example.test>")


def test_s24_what_a_server_said_in_the_clear_behind_its_starttls_reply_is_refused() -> None:
    session = session_after(EHLO_PLAIN)
    session.receive(b"250 injected")
    with pytest.raises(RemoteProtocolError):
        session.tls_started()


WORDS = st.sampled_from(
    [
        b"250 ok\r\n", b"550 no\r\n", b"450 later\r\n", b"354 go\r\n", b"421 bye\r\n", b"250-more\r\n", b"200\r\n",
        b"000 nought\r\n", b"999 odd\r\n", b"599 odd\r\n", b"100 odd\r\n", b"354-go\r\n354 on\r\n", b"250 \xff\r\n",
        b"\r\n",
    ]
)  # fmt: skip


@given(said=st.lists(WORDS, max_size=15), hello=st.sampled_from([EHLO_PIPELINING, EHLO_PLAIN]), is_probe=st.booleans())
def test_h10_c08_c15_whatever_a_server_says_each_recipient_has_one_outcome(
    said: list[bytes], hello: bytes, is_probe: bool
) -> None:
    road = Road(hello, None if is_probe else BODY)
    sent = road.sent
    try:
        for words in said:
            sent += road.hear(words)
    except RemoteProtocolError as error:
        road.transaction.abandon(road.session.phase, str(error))
    if not road.transaction.is_done:
        road.transaction.abandon(road.session.phase, "closed")
    assert len(road.result().recipients) == len(RCPTS)
    if is_probe:
        assert b"DATA" not in sent
        assert b"BDAT" not in sent
    elif any(result.is_accepted for result in road.result().recipients):
        assert b"\r\n..dot\r\n.\r\n" in sent, "nobody counts as served who was sent no body"


@pytest.mark.parametrize("hello", [EHLO_PIPELINING, EHLO_PLAIN])
@pytest.mark.parametrize(("said", "is_clean"), [(b"250 2.0.0 ok\r\n", True), (b"550 5.1.1 no such user\r\n", False)])
def test_a_probe_tells_what_its_reset_was_answered(hello: bytes, said: bytes, is_clean: bool) -> None:
    road = Road(hello, body=None)
    for answer in (b"250 ok\r\n", b"250 ok\r\n", b"550 no\r\n"):
        road.hear(answer)
    road.hear(said)
    reset = road.result().reset
    assert reset is not None and reset.code == int(said[:3])
    assert road.transaction.is_clean is is_clean


def test_a_421_in_answer_to_the_reset_ends_the_session_and_takes_back_nothing() -> None:
    road = Road(body=None)
    road.hear(b"250 ok\r\n250 ok\r\n550 no\r\n421 4.3.2 closing\r\n")
    assert road.fates() == [(Phase.RCPT, 250), (Phase.RCPT, 550)]
    reset = road.result().reset
    assert reset is not None and reset.code == 421 and not road.transaction.is_clean


def test_a_delivery_that_needs_no_reset_has_none() -> None:
    road = Road()
    road.hear(b"250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n")
    road.hear(b"250 2.0.0 taken\r\n")
    assert road.result().reset is None


# LMTP (RFC 2033) --------------------------------------------------------------------------------------------------


class Lmtp(Road):
    def __init__(self, hello: bytes = EHLO_PIPELINING, mail: Mail = MAIL) -> None:
        self.session = session_after(hello)
        self.transaction = Transaction(self.session, mail, RCPTS, BODY, is_lmtp=True)
        self.transaction.start()
        self.sent = self.session.take_output()
        self.unsolicited = []


def test_lmtp_is_greeted_by_lhlo() -> None:
    session = ClientSession()
    session.send(Ehlo("mail.example.org", is_lmtp=True))
    assert session.take_output() == b"LHLO mail.example.org\r\n"
    session.receive(b"220 hello\r\n250-mx\r\n250 PIPELINING\r\n")
    while session.next_answer() is not None:
        pass
    assert session.capabilities.has("PIPELINING")


@pytest.mark.parametrize("hello", [EHLO_PIPELINING, EHLO_PLAIN])
def test_lmtp_answers_a_body_once_for_each_recipient(hello: bytes) -> None:
    road = Lmtp(hello)
    for said in (b"250 ok\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go on\r\n"):
        road.hear(said)
    assert road.sent.endswith(b"\r\n.\r\n")
    road.hear(b"250 2.0.0 kept\r\n")
    assert not road.transaction.is_done
    road.hear(b"452 4.2.2 full\r\n")
    assert road.fates() == [(Phase.BODY, 250), (Phase.BODY, 452)]
    assert road.transaction.is_clean


def test_lmtp_answers_for_those_who_were_taken_alone() -> None:
    road = Lmtp()
    road.hear(b"250 ok\r\n550 5.1.1 unknown\r\n250 ok\r\n354 go on\r\n250 kept\r\n")
    assert road.fates() == [(Phase.RCPT, 550), (Phase.BODY, 250)]
    assert road.transaction.is_clean


def test_lmtp_that_breaks_off_between_its_answers_leaves_the_rest_open() -> None:
    road = Lmtp()
    road.hear(b"250 ok\r\n250 ok\r\n250 ok\r\n354 go on\r\n550 5.7.1 no\r\n")
    road.transaction.abandon(Phase.BODY, "connection lost")
    assert road.fates() == [(Phase.BODY, 550), (Phase.BODY, None)]
    assert not road.transaction.is_clean


def test_lmtp_that_says_goodbye_between_its_answers_says_it_to_the_rest() -> None:
    road = Lmtp()
    road.hear(b"250 ok\r\n250 ok\r\n250 ok\r\n354 go on\r\n250 kept\r\n421 shutting down\r\n")
    assert road.fates() == [(Phase.BODY, 250), (Phase.BODY, 421)]


def test_lmtp_that_takes_nobody_gets_nothing() -> None:
    road = Lmtp()
    assert road.hear(b"250 ok\r\n550 no\r\n550 no\r\n503 no recipients\r\n") == b"RSET\r\n"
    road.hear(b"250 ok\r\n")
    assert road.fates() == [(Phase.RCPT, 550), (Phase.RCPT, 550)]
    assert road.transaction.is_clean
    road = Lmtp()
    assert road.hear(b"250 ok\r\n550 no\r\n550 no\r\n354 all the same\r\n") == b""
    assert road.fates() == [(Phase.RCPT, 550), (Phase.RCPT, 550)]
    assert not road.transaction.is_clean


def test_lmtp_answers_a_chunk_once_for_each_recipient() -> None:
    binary = Mail(Address("from", "example.test"), {"BODY": "BINARYMIME"})
    road = Lmtp(mail=binary)
    assert b"BDAT" in road.hear(b"250 ok\r\n250 ok\r\n250 ok\r\n")
    road.hear(b"250 kept\r\n550 5.2.1 not you\r\n")
    assert road.fates() == [(Phase.BODY, 250), (Phase.BODY, 550)]


@given(st.lists(st.sampled_from([b"250 ok\r\n", b"451 later\r\n", b"550 no\r\n", b"354 go\r\n", b"421 bye\r\n"])))
def test_whatever_lmtp_says_each_recipient_has_one_fate(said: list[bytes]) -> None:
    road = Lmtp()
    for line in said:
        road.hear(line)
    if not road.transaction.is_done:
        road.transaction.abandon(road.session.phase, "connection lost")
    assert len(road.result().recipients) == len(RCPTS)
