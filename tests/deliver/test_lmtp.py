"""LMTP: an answer for each recipient, whatever happens on the way; with a store of ours, and with Dovecot."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from deliver.messages import NULL, envelope, message, queue, recipient
from net.scripted import scripted
from postroad.deliver.lmtp import LmtpDelivery, LmtpSettings
from postroad.message.envelope import BodyType, Notify
from postroad.net.endpoint import Endpoint, PhaseTimeouts
from postroad.smtp.reply import Reply
from postroad.store.spool import SpooledMessage

Answers = Callable[[str, int], bytes | None]
"""The command (or `.` with the place of a recipient) → what is said; b"" closes."""


class Store:
    """A mail store on a socket. It says yes, unless `answers` says something else."""

    def __init__(self, answers: Answers = lambda command, place: None, *, offers: str = "PIPELINING") -> None:
        self.answers = answers
        self.offers = offers
        self.commands: list[str] = []
        self.bodies: list[bytes] = []
        self.connections = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        with contextlib.suppress(asyncio.CancelledError):
            await self._talk(reader, writer)
        writer.transport.abort()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        accepted = 0
        writer.write(self.answers("greeting", 0) or b"220 store LMTP\r\n")
        with contextlib.suppress(OSError):
            while line := await reader.readline():
                command = line.decode().strip()
                self.commands.append(command)
                verb = command[:4].upper()
                said = self.answers(command, accepted)
                if said == b"":
                    break
                if verb == "LHLO":
                    said = said or f"250-store\r\n250 {self.offers}\r\n".encode()
                elif verb == "MAIL":
                    accepted = 0
                    said = said or b"250 2.1.0 ok\r\n"
                elif verb == "RCPT":
                    said = said or b"250 2.1.5 ok\r\n"
                    accepted += said.startswith(b"2")
                elif verb == "DATA":
                    said = said or (b"354 go on\r\n" if accepted else b"503 5.5.1 nobody\r\n")
                    writer.write(said)
                    if said.startswith(b"354"):
                        self.bodies.append(await reader.readuntil(b"\r\n.\r\n"))
                        for place in range(accepted):
                            said = self.answers(".", place)
                            if said == b"":
                                return
                            writer.write(said or b"250 2.0.0 kept\r\n")
                    continue
                elif verb == "EHLO":
                    said = b"500 5.5.2 this is LMTP\r\n"
                writer.write(said or b"250 ok\r\n")

    @contextlib.asynccontextmanager
    async def listening(self, path: Path | None = None, **changes: float) -> AsyncIterator[LmtpDelivery]:
        if path is None:
            server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
            endpoint = Endpoint(host="127.0.0.1", address="127.0.0.1", port=server.sockets[0].getsockname()[1])
        else:
            server = await asyncio.start_unix_server(self.serve, path)
            endpoint = Endpoint(host=str(path), address="", port=0, socket_path=str(path))
        timeouts = PhaseTimeouts.all(changes.get("timeout_s", 5.0))
        try:
            yield LmtpDelivery(LmtpSettings(endpoint=endpoint, hello="mail.example.org", timeouts=timeouts))
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await server.wait_closed()


def deliver(store: Store, of: SpooledMessage, path: Path | None = None, **changes: float) -> list[Reply]:
    async def main() -> list[Reply]:
        async with store.listening(path, **changes) as transport:
            return list(await transport.deliver(of, queue(of)))

    return asyncio.run(main())


BOTH = message(envelope("ann@us.test", "ben@us.test"))


def test_each_recipient_is_answered_over_one_connection() -> None:
    store = Store(lambda command, place: b"452 4.2.2 over quota\r\n" if command == "." and place == 1 else None)
    said = deliver(store, BOTH)
    assert [str(one) for one in said] == ["250 2.0.0 kept", "452 4.2.2 over quota"]
    assert store.connections == 1
    assert store.commands[0] == "LHLO mail.example.org"
    assert store.commands[1:4] == [
        "MAIL FROM:<sender@example.org>",
        "RCPT TO:<ann@us.test>",
        "RCPT TO:<ben@us.test>",
    ]


def test_a_unix_socket_will_do(tmp_path: Path) -> None:
    assert [one.code for one in deliver(Store(), BOTH, tmp_path / "lmtp")] == [250, 250]


def test_a_recipient_that_the_store_does_not_know_is_refused_in_its_words() -> None:
    store = Store(lambda command, place: b"550 5.1.1 <ann@us.test> unknown\r\n" if "ann" in command else None)
    said = deliver(store, BOTH)
    assert [one.code for one in said] == [550, 250]
    assert "<ann@us.test> unknown" in str(said[0])


@pytest.mark.parametrize(
    ("phase", "says"),
    [("greeting", b"554 no\r\n"), ("LHLO", b"500 what\r\n"), ("LHLO", b""), ("DATA", b""), ("RCPT", b"")],
)
def test_a_store_that_cannot_be_spoken_to_is_tried_again(phase: str, says: bytes) -> None:
    said = deliver(Store(lambda command, place: says if command.startswith(phase) else None), BOTH)
    assert [one.code for one in said] == [451, 451]
    assert all("mail store" in str(one) for one in said)


def test_a_store_that_breaks_off_between_two_answers_is_asked_again_for_the_second_alone() -> None:
    said = deliver(Store(lambda command, place: b"" if command == "." and place == 1 else None), BOTH)
    assert [one.code for one in said] == [250, 451]


def test_a_store_that_says_nothing_has_its_time() -> None:
    async def main() -> list[Reply]:
        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()

        async with scripted(silent) as port:
            settings = LmtpSettings(
                endpoint=Endpoint(host="127.0.0.1", address="127.0.0.1", port=port),
                hello="x",
                timeouts=PhaseTimeouts.all(0.2),
            )
            return list(await LmtpDelivery(settings).deliver(BOTH, queue(BOTH)))

    assert ["timed out" in str(one) for one in asyncio.run(main())] == [True, True]


def test_a_store_that_is_not_there_is_tried_again(tmp_path: Path) -> None:
    endpoint = Endpoint(host="x", address="", port=0, socket_path=str(tmp_path / "none"))
    transport = LmtpDelivery(LmtpSettings(endpoint=endpoint, hello="x", timeouts=PhaseTimeouts.all(1.0)))
    said = asyncio.run(transport.deliver(BOTH, queue(BOTH)))
    assert [one.code for one in said] == [451, 451]
    assert str(tmp_path / "none") in str(said[0]) and "no such file" in str(said[0])


def test_more_recipients_than_one_transaction_takes_share_the_connection() -> None:
    many = message(envelope(*[f"u{number}@us.test" for number in range(250)]))
    store = Store()
    said = deliver(store, many)
    assert [one.code for one in said] == [250] * 250
    assert (store.connections, len(store.bodies)) == (1, 3)


def test_what_the_store_cannot_carry_is_refused_here() -> None:
    eight_bit = message(
        envelope("ann@us.test", body_type=BodyType.EIGHT_BIT), body=b"Subject: \xc3\xa9\r\n\r\n\xff\r\n"
    )
    assert [str(one.enhanced) for one in deliver(Store(), eight_bit)] == ["5.6.3"]
    assert [one.code for one in deliver(Store(offers="8BITMIME"), eight_bit)] == [250]


def test_success_is_ours_to_tell_so_the_store_is_not_asked_to() -> None:
    of = message(envelope(recipient("ann@us.test", frozenset({Notify.SUCCESS}), "rfc822;a@b.test"), sender=NULL))
    store = Store(offers="DSN")
    deliver(store, of)
    assert "MAIL FROM:<>" in store.commands
    assert "RCPT TO:<ann@us.test> ORCPT=rfc822;a@b.test" in store.commands
