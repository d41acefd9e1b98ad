"""The door on real sockets: who talks before the greeting, who sends ahead, what is logged, and 5,000 slow clients."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import resource
import socket

import pytest

from postroad.events import configure
from postroad.receive.caller import Caller
from postroad.receive.checks import Checks
from postroad.receive.guard.strangers import mark
from postroad.smtp.reply import reply
from receive.test_session import MESSAGE, Host, run

SLOW = 5000
"""Connections of H-03; each takes two descriptors of this process."""


@pytest.fixture
def log() -> list[dict[str, object]]:
    """What is logged, as it is logged."""
    entries: list[dict[str, object]] = []

    class Stream(io.StringIO):
        def write(self, text: str) -> int:
            entries.append(json.loads(text))
            return len(text)

    configure(level="debug", as_json=True, stream=Stream())
    return entries


def test_h04_who_talks_before_the_greeting_is_told_554_and_who_waits_is_greeted() -> None:
    async def use(host: Host) -> None:
        async with host.client() as hasty, host.client() as patient:
            said = await hasty(b"EHLO c\r\n")
            assert said.startswith(b"554 mx.test You talked before our greeting")
            assert b"250" not in said
            while not (greeted := await patient(b"")):
                pass
            assert greeted == b"220 mx.test ESMTP Postroad\r\n"
            assert (await patient(b"EHLO c\r\n")).startswith(b"250-mx.test")

    run(Host(greeting_delay=lambda caller: 0.5, refuses_early_talk=True), use)


def test_h04_early_talk_may_be_noted_and_the_client_served_in_order() -> None:
    async def use(host: Host) -> None:
        async with host.client() as hasty:
            said = await hasty(b"EHLO c\r\nNOOP\r\n")
            while b"250 2.0.0" not in said:
                said += await hasty(b"")
            assert said.startswith(b"220 mx.test ESMTP Postroad\r\n250-mx.test")
            (session,) = host.roll.sessions
            assert session.caller.talked_early  # type: ignore[attr-defined]

    run(Host(greeting_delay=lambda caller: 0.5), use)


def test_h04_what_is_sent_during_the_delay_is_read_only_so_far() -> None:
    async def use(host: Host) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", host.port)
        writer.write(b"NOOP\r\n" * 500_000)
        await asyncio.sleep(0.1)
        (session,) = host.roll.sessions
        assert session._session.buffered_octets < 1 << 20  # type: ignore[attr-defined]
        writer.transport.abort()

    run(Host(greeting_delay=lambda caller: 30.0), use)


def test_waiting_for_the_greeting_costs_no_task() -> None:
    async def use(host: Host) -> None:
        async with contextlib.AsyncExitStack() as clients:
            for _ in range(20):
                await clients.enter_async_context(host.client())
            while len(host.roll.sessions) < 20:
                await asyncio.sleep(0.01)
            assert not host.tasks

    run(Host(greeting_delay=lambda caller: 30.0), use)


def test_h04_commands_ahead_of_the_answer_to_ehlo_are_seen() -> None:
    ahead: list[bool] = []

    def look(caller: Caller, event: object) -> None:
        ahead.append(caller.talked_ahead)

    async def use(host: Host) -> None:
        async with host.client() as hasty, host.client() as patient:
            await hasty(b"EHLO c\r\nMAIL FROM:<>\r\n")
            await patient(b"EHLO c\r\n")

    run(Host(checks=Checks(hello=(look,))), use)
    assert ahead == [True, False]


def test_marks_stand_above_the_message_that_is_kept() -> None:
    kept: list[bytes] = []

    def odd(caller: Caller, event: object) -> None:
        caller.mark("talked-ahead")

    def keep(caller: object, event: object, amended: object) -> None:
        kept.append(amended.above)  # type: ignore[attr-defined]

    async def use(host: Host) -> None:
        async with host.client() as talk:
            assert b"221" in await talk(MESSAGE)

    run(Host(keep, Checks(hello=(odd,), message=(mark,))), use)
    assert kept == [b"X-Postroad-Marks: talked-ahead\r\n"]


def test_what_the_protocol_itself_refuses_is_logged_with_what_was_said(log: list[dict[str, object]]) -> None:
    async def use(host: Host) -> None:
        async with host.client() as talk:
            await talk(b"NONSENSE\r\nEHLO c\r\nRCPT TO:<a@b.test>\r\nMAIL FROM:<a@b.test> SIZE=99999999999\r\n")
            await talk(b"MAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\n")
            await talk(b"Subject: x\r\n\r\nbare\nline\r\n.\r\nQUIT\r\n")

    run(Host(), use)
    refused = [entry["reply"] for entry in log if entry["event"] == "session.rejected"]
    assert [str(one)[:9] for one in refused] == ["500 5.5.2", "503 5.5.1", "552 5.3.4", "550 5.6.0"] or [
        str(one)[:3] for one in refused
    ] == ["500", "503", "552", "550"]


def test_recipients_beyond_the_limit_are_logged_once_for_a_message(log: list[dict[str, object]]) -> None:
    async def use(host: Host) -> None:
        async with host.client() as talk:
            await talk(b"EHLO c\r\nMAIL FROM:<a@b.test>\r\n")
            for number in range(5):
                await talk(b"".join(b"RCPT TO:<u%d.%d@d.test>\r\n" % (number, one) for one in range(250)))

    run(Host(), use)
    assert [str(entry["reply"])[:3] for entry in log if entry["event"] == "session.rejected"] == ["452"]


def test_recipients_refused_for_good_are_told_of_and_others_are_not() -> None:
    refused: list[str] = []
    answers = {"gone": reply(550, "No", "5.1.1"), "later": reply(450, "Later", "4.2.1")}

    def judge(caller: Caller, event: object) -> object:
        return answers.get(event.forward_path.local)  # type: ignore[attr-defined]

    async def use(host: Host) -> None:
        async with host.client() as talk:
            await talk(
                b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<gone@d.test>\r\nRCPT TO:<later@d.test>\r\nRCPT TO:<ann@d.test>\r\n"
            )

    checks = Checks(rcpt=(judge,))  # type: ignore[arg-type]
    run(Host(checks=checks, recipient_refused=lambda caller: refused.append(caller.peer)), use)
    assert refused == ["127.0.0.1"]


def test_h03_honest_mail_goes_on_beside_5000_connections_that_send_a_byte_at_a_time() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * SLOW + 200
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"{SLOW} connections need {wanted} files, and the machine allows {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))

    async def use(host: Host) -> None:
        slow: list[socket.socket] = []
        try:
            for number in range(SLOW):
                client = socket.socket()
                slow.append(client)
                client.setblocking(False)
                await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", host.port))
                if number % 50 == 0:
                    await asyncio.sleep(0)
            while len(host.roll.sessions) < SLOW:
                await asyncio.sleep(0.01)
            for octet in (b"E", b"H", b"L", b"O"):
                for client in slow:
                    client.send(octet)
                async with host.client() as honest:
                    said = b""
                    said += await honest(MESSAGE)
                    while b"221" not in said:
                        said += await honest(b"")
                    assert b"\r\n250 2.0.0 OK\r\n221" in said
            assert len(host.roll.sessions) >= SLOW, "they are still there, and harm nobody"
            now = asyncio.get_running_loop().time()
            assert {session.deadline < now + 301 for session in host.roll.sessions} == {True}
            host.roll.sweep(now + 301)
            for _ in range(1000):
                if not host.roll.sessions:
                    break
                await asyncio.sleep(0.01)
            assert not host.roll.sessions, "each ended when its time for one command was over"
            said = slow[0].recv(4096)
            assert b"421 4.4.2 mx.test Timeout exceeded" in said
        finally:
            for client in slow:
                client.close()

    try:
        assert len(run(Host(), use).taken) == 4
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
