"""Who is at the other end of a receiving session: what every check, and the trace, may know of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from postroad.message.arc import ArcResult
from postroad.smtp.address import Address, NullPath
from postroad.smtp.reply import Reply
from postroad.store.accounts import Account


class Role(StrEnum):
    """What a listener is for."""

    MX = "mx"
    SUBMISSION = "submission"
    SUBMISSIONS = "submissions"

    @property
    def is_submission(self) -> bool:
        """Whether only authenticated users send here (RFC 6409)."""
        return self is not Role.MX


def peer_of(peername: Any) -> tuple[str, int]:
    """Address and port of a peer; an IPv4 address that came over IPv6 is itself."""
    if not peername:
        return "unknown", 0
    return str(peername[0]).removeprefix("::ffff:"), int(peername[1])


def secured_by(transport: Any) -> str:
    """TLS version and cipher of a transport, or empty."""
    layer = transport.get_extra_info("ssl_object")
    cipher = layer.cipher() if layer is not None else None
    return f"{layer.version()} {cipher[0]}" if cipher else ""


@dataclass(frozen=True, slots=True)
class Authenticated:
    """What was seen of a message: its ARC chain, and our Authentication-Results on one line."""

    chain: ArcResult
    results: str


@dataclass(slots=True)
class Caller:
    """Grows as the session does."""

    peer: str
    peer_port: int
    role: Role
    hello: str = ""
    is_extended: bool = False
    is_tls: bool = False
    secured: str = ""
    """TLS version and cipher."""
    account: Account | None = None
    reverse_path: Address | NullPath | None = None
    smtputf8: bool = False
    talked_early: bool = False
    """It sent something before our greeting (H-04)."""
    talked_ahead: bool = False
    """It sent more commands behind EHLO or HELO without waiting for the answer, which nobody may (RFC 2920 §3.1)."""
    name: str = ""
    """Its host name, where that leads to its address and back."""
    recipients: int = 0
    """Recipients it has asked for in this transaction."""
    marks: tuple[str, ...] = ()
    """What was found odd about it and did not lead to a refusal, a word each; filters may weigh it."""
    authenticated: Authenticated | None = None
    """What was seen of its message last judged."""
    refusal_due: Reply | None = None
    """What it is told at RCPT, where a person will read it."""

    def mark(self, word: str) -> None:
        """Note something odd, once."""
        if word not in self.marks:
            self.marks = (*self.marks, word)

    @property
    def user(self) -> str | None:
        """Name of the account that authenticated."""
        return self.account.name if self.account else None

    @property
    def protocol(self) -> str:
        """The `with` word of a Received header (RFC 3848, RFC 6531 §4.3)."""
        if not self.is_extended:
            return "SMTP"
        base = "UTF8SMTP" if self.smtputf8 else "ESMTP"
        return base + ("S" if self.is_tls else "") + ("A" if self.account else "")
