"""What a server session offers, and the events that it asks its owner to decide.

Values only: made by `server.ServerSession`, answered by receive/session.py and the library's Server.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from postroad.smtp.address import Address, NullPath
from postroad.smtp.extension import MailParameters, RcptParameters
from postroad.smtp.timing import latest_release, print_date


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
    hold_s: int = 0
    """The longest a message is held for its sender, told as FUTURERELEASE (RFC 4865); 0: not offered."""
    deliver_by_s: int | None = None
    """The shortest time to return a message in, told as DELIVERBY (RFC 2852), 0 for any; None: not offered."""
    has_priorities: bool = False
    """Whether MT-PRIORITY is offered (RFC 6710)."""
    has_require_tls: bool = False
    """Whether REQUIRETLS is offered, inside TLS (RFC 8689)."""


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
    is_token: bool = False
    """AUTH OAUTHBEARER or XOAUTH2: a token of an authorization server."""


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


def offer(
    settings: ServerSettings, is_tls: bool, may_authenticate: bool, wall: float = 0.0
) -> tuple[tuple[str, ...], frozenset[str]]:
    """The EHLO lines in that situation, and their keywords. `wall`: the wall clock."""
    return _offer(settings, is_tls, may_authenticate, latest_release(settings.hold_s, wall) if settings.hold_s else 0)


@lru_cache(maxsize=64)
def _offer(
    settings: ServerSettings, is_tls: bool, may_authenticate: bool, released_by: int
) -> tuple[tuple[str, ...], frozenset[str]]:
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
    if settings.hold_s:
        lines.append(f"FUTURERELEASE {settings.hold_s} {print_date(released_by)}")
    if settings.deliver_by_s is not None:
        lines.append(f"DELIVERBY {settings.deliver_by_s}" if settings.deliver_by_s else "DELIVERBY")
    if settings.has_priorities:
        lines.append("MT-PRIORITY")
    if settings.has_require_tls and is_tls:
        lines.append("REQUIRETLS")
    if settings.has_starttls and not is_tls:
        lines.append("STARTTLS")
    if settings.auth_mechanisms and is_tls and may_authenticate:
        lines.append(f"AUTH {' '.join(settings.auth_mechanisms)}")
    kept = tuple(line for line in lines if line.split(" ", 1)[0] not in settings.withheld)
    in_force = frozenset(line.split(" ", 1)[0] for line in kept)
    return kept, in_force | {"AUTH"} if settings.auth_mechanisms and is_tls else in_force
