"""An operator's hand in the queue while its messages are under way: real sockets, and the spool on disk."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from deliver.messages import envelope, message, recipient
from deliver.peers import Host, listening, road
from postroad.clock import SystemClock
from postroad.deliver.attempt import Attempter
from postroad.deliver.settle import SettlePolicy
from postroad.deliver.worker import Deliverer, DelivererSettings, Surroundings
from postroad.meaning.backoff import RetrySchedule
from postroad.message.envelope import Notify
from postroad.smtp.address import Address
from postroad.store.queue_admin import QueueAdmin
from postroad.store.queue_selection import Selection
from postroad.store.shards import shard_path
from postroad.store.sqlite_spool import SqliteSpool
from postroad.store.tally import difference

ANN = Address("ann", "example.net")
WORDS = "the project has ended"
SOON = RetrySchedule(first_s=0.2, factor=1.0, ceiling_s=0.2)


@dataclass
class Sending:
    """A spool in a directory, a host that all mail goes to, and what was told of it."""

    directory: Path
    host: Host
    events: list[str] = field(default_factory=list)

    def admin(self) -> QueueAdmin:
        return QueueAdmin(self.directory)

    def dsns(self) -> list[bytes]:
        """The notifications that reached the sender."""
        return [taken.body for taken in self.host.taken if b"report-type=delivery-status" in taken.body]

    async def run(self, until: Callable[[], bool], *recipients: str) -> None:
        """Keep a message to these, deliver until that is so, and a little longer."""
        spool = SqliteSpool.open(shard_path(self.directory, 0), shard=0)
        clock = SystemClock()
        if recipients:
            now = clock.wall()
            to = [recipient(one, notify=frozenset({Notify.FAILURE})) for one in recipients]
            one = message(envelope(*to, sender=ANN), number=spool.new_id(now), received_at=now)
            await spool.commit(one, now)
        around = Surroundings(
            clock=clock, rng=random.Random(1), token=lambda: "token", emit=lambda name, **_: self.events.append(name)
        )
        async with listening(self.host) as port, road(port) as way:
            deliverer = Deliverer(
                spool,
                Attempter(way.router, way.pool),
                SettlePolicy(hostname="mail.example.org", schedule=SOON),
                around,
                DelivererSettings(poll_s=0.05),
            )
            running = asyncio.create_task(deliverer.run())
            async with asyncio.timeout(20):
                while not until():
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0.5)  # several polls and retries: what might come twice would have come
            await deliverer.drain(5)
            await running
        await spool.close()


def during(what: Callable[[], object], verb: str = "RCPT TO:<bob") -> Callable[[str, int], bytes | None]:
    """Done once, in the middle of the dialogue, just before the host answers that command."""
    done: list[bool] = []

    def decide(command: str, accepted: int) -> None:
        if command.startswith(verb) and not done:
            done.append(True)
            what()

    return decide


@pytest.mark.parametrize(
    ("answer", "delivered", "operators"),
    [(b"250 2.0.0 taken\r\n", 1, 0), (b"451 4.3.0 later\r\n", 0, 1), (b"550 5.7.1 never\r\n", 0, 0)],
)
def test_what_is_bounced_while_it_is_under_way_is_delivered_or_comes_back_exactly_once(
    tmp_path: Path, answer: bytes, delivered: int, operators: int
) -> None:
    host = Host(answers={"MAIL FROM:<ann": b"250 ok\r\n"})
    sending = Sending(tmp_path, host)

    def give_back() -> None:
        with sending.admin() as admin:
            assert admin.give_back(Selection(domain="example.com"), WORDS).recipients == 1

    meddle = during(give_back)

    def decide(command: str, accepted: int) -> bytes | None:
        meddle(command, accepted)
        return answer if command == "." and not host.commands[-2].startswith("RCPT TO:<ann") and _to_bob(host) else None

    host.decide = decide

    def is_over() -> bool:
        with sending.admin() as admin:
            return bool(host.commands) and not admin.list()

    asyncio.run(sending.run(is_over, "bob@example.com"))
    dsns = sending.dsns()
    assert len(dsns) == 1 - delivered
    assert sum(WORDS.encode() in one for one in dsns) == operators
    assert not any(b"does not say plainly" in one for one in dsns), "our own words say it themselves"
    assert sum(b"Subject: hello" in taken.body and taken.body not in dsns for taken in host.taken) == delivered
    with sending.admin() as admin:
        tally = admin.tally()
        assert difference(tally) == 0
        assert tally["bounced"] == 1 - delivered and tally["generated"] == 1 - delivered


def _to_bob(host: Host) -> bool:
    rcpts = [command for command in host.commands if command.startswith("RCPT")]
    return rcpts[-1].startswith("RCPT TO:<bob")


def test_a_recipient_is_given_back_by_the_next_server_and_the_others_stay(tmp_path: Path) -> None:
    host = Host(answers={"RCPT TO:<bob": b"451 4.2.0 later\r\n", "RCPT TO:<cid": b"451 4.2.0 later\r\n"})
    sending = Sending(tmp_path, host)
    asyncio.run(sending.run(lambda: "delivery.deferred" in sending.events, "bob@example.com", "cid@example.com"))
    with sending.admin() as admin:
        assert admin.give_back(Selection(recipient=("bob", "example.com")), WORDS).recipients == 1
    asyncio.run(sending.run(lambda: bool(sending.dsns())))
    (dsn,) = sending.dsns()
    assert WORDS.encode() in dsn and b"bob@example.com" in dsn and b"cid@example.com" not in dsn
    with sending.admin() as admin:
        (left,) = admin.list()
        shown = admin.show(left.id)
        assert shown is not None
        assert [str(one.queued.recipient.address) for one in shown.recipients] == ["cid@example.com"]
        assert shown.entry.attempts > 1 and not shown.entry.is_given_back


def test_what_is_held_while_it_is_under_way_is_not_tried_again_until_it_is_released(tmp_path: Path) -> None:
    host = Host(answers={"DATA": b"451 4.3.0 later\r\n"})
    sending = Sending(tmp_path, host)

    def hold() -> None:
        with sending.admin() as admin:
            assert admin.hold(Selection(), "wait").recipients == 1

    host.decide = during(hold)
    asyncio.run(sending.run(lambda: "delivery.deferred" in sending.events, "bob@example.com"))
    assert sum(command.startswith("RCPT") for command in host.commands) == 1
    host.answers.clear()
    with sending.admin() as admin:
        assert admin.release(Selection()).recipients == 1
    asyncio.run(sending.run(lambda: bool(host.taken)))
    with sending.admin() as admin:
        assert admin.list() == ()


def test_a_message_held_by_an_operator_can_be_given_back(tmp_path: Path) -> None:
    host = Host(answers={"RCPT TO:<bob": b"451 4.2.0 later\r\n"})
    sending = Sending(tmp_path, host)
    asyncio.run(sending.run(lambda: "delivery.deferred" in sending.events, "bob@example.com"))
    with sending.admin() as admin:
        admin.hold(Selection(), "wait")
        admin.give_back(Selection(), "")
    with suppress(TimeoutError):
        asyncio.run(sending.run(lambda: bool(sending.dsns())))
    assert len(sending.dsns()) == 1
