"""How the lab's hosts say what they say: several wordings of each meaning, of which a host keeps to one.

The words are our own; what varies is what varies between real servers: the code, whether there is an enhanced status,
whether the status fits, the address in angle brackets or not, one line or two, now and then another language.
`{address}`, `{peer}` and `{host}` stand for the recipient, the client's address and the host's name.
Pure. Used by the personalities.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

from postroad.smtp.reply import Reply, reply

Wording = tuple[int, str, str]
"""Code, enhanced status or "", text."""

WORDINGS: Mapping[str, tuple[Wording, ...]] = {
    "greeting": (
        (220, "", "{host} ESMTP"),
        (220, "", "{host} ESMTP service ready"),
        (220, "", "{host} Mail gateway 4.2 at your service"),
        (220, "", "{host}\nWelcome. Unsolicited bulk mail is not wanted here.\nAll sessions are logged."),
    ),
    "mail_ok": ((250, "2.1.0", "Ok"), (250, "", "OK"), (250, "2.1.0", "Sender accepted"), (250, "", "sender fine")),
    "accepted": (
        (250, "2.1.5", "Ok"),
        (250, "", "Accepted"),
        (250, "2.1.5", "<{address}> recipient ok"),
        (250, "2.1.5", "Recipient accepted"),
        (250, "", "go ahead with {address}"),
    ),
    "absent": (
        (550, "5.1.1", "<{address}>: Recipient address rejected: User unknown in local recipient table"),
        (550, "", "No such user here"),
        (550, "5.1.1", "The mailbox {address} does not exist at this site"),
        (550, "5.1.10", "Recipient {address} not found by lookup"),
        (553, "5.1.1", "sorry, there is no mailbox here by that name"),
        (550, "5.1.1", "The account you wrote to is not here.\nPlease look for misspellings in the address."),
        (551, "", "<{address}> unknown user; not local"),
        (550, "5.4.1", "Recipient address rejected: no such mailbox in this directory"),
        (550, "", "Destinataire inconnu: {address}"),
        (554, "5.1.1", "Unknown user: {address}"),
    ),
    "full": (
        (452, "4.2.2", "<{address}>: mailbox full"),
        (552, "5.2.2", "The mailbox of {address} is over quota"),
        (452, "4.2.2", "The recipient's inbox is out of storage space"),
        (550, "5.2.2", "User's mailbox is full"),
        (450, "4.2.2", "Quota exceeded for {address}"),
    ),
    "disabled": (
        (550, "5.2.1", "<{address}>: this account has been disabled"),
        (550, "", "Mailbox disabled for this recipient"),
        (554, "5.2.1", "Account {address} is suspended"),
        (550, "5.2.1", "The mailbox is inactive and takes no mail"),
    ),
    "relay": (
        (554, "5.7.1", "<{address}>: Relay access denied"),
        (550, "5.7.1", "Relaying to {address} is not permitted"),
        (550, "", "We do not relay"),
    ),
    "greylisted": (
        (450, "4.2.0", "<{address}>: Recipient address rejected: Greylisted, see you in {seconds} seconds"),
        (451, "4.7.1", "Greylisting in action, please come back later"),
        (450, "4.7.1", "Graylisted, please try again in {minutes} minutes"),
        (451, "", "This triplet is unknown: greylisted for a while"),
        (450, "", "<{address}> first seen from {peer}; greylist, retry later"),
    ),
    "slow_down": (
        (421, "4.7.0", "{host} You are sending too fast; slow down. Closing connection"),
        (421, "", "{host} Rate limit exceeded, closing channel"),
        (421, "4.7.28", "Too many recipients from {peer} in a short time, throttled; try again later"),
    ),
    "rate": (
        (450, "4.7.1", "Rate limit: too many recipients from {peer} in this minute"),
        (451, "4.7.0", "Throttling your connection, try again in a minute"),
        (452, "4.3.2", "You are sending too much; wait a little"),
    ),
    "too_many_recipients": (
        (452, "4.5.3", "Too many recipients"),
        (452, "", "too many recipients in this session"),
    ),
    "too_many_connections": (
        (421, "4.7.0", "{host} Too many concurrent connections from {peer}"),
        (421, "", "Too many connections, try again later"),
    ),
    "blocked_greeting": (
        (554, "5.7.1", "{host} Your address {peer} is on our blacklist"),
        (554, "", "No SMTP service for you: bad reputation of {peer}"),
        (421, "4.7.1", "{host} Connections from {peer} are temporarily blocked"),
        (550, "", "Access denied for {peer}"),
    ),
    "blocked_mail": (
        (550, "5.7.1", "Mail from {peer} is blocked; ask postmaster@{host}"),
        (554, "5.7.1", "Service unavailable; client host [{peer}] blocked using bl.example"),
        (553, "", "Your IP {peer} has a poor reputation"),
        (550, "5.1.1", "Your host {peer} is banned here"),
    ),
    "blocked_recipient": (
        (554, "5.7.1", "<{address}>: Recipient address rejected: access denied, {peer} is on a block list"),
        (550, "5.7.1", "Client host rejected: [{peer}] is not wanted here"),
        (550, "5.1.1", "<{address}>: rejected, your IP address {peer} is listed by bl.example"),
        (550, "", "Mail from your network is refused"),
        (550, "5.7.0", "Rejected by local policy"),
        (550, "5.7.1", "Mailbox unavailable: sender host {peer} has bad reputation"),
    ),
    "null_refused": (
        (550, "5.1.7", "<>: Sender address rejected: the null sender is not accepted"),
        (553, "", "Sender refused: no bounces wanted here"),
        (501, "5.1.7", "Invalid sender: an empty return path is refused"),
    ),
    "no_name": (
        (450, "4.7.1", "Client host rejected: cannot find your reverse hostname, [{peer}]"),
        (550, "5.7.25", "{peer} has no PTR record that leads back to it"),
        (554, "", "Your reverse DNS is missing or wrong"),
    ),
    "wrong_hello": (
        (550, "5.7.1", "EHLO name does not match the reverse DNS of {peer}"),
        (504, "5.5.2", "Helo command rejected: the name given is not yours, mismatch"),
    ),
    "temporary": (
        (451, "4.3.0", "Temporary failure in local lookup"),
        (451, "", "Local problem, try later"),
        (450, "4.2.1", "The mailbox server cannot be reached just now"),
        (454, "4.3.0", "Directory lookup failed"),
    ),
    "tls_first": ((530, "5.7.0", "Must issue a STARTTLS command first"), (530, "", "TLS is required here")),
    "tls_ready": ((220, "2.0.0", "Ready to start TLS"), (220, "", "begin TLS now")),
    "tls_unavailable": ((454, "4.7.0", "TLS not available due to a local problem"), (454, "", "no TLS today")),
    "pipelining": (
        (503, "5.5.0", "Improper use of pipelining: it was not offered"),
        (554, "5.5.0", "{host} Protocol error: commands sent ahead of replies"),
    ),
    "data_go": ((354, "", "End data with <CR><LF>.<CR><LF>"), (354, "", "go on, a lone dot ends it")),
    "taken": ((250, "2.0.0", "Ok: queued"), (250, "", "message taken")),
    "reset": ((250, "2.0.0", "Ok"), (250, "", "flushed"), (250, "2.1.5", "state flushed")),
    "noop": ((250, "2.0.0", "Ok"), (250, "", "still here")),
    "bye": ((221, "2.0.0", "Bye"), (221, "", "{host} closing connection"), (221, "2.0.0", "Good bye")),
    "idle": ((421, "4.4.2", "{host} Idle for too long, closing"), (421, "", "time-out")),
    "order": ((503, "5.5.1", "Bad sequence of commands"), (503, "", "not now: wrong order of commands")),
    "syntax": ((501, "5.5.4", "Syntax error"), (501, "", "that cannot be understood")),
    "unknown_command": ((502, "5.5.2", "Command not recognised"), (500, "", "unknown command")),
    "data_refused": ((554, "5.7.1", "No message of this sender today"), (550, "", "no data wanted from you")),
    "content_refused": (
        (554, "5.7.1", "The content of this message is not wanted here"),
        (550, "5.6.0", "Message refused: its content cannot be handled"),
        (554, "", "message contents rejected"),
    ),
    "full_at_end": ((552, "5.2.2", "The mailbox is over quota"), (552, "5.2.2", "no room left in the mailbox")),
    "busy": ((421, "4.3.2", "{host} too busy now, try again later"), (421, "", "{host} closing down for a moment")),
}

Choice = TypeVar("Choice")


class Chance(Protocol):
    """Where randomness comes from; `random.Random` is one."""

    def random(self) -> float: ...

    def choice(self, seq: Sequence[Choice], /) -> Choice: ...

    def randint(self, a: int, b: int, /) -> int: ...

    def uniform(self, a: float, b: float, /) -> float: ...

    def shuffle(self, x: list[Choice], /) -> None: ...


class Manner:
    """How one host words things: the same meaning always in the same words."""

    def __init__(self, chance: Chance, host: str) -> None:
        self.host = host
        self.has_status = chance.random() < 0.75
        """Whether its replies carry enhanced status codes."""
        self.says_extensions = chance.random() < 0.8
        self._wordings = {meaning: chance.choice(wordings) for meaning, wordings in WORDINGS.items()}

    def say(self, meaning: str, *, address: str = "", peer: str = "", seconds: float = 0.0) -> Reply:
        """The reply of that meaning. `seconds`: how long to wait, for those that tell it."""
        code, status, text = self._wordings[meaning]
        words = text.format(
            address=address, peer=peer, host=self.host, seconds=round(seconds), minutes=max(1, round(seconds / 60))
        )
        return reply(code, words, status if self.has_status and status else None)
