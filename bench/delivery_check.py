"""Each recipient's end, judged from four records that know nothing of each other: what the lab's hosts keep, the
notifications in the senders' mailboxes, the queue, and the ledger. What does not agree is a fault, told in one line.
"""

from __future__ import annotations

import email
import email.policy
import re
import sqlite3
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from email.message import Message
from typing import TYPE_CHECKING

from peers.server import DOMAIN
from postroad.lab.fate import Fate, fates
from postroad.lab.letter import Letter, header_of
from postroad.lab.log import What
from postroad.meaning.bounce import ReportKind, read_bounce
from postroad.store.queue_admin import QueueAdmin

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from bench.delivery_load import Outgoing, Submitted
    from peers.server import Server
    from postroad.lab.log import Event
    from postroad.lab.world import World
    from postroad.meaning.bounce import ReportedRecipient

MAX_FAULTS = 1000
_MESSAGE = re.compile(r"<n\d+\.scale@")
_CODES = re.compile(r"\b[245]\d\d[ -](?:[245]\.\d{1,3}\.\d{1,3} )?")
UNTRIED = "not tried yet: its turn at its site has not come"
Key = tuple[str, str]
"""Message-ID and recipient."""


@dataclass(slots=True)
class Told:
    """One report about one recipient in a sender's mailbox, or on its way there."""

    user: str
    """Whose mailbox; empty where it is at a return address yet."""
    is_ours: bool
    status: str
    diagnostic: str


@dataclass(slots=True)
class Records:
    """What there is at the end of a run."""

    copies: dict[Key, list[int]] = field(default_factory=lambda: defaultdict(list))
    """The code that ended each copy which a lab host keeps; 0: it broke off."""
    came_back: set[Key] = field(default_factory=set)
    told: dict[Key, list[Told]] = field(default_factory=lambda: defaultdict(list))
    waiting: dict[Key, str] = field(default_factory=dict)
    """The reason that the queue gives."""
    ledger: dict[Key, str] = field(default_factory=dict)
    """The fate; empty where it is not settled."""
    replies: dict[Key, str] = field(default_factory=dict)
    """What was said to the last attempt, as the ledger has it."""
    on_their_way: int = 0
    """Recipients of notifications that are in the queue still."""
    faults: list[str] = field(default_factory=list)

    def fault(self, text: str) -> None:
        if len(self.faults) < MAX_FAULTS:
            self.faults.append(text)


@dataclass(slots=True)
class Judgement:
    """`by`: (personality, fate) → recipients. `twice`: delivered twice since a host broke off after the dot, or
    since the server died in between."""

    by: Counter[tuple[str, Fate]]
    twice: int
    untried: int
    """Of those waiting: never tried, since their site is left alone."""
    statuses: Counter[str]
    faults: list[str]


def gather(server: Server, users: Iterable[str], events: Iterable[Event]) -> Records:
    """Read the four records; notifications are parsed by our own reader and by Python's."""
    found = Records()
    for event in events:
        key = event.message_id, event.argument.lower()
        if event.what is What.TOOK:
            found.copies[key].append(event.code)
        elif event.what is What.BOUNCE:
            found.came_back.add(key)
    for user in users:
        for path in server.mailbox(user):
            _read_notice(found, user, path.read_bytes())
    _read_queue(found, server)
    _read_ledger(found, server.state / "ledger.db")
    return found


def _read_notice(found: Records, user: str, octets: bytes) -> None:
    report = read_bounce(octets)
    number = report.original_message_id or ""
    if report.kind is not ReportKind.BOUNCE or not _MESSAGE.match(number):
        found.fault(f"{user} has a message that is no bounce of ours: kind {report.kind}, about {number or 'nothing'}")
        return
    parsed = email.message_from_bytes(octets, policy=email.policy.default)
    parts = [part.get_content_type() for part in parsed.iter_parts()]
    if parsed.defects or parsed.get_content_type() != "multipart/report" or parts[1:2] != ["message/delivery-status"]:
        found.fault(f"the notification about {number} is no RFC 3464 report to Python: {parts}, {parsed.defects}")
        return
    machine = list(parsed.iter_parts())[1].get_payload()
    blocks = [block for block in machine if isinstance(block, Message)] if isinstance(machine, list) else []
    fields = [block for block in blocks if block["Final-Recipient"]]
    if len(fields) != len(report.recipients):
        found.fault(f"{number}: Python reads {len(fields)} recipients, our reader {len(report.recipients)}")
    is_ours = str(blocks[0]["Reporting-MTA"]).endswith("local.test")
    words = parsed.get_body(("plain",))
    text = "" if words is None else words.get_content()
    for one, block in zip(report.recipients, fields, strict=False):
        address = (one.address or "").lower()
        _compare(found, f"{number} to {address}", one, block, text)
        found.told[number, address].append(Told(user, is_ours, one.status or "", one.diagnostic))


def _compare(found: Records, what: str, one: ReportedRecipient, block: Message[str, str], text: str) -> None:
    said = (str(block["Action"]).lower(), str(block["Status"]), str(block["Final-Recipient"]).split(";")[-1].strip())
    if one.action != "failed" or said[0] != "failed":
        found.fault(f"{what}: the action is {one.action} (Python: {said[0]}), not failed")
    if not re.fullmatch(r"[45]\.\d{1,3}\.\d{1,3}", said[1]):
        found.fault(f"{what}: {said[1]!r} is no status of a failure")
    if said[2].lower() not in what or (one.address or "") not in text:
        found.fault(f"{what}: the words do not name the recipient as the report does")


def _read_queue(found: Records, server: Server) -> None:
    with QueueAdmin(server.state / "spool") as admin:
        for entry in admin.list(limit=1_000_000):
            shown = admin.show(entry.id)
            if shown is None or shown.message is None:
                continue
            if not entry.sender:  # on its way when the server was stopped
                to = shown.recipients[0].queued.recipient.address
                _read_notice(found, to.local if to.domain == DOMAIN else "", shown.message.body)
                found.on_their_way += len(shown.recipients)
                continue
            number = _number_of(shown.message.body)
            for one in shown.recipients:
                address = str(one.queued.recipient.address).lower()
                found.waiting[number, address] = entry.reason or ("" if entry.attempts else UNTRIED)


def _number_of(body: bytes) -> str:
    header = header_of(body)
    return Letter(sender="", recipients=(), bouncing=(), header=header, code=0, is_kept=False).message_id


def _read_ledger(found: Records, path: Path) -> None:
    with sqlite3.connect(path) as connection:
        rows = connection.execute(
            "SELECT header_id, address, fate,"
            " (SELECT reply FROM attempt WHERE message_id = id AND attempt.address = recipient.address"
            "  ORDER BY number DESC LIMIT 1)"
            " FROM message JOIN recipient ON message_id = id WHERE about IS NULL AND header_id IS NOT NULL"
        )
        for number, address, fate, reply in rows:
            if _MESSAGE.match(number):
                found.ledger[number, address.lower()] = fate or ""
                found.replies[number, address.lower()] = reply or ""


# The judgement ------------------------------------------------------------------------------------------------------


def judge(world: World, submitted: Submitted, found: Records, *, was_killed: bool, is_hasty: bool) -> Judgement:
    """Each accepted recipient has one end, the right one, and the records agree on it. `is_hasty`: the run was too
    short for all that has to come again, and whatever waits may. After a kill the ledger may lack what the last moment
    noted, and what was in flight may be delivered twice."""
    result = Judgement(Counter(), 0, 0, Counter(), found.faults)
    for number, letter in submitted.accepted.items():
        for address in letter.recipients:
            _judge_one(world, letter, (number, address), found, result, was_killed=was_killed, is_hasty=is_hasty)
    known = submitted.accepted.keys() | submitted.unknown.keys()
    for number, address in (*found.copies, *found.told, *found.waiting):
        if number not in known:
            found.fault(f"{number} to {address} is somewhere, and nobody sent it")
    return result


def _judge_one(
    world: World, letter: Outgoing, key: Key, found: Records, result: Judgement, *, was_killed: bool, is_hasty: bool
) -> None:
    what = f"{key[0]} to {key[1]} ({world.truth(key[1]).personality})"
    copies, told = found.copies.get(key, []), found.told.get(key, [])
    is_waiting = key in found.waiting
    fate = _fate(key, found)
    if fate is None:
        found.fault(f"{what}: lost: nobody has it, nobody was told, and it does not wait")
        return
    result.by[world.truth(key[1]).personality, fate] += 1
    result.untried += found.waiting.get(key) == UNTRIED
    if len(copies) > 1:
        if 0 in copies[:-1] or was_killed:
            result.twice += 1
        else:
            found.fault(f"{what}: delivered {len(copies)} times, though no host broke off: {copies}")
    if len(told) > 1 and not was_killed:
        found.fault(f"{what}: its sender was told {len(told)} times")
    if told and (is_waiting or (fate is Fate.BOUNCED and any(copies))):
        found.fault(f"{what}: its sender was told, but it {'waits' if is_waiting else 'was delivered'}")
    if is_waiting and any(copies) and not was_killed:
        found.fault(f"{what}: it waits, but was delivered")
    if is_waiting and not found.waiting[key]:
        found.fault(f"{what}: it waits, and the queue does not say why")
    if fate not in fates(world, key[1]) and not (is_hasty and is_waiting):
        found.fault(f"{what}: {fate}, where {' or '.join(sorted(fates(world, key[1])))} is right: {_words(key, found)}")
    for one in told:
        result.statuses[one.status] += 1
        if one.user not in ("", letter.user):
            found.fault(f"{what}: {one.user} was told of the letter of {letter.user}")
        _judge_words(what, one, found.replies.get(key, ""), found)
    late: list[str | None] = ["unknown", None] if was_killed else []
    if fate is Fate.RETURNED and (was_killed or not all(one.user for one in told)):
        late.append("delivered")  # the bounce is not read yet
    expected = {Fate.RETURNED: "bounced", Fate.WAITING: ""}.get(fate, str(fate))
    if found.ledger.get(key) not in (expected, *late):
        found.fault(f"{what}: {fate}, but the ledger says {found.ledger.get(key)!r}")


def _fate(key: Key, found: Records) -> Fate | None:
    told = found.told.get(key, [])
    if key in found.waiting:
        return Fate.WAITING
    if key in found.came_back and any(not one.is_ours for one in told):
        return Fate.RETURNED
    if told:
        return Fate.BOUNCED
    return Fate.DELIVERED if any(found.copies.get(key, [])) else None


def _judge_words(what: str, one: Told, reply: str, found: Records) -> None:
    """A bounce of ours carries the words of the host that refused, and the status its reply had."""
    if not one.is_ours:
        return
    if not re.match(r"[245]\d\d[ -]", reply):
        return
    if _plain(reply)[:100] not in _plain(one.diagnostic):
        found.fault(f"{what}: the notification says {one.diagnostic!r}, the host said {reply!r}")
    status = re.match(r"\d\d\d[ -](5\.\d{1,3}\.\d{1,3})\b", reply)
    if status and one.status != status[1]:
        found.fault(f"{what}: the notification has status {one.status}, the host said {reply!r}")


def _plain(words: str) -> str:
    """Without the codes, which stand on each line of a reply in one place and once in another."""
    return re.sub(r"\W+", "", _CODES.sub(" ", words))


def _words(key: Key, found: Records) -> str:
    told = found.told.get(key)
    return found.replies.get(key, "") or (told[0].diagnostic if told else found.waiting.get(key, ""))
