"""How far each recipient of one transaction came, and with what reply: the one shape every transaction returns.

Made by `transaction.Transaction`; read by `meaning.classify`, by delivery and by verification alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from postroad.smtp.reply import Reply


class Phase(StrEnum):
    """The step of a dialogue that a reply, or its absence, belongs to (RFC 5321 §4.5.3.2)."""

    DNS = "dns"
    CONNECT = "connect"
    GREETING = "greeting"
    EHLO = "ehlo"
    STARTTLS = "starttls"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    BODY = "body"
    RSET = "rset"
    QUIT = "quit"


@dataclass(frozen=True, slots=True)
class RecipientResult:
    """The reply that decided this recipient's fate, and the phase it answered.

    `reply` None: none came, and `detail` says why. Without a reply in phase BODY the outcome is unknown:
    the message may have been taken (RFC 1047).
    """

    phase: Phase
    reply: Reply | None
    detail: str = ""

    @property
    def is_accepted(self) -> bool:
        """A probe was accepted by its RCPT reply; a delivery by the reply to its body."""
        return self.reply is not None and self.reply.is_positive


@dataclass(frozen=True, slots=True)
class TransactionResult:
    """`recipients` in the order in which they were given."""

    recipients: tuple[RecipientResult, ...]
    mail: Reply | None = None
    final: Reply | None = None
    """The reply to the body, where one was sent."""
    reset: Reply | None = None
    """The reply to RSET, where it came to that."""
