"""What a server session offers, and the events that it asks its owner to decide.

Values only: made by `server.ServerSession`, answered by receive/session.py and the library's Server.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from postroad.smtp.address import Address, NullPath
from postroad.smtp.extension import MailParameters, RcptParameters


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """What one listener offers and how much it bears. Sizes in octets."""

    hostname: str
    auth_mechanisms: tuple[str, ...] = ()
    """Offered inside TLS alone."""
    is_auth_required: bool = False
    has_starttls: bool = False
    message_octets: int = 36_700_160
    recipients: int = 1000
    command_line_octets: int = 2048
    text_line_octets: int = 1000
    convert_bare_newlines: bool = False
    errors: int = 20
    """Commands answered 5yz before the session is closed."""
    idle_commands: int = 100
    """Commands since the last accepted message, recipients of a transaction apart, before the session is closed."""
    transactions: int = 1000
    """Messages a session; told as LIMITS MAILMAX (RFC 9422)."""
    withheld: frozenset[str] = frozenset()
    """Extension keywords not to offer."""


@dataclass(frozen=True, slots=True)
class HelloReceived:
    """EHLO or HELO; by itself accepted."""

    name: str
    is_extended: bool


@dataclass(frozen=True, slots=True)
class MailReceived:
    reverse_path: Address | NullPath
    parameters: MailParameters


@dataclass(frozen=True, slots=True)
class RcptReceived:
    forward_path: Address
    parameters: RcptParameters


@dataclass(frozen=True, slots=True)
class MessageReceived:
    """A whole message; answer 250 only once it is safe."""

    mail: MailReceived
    recipients: tuple[RcptReceived, ...]
    body: bytes


@dataclass(frozen=True, slots=True)
class StartTlsReceived:
    """Answer None to go on: 220 is said, and `tls_started` is called after the handshake. Refuse with 454."""


@dataclass(frozen=True, slots=True)
class PasswordReceived:
    """AUTH PLAIN or LOGIN: answer None where the password is this user's (and may act for `authzid`)."""

    username: str
    authzid: str
    password: str


@dataclass(frozen=True, slots=True)
class ScramKeysWanted:
    """AUTH SCRAM: answer with `answer_keys`; for an unknown user with keys that no password fits."""

    username: str
    authzid: str


@dataclass(frozen=True, slots=True)
class Authenticated:
    """The exchange succeeded and 235 is said; nothing to answer."""

    username: str


@dataclass(frozen=True, slots=True)
class AuthFailed:
    """The exchange failed and the refusal is said; nothing to answer."""

    username: str
    mechanism: str


Event = (
    HelloReceived
    | MailReceived
    | RcptReceived
    | MessageReceived
    | StartTlsReceived
    | PasswordReceived
    | ScramKeysWanted
    | Authenticated
    | AuthFailed
)


@lru_cache(maxsize=64)
def offer(settings: ServerSettings, is_tls: bool, may_authenticate: bool) -> tuple[tuple[str, ...], frozenset[str]]:
    """The EHLO lines in that situation, and their keywords."""
    lines = [
        "PIPELINING",
        f"SIZE {settings.message_octets}",
        "8BITMIME",
        "SMTPUTF8",
        "CHUNKING",
        "BINARYMIME",
        "ENHANCEDSTATUSCODES",
        "DSN",
        f"LIMITS RCPTMAX={settings.recipients} MAILMAX={settings.transactions}",
    ]
    if settings.has_starttls and not is_tls:
        lines.append("STARTTLS")
    if settings.auth_mechanisms and is_tls and may_authenticate:
        lines.append(f"AUTH {' '.join(settings.auth_mechanisms)}")
    kept = tuple(line for line in lines if line.split(" ", 1)[0] not in settings.withheld)
    in_force = frozenset(line.split(" ", 1)[0] for line in kept)
    return kept, in_force | {"AUTH"} if settings.auth_mechanisms and is_tls else in_force
