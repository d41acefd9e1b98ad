"""The load of the delivery run: letters dealt out from the lab's list, and sessions of users that submit them.

Each letter has a Message-ID of its own, by which every later record names it. A letter whose 250 never came (the server
died) is not sent again: it may have been taken or not, and is counted apart. Bounded by the number of letters.
"""

from __future__ import annotations

import asyncio
import base64
import random
import ssl
import time
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from peers.server import DOMAIN, PASSWORD

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

PER_SESSION = 200
TRIES = 200
PAUSE_S = 0.25
LINES = "This is one letter of many, written to see whether each of them finds its end.\r\n" * 24


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One letter. `user`: the account that submits it, whose address is its sender."""

    number: int
    user: str
    recipients: tuple[str, ...]

    @property
    def message_id(self) -> str:
        return f"<n{self.number}.scale@{DOMAIN}>"

    def octets(self) -> bytes:
        return (
            f"From: <{self.user}@{DOMAIN}>\r\nTo: <{self.recipients[0]}>\r\nSubject: letter {self.number}\r\n"
            f"Date: Mon, 02 Feb 2026 10:00:00 +0000\r\nMessage-ID: {self.message_id}\r\n\r\n{LINES}"
        ).encode()


def deal(addresses: Sequence[str], users: Sequence[str], count: int, seed: int) -> list[Outgoing]:
    """So many letters at most, each address in one; some have several recipients, anywhere or at one domain."""
    chance = random.Random(seed)
    by_domain: defaultdict[str, list[str]] = defaultdict(list)
    for address in addresses:
        by_domain[address.rpartition("@")[2]].append(address)
    groups: list[tuple[str, ...]] = []
    rest: list[str] = []
    for found in by_domain.values():
        while len(found) >= 2 and chance.random() < 0.1:
            several = [found.pop() for _ in range(min(len(found), chance.randint(2, 5)))]
            groups.append(tuple(several))
        rest += found
    chance.shuffle(rest)
    source = iter(rest)
    while group := tuple(islice(source, 1 if chance.random() < 0.95 else chance.randint(2, 5))):
        groups.append(group)
    chance.shuffle(groups)
    return [Outgoing(number, users[number % len(users)], group) for number, group in enumerate(groups[:count])]


@dataclass
class Submitted:
    """What came of the load, by Message-ID."""

    accepted: dict[str, Outgoing] = field(default_factory=dict)
    unknown: dict[str, Outgoing] = field(default_factory=dict)
    refused: dict[tuple[str, str], str] = field(default_factory=dict)
    """(Message-ID, recipient) → the reply of the server to it."""
    seconds: float = 0.0


class Load:
    """Submits letters by so many sessions at once, over implicit TLS; each session is one user's."""

    def __init__(self, port: int, letters: Sequence[Outgoing], sessions: int) -> None:
        self._port = port
        self._shares = [letters[number::sessions] for number in range(sessions)]
        self._tls = ssl.create_default_context()
        self._tls.check_hostname = False
        self._tls.verify_mode = ssl.CERT_NONE
        self.done = Submitted()

    async def run(self) -> Submitted:
        """Submit them all. Raises RuntimeError where the server takes no session for long."""
        begun = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for share in self._shares:
                group.create_task(self._submit(share))
        self.done.seconds = time.perf_counter() - begun
        return self.done

    async def _submit(self, share: Sequence[Outgoing]) -> None:
        place = failures = 0
        while place < len(share):
            before = place
            try:
                async for reached in self._session(share, place):
                    place, failures = reached, 0
            except (OSError, EOFError) as error:
                failures += 1
                if failures > TRIES:
                    raise RuntimeError(f"the server took no session after {TRIES} tries: {error}") from error
                # What was sent whole is not sent again.
                place += place < len(share) and share[place].message_id in self.done.unknown
                if place == before:
                    await asyncio.sleep(PAUSE_S)

    async def _session(self, share: Sequence[Outgoing], place: int) -> AsyncIterator[int]:
        """One session from that place of the share on; yields the place of the next letter after each."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, ssl=self._tls)
        try:
            await _reply(reader, "220")
            writer.write(b"EHLO load.test\r\n")
            await _reply(reader, "250")
            plain = base64.b64encode(f"\0{share[place].user}@{DOMAIN}\0{PASSWORD}".encode()).decode()
            writer.write(f"AUTH PLAIN {plain}\r\n".encode())
            await _reply(reader, "235")
            for letter in share[place : place + PER_SESSION]:
                await self._send(reader, writer, letter)
                place += 1
                yield place
            writer.write(b"QUIT\r\n")
        finally:
            writer.transport.abort()

    async def _send(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, letter: Outgoing) -> None:
        commands = [f"MAIL FROM:<{letter.user}@{DOMAIN}>", *(f"RCPT TO:<{one}>" for one in letter.recipients), "DATA"]
        writer.write("".join(f"{line}\r\n" for line in commands).encode())
        await _reply(reader, "250")
        taken = []
        for one in letter.recipients:
            said = await _reply(reader, "25", "5")
            if said.startswith("25"):
                taken.append(one)
            else:
                self.done.refused[letter.message_id, one] = said
        said = await _reply(reader, "354", "5")
        if not taken:
            return
        self.done.unknown[letter.message_id] = letter
        writer.write(letter.octets() + b".\r\n")
        await _reply(reader, "250")
        del self.done.unknown[letter.message_id]
        self.done.accepted[letter.message_id] = Outgoing(letter.number, letter.user, tuple(taken))


async def _reply(reader: asyncio.StreamReader, *wanted: str) -> str:
    while True:
        line = (await reader.readuntil(b"\n")).decode("ascii", "backslashreplace")
        if line[3:4] != "-":
            break
    if not line.startswith(wanted):
        # A server that drains or is short of something says 4yz: as good as a lost connection.
        raise ConnectionError(f"the server answered {line.strip()!r}, not {' or '.join(wanted)}")
    return line.strip()
