"""One connection keeps its promises against peers that behave, and against those that do not (H-10)."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest
import trustme

from net.scripted import Script, plays, scripted
from postroad.net.dialogue import Connection, connect
from postroad.net.endpoint import Credentials, DialogueError, Endpoint, PhaseTimeouts, TlsMode
from postroad.smtp.address import Address
from postroad.smtp.command import Mail, Rcpt
from postroad.smtp.outcome import Phase, TransactionResult

T = TypeVar("T")
MAIL = Mail(Address("a", "example.test"), {})
RCPTS = [Rcpt(Address("b", "example.test"), {})]
SHORT = PhaseTimeouts(
    connect_s=5, greeting_s=0.15, ehlo_s=0.15, starttls_s=1, auth_s=1, mail_s=0.15, rcpt_s=0.15, data_s=0.15,
    block_s=0.5, body_s=0.15, rset_s=0.15, quit_s=0.15,
)  # fmt: skip
PATIENT = PhaseTimeouts(greeting_s=5, ehlo_s=5, mail_s=5, rcpt_s=5, data_s=5, body_s=5, rset_s=5, quit_s=0.2)


def against(
    script: Script,
    use: Callable[[Connection], Awaitable[T]],
    *,
    tls: TlsMode = TlsMode.NONE,
    timeouts: PhaseTimeouts = PATIENT,
    context: ssl.SSLContext | None = None,
    credentials: Credentials | None = None,
) -> T:
    """What `use` gives on a connection to a peer that plays the script."""

    async def run() -> T:
        async with scripted(script) as port:
            connection = await connect(
                Endpoint(host="mx.test", address="127.0.0.1", port=port),
                hello="client.test",
                tls=tls,
                timeouts=timeouts,
                ssl_context=context,
                credentials=credentials,
            )
            try:
                return await use(connection)
            finally:
                await connection.quit()

    return asyncio.run(run())


async def deliver(connection: Connection) -> TransactionResult:
    return await connection.transact(MAIL, RCPTS, b"x\r\n")


async def nothing(connection: Connection) -> None:
    return None


def failure(script: Script, **options: object) -> DialogueError:
    with pytest.raises(DialogueError) as caught:
        against(script, nothing, timeouts=SHORT, **options)  # type: ignore[arg-type]
    return caught.value


def test_a_message_is_delivered_and_the_connection_can_be_used_again() -> None:
    async def twice(connection: Connection) -> list[bool]:
        results = [await deliver(connection), await deliver(connection)]
        assert connection.is_open
        assert connection.transactions == 2
        return [result.recipients[0].is_accepted for result in results]

    ok = (b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n", b"250 taken\r\n")
    assert against(plays(*ok, *ok), twice) == [True, True]


def test_a_slow_greeting_is_waited_for() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.2)
        await plays()(reader, writer)

    against(script, nothing, timeouts=PATIENT)
    assert failure(script).phase is Phase.GREETING


def says(data: bytes, *, then_close: bool = False) -> Script:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        if not then_close:
            await reader.read()

    return script


@pytest.mark.parametrize(
    ("script", "phase", "words"),
    [
        (says(b"554 no service\r\n"), Phase.GREETING, "554 no service"),
        (says(b"421 busy\r\n"), Phase.GREETING, "421 busy"),
        (says(b"220 h\xe9llo\r\n"), Phase.EHLO, "timed out"),
        (says(b""), Phase.GREETING, "timed out"),
        (says(b"220-half", then_close=True), Phase.GREETING, "closed the connection"),
        (says(b"SSH-2.0-OpenSSH\r\n"), Phase.GREETING, "not an SMTP reply"),
        (says(b"220-endless\r\n" * 1000), Phase.GREETING, "a reply of over 100 lines"),
        (says(b"220 " + b"x" * 100_000), Phase.GREETING, "a reply line of over"),
        (plays(ehlo=b"421 go away\r\n"), Phase.EHLO, "421 go away"),
        (plays(b"550 no helo\r\n", ehlo=b"500 what\r\n"), Phase.EHLO, "550 no helo"),
    ],
)
def test_h10_a_connection_that_cannot_be_opened_says_in_which_phase_and_why(
    script: Script, phase: Phase, words: str
) -> None:
    error = failure(script)
    assert error.phase is phase
    assert words in str(error)


def test_a_refused_connection_is_a_fault_of_phase_connect() -> None:
    async def run() -> None:
        async with scripted(says(b"")) as port:
            pass
        await connect(Endpoint(host="x", address="127.0.0.1", port=port), hello="x", timeouts=SHORT)

    with pytest.raises(DialogueError) as caught:
        asyncio.run(run())
    assert caught.value.phase is Phase.CONNECT
    assert "connection refused" in caught.value.detail


def test_c06_ehlo_refused_5xx_is_tried_as_helo() -> None:
    async def capabilities(connection: Connection) -> bool:
        return connection.capabilities.has("PIPELINING")

    assert against(plays(b"250 hi\r\n", ehlo=b"502 what\r\n"), capabilities) is False


@pytest.mark.parametrize(
    ("lines", "phase", "words"),
    [
        ((None,), Phase.MAIL, "closed"),
        ((b"250 ok\r\n", None), Phase.RCPT, "closed"),
        ((b"250 ok\r\n", b"250 ok\r\n", None), Phase.DATA, "closed"),
        ((b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n", None), Phase.BODY, "closed"),
        ((b"",), Phase.MAIL, "timed out"),
        ((b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n", b""), Phase.BODY, "timed out"),
        ((b"250 ok\r\n", b"nonsense\r\n"), Phase.RCPT, "not an SMTP reply"),
        ((b"250 ok\r\n250 ok\r\n250 two\r\n250 many\r\n250 replies\r\n",), Phase.DATA, "451"),
    ],
)
def test_h10_every_ending_has_one_clear_outcome(lines: tuple[bytes | None, ...], phase: Phase, words: str) -> None:
    result = against(plays(*lines), deliver, timeouts=SHORT).recipients[0]
    assert result.phase is phase
    assert words in (result.detail or str(result.reply))
    assert not result.is_accepted


def test_h10_a_reply_that_trickles_in_moves_no_deadline() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mx.test ESMTP\r\n")
        await reader.readline()
        writer.write(b"250 mx.test\r\n")
        await reader.readline()
        for _ in range(100):  # an end to it, so that a deadline that moves fails the test and does not hang it
            writer.write(b"2")
            await asyncio.sleep(0.02)

    result = against(script, deliver, timeouts=SHORT).recipients[0]
    assert (result.phase, result.reply, result.detail) == (Phase.MAIL, None, "timed out")


def test_c07_a_server_that_is_out_of_step_is_left() -> None:
    async def use(connection: Connection) -> bool:
        await asyncio.sleep(0.05)
        return connection.is_open

    assert against(plays(ehlo=b"250 mx.test\r\n250 unasked\r\n"), use) is False
    assert against(plays(ehlo=b"250 mx.test\r\n"), use) is True


def test_c06_a_parting_421_between_commands_ends_the_connection() -> None:
    async def use(connection: Connection) -> tuple[bool, TransactionResult]:
        await asyncio.sleep(0.05)
        return connection.is_open, await deliver(connection)

    is_open, result = against(plays(ehlo=b"250 mx.test\r\n421 idle\r\n"), use)
    assert not is_open
    assert result.recipients[0].reply is None


def test_a_cancelled_transaction_closes_the_connection() -> None:
    async def use(connection: Connection) -> bool:
        task = asyncio.create_task(deliver(connection))
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()
        return connection.is_open

    assert against(plays(b""), use) is False


AUTHORITY = trustme.CA()
SERVER_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
AUTHORITY.issue_cert("mx.test").configure_cert(SERVER_TLS)


def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


def offers_starttls(said: bytes = b"220 go\r\n", context: ssl.SSLContext | None = SERVER_TLS) -> Script:
    async def secured(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mx.test\r\n")
        await reader.readline()
        writer.write(b"250-mx.test\r\n250 STARTTLS\r\n")
        await reader.readline()
        writer.write(said)
        if context is None:
            await reader.read()
            return
        await writer.start_tls(context)
        await reader.readline()
        writer.write(b"250-mx.test\r\n250 AUTH PLAIN\r\n")
        while line := await reader.readline():
            writer.write(b"235 ok\r\n" if line.startswith(b"AUTH PLAIN AGEAYg==") else b"221 bye\r\n")

    return secured


def test_starttls_verified_by_name() -> None:
    async def use(connection: Connection) -> bool:
        return connection.tls is not None and connection.tls.verified and connection.capabilities.has("AUTH")

    assert against(offers_starttls(), use, tls=TlsMode.VERIFIED, context=trusting())


def test_t04_a_certificate_that_is_not_trusted_is_refused_where_it_must_be_verified() -> None:
    error = failure(offers_starttls(), tls=TlsMode.VERIFIED)
    assert error.phase is Phase.STARTTLS
    assert "certificate not trusted" in error.detail


def test_opportunistic_tls_takes_any_certificate() -> None:
    async def use(connection: Connection) -> bool:
        return connection.tls is not None and not connection.tls.verified

    assert against(offers_starttls(), use, tls=TlsMode.OPPORTUNISTIC)


def test_tls_that_is_required_and_not_offered_is_a_fault() -> None:
    error = failure(plays(), tls=TlsMode.REQUIRED)
    assert error.phase is Phase.STARTTLS


def test_h10_starttls_then_garbage() -> None:
    error = failure(offers_starttls(b"220 go\r\n250 injected\r\n", None), tls=TlsMode.REQUIRED)
    assert error.phase is Phase.STARTTLS
    assert failure(offers_starttls(b"454 not now\r\n", None), tls=TlsMode.REQUIRED).reply is not None


def test_c12_credentials_never_travel_in_the_clear() -> None:
    credentials = Credentials(username="a", password="b")
    error = failure(plays(ehlo=b"250-mx\r\n250 AUTH PLAIN LOGIN\r\n"), credentials=credentials)
    assert error.phase is Phase.AUTH
    assert "without TLS" in error.detail
    against(offers_starttls(), nothing, tls=TlsMode.REQUIRED, credentials=credentials)


@pytest.mark.parametrize(
    "lines",
    [
        (b"421 4.3.2 closing\r\n",),
        (b"250 ok\r\n", b"421 4.3.2 closing\r\n"),
        (b"250 ok\r\n", b"250 ok\r\n", b"421 4.3.2 closing\r\n"),
        (b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n", b"421 4.3.2 closing\r\n"),
    ],
)
def test_c06_a_421_to_any_command_counts_for_everyone_and_ends_this_connection(lines: tuple[bytes, ...]) -> None:
    async def use(connection: Connection) -> tuple[bool, TransactionResult]:
        result = await deliver(connection)
        return connection.is_open, result

    is_open, result = against(plays(*lines), use)
    assert not is_open
    assert str(result.recipients[0].reply) == "421 4.3.2 closing"


def test_c07_eight_bit_words_of_several_lines_survive_whole() -> None:
    said = (
        against(plays(b"250 ok\r\n", b"550-n\xe9 pas\r\n550-\xff\xfe\r\n550 5.1.1 gone\r\n"), deliver)
        .recipients[0]
        .reply
    )
    assert said is not None
    assert said.code == 550
    assert [line.encode("utf-8", "surrogateescape") for line in said.lines][:2] == [b"n\xe9 pas", b"\xff\xfe"]


@pytest.mark.parametrize(("code", "is_accepted"), [(b"299", True), (b"250", True), (b"499", False), (b"599", False)])
def test_c07_the_first_digit_decides_for_an_unknown_code(code: bytes, is_accepted: bool) -> None:
    result = against(plays(b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n", code + b" odd\r\n"), deliver).recipients[0]
    assert result.is_accepted is is_accepted
    assert result.reply is not None


@pytest.mark.parametrize(
    "said", [b"000 nothing\r\n", b"999 much\r\n", b"25\r\n", b"2500 ok\r\n", b"\r\n", b"250ok\r\n"]
)
def test_h10_what_is_no_reply_ends_the_transaction_with_one_clear_outcome(said: bytes) -> None:
    result = against(plays(b"250 ok\r\n", said), deliver, timeouts=SHORT).recipients[0]
    assert not result.is_accepted
    assert result.phase is Phase.RCPT
    assert result.detail or result.reply is not None


def test_h10_a_reply_without_end_is_left_with_bounded_memory() -> None:
    endless = b"250-" + b"y" * 500 + b"\r\n"
    result = against(plays(b"250 ok\r\n", endless * 2000), deliver, timeouts=SHORT).recipients[0]
    assert result.reply is None
    assert result.phase is Phase.RCPT
    assert "a reply of over" in result.detail


def test_h10_consent_to_data_by_a_2yz_is_none() -> None:
    result = against(plays(b"250 ok\r\n", b"250 ok\r\n", b"250 sure\r\n"), deliver, timeouts=SHORT).recipients[0]
    assert not result.is_accepted
    assert result.phase is Phase.DATA


@pytest.mark.parametrize(("ending", "detail"), [(None, "closed"), (b"", "timed out")])
def test_c09_no_reply_to_the_final_dot_is_told_apart_from_a_refusal(ending: bytes | None, detail: str) -> None:
    result = against(plays(b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n", ending), deliver, timeouts=SHORT)
    assert (result.recipients[0].phase, result.recipients[0].reply, result.final) == (Phase.BODY, None, None)
    assert detail in result.recipients[0].detail


def test_a_long_message_on_a_slow_line_has_its_time_by_the_block_and_not_in_all() -> None:
    body = b"a line of a long message\r\n" * 500_000

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        writer.write(b"220 mx.test\r\n")
        for answer in (b"250 mx.test\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go on\r\n"):
            await reader.readline()
            writer.write(answer)
        tail = b""
        while not tail.endswith(b"\r\n.\r\n"):
            tail = (tail + await reader.read(1 << 16))[-5:]
            await asyncio.sleep(0.01)  # the slow line: in all far longer than `body_s`
        writer.write(b"250 taken\r\n")
        await reader.read()

    timeouts = PhaseTimeouts(block_s=5, body_s=1, quit_s=0.2)  # the kernel holds some megabytes
    result = against(script, lambda connection: connection.transact(MAIL, RCPTS, body), timeouts=timeouts)
    assert result.recipients[0].is_accepted


@pytest.mark.parametrize("tls", [TlsMode.NONE, TlsMode.OPPORTUNISTIC])
def test_c13_a_connection_is_closed_to_the_last_byte_once_quit_returns(tls: TlsMode) -> None:
    async def use(connection: Connection) -> bool:
        await connection.quit()
        assert connection._transport is not None
        return connection._gone.is_set()

    assert against(plays() if tls is TlsMode.NONE else offers_starttls(), use, tls=tls)
