"""The values of one SMTP connection: where it goes, how it is secured, how long each phase may take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from postroad.smtp.outcome import Phase
from postroad.smtp.reply import Reply

CertificateCheck = Callable[[Sequence[bytes]], str]
"""Given a chain as DER, the host's own certificate first: why it is refused, or nothing."""


class TlsMode(StrEnum):
    """How much transport security one connection asks for."""

    NONE = "none"
    OPPORTUNISTIC = "opportunistic"
    """STARTTLS where offered, any certificate (RFC 7435)."""
    REQUIRED = "required"
    """STARTTLS or nothing, any certificate."""
    VERIFIED = "verified"
    """STARTTLS or nothing, with a certificate that names the host."""
    IMPLICIT = "implicit"
    """TLS from the first byte (RFC 8314), with a certificate that names the host."""
    IMPLICIT_UNVERIFIED = "implicit-unverified"
    """TLS from the first byte, any certificate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One address of one host. `host`: its name, for SNI, certificates and reports."""

    host: str
    address: str
    port: int = 25
    source_address: str | None = None
    proxy: str | None = field(default=None, repr=False)
    """URL of the proxy that connects us; it may hold a password."""
    is_trusted: bool = False
    """Named by the operator: it may be private."""
    socket_path: str | None = None
    """A Unix socket to connect to, instead of address and port."""

    def __str__(self) -> str:
        return f"{self.host}[{self.address}]:{self.port}" if self.socket_path is None else self.socket_path


@dataclass(frozen=True, slots=True, kw_only=True)
class Egress:
    """Where connections go out from: a local address, or a proxy; neither: as the system chooses."""

    source_address: str | None = None
    proxy: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseTimeouts:
    """Seconds to wait for the other side in each phase; the defaults are RFC 5321 §4.5.3.2's."""

    connect_s: float = 30.0
    greeting_s: float = 300.0
    ehlo_s: float = 300.0
    starttls_s: float = 60.0
    auth_s: float = 120.0
    mail_s: float = 300.0
    rcpt_s: float = 300.0
    data_s: float = 120.0
    block_s: float = 180.0
    body_s: float = 600.0
    rset_s: float = 30.0
    quit_s: float = 5.0

    @classmethod
    def all(cls, seconds: float, *, connect_s: float | None = None) -> PhaseTimeouts:
        """The same for every phase, but for the last ones (RSET 30 s, QUIT 5 s at most) and perhaps the connection."""
        ceilings = {"rset_s": 30.0, "quit_s": 5.0}
        timeouts = cls(**{name: min(seconds, ceilings.get(name, seconds)) for name in cls.__slots__})
        return timeouts if connect_s is None else replace(timeouts, connect_s=connect_s)


@dataclass(frozen=True, slots=True)
class TlsInfo:
    """What the handshake agreed on."""

    version: str
    cipher: str
    verified: bool
    """By the trusted authorities, and for the host's name."""
    passed: CertificateCheck | None = None
    """The check of its own that the certificate passed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    username: str
    password: str
    mechanism: str | None = None
    """None: the strongest one that both sides know."""


class DialogueError(Exception):
    """The connection could not be made or did not last; `reply` where the other side said something."""

    def __init__(self, phase: Phase, detail: str, reply: Reply | None = None, *, tls_result: str = "") -> None:
        """`tls_result`: what failed of TLS, as reports name it (RFC 8460 §4.3)."""
        super().__init__(f"{phase}: {detail}" if reply is None else f"{phase}: {reply}")
        self.phase = phase
        self.detail = detail
        self.reply = reply
        self.tls_result = tls_result
        self.dialogue: Callable[[], str] = str
        """What had been said until then, as text."""
