"""Each personality as a client meets it, in the simulated loop: raw dialogues, line by line."""

from __future__ import annotations

import asyncio
import ssl

import pytest

from lab.raw import ADDRESS, Client, codes, dialogue, one_host, rcpt, run
from postroad.lab.host import Latency
from postroad.lab.log import Ending, LabLog, What
from postroad.lab.personality import Standing
from postroad.lab.running import SimulatedLab

HELLO = ("EHLO us.example", "MAIL FROM:<me@us.example>")
NULL = ("EHLO us.example", "MAIL FROM:<>")


def test_the_honest_host_tells_existing_absent_full_and_disabled_apart() -> None:
    said = dialogue(one_host(), *HELLO, rcpt("ann"), rcpt("ANN"), rcpt("nobody"), rcpt("full"), rcpt("old"), "QUIT")
    assert codes(said)[:5] == ["220", "250", "250", "250", "250"]
    assert said[5][0] == "5" and said[6][0] in "45" and said[7][0] == "5"
    assert said[8].startswith("221")


def test_recipients_of_a_domain_that_is_not_the_hosts_are_no_relaying() -> None:
    (refused,) = dialogue(one_host(), *HELLO, "RCPT TO:<ann@elsewhere.example>")[3:]
    assert refused[0] == "5" and "relay" in refused.lower()


def test_the_order_of_commands_is_kept() -> None:
    said = dialogue(one_host(), "MAIL FROM:<>", "EHLO us.example", rcpt("ann"), "DATA", "NONSENSE", "EHLO")
    assert codes(said) == ["220", "503", "250", "503", "503", *codes(said)[5:]]
    assert said[5][:3] in ("500", "502") and said[6][:3] == "501"


def test_a_message_is_taken_counted_and_bounced_where_the_host_accepts_first() -> None:
    log = LabLog()
    world = one_host(others=Standing.BOUNCES)
    lines = (*HELLO, rcpt("ann"), rcpt("nobody"), "DATA", "Subject: x\r\n\r\n..hello\r\n.", "QUIT")
    assert codes(dialogue(world, *lines, log=log)) == ["220", "250", "250", "250", "250", "354", "250", "221"]
    assert [event.argument for event in log.events if event.verb == "."] == ["22 octets"]
    assert sum(event.what is What.BOUNCE for event in log.events) == 1, "nobody's copy comes back, ann's does not"
    assert log.politeness().whole.data == 1


def test_a_catch_all_takes_everybody() -> None:
    assert codes(dialogue(one_host(others=Standing.EXISTS), *HELLO, rcpt("x1"), rcpt("x2")))[3:] == ["250", "250"]


def test_greylisting_takes_a_triplet_that_comes_again_after_the_delay_and_not_before() -> None:
    async def main(lab: SimulatedLab) -> list[str]:
        client = await (await Client.connect(lab)).begin()
        heard = await client.say(rcpt("ann"))
        for seconds in (100, 150, 100):
            await asyncio.sleep(seconds)
            heard += await client.say(rcpt("ann"))
        return [*heard, *await client.say("RSET", "MAIL FROM:<other@us.example>", rcpt("ann"))]

    heard = run(main, one_host("greylisting", delay_s=300))
    assert [said[0] for said in heard[:4]] == ["4", "4", "4", "2"]
    assert heard[-1][0] == "4", "another sender is another triplet"


def test_greylisting_may_tell_an_absent_mailbox_at_once_or_only_later() -> None:
    assert dialogue(one_host("greylisting", knows_first=1), *HELLO, rcpt("nobody"))[-1][0] == "5"
    assert dialogue(one_host("greylisting", knows_first=0), *HELLO, rcpt("nobody"))[-1][0] == "4"


def test_greylisting_knows_a_network_that_has_come_again_often_enough() -> None:
    async def main(lab: SimulatedLab) -> str:
        client = await (await Client.connect(lab)).begin()
        await client.say(rcpt("ann"))
        await asyncio.sleep(61)
        await client.say(rcpt("ann"))
        return (await client.say(rcpt("bob")))[0]

    assert run(main, one_host("greylisting", delay_s=60, passes=1))[0] == "2"


def test_a_tarpit_takes_longer_for_each_recipient_beyond_the_free_ones() -> None:
    async def main(lab: SimulatedLab) -> list[float]:
        client = await (await Client.connect(lab)).begin()
        times = []
        for _ in range(6):
            before = client.now()
            await client.say(rcpt("ann"))
            times.append(round(client.now() - before, 3))
        return times

    assert run(main, one_host("tarpit", free=2, step_s=1.0, ceiling_s=3.0)) == [0, 0, 1, 2, 3, 3]


def test_a_slow_host_greets_late_and_takes_its_time_for_each_reply() -> None:
    async def main(lab: SimulatedLab) -> list[float]:
        client = await Client.connect(lab)
        await client.hear()
        times = [client.now()]
        for line in (*HELLO, rcpt("ann")):
            await client.say(line)
            times.append(client.now())
        return times

    assert run(main, one_host("slow", greeting_s=20, reply_s=5)) == pytest.approx([20, 25, 30, 35])


@pytest.mark.parametrize("closes", [0, 1])
def test_a_rate_limit_counts_recipients_of_the_last_minute(closes: int) -> None:
    async def main(lab: SimulatedLab) -> list[str]:
        client = await (await Client.connect(lab)).begin()
        heard = await client.say(*[rcpt("ann")] * 4)
        if closes:
            assert await client.hear() == "", "421 ends the session"
            client = await (await Client.connect(lab)).begin()
        await asyncio.sleep(60)
        return [*heard, *await client.say(rcpt("bob"))]

    heard = run(main, one_host("rate_limited", recipients_in=3, closes=closes))
    assert codes(heard)[:3] == ["250"] * 3 and heard[4].startswith("250")
    assert heard[3][0] == "4" and heard[3].startswith("421") is bool(closes)


def test_a_host_that_bears_one_connection_greets_a_second_with_421_until_the_first_has_ended() -> None:
    async def main(lab: SimulatedLab) -> list[str]:
        first = await Client.connect(lab)
        heard = [await first.hear(), await (await Client.connect(lab)).hear()]
        await first.say("QUIT")
        await asyncio.sleep(1)
        return [*heard, await (await Client.connect(lab)).hear()]

    assert codes(run(main, one_host("few_connections", connections=1))) == ["220", "421", "220"]


@pytest.mark.parametrize(("cuts", "word"), [(0, "452"), (1, ""), (2, "reset")])
def test_short_sessions_bear_so_many_recipients(cuts: int, word: str) -> None:
    async def main(lab: SimulatedLab) -> list[str]:
        client = await (await Client.connect(lab)).begin()
        heard = await client.say(rcpt("ann"), rcpt("bob"))
        try:
            return [*heard, *await client.say(rcpt("ann"))]
        except ConnectionResetError:
            return [*heard, "reset"]

    heard = run(main, one_host("short_sessions", session=2, cuts=cuts))
    assert codes(heard)[:2] == ["250", "250"] and heard[2].startswith(word) and bool(heard[2]) is bool(word)


def test_blocked_by_banner_with_the_connection_closed_or_kept() -> None:
    closed = dialogue(one_host("blocks_greeting", closes=1), "EHLO us.example")
    assert closed[0][0] in "45" and closed[1] == ""
    kept = dialogue(one_host("blocks_greeting", closes=0), "EHLO us.example", "QUIT")
    assert kept[0][0] in "45" and kept[1][0] == "5" and kept[2].startswith("221")


def test_blocked_at_mail_and_at_rcpt() -> None:
    assert dialogue(one_host("blocks_mail"), *HELLO)[-1][0] == "5"
    assert [said[0] for said in dialogue(one_host("blocks_recipient"), *HELLO, rcpt("ann"))] == ["2", "2", "2", "5"]
    assert dialogue(one_host("temporary"), *HELLO, rcpt("ann"))[-1][0] == "4"


def test_null_senders_are_refused_at_mail_or_at_rcpt_and_others_taken() -> None:
    assert dialogue(one_host("rejects_null"), *NULL)[-1][0] == "5"
    late = dialogue(one_host("rejects_null", late=1), *NULL, rcpt("ann"))
    assert [said[0] for said in late[2:]] == ["2", "5"]
    for is_late in (0, 1):
        assert dialogue(one_host("rejects_null", late=is_late), *HELLO, rcpt("ann"))[-1][0] == "2"


@pytest.mark.parametrize(("named", "taken"), [("", False), ("other.example", False), ("us.example", True)])
def test_a_host_that_wants_a_name_wants_the_one_in_ehlo(named: str, taken: bool) -> None:
    said = dialogue(one_host("wants_name", named=named), *HELLO, rcpt("ann"))[-1]
    assert said.startswith("250") is taken


async def secured(lab: SimulatedLab, *lines: str) -> list[str]:
    """EHLO, STARTTLS, the handshake, and then those lines."""
    client = await Client.connect(lab)
    assert (await client.hear()).startswith("220")
    offered, ready = await client.say("EHLO us.example", "STARTTLS")
    assert "STARTTLS" in offered
    if not ready.startswith("220"):
        return [ready]
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    await client.writer.start_tls(context, server_hostname="mx.d.example")
    return await client.say(*lines)


def test_starttls_secures_the_session_and_begins_it_anew() -> None:
    said = run(lambda lab: secured(lab, "MAIL FROM:<>", *HELLO, rcpt("ann")), one_host("wants_tls"))
    assert codes(said) == ["503", "250", "250", "250"] and "STARTTLS" not in said[1]
    assert codes(dialogue(one_host("wants_tls"), *HELLO))[-1] == "530"


def test_broken_starttls_is_refused_answered_with_no_tls_or_reset() -> None:
    assert run(lambda lab: secured(lab), one_host("breaks_tls", how=0))[0].startswith("454")
    with pytest.raises(ssl.SSLError):
        run(lambda lab: secured(lab), one_host("breaks_tls", how=1))
    with pytest.raises(ConnectionResetError):
        run(lambda lab: secured(lab), one_host("breaks_tls", how=2))


async def batch(lab: SimulatedLab, *lines: str) -> list[str]:
    """All lines at once, and the replies until nothing more comes."""
    client = await Client.connect(lab)
    await client.hear()
    await client.say("EHLO us.example")
    client.write(*lines)
    heard: list[str] = []
    while True:
        try:
            async with asyncio.timeout(30):
                said = await client.hear()
        except TimeoutError:
            return heard
        heard.append(said)
        if not said:
            return heard


def test_without_pipelining_commands_sent_ahead_are_borne_refused_or_end_the_session() -> None:
    lines = ("MAIL FROM:<>", rcpt("ann"), rcpt("bob"))
    assert codes(run(lambda lab: batch(lab, *lines), one_host("no_pipelining", how=0))) == ["250"] * 3
    refused = run(lambda lab: batch(lab, *lines), one_host("no_pipelining", how=1))
    assert [said[0] for said in refused] == ["2", "5", "5"]
    ended = run(lambda lab: batch(lab, *lines), one_host("no_pipelining", how=2))
    assert ended[-1] == "" and len(ended) == 3
    one_by_one = dialogue(one_host("no_pipelining", how=2), *HELLO, rcpt("ann"))
    assert one_by_one[-1].startswith("250") and "PIPELINING" not in one_by_one[1]


def test_out_of_step_a_reply_too_many_or_too_few() -> None:
    lines = ("MAIL FROM:<>", rcpt("ann"), rcpt("nobody"), rcpt("bob"))
    assert len(run(lambda lab: batch(lab, *lines), one_host("out_of_step", how=0))) == 5
    assert len(run(lambda lab: batch(lab, *lines), one_host("out_of_step", how=1))) == 5
    assert [said[0] for said in run(lambda lab: batch(lab, *lines), one_host("out_of_step", how=2))] == ["2"] * 3


@pytest.mark.parametrize("at", [0, 1, 2])
def test_endless_replies_go_on_and_a_client_that_leaves_is_not_to_blame(at: int) -> None:
    log = LabLog()

    async def main(lab: SimulatedLab) -> int:
        client = await Client.connect(lab)
        client.write(*(*HELLO, rcpt("ann"))[: at and at + at - 1])
        heard = 0
        while heard < 1_000_000:
            heard += len(await client.reader.read(65_536))
        client.writer.close()
        await asyncio.sleep(1)
        return heard

    assert run(main, one_host("endless", at=at), log=log) >= 1_000_000
    assert [event.ending for event in log.events if event.what is What.CLOSE] == [Ending.HOST]


@pytest.mark.parametrize("at", [0, 1, 2])
def test_resets_and_silence_at_each_stage(at: int) -> None:
    async def main(lab: SimulatedLab) -> str:
        client = await Client.connect(lab)
        try:
            async with asyncio.timeout(60):
                said = await client.hear()
                for line in (*HELLO, rcpt("ann")):
                    if not said:
                        return "closed"
                    (said,) = await client.say(line)
                return "closed" if not said else "answered"
        except ConnectionResetError:
            return "reset"
        except TimeoutError:
            return "silence"

    assert run(main, one_host("resets", at=at, resets=1)) == "reset"
    assert run(main, one_host("resets", at=at, resets=0)) == "closed"
    assert run(main, one_host("mute", at=at)) == "silence"


def test_hosts_that_are_down_refuse_or_never_answer() -> None:
    async def main(lab: SimulatedLab) -> str:
        try:
            async with asyncio.timeout(60):
                await Client.connect(lab)
        except ConnectionRefusedError:
            return "refused"
        except TimeoutError:
            return "silence"
        return "connected"

    assert run(main, one_host("refused")) == "refused"
    assert run(main, one_host("unanswered")) == "silence"


def test_latency_once_for_a_batch_or_for_each_reply() -> None:
    async def main(lab: SimulatedLab) -> float:
        client = await Client.connect(lab)
        await client.hear()
        before = client.now()
        client.write("EHLO us.example")
        await client.hear()
        client.write("MAIL FROM:<>", *[rcpt("ann")] * 20, "RSET")
        for _ in range(22):
            assert (await client.hear()).startswith("250")
        return client.now() - before

    assert run(main, one_host(), latency=Latency(0.05)) == pytest.approx(0.1)
    assert run(main, one_host(), latency=Latency(0.05, each_reply=True)) == pytest.approx(23 * 0.05)


def test_an_idle_client_is_told_and_left() -> None:
    async def main(lab: SimulatedLab) -> tuple[str, float]:
        client = await Client.connect(lab)
        await client.hear()
        return await client.hear(), client.now()

    said, at = run(main, one_host())
    assert said.startswith("421") and at == pytest.approx(300)


def test_addresses_of_the_world_are_where_its_hosts_stand() -> None:
    assert one_host().hosts["mx.d.example"].address == ADDRESS
