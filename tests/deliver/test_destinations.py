"""Each recipient goes by his transport and has one fate; a transport that fails costs no other."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from deliver.messages import envelope, message, queue
from postroad.deliver.destinations import Destinations, Discard
from postroad.smtp.reply import Reply, reply
from postroad.store.spool import Queued, SpooledMessage


class Says:
    def __init__(self, code: int) -> None:
        self.code = code
        self.got: list[str] = []

    async def deliver(self, message: SpooledMessage, queued: Sequence[Queued]) -> Sequence[Reply]:
        self.got += [str(one.recipient.address) for one in queued]
        return [reply(self.code, str(one.recipient.address)) for one in queued]


class Fails:
    async def deliver(self, message: SpooledMessage, queued: Sequence[Queued]) -> Sequence[Reply]:
        raise ZeroDivisionError("a fault of ours")


def test_recipients_go_by_their_transports_and_fates_come_in_order() -> None:
    first, second = Says(250), Says(550)
    by = {"a": "first", "b": "second", "c": "fails", "d": "discard", "e": "nothing"}
    where = Destinations(
        {"first": first, "second": second, "fails": Fails(), "discard": Discard()},
        lambda address: by[address.local[0]],
        "us.test".__eq__,
    )
    of = message(envelope(*[f"{name}@us.test" for name in ("b1", "a1", "c1", "a2", "d1", "e1", "b2")]))
    said = asyncio.run(where.deliver(of, queue(of)))
    assert [one.code for one in said] == [550, 250, 451, 250, 250, 451, 550]
    assert [said[place].text for place in (0, 1, 3, 6)] == ["b1@us.test", "a1@us.test", "a2@us.test", "b2@us.test"]
    assert first.got == ["a1@us.test", "a2@us.test"]
    assert where.takes("us.test") and not where.takes("far.test")


def test_one_transport_for_all_is_asked_once() -> None:
    only = Says(250)
    where = Destinations({"only": only}, lambda address: "only", lambda domain: True)
    of = message(envelope("a@us.test", "b@us.test"))
    assert len(asyncio.run(where.deliver(of, queue(of)))) == 2
    assert only.got == ["a@us.test", "b@us.test"]
