"""Server: a handler of a few hooks receives mail from real clients, and its faults are never the peer's business."""

from __future__ import annotations

import asyncio
import io
import smtplib
import socket
import ssl
from collections.abc import Iterator
from email.message import EmailMessage
from typing import Any

import aiosmtplib
import pytest

from library.serving import SERVER_TLS, Guarded, Keeper, serving, trusting
from postroad import Client, Server, events
from postroad.message.envelope import Envelope
from postroad.net.listen import ListenError
from postroad.receive.caller import Caller
from postroad.smtp.address import NULL, Address, NullPath
from postroad.smtp.reply import Reply, reply

SENDER = "ann@example.org"
RECIPIENT = "bob@example.net"
TEXT = "Subject: Hello\r\n\r\nGood day.\r\n"


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What is logged, kept out of the test's output."""
    stream = io.StringIO()
    events.configure(stream=stream)
    yield stream
    events.configure()


def refusal(port: int, *lines: str) -> str:
    """What the server says to the last of these lines."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection, connection.makefile("rb") as said:
        said.readline()
        answer = b""
        for line in lines:
            connection.sendall(line.encode() + b"\r\n")
            while (answer := said.readline())[3:4] == b"-":
                pass
        return answer.decode().rstrip()


# Real clients --------------------------------------------------------------------------------------------------------


def test_smtplib_delivers_to_a_plain_hook() -> None:
    with serving(keeper := Keeper()) as port, smtplib.SMTP("127.0.0.1", port, "client.test", timeout=20) as client:
        assert client.sendmail(SENDER, [RECIPIENT, "carol@example.net"], TEXT) == {}
    assert keeper.bodies == [TEXT.encode()]
    assert str(keeper.envelopes[0].reverse_path) == SENDER
    assert [str(one.address) for one in keeper.envelopes[0].recipients] == [RECIPIENT, "carol@example.net"]
    assert (keeper.callers[0].peer, keeper.callers[0].hello) == ("127.0.0.1", "client.test")


def test_smtplib_delivers_an_international_message() -> None:
    letter = EmailMessage()
    letter["From"], letter["To"], letter["Subject"] = SENDER, "j\u00f6rg@example.net", "Gr\u00fc\u00dfe"
    letter.set_content("Gr\u00fc\u00dfe\n")
    with serving(keeper := Keeper()) as port, smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
        client.send_message(letter)
    assert keeper.envelopes[0].smtputf8
    assert keeper.envelopes[0].recipients[0].address == Address("j\u00f6rg", "example.net")


def test_aiosmtplib_delivers_to_an_async_hook() -> None:
    class Slow:
        def __init__(self) -> None:
            self.bodies: list[bytes] = []

        async def message(self, caller: Caller, envelope: Envelope, body: bytes) -> None:
            await asyncio.sleep(0)
            self.bodies.append(body)

    async def work() -> list[bytes]:
        async with Server(handler := Slow()) as server:
            letter = EmailMessage()
            letter["From"], letter["To"], letter["Subject"] = SENDER, RECIPIENT, "Hello"
            letter.set_content("Good day.\n")
            errors, _ = await aiosmtplib.send(letter, hostname="127.0.0.1", port=server.port, timeout=20)
            assert errors == {}
            return handler.bodies

    assert b"Good day." in asyncio.run(work())[0]


def test_s24_s25_smtplib_by_starttls_with_a_password() -> None:
    with (
        serving(guarded := Guarded(), tls=SERVER_TLS, auth_required=True) as port,
        smtplib.SMTP("localhost", port, timeout=20) as client,
    ):
        client.ehlo()
        assert not client.has_extn("auth")
        with pytest.raises(smtplib.SMTPSenderRefused) as caught:
            client.sendmail(SENDER, [RECIPIENT], TEXT)
        assert caught.value.smtp_code == 530
        client.starttls(context=trusting())
        client.ehlo()
        assert client.has_extn("auth")
        with pytest.raises(smtplib.SMTPAuthenticationError) as wrong:
            client.login("ann", "wrong")
        assert wrong.value.smtp_code == 535
        client.login("ann", "right")
        assert client.sendmail(SENDER, [RECIPIENT], TEXT) == {}
    assert guarded.tried[-1] == ("ann", "right")
    assert guarded.callers[0].is_tls


def test_s29_smtplib_by_implicit_tls() -> None:
    with (
        serving(guarded := Guarded(), tls=SERVER_TLS, implicit_tls=True) as port,
        smtplib.SMTP_SSL("localhost", port, timeout=20, context=trusting()) as client,
    ):
        client.ehlo()
        assert not client.has_extn("starttls")
        client.login("ann", "right")
        assert client.sendmail(SENDER, [RECIPIENT], TEXT) == {}
    assert guarded.callers[0].is_tls


def test_aiosmtplib_by_starttls_with_a_password() -> None:
    async def work() -> None:
        async with Server(guarded := Guarded(), tls=SERVER_TLS, auth_required=True) as server:
            await aiosmtplib.send(
                TEXT,
                sender=SENDER,
                recipients=[RECIPIENT],
                hostname="localhost",
                port=server.port,
                start_tls=True,
                tls_context=trusting(),
                username="ann",
                password="right",
                timeout=20,
            )
            assert guarded.bodies == [TEXT.encode()]

    asyncio.run(work())


def test_h08_plain_bytes_on_a_tls_port_and_a_client_that_does_not_trust_us_harm_nobody(log: io.StringIO) -> None:
    with serving(keeper := Keeper(), tls=SERVER_TLS, implicit_tls=True) as port:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            connection.sendall(b"EHLO client.test\r\n")
            assert b"250" not in connection.recv(1000)
        with pytest.raises(ssl.SSLError):
            smtplib.SMTP_SSL("localhost", port, timeout=20, context=ssl.create_default_context())
        with smtplib.SMTP_SSL("localhost", port, timeout=20, context=trusting()) as client:
            assert client.sendmail(SENDER, [RECIPIENT], TEXT) == {}
    assert keeper.bodies == [TEXT.encode()]


# Hooks ---------------------------------------------------------------------------------------------------------------


class Refusing:
    """Refuses at one step, in its own words; plain or async."""

    def __init__(self, step: str, is_async: bool) -> None:
        said = reply(550, f"Not at {step}", "5.7.1")

        async def wait(*_: object) -> Reply:
            await asyncio.sleep(0)
            return said

        setattr(self, step, wait if is_async else lambda *_: said)


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("step", ["hello", "mail", "rcpt", "message"])
def test_each_hook_may_refuse_in_its_own_words(step: str, is_async: bool) -> None:
    lines = ["EHLO client.test", f"MAIL FROM:<{SENDER}>", f"RCPT TO:<{RECIPIENT}>", "DATA", "Subject: x\r\n\r\n."]
    count = {"hello": 1, "mail": 2, "rcpt": 3, "message": 5}[step]
    with serving(Refusing(step, is_async)) as port:
        assert refusal(port, *lines[:count]) == f"550 5.7.1 Not at {step}"


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("step", ["hello", "mail", "rcpt", "message"])
def test_a_hook_that_raises_is_told_as_4yz_and_its_reasons_stay_here(
    step: str, is_async: bool, log: io.StringIO
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("the secret database is away")

    async def fail_later(*_: object) -> None:
        await asyncio.sleep(0)
        raise RuntimeError("the secret database is away")

    handler = type("Handler", (), {step: staticmethod(fail_later if is_async else fail)})()
    lines = ["EHLO client.test", f"MAIL FROM:<{SENDER}>", f"RCPT TO:<{RECIPIENT}>", "DATA", "Subject: x\r\n\r\n."]
    count = {"hello": 1, "mail": 2, "rcpt": 3, "message": 5}[step]
    with serving(handler) as port:
        said = refusal(port, *lines[:count])
    assert said.startswith("451 4.3.0 ")
    assert "secret" not in said
    assert "RuntimeError" in log.getvalue()


def test_a_password_hook_that_raises_lets_nobody_in(log: io.StringIO) -> None:
    class Broken:
        def auth(self, peer: str, username: str, password: str) -> bool:
            raise RuntimeError("the secret database is away")

    with (
        serving(Broken(), tls=SERVER_TLS, implicit_tls=True) as port,
        smtplib.SMTP_SSL("localhost", port, timeout=20, context=trusting()) as client,
    ):
        with pytest.raises(smtplib.SMTPAuthenticationError) as caught:
            client.login("ann", "right")
        assert 400 <= caught.value.smtp_code < 500
        assert "secret" not in str(caught.value)
    assert "right" not in log.getvalue()


@pytest.mark.parametrize("answer", [1, "yes", object(), None, False])
def test_only_true_itself_is_a_right_password(answer: object, log: io.StringIO) -> None:
    class Careless:
        def auth(self, peer: str, username: str, password: str) -> Any:
            return answer

    with (
        serving(Careless(), tls=SERVER_TLS, implicit_tls=True) as port,
        smtplib.SMTP_SSL("localhost", port, timeout=20, context=trusting()) as client,
        pytest.raises(smtplib.SMTPAuthenticationError),
    ):
        client.login("ann", "right")


def test_hooks_see_who_calls_and_what_was_asked() -> None:
    seen: list[tuple[object, ...]] = []

    class Curious:
        def hello(self, caller: Caller, name: str) -> None:
            seen.append(("hello", name))

        def mail(self, caller: Caller, reverse_path: Address | NullPath) -> None:
            seen.append(("mail", reverse_path))

        async def rcpt(self, caller: Caller, address: Address) -> None:
            seen.append(("rcpt", caller.hello, caller.reverse_path, address))

    with serving(Curious()) as port:
        said = refusal(port, "EHLO client.test", "MAIL FROM:<>", f"RCPT TO:<{RECIPIENT}>")
    assert said.startswith("250 ")
    assert seen == [
        ("hello", "client.test"),
        ("mail", NULL),
        ("rcpt", "client.test", NULL, Address("bob", "example.net")),
    ]


def test_a_message_hook_may_say_yes_in_its_own_words() -> None:
    class Polite:
        def message(self, caller: Caller, envelope: Envelope, body: bytes) -> Reply:
            return reply(250, "Kept as 17", "2.6.0")

    lines = ["EHLO client.test", f"MAIL FROM:<{SENDER}>", f"RCPT TO:<{RECIPIENT}>", "DATA", "Subject: x\r\n\r\n."]
    with serving(Polite()) as port:
        assert refusal(port, *lines) == "250 2.6.0 Kept as 17"


def test_a_handler_without_hooks_takes_everything() -> None:
    with serving(object()) as port, smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
        assert client.sendmail(SENDER, [RECIPIENT], TEXT) == {}


def test_s08_postmaster_without_a_domain_is_this_hosts() -> None:
    with (
        serving(keeper := Keeper(), hostname="mail.example.org") as port,
        smtplib.SMTP("127.0.0.1", port, timeout=20) as client,
    ):
        client.sendmail(SENDER, ["<postmaster>"], TEXT)
    assert str(keeper.envelopes[0].recipients[0].address) == "postmaster@mail.example.org"


# Starting and stopping -----------------------------------------------------------------------------------------------


def test_a_port_that_is_taken_is_one_clear_error() -> None:
    async def work() -> None:
        async with Server(object()) as first:
            with pytest.raises(ListenError, match=f"cannot listen on 127.0.0.1:{first.port}: address already in use"):
                await Server(object(), port=first.port).start()

    asyncio.run(work())


def test_stopping_ends_every_session_and_frees_the_port() -> None:
    class Stuck:
        async def message(self, *_: object) -> None:
            await asyncio.get_running_loop().create_future()

    async def work() -> None:
        async with Server(Stuck()) as server:
            client = Client("127.0.0.1", server.port)
            await client.open()
            sending = asyncio.create_task(client.send(b"To: bob@example.net\r\n\r\nx\r\n", sender=SENDER))
            idle = Client("127.0.0.1", server.port)
            await idle.open()
        result = await sending
        assert not result.is_accepted
        await client.close()
        await idle.close()
        async with Server(object(), port=server.port) as again:
            assert again.port == server.port

    asyncio.run(work())


def test_wait_serves_until_it_is_cancelled() -> None:
    async def work() -> None:
        async with Server(keeper := Keeper()) as server:
            serving_on = asyncio.create_task(server.wait())
            async with Client("127.0.0.1", server.port) as client:
                assert (await client.send(b"To: bob@example.net\r\n\r\nx\r\n", sender=SENDER)).is_accepted
            assert not serving_on.done()
            serving_on.cancel()
            await asyncio.gather(serving_on, return_exceptions=True)
            assert len(keeper.bodies) == 1

    asyncio.run(work())
