"""Client: a message sent in two lines, each recipient's fate as a value, and nothing secret in the clear."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from email.message import EmailMessage
from typing import Any, TypeVar

import pytest

from library.serving import AUTHORITY, SERVER_TLS, Guarded, Keeper, trusting
from net.scripted import plays, scripted
from postroad import Client, Server
from postroad.library.client import DsnRequest, SendResult, default_tls, to_bytes
from postroad.message.envelope import Notify
from postroad.net.endpoint import DialogueError, TlsMode
from postroad.receive.caller import Caller
from postroad.smtp.address import Address
from postroad.smtp.outcome import Phase
from postroad.smtp.reply import Reply, reply
from postroad.smtp.sasl import ScramKeys, make_scram_keys
from postroad.smtp.server_events import ServerSettings

T = TypeVar("T")


def message(to: str = "bob@example.org", **headers: str) -> EmailMessage:
    letter = EmailMessage()
    letter["From"] = "Ann <ann@example.org>"
    letter["To"] = to
    letter["Subject"] = "Hello"
    for name, value in headers.items():
        letter[name] = value
    letter.set_content("Good day.\n")
    return letter


def run(work: Awaitable[T]) -> T:
    async def bounded() -> T:
        async with asyncio.timeout(30):
            return await work

    return asyncio.run(bounded())


def sent(handler: object, use: Callable[[Client], Awaitable[T]], *, tls: Any = None, **options: Any) -> T:
    """What `use` gives with a client of a server with that handler."""

    async def work() -> T:
        async with Server(handler, tls=tls) as server, Client("127.0.0.1", server.port, **options) as client:
            return await use(client)

    return run(work())


def failure(work: Awaitable[object]) -> DialogueError:
    with pytest.raises(DialogueError) as caught:
        run(work)
    assert "\n" not in str(caught.value)
    return caught.value


# Sending -------------------------------------------------------------------------------------------------------------


def test_two_lines_send_a_message_to_whom_its_headers_name() -> None:
    async def work() -> None:
        async with Server(keeper := Keeper()) as server:
            async with Client("localhost", server.port) as client:
                result = await client.send(message("Bob <bob@example.org>, carol@example.org", Cc="dan@example.org"))
            assert result.is_accepted
            assert list(result.recipients) == ["bob@example.org", "carol@example.org", "dan@example.org"]
            assert [str(one.address) for one in keeper.envelopes[0].recipients] == list(result.recipients)
            assert str(keeper.envelopes[0].reverse_path) == "ann@example.org"
            assert keeper.bodies[0].endswith(b"\r\n\r\nGood day.\r\n")

    run(work())


def test_one_connection_sends_many_messages() -> None:
    async def use(client: Client) -> bool:
        return all([(await client.send(message())).is_accepted for _ in range(5)])

    keeper = Keeper()
    assert sent(keeper, use)
    assert len(keeper.bodies) == 5


def test_the_envelope_may_differ_from_the_headers_and_the_sender_be_null() -> None:
    async def use(client: Client) -> SendResult:
        return await client.send(message(), sender="", recipients=["other@example.net"])

    keeper = Keeper()
    assert list(sent(keeper, use).recipients) == ["other@example.net"]
    assert str(keeper.envelopes[0].reverse_path) == ""


def test_blind_copies_are_recipients_and_nobody_sees_them() -> None:
    async def use(client: Client) -> SendResult:
        letter = message(Bcc="eve@example.org")
        result = await client.send(letter)
        assert letter["Bcc"] == "eve@example.org"
        return result

    keeper = Keeper()
    assert "eve@example.org" in sent(keeper, use).recipients
    assert b"eve" not in keeper.bodies[0]


def test_bytes_are_sent_as_they_are_but_for_their_line_ends() -> None:
    async def use(client: Client) -> SendResult:
        return await client.send(b"To: bob@example.org\r\n\r\n.dot\nbare\rend\n", sender="ann@example.org")

    keeper = Keeper()
    assert sent(keeper, use).is_accepted
    assert keeper.bodies == [b"To: bob@example.org\r\n\r\n.dot\r\nbare\r\nend\r\n"]


def test_c08_each_recipient_has_its_own_fate_with_the_servers_words() -> None:
    class Picky(Keeper):
        def rcpt(self, caller: Caller, address: Address) -> Reply | None:
            if address.local == "nobody":
                return reply(550, "No such mailbox", "5.1.1")
            return reply(450, "Not now", "4.2.1") if address.local == "later" else None

    async def use(client: Client) -> SendResult:
        return await client.send(message("bob@example.org, nobody@example.org, later@example.org"))

    keeper = Picky()
    result = sent(keeper, use)
    assert not result.is_accepted
    assert {address: str(one.reply) for address, one in result.refused.items()} == {
        "nobody@example.org": "550 5.1.1 No such mailbox",
        "later@example.org": "450 4.2.1 Not now",
    }
    assert [one.phase for one in result.recipients.values()] == [Phase.BODY, Phase.RCPT, Phase.RCPT]
    assert [str(one.address) for one in keeper.envelopes[0].recipients] == ["bob@example.org"]


def test_a_message_that_is_refused_is_refused_for_everybody() -> None:
    class Full:
        def message(self, *_: object) -> Reply:
            return reply(452, "No room", "4.3.1")

    async def use(client: Client) -> list[str]:
        result = await client.send(message("bob@example.org, carol@example.org"))
        return [str(one.reply) for one in result.refused.values()]

    assert sent(Full(), use) == ["452 4.3.1 No room"] * 2


def test_c11_a_report_is_asked_for_where_the_server_can_give_it() -> None:
    async def use(client: Client) -> SendResult:
        wanted = DsnRequest(notify=frozenset({"SUCCESS", "FAILURE"}), ret="HDRS", envid="order 7+1")
        return await client.send(message(), dsn=wanted)

    keeper = Keeper()
    assert sent(keeper, use).is_accepted
    envelope = keeper.envelopes[0]
    assert (envelope.ret, envelope.envid) == ("HDRS", "order 7+1")
    assert envelope.recipients[0].notify == frozenset({Notify.SUCCESS, Notify.FAILURE})


def test_c11_an_address_that_needs_smtputf8_travels_with_it() -> None:
    async def use(client: Client) -> SendResult:
        return await client.send(message("j\u00f6rg@b\u00fccher.example"))

    keeper = Keeper()
    assert sent(keeper, use).is_accepted
    assert keeper.envelopes[0].smtputf8
    assert keeper.envelopes[0].recipients[0].address == Address("j\u00f6rg", "xn--bcher-kva.example")
    assert "j\u00f6rg@b\u00fccher.example".encode() in keeper.bodies[0]


def test_an_international_domain_alone_needs_no_smtputf8() -> None:
    async def use(client: Client) -> SendResult:
        return await client.send(message(), recipients=["bob@b\u00fccher.example"])

    keeper = Keeper()
    assert sent(keeper, use).is_accepted
    assert not keeper.envelopes[0].smtputf8


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"recipients": ["j\u00f6rg@example.org"]}, "does not offer SMTPUTF8"),
        ({"dsn": DsnRequest(ret="FULL")}, "does not offer DSN"),
    ],
)
def test_c11_what_the_server_does_not_offer_is_one_clear_error_before_anything_is_sent(
    options: dict[str, Any], words: str
) -> None:
    async def work() -> None:
        async with scripted(plays()) as port, Client("127.0.0.1", port) as client:
            await client.send(message(), **options)

    assert words in str(failure(work()))


@pytest.mark.parametrize(
    "address", ["bob", "bob@", "bob@example.org\r\nRCPT TO:<eve@example.org>", "a b@example.org", "bob@[1.2.3]"]
)
def test_h06_what_is_no_address_is_refused_before_anything_is_sent(address: str) -> None:
    async def use(client: Client) -> None:
        with pytest.raises(ValueError, match=r"."):
            await client.send(message(), recipients=["good@example.org", address])
        with pytest.raises(ValueError, match=r"."):
            await client.send(message(), sender=address)

    keeper = Keeper()
    sent(keeper, use)
    assert keeper.bodies == []


def test_a_message_to_nobody_is_an_error() -> None:
    async def use(client: Client) -> None:
        letter = message()
        del letter["To"]
        with pytest.raises(ValueError, match="no recipients"):
            await client.send(letter)

    sent(Keeper(), use)


def test_to_send_without_a_connection_is_an_error_that_says_what_to_do() -> None:
    async def work() -> None:
        await Client("127.0.0.1", 1).send(message())

    assert "async with" in str(failure(work()))


def test_lines_end_in_crlf_however_the_message_was_made() -> None:
    assert to_bytes(b"a\nb\r\nc\r") == b"a\r\nb\r\nc\r\n"
    assert b"\n" not in to_bytes(message()).replace(b"\r\n", b"")


# TLS and passwords ---------------------------------------------------------------------------------------------------


def test_starttls_is_verified_where_there_is_a_password() -> None:
    async def work() -> Guarded:
        async with Server(guarded := Guarded(), tls=SERVER_TLS, auth_required=True) as server:
            async with Client(
                "localhost", server.port, username="ann", password="right", ssl_context=trusting()
            ) as client:
                assert (await client.send(message())).is_accepted
            return guarded

    guarded = run(work())
    assert guarded.tried == [("ann", "right")]
    assert guarded.callers[0].is_tls


@pytest.mark.parametrize(("is_trusted", "name"), [(False, "localhost"), (True, "other.example.org")])
def test_c12_a_server_that_cannot_prove_its_name_never_sees_the_password(is_trusted: bool, name: str) -> None:
    guarded = Guarded()
    wrong = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert(name).configure_cert(wrong)

    async def work() -> None:
        async with Server(guarded, tls=wrong) as server:
            context = trusting() if is_trusted else None
            await Client("localhost", server.port, username="ann", password="right", ssl_context=context).open()

    error = failure(work())
    assert error.phase is Phase.STARTTLS
    assert "certificate not trusted" in str(error)
    assert guarded.tried == []


@pytest.mark.parametrize("tls", ["none", "opportunistic"])
def test_c12_credentials_never_travel_in_the_clear(tls: str) -> None:
    heard: list[bytes] = []

    async def work() -> None:
        async with scripted(plays(ehlo=b"250-mx.test\r\n250 AUTH PLAIN LOGIN\r\n")) as port:
            client = Client(
                "127.0.0.1",
                port,
                username="ann",
                password="right",
                tls=tls,
                observer=lambda side, data: heard.append(data) if side == "C" else None,
            )
            await client.open()

    error = failure(work())
    assert error.phase is Phase.AUTH
    assert "without TLS" in str(error)
    assert not any(b"AUTH" in data for data in heard)


def test_implicit_tls_from_the_first_byte() -> None:
    async def work() -> Guarded:
        async with Server(guarded := Guarded(), tls=SERVER_TLS, implicit_tls=True) as server:
            options = {"username": "ann", "password": "right", "tls": "implicit", "ssl_context": trusting()}
            async with Client("localhost", server.port, **options) as client:  # type: ignore[arg-type]
                assert (await client.send(message())).is_accepted
            return guarded

    assert run(work()).callers[0].is_tls


def test_how_a_port_is_secured_by_default() -> None:
    assert default_tls(465, has_credentials=False) is TlsMode.IMPLICIT
    assert default_tls(2465, has_credentials=True) is TlsMode.IMPLICIT
    assert default_tls(587, has_credentials=True) is TlsMode.VERIFIED
    assert default_tls(25, has_credentials=False) is TlsMode.OPPORTUNISTIC


def test_a_username_without_a_password_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="go together"):
        Client(username="ann")
    with pytest.raises(ValueError, match="go together"):
        Client(password="right")


class Keys:
    """An authority that knows one user by SCRAM keys alone."""

    def __init__(self, password: str) -> None:
        self.keys = make_scram_keys(password, b"0123456789abcdef", 4096)

    async def check_password(self, username: str, authzid: str, password: str, peer: str) -> Reply | None:
        raise AssertionError("no password is to travel")

    def account(self, username: str) -> None:
        return None

    def bar(self, username: str, peer: str) -> Reply | None:
        return None

    def scram_keys(self, username: str, authzid: str) -> ScramKeys:
        return self.keys

    async def check_token(self, username: str, authzid: str, token: str, peer: str) -> Reply | None:
        raise AssertionError("no token is offered")

    async def failed(self, username: str, peer: str) -> None:
        return None

    def succeeded(self, username: str, peer: str) -> None:
        return None


class ScramServer(Server):
    """Offers what only the accounts of `postroad serve` can: SCRAM, where no hook sees a password."""

    def _station(self) -> Any:
        station = super()._station()
        station.authenticator = Keys("right")
        return station


async def open_by_scram(password: str) -> list[bytes]:
    """The lines that a client says to a server that offers SCRAM, as an observer sees them."""
    heard: list[bytes] = []
    settings = ServerSettings(hostname="localhost", has_starttls=True, auth_mechanisms=("PLAIN", "SCRAM-SHA-256"))
    async with (
        ScramServer(Keeper(), tls=SERVER_TLS, settings=settings) as server,
        Client(
            "localhost",
            server.port,
            username="ann",
            password=password,
            ssl_context=trusting(),
            observer=lambda side, data: heard.append(data) if side == "C" else None,
        ) as client,
    ):
        assert (await client.send(message())).is_accepted
    return heard


def test_s26_scram_is_chosen_over_plain_and_the_password_does_not_travel() -> None:
    heard = run(open_by_scram("right"))
    assert any(data.startswith(b"AUTH SCRAM-SHA-256") for data in heard)
    assert not any(b"right" in data for data in heard)


def test_s26_a_wrong_password_by_scram_is_one_clear_error() -> None:
    error = failure(open_by_scram("wrong"))
    assert error.phase is Phase.AUTH
    assert str(error.reply).startswith("535 5.7.8")


# Errors --------------------------------------------------------------------------------------------------------------


def test_a_wrong_password_is_one_clear_error() -> None:
    async def work() -> None:
        async with (
            Server(Guarded(), tls=SERVER_TLS) as server,
            Client("localhost", server.port, username="ann", password="wrong", ssl_context=trusting()),
        ):
            pass

    error = failure(work())
    assert error.phase is Phase.AUTH
    assert str(error).startswith("auth: 535 5.7.8")
    assert "wrong" not in str(error).replace("wrong password", "")


def test_a_port_where_nobody_listens_is_one_clear_error() -> None:
    async def work() -> None:
        with socket.socket() as held:
            held.bind(("127.0.0.1", 0))
            port = held.getsockname()[1]
        await Client("127.0.0.1", port).open()

    assert str(failure(work())) == "connect: connection refused"


def test_a_host_without_an_address_is_one_clear_error() -> None:
    async def work() -> None:
        await Client("no-such-host.invalid", 25).open()

    error = failure(work())
    assert error.phase is Phase.DNS
    assert str(error).startswith("dns: no-such-host.invalid: ")


@pytest.mark.parametrize("host", ["x" * 64 + ".invalid", "a..b", "a\x00b"])
def test_a_host_that_is_no_name_is_one_clear_error(host: str) -> None:
    async def work() -> None:
        await Client(host, 25).open()

    assert failure(work()).phase is Phase.DNS


def test_a_server_that_turns_us_away_is_quoted() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"554 5.7.1 Not you\r\n")
        await reader.read()

    async def work() -> None:
        async with scripted(script) as port:
            await Client("127.0.0.1", port).open()

    assert str(failure(work())) == "greeting: 554 5.7.1 Not you"


def test_a_connection_that_breaks_off_leaves_each_recipients_outcome_told() -> None:
    async def work() -> SendResult:
        script = plays(b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n", None)
        async with scripted(script) as port, Client("127.0.0.1", port) as client:
            return await client.send(message())

    result = run(work())
    assert not result.is_accepted
    assert result.recipients["bob@example.org"].phase is Phase.BODY
    assert "closed" in result.recipients["bob@example.org"].detail


def test_a_plain_port_spoken_to_in_tls_is_one_clear_error() -> None:
    async def work() -> None:
        async with Server(Keeper()) as server:
            await Client("127.0.0.1", server.port, tls="implicit", ssl_context=ssl.create_default_context()).open()

    assert "tls" in str(failure(work())).lower()
