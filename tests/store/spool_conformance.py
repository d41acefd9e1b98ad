"""What every Spool promises: subclassed by the tests of each implementation, which only say how to open one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
import uvloop

from postroad.message.envelope import BodyType, ByMode, DeliverBy, Envelope, Notify, Recipient, Return
from postroad.smtp.address import NULL, Address, NullPath
from postroad.store.spool import (
    NEVER,
    Attempt,
    Deferred,
    Queued,
    Settled,
    Spool,
    SpoolClosed,
    SpooledMessage,
    SpoolError,
    Trace,
)

Result = TypeVar("Result")
WALL = 1_800_000_000.0
ANN = Address("ann", "example.org")


def run(work: Coroutine[Any, Any, Result]) -> Result:
    return asyncio.run(work)


def message(
    number: int,
    *addresses: str,
    body: bytes = b"Subject: hello\r\n\r\nhello\r\n",
    sender: Address | NullPath = ANN,
) -> SpooledMessage:
    recipients = tuple(Recipient(Address(*text.split("@"))) for text in addresses or ("bob@example.net",))
    return SpooledMessage(
        id=number,
        envelope=Envelope(reverse_path=sender, recipients=recipients),
        body=body,
        received_at=WALL,
        expires_at=WALL + 432_000,
        trace=Trace(peer="192.0.2.1:4025", helo="mail.example.org", protocol="ESMTP"),
    )


def full_message(number: int) -> SpooledMessage:
    """Every field set to something that is not its default."""
    return SpooledMessage(
        id=number,
        envelope=Envelope(
            reverse_path=Address("jörg o'", "xn--bcher-kva.example"),
            recipients=(
                Recipient(Address("a b", "[192.0.2.1]"), frozenset({Notify.SUCCESS, Notify.DELAY}), "rfc822;x@y.org"),
                Recipient(Address("postmaster", ""), frozenset({Notify.NEVER})),
                Recipient(Address("postmaster", "")),
            ),
            body_type=BodyType.BINARY,
            smtputf8=True,
            ret=Return.HEADERS,
            envid="id+1 é",
            priority=-3,
            deliver_by=DeliverBy(WALL + 900.5, ByMode.RETURN, is_traced=True),
            require_tls=True,
        ),
        body=bytes(range(256)) * 40,
        received_at=WALL + 0.25,
        expires_at=WALL + 1.5,
        trace=Trace(peer="[2001:db8::1]:25", helo="é\x00", protocol="UTF8SMTPSA", user="ann"),
        stream="ann",
    )


def attempt(at: float = WALL, reply: str = "451 4.7.1 later") -> Attempt:
    return Attempt(at=at, host="mx.example.net", phase="rcpt", reply=reply, meaning="greylisted")


class SpoolConformance:
    """`opened` must give a fresh, empty spool and close it."""

    @contextmanager
    def using(self, tmp_path: Path) -> Iterator[Callable[[], Spool]]:
        raise NotImplementedError

    def check(self, tmp_path: Path, work: Callable[[Spool], Coroutine[Any, Any, None]], *, uv: bool = False) -> None:
        async def whole(make: Callable[[], Spool]) -> None:
            spool = make()
            try:
                await work(spool)
            finally:
                await spool.close()

        factory = uvloop.new_event_loop if uv else None
        with self.using(tmp_path) as make, asyncio.Runner(loop_factory=factory) as runner:
            runner.run(whole(make))

    def test_what_is_held_is_kept_and_never_due(self, tmp_path: Path) -> None:
        async def work(spool: Spool) -> None:
            held = replace(message(spool.new_id(WALL)), held="a scanner asks for it", stream="ann")
            (queued,) = await spool.commit(held, WALL)
            assert queued.due_at == NEVER
            assert await spool.due(before=1e18, limit=10) == ()
            assert await spool.load(held.id) == held

        self.check(tmp_path, work)

    def test_a_message_becomes_another_and_its_recipients_that_stay_are_the_same(self, tmp_path: Path) -> None:
        async def work(spool: Spool) -> None:
            first = replace(message(spool.new_id(WALL), "bob@example.net", "carl@example.net"), held="to be examined")
            bob, _ = await spool.commit(first, WALL)
            assert await spool.held_for("to be examined", 10) == (first.id,)
            again = message(first.id, "bob@example.net", "dora@example.net", body=b"Subject: other\r\n\r\nother\r\n")
            kept = await spool.amend(again, WALL + 5)
            assert [str(one.recipient.address) for one in kept] == ["bob@example.net", "dora@example.net"]
            assert kept[0].id == bob.id and {one.due_at for one in kept} == {WALL + 5}
            assert await spool.load(first.id) == again
            assert await spool.due(before=WALL + 6, limit=9) == kept
            assert await spool.held_for("to be examined", 10) == ()
            await spool.settle([Settled(queued=one) for one in kept])
            assert await spool.amend(again, WALL) == (), "what is gone does not come back"
            assert await spool.due(before=1e18, limit=9) == ()

        self.check(tmp_path, work)

    @pytest.mark.parametrize("uv", [False, True])
    def test_a_committed_message_comes_back_whole(self, tmp_path: Path, uv: bool) -> None:
        async def work(spool: Spool) -> None:
            whole = full_message(spool.new_id(WALL))
            queued = await spool.commit(whole, WALL + 7)
            assert [one.recipient for one in queued] == list(whole.envelope.recipients)
            assert {(one.message_id, one.due_at, one.attempts, one.delay_notified) for one in queued} == {
                (whole.id, WALL + 7, 0, False)
            }
            assert {(one.priority, one.stream) for one in queued} == {(-3, "ann")}
            assert await spool.due(before=WALL + 8, limit=10) == queued
            assert await spool.load(whole.id) == whole
            assert await spool.due(before=WALL + 8, limit=10) == queued

        self.check(tmp_path, work, uv=uv)

    def test_the_null_reverse_path_stays_its_own_value(self, tmp_path: Path) -> None:
        async def work(spool: Spool) -> None:
            (queued,) = await spool.commit(message(spool.new_id(WALL), sender=NULL), WALL)
            loaded = await spool.load(queued.message_id)
            assert loaded is not None
            assert isinstance(loaded.envelope.reverse_path, NullPath)

        self.check(tmp_path, work)

    def test_ids_rise_and_fit_63_bits(self, tmp_path: Path) -> None:
        async def work(spool: Spool) -> None:
            walls = [WALL, WALL, WALL + 1, WALL - 31_536_000, WALL + 31_536_000, WALL]
            ids = [spool.new_id(wall) for wall in walls for _ in range(1000)]
            assert ids == sorted(set(ids))
            assert ids[0] > 0 and ids[-1] < 1 << 63

        self.check(tmp_path, work)

    def test_due_is_ordered_bounded_and_paged(self, tmp_path: Path) -> None:
        async def work(spool: Spool) -> None:
            for due_at in (WALL + 3, WALL + 1, WALL + 2, WALL + 1):
                await spool.commit(message(spool.new_id(WALL), "a@x.org", "b@x.org"), due_at)
            found = await spool.due(before=WALL + 3, limit=100)
            assert [one.due_at - WALL for one in found] == [1, 1, 1, 1, 2, 2]
            assert list(found) == sorted(found, key=lambda one: (one.due_at, one.id))
            first = await spool.due(before=WALL + 3, limit=4)
            rest = await spool.due(before=WALL + 3, limit=4, after=(first[-1].due_at, first[-1].id))
            assert first + rest == found

        self.check(tmp_path, work)

    def test_settling_the_last_recipient_removes_the_message(self, tmp_path: Path) -> None:
        async def work(spool: Spool) -> None:
            one, two = await spool.commit(message(spool.new_id(WALL), "a@x.org", "b@x.org"), WALL)
            assert await spool.settle([Settled(queued=one)]) == ()
            left = await spool.load(one.message_id)
            assert left is not None
            assert left.envelope.recipients == (two.recipient,)
            await spool.settle([Settled(queued=two)])
            assert await spool.load(one.message_id) is None
            assert await spool.due(before=WALL + 1, limit=10) == ()

        self.check(tmp_path, work)

    def test_deferring_moves_the_due_time_and_counts(self, tmp_path: Path) -> None:
        async def work(spool: Spool) -> None:
            (queued,) = await spool.commit(message(spool.new_id(WALL)), WALL)
            await spool.settle([Deferred(queued=queued, due_at=WALL + 300, attempt=attempt(), delay_notified=True)])
            assert await spool.due(before=WALL + 300, limit=10) == ()
            (again,) = await spool.due(before=WALL + 301, limit=10)
            assert again == replace(queued, due_at=WALL + 300, attempts=1, delay_notified=True)
            await spool.settle([Deferred(queued=again, due_at=WALL + 900, attempt=attempt())])
            (again,) = await spool.due(before=WALL + 901, limit=10)
            assert (again.attempts, again.delay_notified) == (2, True)

        self.check(tmp_path, work)

    def test_what_was_not_tried_is_due_later_and_not_counted(self, tmp_path: Path) -> None:
        async def work(spool: Spool) -> None:
            (queued,) = await spool.commit(message(spool.new_id(WALL)), WALL)
            for due_at in (WALL + 60, WALL + 120):
                await spool.settle([Deferred(queued=queued, due_at=due_at, attempt=attempt(), is_attempt=False)])
            (again,) = await spool.due(before=WALL + 121, limit=10)
            assert again == replace(queued, due_at=WALL + 120)
            await spool.settle([Deferred(queued=again, due_at=WALL + 300, attempt=attempt())])
            (again,) = await spool.due(before=WALL + 301, limit=10)
            assert again.attempts == 1

        self.check(tmp_path, work)

    def test_settling_commits_the_bounces_it_causes(self, tmp_path: Path) -> None:
        async def work(spool: Spool) -> None:
            one, two = await spool.commit(message(spool.new_id(WALL), "a@x.org", "b@x.org"), WALL)
            bounce = message(spool.new_id(WALL), "ann@example.org", sender=NULL)
            outcomes: list[Settled | Deferred] = [
                Settled(queued=one),
                Deferred(queued=two, due_at=WALL + 9, attempt=attempt()),
            ]
            (queued,) = await spool.settle(outcomes, [(bounce, WALL + 5)])
            assert queued.message_id == bounce.id
            assert await spool.load(bounce.id) == bounce
            found = await spool.due(before=WALL + 10, limit=10)
            assert [(entry.message_id, entry.due_at) for entry in found] == [
                (bounce.id, WALL + 5),
                (one.message_id, WALL + 9),
            ]

        self.check(tmp_path, work)

    def test_an_outcome_for_a_recipient_that_is_gone_changes_nothing(self, tmp_path: Path) -> None:
        async def work(spool: Spool) -> None:
            (queued,) = await spool.commit(message(spool.new_id(WALL)), WALL)
            (other,) = await spool.commit(message(spool.new_id(WALL)), WALL)
            await spool.settle([Settled(queued=queued)])
            await spool.settle([Settled(queued=queued)])
            await spool.settle([Deferred(queued=queued, due_at=WALL + 1, attempt=attempt())])
            assert await spool.due(before=WALL + 2, limit=10) == (other,)
            assert await spool.load(queued.message_id) is None

        self.check(tmp_path, work)

    def test_one_bad_commit_fails_alone(self, tmp_path: Path) -> None:
        async def work(spool: Spool) -> None:
            taken = message(spool.new_id(WALL))
            await spool.commit(taken, WALL)
            good = [message(spool.new_id(WALL)) for _ in range(5)]
            futures = [spool.commit(one, WALL) for one in (good[0], good[1], taken, good[2], good[3], good[4])]
            results = await asyncio.gather(*futures, return_exceptions=True)
            assert isinstance(results.pop(2), SpoolError)
            assert all(isinstance(result, tuple) for result in results)
            assert len(await spool.due(before=WALL + 1, limit=10)) == 6

        self.check(tmp_path, work)

    def test_a_message_without_recipients_is_refused(self, tmp_path: Path) -> None:
        async def work(spool: Spool) -> None:
            whole = message(spool.new_id(WALL))
            empty = replace(whole, envelope=replace(whole.envelope, recipients=()))
            with pytest.raises(SpoolError):
                await spool.commit(empty, WALL)
            assert await spool.load(whole.id) is None

        self.check(tmp_path, work)

    @pytest.mark.parametrize("uv", [False, True])
    def test_500_concurrent_commits_all_complete(self, tmp_path: Path, uv: bool) -> None:
        async def work(spool: Spool) -> None:
            async def one() -> tuple[Queued, ...]:
                return await spool.commit(message(spool.new_id(WALL), body=b"x" * 4096), WALL)

            kept = await asyncio.gather(*[one() for _ in range(500)])
            numbers = {queued.id for result in kept for queued in result}
            assert len(numbers) == 500
            assert {queued.id for queued in await spool.due(before=WALL + 1, limit=1000)} == numbers

        self.check(tmp_path, work, uv=uv)

    def test_a_cancelled_caller_disturbs_nobody(self, tmp_path: Path) -> None:
        async def work(spool: Spool) -> None:
            first, second = message(spool.new_id(WALL)), message(spool.new_id(WALL))
            cancelled = spool.commit(first, WALL)
            kept = spool.commit(second, WALL)
            cancelled.cancel()
            assert (await kept)[0].message_id == second.id
            for asked in (spool.due(before=WALL, limit=1), spool.load(1)):
                asked.cancel()
            assert await spool.load(second.id) == second

        self.check(tmp_path, work)

    def test_nothing_changed_unless_someone_else_did(self, tmp_path: Path) -> None:
        async def work(spool: Spool) -> None:
            assert not await spool.changed()
            await spool.commit(message(spool.new_id(WALL)), WALL)
            assert not await spool.changed()

        self.check(tmp_path, work)

    def test_closing_finishes_what_was_begun_and_then_refuses(self, tmp_path: Path) -> None:
        async def work(spool: Spool) -> None:
            begun = spool.commit(message(spool.new_id(WALL)), WALL)
            await spool.close()
            assert len(await begun) == 1
            for late in (spool.commit(message(7), WALL), spool.due(before=WALL, limit=1), spool.load(1)):
                with pytest.raises(SpoolClosed):
                    await late

        self.check(tmp_path, work)
