"""A receiving session on a real socket: limits by phase and in all, drain, and what a slow or greedy client gets."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import pytest
import trustme

from postroad.receive.caller import Caller, Role
from postroad.receive.checks import Amended, Checks
from postroad.receive.limits import Budget, Gate
from postroad.receive.session import Reception
from postroad.receive.station import Accept, Roll, SessionTimeouts, Station
from postroad.smtp.reply import Reply, reply
from postroad.smtp.server_events import MessageReceived, ServerSettings

Talk = Callable[[bytes], Awaitable[bytes]]


class Host:
    """A station with a listener, driven by tests."""

    def __init__(self, accept: Accept | None = None, checks: Checks | None = None, **options: object) -> None:
        self.taken: list[MessageReceived] = []
        self.roll = Roll()
        self.tasks: set[asyncio.Task[None]] = set()
        self.station = Station(
            settings=ServerSettings(hostname="mx.test", has_starttls="tls" in options),
            role=Role.MX,
            checks=checks or Checks(),
            accept=accept or (lambda caller, event, amended: self.taken.append(event)),
            spawn=self._spawn,
            nonce=lambda: "nonce",
            **options,  # type: ignore[arg-type]
        )
        self.port = 0

    def _spawn(self, work: object) -> object:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)  # type: ignore[arg-type]
        self.tasks.add(task)
        return task

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[Host]:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Reception(self.station, self.roll), "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            self.roll.abort()
            server.close()
            await server.wait_closed()
            await asyncio.gather(*self.tasks, return_exceptions=True)

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[Talk]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)

        async def talk(data: bytes) -> bytes:
            writer.write(data)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.1):
                    said = b""
                    while piece := await reader.read(4096):
                        said += piece
                    return said + b"<closed>"
            return bytes(said)

        try:
            yield talk
        finally:
            writer.transport.abort()


def run(host: Host, use: Callable[[Host], Awaitable[None]]) -> Host:
    async def main() -> None:
        async with host.listening():
            await use(host)

    asyncio.run(main())
    return host


MESSAGE = b"EHLO c\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\nSubject: x\r\n\r\nhi\r\n.\r\nQUIT\r\n"


def test_a_whole_session_in_one_chunk() -> None:
    async def use(host: Host) -> None:
        async with host.client() as talk:
            said = await talk(MESSAGE)
            assert said.endswith(b"221 2.0.0 mx.test closing connection\r\n<closed>")
            assert b"354" in said

    assert [event.body for event in run(Host(), use).taken] == [b"Subject: x\r\n\r\nhi\r\n"]


def test_s16_the_answer_to_the_end_of_data_waits_for_the_commit() -> None:
    commits: list[asyncio.Future[Reply | None]] = []

    def accept(caller: object, event: object, amended: object) -> asyncio.Future[Reply | None]:
        commits.append(asyncio.get_running_loop().create_future())
        return commits[-1]

    async def use(host: Host) -> None:
        async with host.client() as talk:
            assert not (await talk(MESSAGE)).endswith(b"<closed>")
            commits[0].set_result(reply(452, "No room", "4.3.1"))
            assert (await talk(b"")).startswith(b"452 4.3.1 No room\r\n221")

    run(Host(accept), use)


def test_s16_a_commit_that_fails_by_our_fault_is_451() -> None:
    def accept(caller: object, event: object, amended: object) -> Reply | None:
        raise RuntimeError("a secret inner reason")

    async def use(host: Host) -> None:
        async with host.client() as talk:
            said = await talk(MESSAGE)
            assert b"451 4.3.0" in said
            assert b"secret" not in said

    run(Host(accept), use)


def test_a_check_may_wait_and_the_replies_stay_in_order() -> None:
    async def slow(caller: object, event: object) -> Reply | None:
        await asyncio.sleep(0.01)
        return reply(550, "Not today", "5.7.1")

    async def use(host: Host) -> None:
        async with host.client() as talk:
            said = await talk(b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<c@d.test>\r\nNOOP\r\n")
            assert said.endswith(b"250 2.1.0 Sender OK\r\n550 5.7.1 Not today\r\n250 2.0.0 OK\r\n")

    run(Host(checks=Checks(rcpt=(slow,))), use)


def test_a_check_of_the_connection_refuses_before_the_greeting() -> None:
    async def use(host: Host) -> None:
        async with host.client() as talk:
            said = await talk(b"EHLO c\r\nQUIT\r\n")
            assert said.startswith(b"554 mx.test Listed\r\n")
            assert b"250" not in said and said.endswith(b"<closed>")

    run(Host(checks=Checks(connect=(lambda caller: reply(550, "Listed", "5.7.1"),))), use)


def test_h04_a_greeting_that_waits_sees_who_talks_early_and_serves_him_in_order() -> None:
    early: list[bool] = []

    async def slow(caller: Caller) -> Reply | None:
        await asyncio.sleep(0.05)
        early.append(caller.talked_early)
        return None

    async def use(host: Host) -> None:
        async with host.client() as talk, host.client() as patient:
            assert (await talk(b"EHLO c\r\nNOOP\r\n")).startswith(b"220 mx.test ESMTP Postroad\r\n250-mx.test")
            assert (await patient(b"")).startswith(b"220 mx.test")

    run(Host(checks=Checks(connect=(slow, lambda caller: None))), use)
    assert sorted(early) == [False, True]


def test_checks_of_a_message_may_amend_it_one_after_the_other() -> None:
    kept: list[Amended | None] = []

    async def late(caller: object, event: MessageReceived) -> Amended:
        await asyncio.sleep(0.01)
        return Amended(event=replace(event, body=event.body + b"late\r\n"), above=b"A: late\r\n", hold="looks odd")

    def at_once(caller: object, event: MessageReceived) -> Amended:
        return Amended(event=replace(event, body=event.body + b"soon\r\n"), above=b"A: soon\r\n")

    async def use(host: Host) -> None:
        async with host.client() as talk:
            assert b"221" in await talk(MESSAGE)

    def keep(caller: object, event: object, amended: Amended | None) -> None:
        kept.append(amended)

    run(Host(keep, Checks(message=(at_once, late, lambda caller, event: None, at_once))), use)
    (amended,) = kept
    assert amended is not None
    assert amended.event.body == b"Subject: x\r\n\r\nhi\r\nsoon\r\nlate\r\nsoon\r\n"
    assert (amended.above, amended.hold) == (b"A: soon\r\nA: late\r\nA: soon\r\n", "looks odd")


def test_s15_a_slow_client_is_told_421_and_closed() -> None:
    async def use(host: Host) -> None:
        async with host.client() as talk, host.client() as drip:
            await talk(b"EHLO c\r\n")
            await drip(b"E")
            host.roll.sweep(asyncio.get_running_loop().time() + 301)
            assert (await talk(b"")).startswith(b"421 4.4.2 mx.test Timeout exceeded")
            assert (await talk(b"")).endswith(b"<closed>")

    run(Host(), use)


def test_h03_one_byte_at_a_time_does_not_move_the_deadline() -> None:
    async def use(host: Host) -> None:
        async with host.client() as talk:
            await talk(b"EHLO c\r\n")
            (session,) = host.roll.sessions
            before = session.deadline
            for octet in b"NOOP":
                await talk(bytes([octet]))
            assert session.deadline == before
            await talk(b"\r\n")
            assert session.deadline > before

    run(Host(), use)


def test_s15_a_session_ends_after_its_whole_time() -> None:
    async def use(host: Host) -> None:
        async with host.client() as talk:
            await talk(b"EHLO c\r\n")
            (session,) = host.roll.sessions
            session.deadline = float("inf")
            host.roll.sweep(asyncio.get_running_loop().time() + 3601)
            assert b"421 4.4.2" in await talk(b"")

    run(Host(timeouts=SessionTimeouts(session_s=3600)), use)


def test_connections_beyond_the_limit_are_told_421() -> None:
    async def use(host: Host) -> None:
        async with host.client() as first, host.client() as second:
            assert (await first(b"")).startswith(b"220")
            assert (await second(b"")).startswith(b"421 mx.test Too many connections")
        await asyncio.sleep(0.05)
        async with host.client() as third:
            assert (await third(b"")).startswith(b"220")

    run(Host(gate=Gate(1, 1)), use)


def test_memory_for_arriving_messages_is_bounded_and_given_back() -> None:
    budget = Budget(10_000)

    async def use(host: Host) -> None:
        async with host.client() as talk:
            await talk(MESSAGE[: MESSAGE.index(b"Subject")])
            await talk((b"x" * 900 + b"\r\n") * 20)
            assert budget.used <= 10_000
            assert (await talk(b".\r\n")).startswith(b"452 4.3.1")
        await asyncio.sleep(0.05)
        assert budget.used == 0

    assert run(Host(budget=budget), use).taken == []


def test_draining_closes_idle_sessions_and_lets_a_transaction_end() -> None:
    async def use(host: Host) -> None:
        async with host.client() as idle, host.client() as busy:
            await idle(b"EHLO c\r\n")
            await busy(MESSAGE[: MESSAGE.index(b"hi")])
            host.roll.drain()
            assert (await idle(b"")).startswith(b"421 4.3.2")
            said = await busy(b"hi\r\n.\r\n")
            assert said.startswith(b"250")
            assert b"421 4.3.2" in said

    assert len(run(Host(), use).taken) == 1


@pytest.mark.parametrize("size", [1, 7])
def test_any_chunking_on_a_real_socket_gives_the_same_message(size: int) -> None:
    async def use(host: Host) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", host.port)
        for start in range(0, len(MESSAGE), size):
            writer.write(MESSAGE[start : start + size])
            await writer.drain()
            await asyncio.sleep(0)
        assert (await reader.read()).endswith(b"closing connection\r\n")
        writer.transport.abort()

    assert [event.body for event in run(Host(), use).taken] == [b"Subject: x\r\n\r\nhi\r\n"]


def test_s24_what_comes_with_the_last_word_of_the_handshake_is_not_lost() -> None:
    authority = trustme.CA()
    server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("mx.test").configure_cert(server_tls)
    client_tls = ssl.create_default_context()
    authority.configure_trust(client_tls)

    async def use(host: Host) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", host.port)
        await reader.readuntil(b"220 mx.test ESMTP Postroad\r\n")
        writer.write(b"EHLO c\r\nSTARTTLS\r\n")
        await reader.readuntil(b"220 2.0.0 Ready to start TLS\r\n")
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = client_tls.wrap_bio(incoming, outgoing, server_hostname="mx.test")
        with contextlib.suppress(ssl.SSLWantReadError):
            tls.do_handshake()
        writer.write(outgoing.read())
        while True:
            incoming.write(await reader.read(1 << 16))
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                continue
        tls.write(b"EHLO again\r\n")
        writer.write(outgoing.read())  # Finished and EHLO, in one packet
        said = b""
        while b"greets again" not in said:
            incoming.write(await reader.read(1 << 16))
            with contextlib.suppress(ssl.SSLWantReadError):
                said += tls.read(1 << 16)
        writer.close()

    run(Host(tls=server_tls), use)


def test_h02_a_client_that_sends_on_while_its_message_is_kept_is_read_only_so_far() -> None:
    kept: list[asyncio.Future[Reply | None]] = []

    def accept(caller: object, event: object, amended: object) -> asyncio.Future[Reply | None]:
        kept.append(asyncio.get_running_loop().create_future())
        return kept[-1]

    async def use(host: Host) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", host.port)
        once = b"MAIL FROM:<>\r\nRCPT TO:<c@d.test>\r\nBDAT 2 LAST\r\n\r\n"
        writer.write(b"EHLO c\r\n" + once * 100_000)
        largest = 0
        for _ in range(200):
            await asyncio.sleep(0)
            while kept:
                kept.pop().set_result(None)
            for session in host.roll.sessions:
                assert isinstance(session, Reception)
                largest = max(largest, session._session.buffered_octets)
        assert 0 < largest < 1 << 20
        writer.transport.abort()

    run(Host(accept), use)


def test_a_client_that_has_closed_its_half_still_gets_its_answer() -> None:
    kept: list[asyncio.Future[Reply | None]] = []

    def accept(caller: object, event: object, amended: object) -> asyncio.Future[Reply | None]:
        kept.append(asyncio.get_running_loop().create_future())
        return kept[-1]

    async def use(host: Host) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", host.port)
        writer.write(MESSAGE)
        writer.write_eof()
        while not kept:
            await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        kept[0].set_result(reply(250, "Kept", "2.0.0"))
        assert b"250 2.0.0 Kept" in await reader.read()
        writer.close()

    run(Host(accept), use)


def test_s16_no_timer_refuses_a_message_that_is_being_kept() -> None:
    kept: list[asyncio.Future[Reply | None]] = []

    def accept(caller: object, event: object, amended: object) -> asyncio.Future[Reply | None]:
        kept.append(asyncio.get_running_loop().create_future())
        return kept[-1]

    async def use(host: Host) -> None:
        async with host.client() as talk:
            await talk(MESSAGE)
            host.roll.sweep(asyncio.get_running_loop().time() + 1e6)
            kept[0].set_result(reply(250, "Kept", "2.0.0"))
            assert b"250 2.0.0 Kept" in await talk(b"")

    run(Host(accept), use)
