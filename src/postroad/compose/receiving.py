"""What listeners offer, how long clients may take, and what they are refused."""

from __future__ import annotations

from pathlib import Path

from postroad.clock import Clock
from postroad.config import Config, ListenerSettings
from postroad.receive.auth import AuthLimits
from postroad.receive.caller import Role
from postroad.receive.checks import Checks, CheckSettings, standard_checks
from postroad.receive.directory import Directory
from postroad.receive.guard.attempts import AttemptLimits
from postroad.receive.station import SessionTimeouts
from postroad.receive.tokens import Introspection, IntrospectionSettings
from postroad.smtp.sasl import BEARER
from postroad.smtp.server_events import ServerSettings


def server_settings(config: Config, listener: ListenerSettings) -> ServerSettings:
    """What a listener offers and how much it bears."""
    role = Role(listener.role)
    limits, queueing = config.limits, config.queueing
    return ServerSettings(
        hostname=config.server.hostname,
        auth_mechanisms=_mechanisms(config) if role.is_submission else (),
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
        hold_s=queueing.hold_s if role.is_submission else 0,
        deliver_by_s=queueing.deliver_by_least_s if queueing.deliver_by else None,
        has_priorities=queueing.priorities,
        has_require_tls=queueing.require_tls,
    )


def _mechanisms(config: Config) -> tuple[str, ...]:
    return (*config.auth.mechanisms, *(BEARER if config.oauth.url else ()))


def tokens(config: Config, clock: Clock) -> Introspection | None:
    """Who is asked about tokens. Raises OSError where the secret cannot be read."""
    oauth = config.oauth
    if not oauth.url:
        return None
    secret = Path(oauth.client_secret_file).read_text().splitlines()[:1] if oauth.client_secret_file else []
    return Introspection(
        IntrospectionSettings(
            url=oauth.url,
            client_id=oauth.client_id,
            client_secret="".join(secret),
            claims=oauth.claims,
            scope=oauth.scope,
        ),
        clock.wall,
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
    auth = config.auth
    return AuthLimits(
        attempts=AttemptLimits(failures=auth.failures, account_failures=auth.account_failures, window_s=auth.window_s),
        delay_s=auth.delay_s,
    )


def checks(config: Config, listener: ListenerSettings, local: Directory) -> Checks:
    """The rules of acceptance on a listener."""
    is_submission = Role(listener.role).is_submission
    return standard_checks(CheckSettings(local, config.limits.hops, is_submission=is_submission))


def connection_limits(config: Config) -> tuple[int, int]:
    """Connections of one worker: in all, and from one peer."""
    return max(1, config.limits.connections // config.server.workers), config.limits.connections_per_peer
