"""Every setting, its default and what it means. docs/reference/configuration.md is made from this file.

Values only: `load` fills them from TOML and the environment, worker.py turns them into the objects of each room.
Seconds end in `_s`, sizes in `_octets`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from postroad.config.authentication import AuthenticationSection
from postroad.config.guard import (
    BlockListSettings,
    BlockListsSection,
    CallForwardSection,
    DoorSection,
    GreylistSection,
    RatesSection,
)
from postroad.config.history import HistorySection
from postroad.config.hooks import MilterSettings, PluginSettings, RspamdSettings
from postroad.config.mailboxes import (
    AliasSettings,
    CommandSettings,
    DomainSettings,
    LmtpSettings,
    MailboxSettings,
    SrsSection,
    WebhookSettings,
)
from postroad.config.oauth import OauthSection
from postroad.config.operating import DiskSection, HttpSection
from postroad.config.queueing import QueueingSection, SenderSettings
from postroad.config.returns import ReturnsSection, SuppressionSection, UnsubscribeSection, VerifyFirstSection
from postroad.config.setting import setting
from postroad.config.shaping import PoolSettings, SiteSettings, SourceSettings
from postroad.config.signing import DkimKeySettings, DkimSection
from postroad.config.tls_policy import DaneSection, MtaStsSection, TlsReportsSection


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSection:
    """The server as a whole."""

    hostname: str = setting(
        "", "Our own name in greetings, EHLO and trace headers; the machine's full name by default."
    )
    workers: int = setting(1, "Worker processes, each with its own listeners and spool shard.", low=1, high=64)
    state_dir: str = setting("var", "Where the spool, accounts, certificates and local mail live.")
    drain_s: float = setting(30.0, "How long running transactions may take to end after SIGTERM.", low=0, high=3600)
    user: str = setting("", "The user to become after binding ports; only for a start as root.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerSettings:
    """One address to listen on."""

    address: str = setting("127.0.0.1", "An IPv4 or IPv6 address; `0.0.0.0` or `::` for all.")
    port: int = setting(2525, "The TCP port; 0 takes a free one.", low=0, high=65535)
    role: Literal["mx", "submission", "submissions"] = setting(
        "mx", "`mx` takes mail for local domains, `submission` from users (STARTTLS), `submissions` likewise (TLS)."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsSection:
    """TLS of the listeners."""

    certificate: str = setting(
        "", "PEM file with the certificate chain; a self-signed one is made where this is empty."
    )
    key: str = setting("", "PEM file with the private key.")
    minimum: Literal["1.2", "1.3"] = setting("1.2", "The oldest TLS version accepted.")


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainsSection:
    """The domains whose mail is delivered here."""

    local: tuple[str, ...] = setting((), "Local domains; the hostname by default.")
    mailboxes: Literal["any", "accounts"] = setting(
        "any", "Which local addresses exist: `any`, or those that are an account's name or identity."
    )
    maildir: str = setting(
        "", "Root of the Maildirs, `<root>/<domain>/<user>`; `mail` in the state directory by default."
    )
    separator: str = setting("+", "Separates a user from a detail in a local part (user+detail); empty for none.")
    postmaster: str = setting("", "The local user who gets mail to postmaster; `postmaster` by default.")


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsSection:
    """What one session, and all sessions of a worker, may use."""

    message_octets: int = setting(36_700_160, "The largest message taken; told as SIZE.", low=65_536, high=1 << 30)
    recipients: int = setting(
        1000, "Recipients of one message; 452 beyond (RFC 5321 asks for 100).", low=100, high=50_000
    )
    command_line_octets: int = setting(
        2048, "The longest command line with CRLF; AUTH may have 12,288.", low=512, high=65_536
    )
    text_line_octets: int = setting(
        1000, "The longest line of a message with CRLF (RFC 5321 §4.5.3.1.6).", low=1000, high=1 << 20
    )
    idle_commands: int = setting(
        100, "Commands without a message before 421; RCPT does not count.", low=10, high=100_000
    )
    errors: int = setting(20, "Commands answered 5yz before 421.", low=3, high=10_000)
    transactions: int = setting(1000, "Messages in one session; told as LIMITS MAILMAX.", low=1, high=1_000_000)
    connections: int = setting(
        20_000, "Connections in all, shared out evenly among the workers.", low=1, high=1_000_000
    )
    connections_per_peer: int = setting(
        200, "Connections from one address (IPv6: one /64), for each worker.", low=1, high=1_000_000
    )
    body_memory_octets: int = setting(
        1 << 28, "Memory for messages still arriving, for each worker; 452 beyond.", low=1 << 20, high=1 << 40
    )
    hops: int = setting(100, "Received headers before a message is taken for a loop.", low=10, high=1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeoutsSection:
    """How long a client may take (RFC 5321 §4.5.3.2)."""

    command_s: float = setting(300.0, "For one command.", low=1, high=86_400)
    block_s: float = setting(180.0, "For a block of a message.", low=1, high=86_400)
    tls_handshake_s: float = setting(30.0, "For a TLS handshake.", low=1, high=600)
    session_s: float = setting(3600.0, "For a session in all.", low=10, high=864_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthSection:
    """Authentication of users."""

    mechanisms: tuple[str, ...] = setting(
        ("SCRAM-SHA-256", "PLAIN", "LOGIN"), "SASL mechanisms, offered inside TLS only."
    )
    failures: int = setting(
        10, "Failures of one peer, or of one peer for one account, before it is refused.", low=1, high=10_000
    )
    account_failures: int = setting(
        100,
        "Failures for one account, from everywhere, before only networks it came from of late are heard; 0 for never.",
        low=0,
        high=1_000_000,
    )
    window_s: float = setting(600.0, "How long failures are remembered.", low=1, high=86_400)
    ban_s: float = setting(
        900.0,
        "How long who has failed too often is banned, twice as long each time within a day; 0 for as long as failures"
        " are remembered.",
        low=0,
        high=2_592_000,
    )
    longest_ban_s: float = setting(86_400.0, "The longest of these bans.", low=1, high=31_536_000)
    delay_s: float = setting(1.0, "How long a refusal is held back.", low=0, high=60)


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionSection:
    """Mail from users."""

    bare_newlines: Literal["refuse", "convert"] = setting(
        "refuse", "What to do with a CR or LF outside a CRLF: `refuse` the message, or `convert` it to CRLF."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsSection:
    """Name resolution."""

    nameserver: str = setting("", "`ADDRESS:PORT` of a DNS server; the system's by default.")
    timeout_s: float = setting(5.0, "For one try of a query.", low=0.1, high=60)
    tries: int = setting(2, "Tries of a query.", low=1, high=10)
    cache_size: int = setting(10_000, "Answers held in memory.", low=0, high=1_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliverySection:
    """The road out."""

    port: int = setting(25, "The port of other mail hosts.", low=1, high=65_535)
    source_address: str = setting("", "The local address to connect from.")
    allow_private: bool = setting(False, "Whether hosts with loopback, private or link-local addresses are contacted.")
    tls: Literal["none", "opportunistic", "required", "verified"] = setting(
        "opportunistic", "STARTTLS on the way out: never, where offered, always, or always with a valid certificate."
    )
    connections: int = setting(500, "Connections out, for each worker.", low=1, high=20_000)
    connections_per_site: int = setting(20, "Connections to one site, all workers together.", low=1, high=1000)
    messages_per_connection: int = setting(100, "Messages sent on one connection.", low=1, high=100_000)
    recipients_per_message: int = setting(100, "Recipients in one transaction.", low=1, high=1000)
    idle_s: float = setting(5.0, "How long an unused connection is kept for the next message.", low=0, high=300)
    first_retry_s: float = setting(300.0, "The first interval after a failed try.", low=1, high=86_400)
    retry_factor: float = setting(2.0, "How much each interval is longer than the one before.", low=1, high=10)
    retry_ceiling_s: float = setting(14_400.0, "The longest interval.", low=60, high=604_800)
    retry_jitter: float = setting(0.2, "How much intervals vary by chance, as a share.", low=0, high=0.9)
    lifetime_s: float = setting(
        432_000.0, "How long delivery is tried before the message bounces (five days).", low=1, high=2_592_000
    )
    delay_notice_s: float = setting(
        14_400.0, "After how long the sender is told that it takes longer; 0 for never.", low=0, high=864_000
    )
    window: int = setting(
        50_000, "Recipients held in memory, for each worker; the rest waits in the spool.", low=100, high=10_000_000
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class OutgoingTimeoutsSection:
    """How long other mail hosts may take (RFC 5321 §4.5.3.2)."""

    connect_s: float = setting(30.0, "For the TCP connection.", low=0.1, high=600)
    greeting_s: float = setting(300.0, "For the greeting: 30 seconds and more are common.", low=0.1, high=3600)
    ehlo_s: float = setting(300.0, "For the reply to EHLO.", low=0.1, high=3600)
    starttls_s: float = setting(60.0, "For STARTTLS and its handshake.", low=0.1, high=3600)
    auth_s: float = setting(120.0, "For each step of AUTH.", low=0.1, high=3600)
    mail_s: float = setting(300.0, "For the reply to MAIL.", low=0.1, high=3600)
    rcpt_s: float = setting(300.0, "For the reply to RCPT.", low=0.1, high=3600)
    data_s: float = setting(120.0, "For the reply to DATA.", low=0.1, high=3600)
    block_s: float = setting(180.0, "For the host to take a block of the message.", low=0.1, high=3600)
    body_s: float = setting(600.0, "For the reply to the end of the message.", low=0.1, high=3600)
    rset_s: float = setting(30.0, "For the reply to RSET.", low=0.1, high=3600)
    quit_s: float = setting(5.0, "For the reply to QUIT.", low=0.1, high=600)


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteSettings:
    """Where mail for one domain goes, instead of its MX hosts."""

    domain: str = setting("", "The domain, perhaps a local one; `*` for every domain that is not local: a smart host.")
    host: str = setting("", "The host to send to: a name or an address.")
    port: int = setting(25, "Its port.", low=1, high=65_535)
    tls: Literal["none", "opportunistic", "required", "verified", "implicit"] = setting(
        "opportunistic", "How the connection is secured."
    )
    username: str = setting("", "For AUTH; needs TLS.")
    password_file: str = setting("", "File whose first line is the password.")
    discard: bool = setting(
        False, "Take the mail and throw it away, instead of sending it: for tests and measurements."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSection:
    """The log, on standard error or in a file."""

    format: Literal["console", "json"] = setting("console", "On standard error: a line for people, or JSON.")
    level: Literal["debug", "info", "warning", "error"] = setting("info", "The least level that is logged.")
    file: str = setting(
        "", "A file for the log, as JSON lines, instead of standard error; a relative one is in the state directory."
    )
    rotate_octets: int = setting(
        100_000_000, "At that size the file is renamed, and a new one begun.", low=65_536, high=1 << 40
    )
    keep: int = setting(5, "How many full files are kept, `.1` the newest.", low=0, high=999)


DEFAULT_LISTENERS = (
    ListenerSettings(port=2525, role="mx"),
    ListenerSettings(port=2587, role="submission"),
    ListenerSettings(port=2465, role="submissions"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The whole configuration. Each field is a table of the TOML file; `listener` and `route` are arrays of tables."""

    server: ServerSection = field(default_factory=ServerSection)
    listener: tuple[ListenerSettings, ...] = DEFAULT_LISTENERS
    tls: TlsSection = field(default_factory=TlsSection)
    domains: DomainsSection = field(default_factory=DomainsSection)
    domain: tuple[DomainSettings, ...] = ()
    mailbox: tuple[MailboxSettings, ...] = ()
    alias: tuple[AliasSettings, ...] = ()
    srs: SrsSection = field(default_factory=SrsSection)
    lmtp: tuple[LmtpSettings, ...] = ()
    webhook: tuple[WebhookSettings, ...] = ()
    command: tuple[CommandSettings, ...] = ()
    limits: LimitsSection = field(default_factory=LimitsSection)
    timeouts: TimeoutsSection = field(default_factory=TimeoutsSection)
    auth: AuthSection = field(default_factory=AuthSection)
    door: DoorSection = field(default_factory=DoorSection)
    rates: RatesSection = field(default_factory=RatesSection)
    greylist: GreylistSection = field(default_factory=GreylistSection)
    block_lists: BlockListsSection = field(default_factory=BlockListsSection)
    block_list: tuple[BlockListSettings, ...] = ()
    call_forward: CallForwardSection = field(default_factory=CallForwardSection)
    authentication: AuthenticationSection = field(default_factory=AuthenticationSection)
    oauth: OauthSection = field(default_factory=OauthSection)
    submission: SubmissionSection = field(default_factory=SubmissionSection)
    dns: DnsSection = field(default_factory=DnsSection)
    delivery: DeliverySection = field(default_factory=DeliverySection)
    queueing: QueueingSection = field(default_factory=QueueingSection)
    sender: tuple[SenderSettings, ...] = ()
    outgoing_timeouts: OutgoingTimeoutsSection = field(default_factory=OutgoingTimeoutsSection)
    route: tuple[RouteSettings, ...] = ()
    site: tuple[SiteSettings, ...] = ()
    source: tuple[SourceSettings, ...] = ()
    pool: tuple[PoolSettings, ...] = ()
    mta_sts: MtaStsSection = field(default_factory=MtaStsSection)
    dane: DaneSection = field(default_factory=DaneSection)
    tls_reports: TlsReportsSection = field(default_factory=TlsReportsSection)
    plugin: tuple[PluginSettings, ...] = ()
    milter: tuple[MilterSettings, ...] = ()
    rspamd: tuple[RspamdSettings, ...] = ()
    returns: ReturnsSection = field(default_factory=ReturnsSection)
    suppression: SuppressionSection = field(default_factory=SuppressionSection)
    unsubscribe: UnsubscribeSection = field(default_factory=UnsubscribeSection)
    verify_first: VerifyFirstSection = field(default_factory=VerifyFirstSection)
    dkim: DkimSection = field(default_factory=DkimSection)
    dkim_key: tuple[DkimKeySettings, ...] = ()
    history: HistorySection = field(default_factory=HistorySection)
    http: HttpSection = field(default_factory=HttpSection)
    disk: DiskSection = field(default_factory=DiskSection)
    log: LogSection = field(default_factory=LogSection)
