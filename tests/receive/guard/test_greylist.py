"""Greylisting (RFC 6647): put off once, taken when it comes again, and not bothered after that."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.receive.caller import Caller, Role
from postroad.receive.guard.greylist import MAX_PART, GreylistPolicy, judge, steady, triplet
from postroad.receive.guard.greylisting import Greylisting
from postroad.smtp.address import NULL, Address
from postroad.smtp.extension import RcptParameters
from postroad.smtp.reply import Reply
from postroad.smtp.server_events import RcptReceived
from postroad.store.guard_book import GuardBook, Known, Step

POLICY = GreylistPolicy(delay_s=300, retry_s=3600, keep_s=100_000, network_passes=2)


@pytest.mark.parametrize(
    ("known", "passes", "delay_s", "step"),
    [
        (None, 0, 300, Step.BEGIN),
        (Known(900, 900, False), 0, 200, Step.NOTHING),
        (Known(700, 700, False), 0, 0, Step.PASS),
        (Known(-3000, -3000, False), 0, 300, Step.BEGIN),
        (Known(700, 990, True), 0, 0, Step.SEEN),
        (Known(-200_000, -150_000, True), 0, 300, Step.BEGIN),
        (Known(5000, 5000, False), 0, 300, Step.BEGIN),
        (None, 2, 0, Step.NOTHING),
        (None, 1, 300, Step.BEGIN),
    ],
)
def test_rfc6647_who_is_put_off_and_for_how_long(known: Known | None, passes: int, delay_s: float, step: Step) -> None:
    assert judge(known, passes, 1000.0, POLICY) == (delay_s, step)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("prvs=123456789a=ann@a.test", "prvs=987654321b=ann@a.test"),
        ("btv1==0aF3==ann@a.test", "btv1==1bE4==ann@a.test"),
        ("bounce-123-ann=us.test@lists.test", "bounce-124-bob=us.test@lists.test"),
        ("news+ann=us.test@lists.test", "news+bob=us.test@lists.test"),
        ("SRS0=HHH1=T1=from.test=ann@relay.test", "srs0=XXX2=T2=from.test=ann@relay.test"),
        ("0100018f2d3c4b5a-6d7e8f90@ses.test", "0100018f2d3c4b5b-11223344@ses.test"),
    ],
)
def test_what_changes_from_message_to_message_makes_no_other_sender(one: str, other: str) -> None:
    assert steady(Address.parse(one)) == steady(Address.parse(other))


def test_other_people_are_other_senders_and_nobody_is_one_too() -> None:
    names = ["ann@a.test", "bob@a.test", "ann@b.test", "prvs=123456789a=bob@b.test", "srs0=H=T=c.test=ann@a.test"]
    assert len({steady(Address.parse(name)) for name in names}) == len(names)
    assert steady(NULL) == steady(None) == "<>"


@given(st.text(max_size=600), st.text(max_size=20))
def test_any_reverse_path_has_a_bounded_steady_form_that_stays_the_same(local: str, domain: str) -> None:
    form = steady(Address(local, domain))
    assert len(form) <= MAX_PART + len(domain) + 1
    assert form == steady(Address(local, domain))


def test_a_farm_of_mail_hosts_is_one_client() -> None:
    ann, bob = Address("ann", "a.test"), Address("Bob", "us.test")
    assert triplet("192.0.2.1", ann, bob) == triplet("192.0.2.200", ann, Address("bob", "us.test"))
    assert triplet("192.0.2.1", ann, bob) != triplet("192.0.3.1", ann, bob)


def test_recipients_asked_for_together_are_put_off_taken_later_and_then_known(tmp_path: Path) -> None:
    now = [1000.0]
    said: list[list[Reply | None]] = []

    async def run() -> None:
        tasks: set[asyncio.Task[None]] = set()

        async def in_thread(work: object, *arguments: object) -> object:
            return await asyncio.get_running_loop().run_in_executor(None, work, *arguments)  # type: ignore[arg-type]

        def spawn(work: object) -> None:
            tasks.add(asyncio.get_running_loop().create_task(work))  # type: ignore[arg-type]

        with GuardBook(tmp_path / "guard.db") as one, GuardBook(tmp_path / "guard.db") as other:
            workers = [Greylisting(POLICY, book, in_thread, lambda: now[0], spawn) for book in (one, other)]

            async def ask(worker: int, *names: str) -> None:
                caller = Caller("192.0.2.1", 1, Role.MX, reverse_path=Address("ann", "a.test"))
                events = [RcptReceived(Address(name, "us.test"), RcptParameters()) for name in names]
                waiting = [workers[worker].rcpt(caller, event) for event in events]
                said.append([await one for one in waiting if one is not None])

            await ask(0, "bob", "cleo")
            await ask(1, "bob")
            now[0] += 301
            await ask(1, "bob", "cleo")
            await ask(0, "stranger")
            workers[0].policy = None
            assert (
                workers[0].rcpt(Caller("192.0.2.1", 1, Role.MX), RcptReceived(Address("x", "y"), RcptParameters()))
                is None
            )

    asyncio.run(run())
    assert [str(one) for one in said[0]] == ["451 4.7.1 Greylisted: try again in 300 seconds"] * 2
    assert said[1:] == [said[0][:1], [None, None], [None]], "two senders came again: their network is known"
