"""The simulated loop: time that jumps, order, refusal, silence, flow control, resets, TLS, and work for threads."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from postroad.lab.simloop import SimulatedLoop, StandstillError
from postroad.lab.wire import WINDOW

Result = TypeVar("Result")


def run(main: Callable[[], Coroutine[Any, Any, Result]], **options: Any) -> Result:
    with asyncio.Runner(loop_factory=lambda: SimulatedLoop(**options)) as runner:
        return runner.run(main())


def now() -> float:
    return asyncio.get_running_loop().time()


class Peer(asyncio.Protocol):
    """Notes what happens to it."""

    def __init__(self) -> None:
        self.got = bytearray()
        self.happened: list[str] = []
        self.transport: Any = None
        self.lost = asyncio.get_running_loop().create_future()
        self.times: list[float] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.got += data
        self.times.append(now())

    def eof_received(self) -> bool:
        self.happened.append("eof")
        return False

    def pause_writing(self) -> None:
        self.happened.append("pause")

    def resume_writing(self) -> None:
        self.happened.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.happened.append("lost" if exc is None else type(exc).__name__)
        self.lost.set_result(exc)


async def pair() -> tuple[Peer, Peer]:
    """A client and a server that are connected."""
    loop = asyncio.get_running_loop()
    served: list[Peer] = []

    def serve() -> Peer:
        served.append(Peer())
        return served[-1]

    await loop.create_server(serve, "127.1.0.1", 25)
    _, client = await loop.create_connection(Peer, "127.1.0.1", 25)
    return client, served[0]


@given(st.lists(st.floats(0.001, 1e6), min_size=1, max_size=20))
def test_timers_fire_in_the_order_of_their_times_and_the_clock_stands_at_each(delays: list[float]) -> None:
    async def main() -> list[tuple[float, float]]:
        loop = asyncio.get_running_loop()
        fired: list[tuple[float, float]] = []
        for delay in delays:
            loop.call_at(delay, lambda due: fired.append((due, loop.time())), delay)
        await asyncio.sleep(max(delays) + 1)
        return fired

    fired = run(main)
    assert [delay for delay, _ in fired] == sorted(delays)
    assert all(at == pytest.approx(delay, abs=2e-6) for delay, at in fired)


def test_a_year_passes_in_no_time() -> None:
    async def main() -> float:
        await asyncio.sleep(365 * 86_400)
        return now()

    assert run(main) == pytest.approx(365 * 86_400)


def test_a_program_that_would_wait_for_ever_is_told_so() -> None:
    async def main() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(StandstillError, match="stands still"):
        run(main)


def test_a_port_where_nobody_listens_refuses_and_a_silent_address_never_answers() -> None:
    async def main() -> list[str]:
        loop = asyncio.get_running_loop()
        with pytest.raises(ConnectionRefusedError):
            await loop.create_connection(Peer, "127.1.0.1", 25)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(30):
                await loop.create_connection(Peer, "127.1.0.2", 25)
        assert isinstance(loop, SimulatedLoop)
        return [attempt.address for attempt in loop.attempts]

    assert run(main, silent=["127.1.0.2"]) == ["127.1.0.1", "127.1.0.2"], "each attempt is noted"


def test_a_closed_listener_refuses_and_its_port_is_free_again() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Peer, "127.1.0.1", 25)
        with pytest.raises(OSError, match="listens on port 25"):
            await loop.create_server(Peer, "127.1.0.1", 25)
        server.close()
        with pytest.raises(ConnectionRefusedError):
            await loop.create_connection(Peer, "127.1.0.1", 25)
        await loop.create_server(Peer, "127.1.0.1", 25)

    run(main)


def test_bytes_arrive_in_order_after_the_latency_of_the_link() -> None:
    async def main() -> tuple[bytes, list[float]]:
        client, server = await pair()
        assert now() == pytest.approx(0.2), "a handshake there and back"
        client.transport.write(b"one ")
        client.transport.write(b"two")
        await asyncio.sleep(1)
        return bytes(server.got), server.times

    got, times = run(main, latency_s=0.1)
    assert got == b"one two" and times == pytest.approx([0.3, 0.3])


def test_peers_know_each_others_addresses_and_a_local_address_is_kept() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        client, server = await pair()
        assert server.transport.get_extra_info("peername") == client.transport.get_extra_info("sockname")
        assert client.transport.get_extra_info("peername") == ("127.1.0.1", 25)
        transport, _ = await loop.create_connection(Peer, "127.1.0.1", 25, local_addr=("127.0.0.9", 0))
        assert transport.get_extra_info("sockname")[0] == "127.0.0.9"

    run(main)


def test_a_reader_that_pauses_holds_the_writer_up_and_loses_nothing() -> None:
    async def main() -> None:
        client, server = await pair()
        server.transport.pause_reading()
        sent = bytes(range(256)) * 4096
        client.transport.write(sent)
        await asyncio.sleep(1)
        assert client.happened == ["pause"] and not server.got
        assert client.transport.get_write_buffer_size() == len(sent) - WINDOW
        server.transport.resume_reading()
        await asyncio.sleep(1)
        assert client.happened == ["pause", "resume"] and server.got == sent
        client.transport.close()
        await asyncio.sleep(1)
        assert server.happened == ["eof", "lost"]

    run(main, latency_s=0.01)


@given(st.lists(st.binary(min_size=1, max_size=100_000), max_size=8), st.booleans())
def test_whatever_was_written_before_a_close_arrives_before_the_end(pieces: list[bytes], late: bool) -> None:
    async def main() -> tuple[bytes, list[str]]:
        client, server = await pair()
        if late:
            server.transport.pause_reading()
            asyncio.get_running_loop().call_later(5, server.transport.resume_reading)
        for piece in pieces:
            client.transport.write(piece)
        client.transport.close()
        await server.lost
        return bytes(server.got), server.happened

    assert run(main, latency_s=0.01) == (b"".join(pieces), ["eof", "lost"])


def test_an_abort_ends_and_a_reset_breaks_the_other_side() -> None:
    async def main() -> None:
        client, server = await pair()
        client.transport.abort()
        client.transport.write(b"nothing")
        await asyncio.sleep(1)
        assert server.happened == ["eof", "lost"] and client.happened == ["lost"] and not server.got

    run(main)

    async def reset() -> None:
        client, server = await pair()
        server.transport.write(b"last words")
        server.transport.get_extra_info("reset")()
        await asyncio.sleep(1)
        assert client.got == b"last words" and client.happened == ["ConnectionResetError"]
        assert client.transport.is_closing()

    run(reset)


def test_one_side_may_end_and_still_listen() -> None:
    async def main() -> str:
        loop = asyncio.get_running_loop()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write((await reader.read()).upper())
            writer.close()

        def make() -> asyncio.StreamReaderProtocol:
            return asyncio.StreamReaderProtocol(asyncio.StreamReader(), serve)

        await loop.create_server(make, "127.1.0.1", 25)
        reader, writer = await asyncio.open_connection("127.1.0.1", 25)
        writer.write(b"whisper")
        writer.write_eof()
        said = (await reader.read()).decode()
        writer.close()
        return said

    assert run(main) == "WHISPER"


def contexts(directory: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("mx.d.example").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


def test_tls_from_the_first_byte_and_a_name_that_does_not_fit(tmp_path: Path) -> None:
    server_tls, client_tls = contexts(tmp_path)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        served: list[Peer] = []

        def serve() -> Peer:
            served.append(Peer())
            return served[-1]

        await loop.create_server(serve, "127.1.0.1", 465, ssl=server_tls)
        transport, client = await loop.create_connection(
            Peer, "127.1.0.1", 465, ssl=client_tls, server_hostname="mx.d.example"
        )
        assert transport.get_extra_info("ssl_object") is not None
        big = b"x" * 1_000_000
        transport.write(big)
        await asyncio.sleep(1)
        assert served[0].got == big
        transport.close()
        await client.lost
        assert served[0].happened[-1] == "lost"
        with pytest.raises(ssl.SSLCertVerificationError):
            await loop.create_connection(Peer, "127.1.0.1", 465, ssl=client_tls, server_hostname="other.example")

    run(main, latency_s=0.01)


def test_work_for_threads_is_done_at_once_and_its_exception_comes_out() -> None:
    async def main() -> None:
        assert await asyncio.to_thread(len, "four") == 4
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(lambda: 1 // 0)

    run(main)


def test_sets_of_tasks_have_the_same_order_in_every_run() -> None:
    async def main() -> list[int]:
        async def number(value: int) -> int:
            return value

        done, _ = await asyncio.wait([asyncio.create_task(number(value)) for value in range(500)])
        return [task.result() for task in done]

    assert run(main) == run(main)


def test_names_are_not_looked_up() -> None:
    async def main() -> None:
        with pytest.raises(OSError, match="asks no DNS"):
            await asyncio.get_running_loop().getaddrinfo("mx.d.example", 25)

    run(main)
