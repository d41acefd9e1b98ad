"""Recipients verified at the next host: asked once, remembered, bounded, and 450 where it cannot be known."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from postroad.receive.caller import Caller, Role
from postroad.receive.guard.call_forward import CallForward, CallForwardSettings
from postroad.smtp.address import Address
from postroad.smtp.extension import RcptParameters
from postroad.smtp.reply import Reply, reply
from postroad.smtp.server_events import RcptReceived

SETTINGS = CallForwardSettings(
    domains=frozenset({"behind.test"}), known_s=100, absent_s=50, unknown_s=10, timeout_s=5, cache_size=3, asking=2
)
ABSENT = reply(550, "No such user", "5.1.1")


class NextHost:
    """Answers by the local part, and counts the questions; `gate` holds answers back."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.gate: asyncio.Event | None = None
        self.now = 0.0

    async def ask(self, address: Address) -> Reply | None:
        self.asked.append(address.local)
        if self.gate is not None:
            await self.gate.wait()
        return {"absent": ABSENT, "odd": reply(451, "Not now")}.get(address.local)


def run(use: Callable[[CallForward, NextHost], Awaitable[None]], settings: CallForwardSettings = SETTINGS) -> NextHost:
    host = NextHost()

    async def main() -> None:
        await use(CallForward(settings, host.ask, lambda: host.now), host)

    asyncio.run(main())
    return host


async def said(check: CallForward, address: str, role: Role = Role.MX) -> Reply | None:
    decision = check.rcpt(Caller("192.0.2.1", 1, role), RcptReceived(Address.parse(address), RcptParameters()))
    return await decision if inspect.isawaitable(decision) else decision


def test_the_host_s_own_words_refuse_and_each_answer_is_asked_for_once_in_its_time() -> None:
    async def use(check: CallForward, host: NextHost) -> None:
        for _ in range(3):
            assert await said(check, "ann@behind.test") is None
            assert await said(check, "absent@behind.test") == ABSENT
            odd = await said(check, "odd@behind.test")
            assert odd is not None
            assert str(odd).startswith("450 4.1.1")
        assert host.asked == ["ann", "absent", "odd"]
        host.now = 51
        for name in ("ann", "absent", "odd"):
            await said(check, f"{name}@behind.test")
        assert host.asked[3:] == ["absent", "odd"]

    run(use)


def test_other_domains_and_users_are_not_asked_about() -> None:
    async def use(check: CallForward, host: NextHost) -> None:
        assert await said(check, "absent@us.test") is None
        assert await said(check, "absent@behind.test", Role.SUBMISSION) is None

    assert run(use).asked == []


def test_questions_at_the_same_time_are_one_and_so_many_are_asked_at_once() -> None:
    async def use(check: CallForward, host: NextHost) -> None:
        host.gate = asyncio.Event()
        names = ("ann", "ann", "bob", "cleo")
        waiting = [asyncio.ensure_future(said(check, f"{name}@behind.test")) for name in names]
        await asyncio.sleep(0.01)
        assert host.asked == ["ann", "bob"]
        assert waiting[3].done()
        host.gate.set()
        answers = await asyncio.gather(*waiting)
        assert answers[:3] == [None, None, None]
        assert str(answers[3]).startswith("450 4.1.1"), "beyond the bound it cannot be known now"

    run(use)


def test_a_host_that_takes_too_long_makes_it_unknown() -> None:
    async def use(check: CallForward, host: NextHost) -> None:
        host.gate = asyncio.Event()
        assert str(await said(check, "ann@behind.test")).startswith("450 4.1.1")

    run(use, replace(SETTINGS, timeout_s=0.01))


@pytest.mark.parametrize("count", [10])
def test_what_is_remembered_is_bounded(count: int) -> None:
    async def use(check: CallForward, host: NextHost) -> None:
        for number in range(count):
            await said(check, f"user{number}@behind.test")
        assert len(check._known) == SETTINGS.cache_size
        await said(check, f"user{count - 1}@behind.test")

    assert len(run(use).asked) == count
