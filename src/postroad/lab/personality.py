"""A mail host's conduct as values: what has come in goes in, what to say and do comes out; no sockets, no clock.

`Personality` itself is the honest host, which tells the truth about every mailbox at once. Its kin in `delaying`,
`refusing` and `faulty` override what they do otherwise. One object is one host: it remembers what happened in earlier
sessions. Times are the loop's seconds, handed in. Used by conversation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import ClassVar

from postroad.lab.wording import Manner
from postroad.smtp.address import Address
from postroad.smtp.reply import Reply

SIZE_OCTETS = 10_485_760


class Standing(Enum):
    """What a host knows of a recipient."""

    EXISTS = auto()
    ABSENT = auto()
    FULL = auto()
    DISABLED = auto()
    NOT_SERVED = auto()
    """The domain is not one of this host's."""
    BOUNCES = auto()
    """Taken at RCPT, bounced after the message."""


Directory = Callable[[str, str], Standing]
"""(local part, domain) → standing."""
Options = Mapping[str, float]


class Then(Enum):
    """What follows the words."""

    GO_ON = auto()
    CLOSE = auto()
    RESET = auto()
    """The connection is reset, not closed."""
    STAY_SILENT = auto()
    """Nothing more is ever said or read."""
    ENDLESS = auto()
    """Reply lines without an end follow."""
    START_TLS = auto()
    BREAK_TLS = auto()
    """What follows is no TLS."""
    TAKE_BODY = auto()


@dataclass(frozen=True, slots=True)
class Action:
    """`said`: bytes for the wire, usually one reply; `delay_s`: waited before; `code`: of the reply, 0 for none."""

    said: bytes = b""
    delay_s: float = 0.0
    then: Then = Then.GO_ON
    code: int = 0
    is_kept: bool = False
    """After a message: it was taken although no 250 is said."""


def answer(said: Reply, then: Then = Then.GO_ON, delay_s: float = 0.0) -> Action:
    """One reply, and what follows it; a 421 always ends the session."""
    if said.code == 421 and then is Then.GO_ON:
        then = Then.CLOSE
    return Action(said.encode(), delay_s, then, said.code)


@dataclass(slots=True)
class Talk:
    """One session as its host sees it."""

    peer: str
    """The client's address."""
    peer_name: str = ""
    """Its name in DNS, confirmed forwards; "" for none."""
    hello: str = ""
    is_tls: bool = False
    is_ahead: bool = False
    """Whether the command at hand was sent before the reply to the one before it."""
    sender: str | None = None
    """None outside a transaction; "" is the null one."""
    recipients: int = 0
    """Accepted in this transaction."""
    taking: list[str] = field(default_factory=list)
    """Those recipients."""
    bouncing: list[str] = field(default_factory=list)
    """Of those, taken only to be bounced."""
    is_unlucky: bool = False
    """Whether this session is one that its host has no time for."""
    asked: int = 0
    """RCPT commands in this session."""


class Personality:
    """The honest host. Options: `tls` and `pipelining` (1 or 0: offered or not), `recipients` in one transaction."""

    defaults: ClassVar[Options] = {}

    def __init__(self, manner: Manner, directory: Directory, options: Options) -> None:
        self.manner = manner
        self.directory = directory
        self.options: dict[str, float] = {"tls": 0, "pipelining": 1, "recipients": 100, **self.defaults, **options}

    def say(self, meaning: str, talk: Talk, *, address: str = "", seconds: float = 0.0) -> Action:
        """The reply of that meaning in this host's words."""
        return answer(self.manner.say(meaning, address=address, peer=talk.peer, seconds=seconds))

    def greet(self, talk: Talk, now: float) -> Action:
        """A connection has come."""
        return self.say("greeting", talk)

    def ehlo(self, talk: Talk, now: float, name: str, *, is_extended: bool) -> Action:
        """EHLO or HELO."""
        if not is_extended:
            return answer(Reply(250, (self.manner.host,)))
        return answer(Reply(250, (f"{self.manner.host} greets {name[:200]}", *self.extensions(talk))))

    def extensions(self, talk: Talk) -> list[str]:
        """What EHLO offers."""
        offered = [f"SIZE {SIZE_OCTETS}", "8BITMIME"]
        if self.manner.has_status and self.manner.says_extensions:
            offered.append("ENHANCEDSTATUSCODES")
        if self.options["pipelining"]:
            offered.append("PIPELINING")
        if self.options["tls"] and not talk.is_tls:
            offered.append("STARTTLS")
        return offered

    def starttls(self, talk: Talk, now: float) -> Action:
        """STARTTLS, where it is offered."""
        return answer(self.manner.say("tls_ready"), Then.START_TLS)

    def mail(self, talk: Talk, now: float, sender: str) -> Action:
        """MAIL; a code of 250 begins a transaction."""
        return self.say("mail_ok", talk)

    def rcpt(self, talk: Talk, now: float, address: Address) -> Action:
        """RCPT."""
        if talk.recipients >= self.options["recipients"]:
            return self.say("too_many_recipients", talk)
        return self.hear(talk, address)

    def hear(self, talk: Talk, address: Address) -> Action:
        """The truth about a recipient."""
        standing = self.directory(address.local, address.domain)
        if standing is Standing.BOUNCES:
            talk.bouncing.append(str(address))
        return self.say(_MEANINGS[standing], talk, address=str(address))

    def data(self, talk: Talk, now: float) -> Action:
        """DATA, with recipients."""
        return answer(self.manner.say("data_go"), Then.TAKE_BODY)

    def body(self, talk: Talk, now: float, octets: int) -> Action:
        """The message has come."""
        return self.say("taken", talk)

    def end(self, talk: Talk) -> None:
        """The session is over, however it ended."""


_MEANINGS = {
    Standing.EXISTS: "accepted",
    Standing.BOUNCES: "accepted",
    Standing.ABSENT: "absent",
    Standing.FULL: "full",
    Standing.DISABLED: "disabled",
    Standing.NOT_SERVED: "relay",
}
