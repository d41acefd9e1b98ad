"""What lab hosts do with a message: keep it, refuse it, break off, send it back, and note it recipient by recipient."""

from __future__ import annotations

import asyncio
import email
import email.policy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.raw import DOMAIN, Client, codes, dialogue, one_host, rcpt, run
from postroad.lab.letter import Letter, header_of
from postroad.lab.log import Ending, LabLog, What
from postroad.lab.notice import notice
from postroad.lab.personality import Standing
from postroad.lab.returning import GiveBack
from postroad.lab.running import SimulatedLab
from postroad.lab.world import World
from postroad.meaning.bounce import ReportKind, read_bounce

HELLO = ("EHLO us.example", "MAIL FROM:<me@us.example>")
MESSAGE = ("DATA", "Message-ID: <one@us.example>\r\n\r\nhello\r\n.")


def took(log: LabLog) -> list[tuple[str, str, int]]:
    return [(one.argument, one.message_id, one.code) for one in log.events if one.what is What.TOOK]


def twice(world: World, log: LabLog) -> list[list[str]]:
    """The same message in two sessions."""

    async def main(lab: SimulatedLab) -> list[list[str]]:
        heard = []
        for _ in range(2):
            client = await Client.connect(lab)
            heard.append(codes([await client.hear(), *await client.say(*HELLO, rcpt("ann"), *MESSAGE)]))
        return heard

    return run(main, world, log=log)


def test_each_recipient_that_has_the_message_is_noted_with_its_message_id() -> None:
    log = LabLog()
    dialogue(one_host(), *HELLO, rcpt("ann"), rcpt("nobody"), rcpt("bob"), *MESSAGE, log=log)
    assert took(log) == [(f"{name}@{DOMAIN}", "<one@us.example>", 250) for name in ("ann", "bob")]


@pytest.mark.parametrize(("how", "at", "code"), [(0, -1, "5"), (1, 5, "5"), (2, -1, "4"), (3, -1, "552")])
def test_a_host_may_refuse_the_message_at_its_end_or_at_data(how: int, at: int, code: str) -> None:
    log = LabLog()
    lines = (*HELLO, rcpt("ann"), *(MESSAGE if how != 1 else MESSAGE[:1]))
    said = dialogue(one_host("refuses_data", how=how), *lines, log=log)
    assert said[3].startswith("250") and said[-1].startswith(code)
    assert took(log) == []


def test_what_was_refused_with_4yz_is_taken_when_it_comes_again() -> None:
    log = LabLog()
    first, second = twice(one_host("refuses_data", how=2, times=1), log)
    assert first[-1][0] == "4" and second[-1] == "250"
    assert len(took(log)) == 1


@pytest.mark.parametrize(("how", "copies"), [(0, [250]), (1, [0, 250]), (2, [250])])
def test_a_host_that_breaks_off_takes_the_message_when_it_comes_again_and_tells_what_it_had_kept(
    how: int, copies: list[int]
) -> None:
    log = LabLog()

    async def main(lab: SimulatedLab) -> None:
        for _ in range(2):
            client = await Client.connect(lab)
            try:
                await client.hear()
                await client.say(*HELLO, rcpt("ann"), *MESSAGE)
            except ConnectionResetError:
                continue

    run(main, one_host("cuts_data", how=how), log=log)
    assert [code for _, _, code in took(log)] == copies
    assert next(one.ending for one in log.events if one.what is What.CLOSE) == Ending.HOST


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_busy_host_says_421_in_its_first_session_and_takes_the_message_in_the_next(at: int) -> None:
    log = LabLog()

    async def main(lab: SimulatedLab) -> list[str]:
        last = []
        for _ in range(2):
            client = await Client.connect(lab)
            heard = [await client.hear()]
            for line in (*HELLO, rcpt("ann"), *MESSAGE):
                if heard[-1].startswith("421"):
                    break
                heard += await client.say(line)
            last.append(heard[-1][:3])
        return last

    assert run(main, one_host("busy", at=at, every=2), log=log) == ["421", "250"]
    assert len(took(log)) == 1


# What comes back --------------------------------------------------------------------------------------------------


def letter(**changes: object) -> Letter:
    values = {
        "sender": "me@us.example",
        "recipients": ("ann@d.example", "no@d.example"),
        "bouncing": ("no@d.example",),
        "header": b"Message-ID: <one@us.example>\r\nSubject: x\r\n",
        "code": 250,
        "is_kept": True,
    }
    return Letter(**{**values, **changes})  # type: ignore[arg-type]


def test_the_notice_is_a_delivery_status_notification_about_those_who_bounce_alone() -> None:
    report = read_bounce(notice("mx.d.example", letter(), 1))
    assert report.kind is ReportKind.BOUNCE and report.original_message_id == "<one@us.example>"
    (told,) = report.recipients
    assert (told.address, told.action, told.status, told.code) == ("no@d.example", "failed", "5.1.1", 550)
    parsed = email.message_from_bytes(notice("mx.d.example", letter(), 1), policy=email.policy.default)
    assert parsed.get_content_type() == "multipart/report" and not parsed.defects


@given(st.binary(max_size=300))
def test_the_header_of_any_message_is_cut_off_and_its_message_id_read(body: bytes) -> None:
    header = header_of(body)
    assert body.startswith(header)
    assert isinstance(letter(header=header).message_id, str)


def test_what_bounces_goes_to_the_sender_in_a_session_from_nobody() -> None:
    heard: list[bytes] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 us.example\r\n")
        while line := await reader.readline():
            heard.append(line.strip())
            if line == b"DATA\r\n":
                writer.write(b"354 go\r\n")
                heard.append(await reader.readuntil(b"\r\n.\r\n"))
            writer.write(b"250 ok\r\n")
            if line == b"QUIT\r\n":
                break
        writer.close()

    async def main() -> GiveBack:
        server = await asyncio.start_server(take, "127.0.0.1", 0)
        given = GiveBack(*server.sockets[0].getsockname()[:2])
        given.start()
        given.take("mx.d.example", letter())
        given.take("mx.d.example", letter(sender=""))
        async with asyncio.timeout(10):
            while not given.sent:
                await asyncio.sleep(0.01)
        await given.stop()
        server.close()
        return given

    given = asyncio.run(main())
    assert (given.sent, given.lost, given.waiting) == (1, 0, 0)
    assert b"MAIL FROM:<>" in heard and b"RCPT TO:<me@us.example>" in heard


def test_what_the_senders_host_refuses_for_good_is_counted_as_lost() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"554 no\r\n")
        writer.close()

    async def main() -> GiveBack:
        server = await asyncio.start_server(refuse, "127.0.0.1", 0)
        given = GiveBack(*server.sockets[0].getsockname()[:2])
        given.start()
        given.take("mx.d.example", letter())
        async with asyncio.timeout(10):
            while not given.lost:
                await asyncio.sleep(0.01)
        await given.stop()
        server.close()
        return given

    assert asyncio.run(main()).sent == 0


def test_only_those_taken_to_be_bounced_come_back() -> None:
    log = LabLog()
    dialogue(one_host(others=Standing.BOUNCES), *HELLO, rcpt("ann"), rcpt("nobody"), *MESSAGE, log=log)
    assert [one.argument for one in log.events if one.what is What.BOUNCE] == [f"nobody@{DOMAIN}"]
