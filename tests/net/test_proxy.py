"""Connections by way of a proxy: it gets the address and never the name, and its faults are told as its own."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
import trustme

from net.scripted import plays, scripted
from postroad.net.dialogue import connect
from postroad.net.endpoint import DialogueError, Endpoint, PhaseTimeouts, TlsMode
from postroad.net.proxy import ProxyFault, check_proxy, connected_socket, proxy_name
from postroad.smtp.address import NULL, Address
from postroad.smtp.command import Mail, Rcpt
from postroad.smtp.outcome import Phase, TransactionResult

AUTHORITY = trustme.CA()
NO_METHOD = 0xFF


@dataclass
class Socks5:
    """A SOCKS5 proxy (RFC 1928, RFC 1929). `password`: wanted, as USER:PASSWORD. `status`: its reply to CONNECT."""

    password: str = ""
    status: int = 0
    is_silent: bool = False
    closes: bool = False
    asked: list[tuple[str, int]] = field(default_factory=list)
    """What it was to connect to: an address as text, or a name with a question mark before it."""
    given: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.is_silent:
            await reader.read()
            return
        _, count = await reader.readexactly(2)
        methods = await reader.readexactly(count)
        if self.closes:
            return
        wanted = 2 if self.password else 0
        writer.write(bytes((5, wanted if wanted in methods else NO_METHOD)))
        if wanted not in methods:
            return
        if self.password and not await self._is_known(reader, writer):
            return
        await reader.readexactly(3)
        (kind,) = await reader.readexactly(1)
        if kind == 3:
            (length,) = await reader.readexactly(1)
            host = "?" + (await reader.readexactly(length)).decode()
        else:
            host = str(ipaddress.ip_address(await reader.readexactly(4 if kind == 1 else 16)))
        port = int.from_bytes(await reader.readexactly(2), "big")
        self.asked.append((host, port))
        writer.write(bytes((5, self.status, 0, 1, 127, 0, 0, 1, 0, 0)))
        if self.status == 0:
            there_reader, there_writer = await asyncio.open_connection(host, port)
            with contextlib.closing(there_writer):
                await asyncio.gather(_pipe(reader, there_writer), _pipe(there_reader, writer))

    async def _is_known(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        words = []
        await reader.readexactly(1)
        for _ in range(2):
            (length,) = await reader.readexactly(1)
            words.append((await reader.readexactly(length)).decode())
        self.given.append(":".join(words))
        is_right = self.given[-1] == self.password
        writer.write(bytes((1, 0 if is_right else 1)))
        return is_right


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
    if writer.can_write_eof():
        writer.write_eof()


def through(
    proxy: Socks5 | int,
    port: int = 0,
    *,
    credentials: str = "",
    tls: TlsMode = TlsMode.NONE,
    connect_s: float = 5.0,
    context: ssl.SSLContext | None = None,
    address: str = "127.0.0.1",
) -> TransactionResult:
    """A probe by way of the proxy, or of whatever is at that port, to a host at 127.0.0.1."""
    return asyncio.run(_through(proxy, port, credentials, tls, connect_s, context, address))


async def _through(
    proxy: Socks5 | int,
    port: int,
    credentials: str,
    tls: TlsMode,
    connect_s: float,
    context: ssl.SSLContext | None,
    address: str,
) -> TransactionResult:
    async with contextlib.AsyncExitStack() as stack:
        at = proxy if isinstance(proxy, int) else await stack.enter_async_context(scripted(proxy.serve))
        if not port:
            script = plays(b"250 2.1.0 ok\r\n", b"550 5.1.1 no such user\r\n", b"250 2.0.0 ok\r\n")
            port = await stack.enter_async_context(scripted(script))
        elif port < 0:
            port = await stack.enter_async_context(scripted(secured))
        endpoint = Endpoint(
            host="mx.example.net", address=address, port=port, proxy=f"socks5://{credentials}127.0.0.1:{at}"
        )
        timeouts = PhaseTimeouts.all(5.0, connect_s=connect_s)
        connection = await connect(endpoint, hello="a.example", tls=tls, timeouts=timeouts, ssl_context=context)
        try:
            if tls is not TlsMode.NONE:
                assert connection.tls is not None
            return await connection.probe(Mail(NULL, {}), [Rcpt(Address("ann", "example.net"), {})])
        finally:
            await connection.quit()


def fault(proxy: Socks5 | int, **options: float | str) -> DialogueError:
    with pytest.raises(DialogueError) as caught:
        through(proxy, **options)  # type: ignore[arg-type]
    return caught.value


async def secured(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A host that answers after STARTTLS alone."""
    writer.write(b"220 mx.example.net ESMTP\r\n")
    await reader.readline()
    writer.write(b"250-mx.example.net\r\n250 STARTTLS\r\n")
    assert await reader.readline() == b"STARTTLS\r\n"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("mx.example.net").configure_cert(context)
    writer.write(b"220 go on\r\n")
    await writer.start_tls(context)
    await reader.readline()
    writer.write(b"250-mx.example.net\r\n250 PIPELINING\r\n")
    for answer in (b"250 2.1.0 ok\r\n", b"250 2.1.5 ok\r\n", b"250 2.0.0 ok\r\n", b"221 bye\r\n"):
        await reader.readline()
        writer.write(answer)


@contextlib.asynccontextmanager
async def listening_nowhere() -> AsyncIterator[int]:
    """A port at which nobody listens."""
    async with scripted(plays()) as port:
        pass
    yield port


# Through it -----------------------------------------------------------------------------------------------------------


def test_a_dialogue_goes_by_way_of_a_proxy_that_gets_the_address_and_not_the_name() -> None:
    proxy = Socks5()
    result = through(proxy)
    assert [str(one.reply) for one in result.recipients] == ["550 5.1.1 no such user"]
    ((host, port),) = proxy.asked
    assert host == "127.0.0.1" and port > 0, "a name would have a question mark"


def test_an_ipv6_address_is_given_as_one() -> None:
    proxy = Socks5(status=3)
    fault(proxy, address="2001:db8::25")
    assert proxy.asked[0][0] == "2001:db8::25"


def test_starttls_goes_through_it_with_the_hosts_own_name_in_the_certificate() -> None:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    result = through(Socks5(), -1, tls=TlsMode.VERIFIED, context=context)
    assert result.recipients[0].is_accepted


def test_a_password_is_given_where_one_is_named() -> None:
    proxy = Socks5(password="ann:s3cret@:x")
    assert through(proxy, credentials="ann:s3cret%40%3Ax@").recipients[0].reply is not None
    assert proxy.given == ["ann:s3cret@:x"]


# Its faults -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("credentials", ["", "ann:wrong@"])
def test_a_wrong_or_missing_password_is_told_without_it(credentials: str) -> None:
    error = fault(Socks5(password="ann:right"), credentials=credentials)
    assert error.phase is Phase.CONNECT and error.reply is None
    assert "the proxy socks5://127.0.0.1:" in error.detail
    assert "wrong" not in str(error) and "right" not in str(error)


@pytest.mark.parametrize("status", [1, 2, 3, 4, 5, 6, 7, 8, 99])
def test_a_proxy_that_refuses_is_named_with_its_reason(status: int) -> None:
    error = fault(Socks5(status=status))
    assert error.phase is Phase.CONNECT and "the proxy socks5://127.0.0.1:" in error.detail
    assert error.detail.isprintable() and error.detail.rstrip(".: ") != ""


def test_a_proxy_that_closes_the_connection_is_named() -> None:
    assert "the proxy socks5://127.0.0.1:" in fault(Socks5(closes=True)).detail


def test_a_proxy_that_speaks_something_else_is_named() -> None:
    async def main() -> DialogueError:
        async with scripted(plays(b"500 what\r\n")) as port:
            with pytest.raises(DialogueError) as caught:
                await _through(port, 0, "", TlsMode.NONE, 2.0, None, "127.0.0.1")
            return caught.value

    assert "the proxy socks5://127.0.0.1:" in asyncio.run(main()).detail


def test_a_proxy_that_cannot_be_reached_is_named() -> None:
    async def main() -> DialogueError:
        async with listening_nowhere() as port:
            with pytest.raises(DialogueError) as caught:
                await _through(port, 0, "", TlsMode.NONE, 2.0, None, "127.0.0.1")
            return caught.value

    error = asyncio.run(main())
    assert error.phase is Phase.CONNECT and "cannot be reached" in error.detail and "refused" in error.detail


def test_a_silent_proxy_ends_in_time_and_is_named() -> None:
    error = fault(Socks5(is_silent=True), connect_s=0.2)
    assert error.phase is Phase.CONNECT
    assert "timed out" in error.detail and "the proxy socks5://127.0.0.1:" in error.detail


def test_who_gives_up_waiting_leaves_no_socket_behind() -> None:
    async def main() -> None:
        async with scripted(Socks5(is_silent=True).serve) as port:
            endpoint = Endpoint(host="mx.example.net", address="127.0.0.1", port=25)
            task = asyncio.create_task(connected_socket(f"socks5://127.0.0.1:{port}", endpoint, seconds=60))
            await asyncio.sleep(0.05)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())


# How it is written ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    ["socks5://127.0.0.1:1080", "socks5://ann:x@proxy.example:1080", "http://[2001:db8::1]:3128/", "socks4://h:1"],
)
def test_a_proxy_is_written_as_a_url(url: str) -> None:
    assert check_proxy(url) == url


@pytest.mark.parametrize(
    "url",
    [
        *("", "proxy.example", "proxy.example:1080", "socks5://proxy.example", "ftp://h:1", "socks5://:1080"),
        *("socks5://h:99999", "socks5://h:x", "socks5://h:1/path", "socks5://h:1?x", "socks5://[::1:1", "//h:1"),
        *("socks5://h:1#x", "socks5://h:0"),
    ],
)
def test_what_is_no_such_url_is_refused_with_how_to_write_it(url: str) -> None:
    with pytest.raises(ProxyFault, match="SCHEME://"):
        check_proxy(url)


def test_a_report_names_it_without_the_password() -> None:
    assert proxy_name("socks5://ann:secret@proxy.example:1080") == "socks5://proxy.example:1080"
    assert proxy_name("http://ann:secret@[2001:db8::1]:3128") == "http://[2001:db8::1]:3128"
    assert "secret" not in repr(Endpoint(host="h", address="192.0.2.1", proxy="socks5://ann:secret@h:1"))
