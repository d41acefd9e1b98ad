"""From the configuration to the settings of each room: one function a room, and nothing else."""

from __future__ import annotations

import random
import ssl
from collections.abc import Callable
from pathlib import Path

from postroad.config import Config, ListenerSettings
from postroad.deliver.local import MailboxNameError, Maildirs, MaildirSettings
from postroad.deliver.schedule import ScheduleLimits
from postroad.deliver.settle import SettlePolicy
from postroad.meaning.backoff import RetrySchedule
from postroad.net.endpoint import Credentials, Egress, PhaseTimeouts, TlsMode
from postroad.net.resolver import Resolver
from postroad.net.tls import server_context
from postroad.receive.auth import AuthLimits
from postroad.receive.caller import Role
from postroad.receive.checks import Checks, CheckSettings, LocalDomains, standard_checks
from postroad.receive.station import SessionTimeouts
from postroad.road.policy import TlsPolicy
from postroad.road.pool import PoolSettings
from postroad.road.provider import providers
from postroad.road.route import Router, StaticRoute
from postroad.road.site import SiteLimits, SitePresets
from postroad.smtp.address import Address, to_a_labels
from postroad.smtp.server_events import ServerSettings
from postroad.store.accounts import Accounts


def server_settings(config: Config, listener: ListenerSettings) -> ServerSettings:
    """What a listener offers and how much it bears."""
    role = Role(listener.role)
    limits = config.limits
    return ServerSettings(
        hostname=config.server.hostname,
        auth_mechanisms=config.auth.mechanisms if role.is_submission else (),
        is_auth_required=role.is_submission,
        has_starttls=role is not Role.SUBMISSIONS,
        message_octets=limits.message_octets,
        recipients=limits.recipients,
        command_line_octets=limits.command_line_octets,
        text_line_octets=limits.text_line_octets,
        convert_bare_newlines=role.is_submission and config.submission.bare_newlines == "convert",
        errors=limits.errors,
        idle_commands=limits.idle_commands,
        transactions=limits.transactions,
    )


def session_timeouts(config: Config) -> SessionTimeouts:
    """How long a client may take."""
    timeouts = config.timeouts
    return SessionTimeouts(
        command_s=timeouts.command_s,
        block_s=timeouts.block_s,
        tls_handshake_s=timeouts.tls_handshake_s,
        session_s=timeouts.session_s,
    )


def auth_limits(config: Config) -> AuthLimits:
    """How guessing is slowed."""
    return AuthLimits(failures=config.auth.failures, window_s=config.auth.window_s, delay_s=config.auth.delay_s)


def certificate_paths(config: Config) -> tuple[Path, Path]:
    """The certificate and key in use."""
    if config.tls.certificate:
        return Path(config.tls.certificate), Path(config.tls.key)
    directory = Path(config.server.state_dir) / "tls"
    return directory / "self-signed.pem", directory / "self-signed.key"


def tls_contexts(config: Config) -> dict[str, ssl.SSLContext]:
    """The context of each role, made anew on reload. Raises TlsError."""
    certificate, key = certificate_paths(config)
    return {role.value: server_context(certificate, key, minimum=config.tls.minimum) for role in Role}


def secret_path(config: Config) -> Path:
    """The server's own secret, from which the keys of unknown users are made up."""
    return Path(config.server.state_dir) / "secret"


def domains(config: Config) -> frozenset[str]:
    """The local domains in canonical form."""
    return frozenset(to_a_labels(domain) for domain in config.domains.local)


def delivered_here(config: Config) -> frozenset[str]:
    """The local domains that have Maildirs: those with a route of their own go where it says."""
    return domains(config) - {to_a_labels(route.domain) for route in config.route if route.domain != "*"}


def own_literals(config: Config) -> frozenset[str]:
    """The address literals that are this host."""
    return frozenset(
        f"[IPv6:{listener.address}]" if ":" in listener.address else f"[{listener.address}]"
        for listener in config.listener
        if listener.address not in ("0.0.0.0", "::")  # noqa: S104 - a comparison
    )


def local_domains(config: Config, accounts: Accounts) -> LocalDomains:
    """Which addresses are ours."""

    def has_mailbox(address: str) -> bool:
        account = accounts.get(address)
        return account is not None and not account.is_disabled

    return LocalDomains(
        domains(config),
        own_literals(config),
        has_mailbox if config.domains.mailboxes == "accounts" else None,
        _can_keep(config),
        config.domains.separator,
    )


def _can_keep(config: Config) -> Callable[[Address], bool]:
    here, boxes = delivered_here(config), maildirs(config)

    def can_keep(address: Address) -> bool:
        if address.domain not in here:
            return True
        try:
            boxes.mailbox_path(address)
        except MailboxNameError:
            return False
        return True

    return can_keep


def checks(config: Config, listener: ListenerSettings, local: LocalDomains) -> Checks:
    """The rules of acceptance on a listener."""
    is_submission = Role(listener.role).is_submission
    return standard_checks(CheckSettings(local, config.limits.hops, is_submission=is_submission))


def maildirs(config: Config) -> Maildirs:
    """Where local mail goes."""
    return Maildirs(
        MaildirSettings(
            root=Path(config.domains.maildir),
            hostname=config.server.hostname,
            separator=config.domains.separator,
            postmaster=config.domains.postmaster,
        )
    )


def router(config: Config, resolver: Resolver, rng: random.Random) -> Router:
    """The way to other domains."""
    delivery = config.delivery
    static = {
        route.domain if route.domain == "*" else to_a_labels(route.domain): StaticRoute(
            host=route.host,
            port=route.port,
            tls=TlsMode(route.tls),
            credentials=_credentials(route.username, route.password_file),
            is_discard=route.discard,
        )
        for route in config.route
    }
    return Router(
        resolver,
        own_names=frozenset({config.server.hostname, *own_literals(config)}),
        rng=rng,
        port=delivery.port,
        egress=Egress(source_address=delivery.source_address or None),
        allow_private=delivery.allow_private,
        static=static,
        tls=TlsPolicy(TlsMode(delivery.tls)),
        presets=SitePresets(
            SiteLimits(
                connections=delivery.connections_per_site,
                messages_per_connection=delivery.messages_per_connection,
                recipients_per_message=delivery.recipients_per_message,
                idle_s=delivery.idle_s,
            ),
            operator=providers().mail_operator,
        ),
    )


def _credentials(username: str, password_file: str) -> Credentials | None:
    if not username:
        return None
    password = Path(password_file).read_text(encoding="utf-8").splitlines()[:1]
    return Credentials(username=username, password=password[0] if password else "")


def pool_settings(config: Config) -> PoolSettings:
    """The limits of the pool."""
    timeouts = config.outgoing_timeouts
    return PoolSettings(
        hello=config.server.hostname,
        timeouts=PhaseTimeouts(**{name: getattr(timeouts, name) for name in PhaseTimeouts.__slots__}),
        connections=config.delivery.connections,
    )


def retry_schedule(config: Config) -> RetrySchedule:
    """When a failed delivery is tried again."""
    delivery = config.delivery
    return RetrySchedule(
        first_s=delivery.first_retry_s,
        factor=delivery.retry_factor,
        ceiling_s=delivery.retry_ceiling_s,
        lifetime_s=delivery.lifetime_s,
        jitter=delivery.retry_jitter,
    )


def settle_policy(config: Config) -> SettlePolicy:
    """How outcomes are judged."""
    return SettlePolicy(
        hostname=config.server.hostname,
        schedule=retry_schedule(config),
        delay_notice_s=config.delivery.delay_notice_s,
    )


def schedule_limits(config: Config) -> ScheduleLimits:
    """The bounds of the delivery loop."""
    delivery = config.delivery
    return ScheduleLimits(
        capacity=delivery.window,
        per_domain=delivery.connections_per_site,
        total=delivery.connections,
        recipients_per_item=delivery.recipients_per_message,
    )


def connection_limits(config: Config) -> tuple[int, int]:
    """Connections of one worker: in all, and from one peer."""
    return max(1, config.limits.connections // config.server.workers), config.limits.connections_per_peer


def needs_restart(old: Config, new: Config) -> bool:
    """Whether the difference cannot be taken up by running workers."""
    return (
        old.listener != new.listener
        or old.server.workers != new.server.workers
        or old.server.state_dir != new.server.state_dir
        or old.server.user != new.server.user
    )
