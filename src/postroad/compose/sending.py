"""The road out: routes, pool, retries."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from pathlib import Path

from postroad.compose import shaping
from postroad.compose.mailboxes import own_literals
from postroad.config import Config
from postroad.config.judge import is_domain
from postroad.deliver.schedule import ScheduleLimits
from postroad.deliver.settle import SettlePolicy
from postroad.meaning.backoff import RetrySchedule
from postroad.meaning.rule import Kind
from postroad.message.tls_report import TlsSession
from postroad.net.endpoint import Credentials, Egress, PhaseTimeouts, TlsMode
from postroad.net.resolver import DnsResolver, Resolver
from postroad.net.tls import client_context
from postroad.road.policy import TlsPolicy
from postroad.road.pool import Pool, PoolSettings
from postroad.road.route import Policies, Router, StaticRoute
from postroad.road.shaping import Guidance
from postroad.road.site import SitePresets
from postroad.smtp.address import to_a_labels

LONGEST_QUEUE_S = 60.0
"""A message that would wait longer for a site's rate gives its place to mail for other sites."""


def router(
    config: Config,
    resolver: Resolver,
    rng: random.Random,
    policies: Policies | None = None,
    presets: SitePresets | None = None,
) -> Router:
    """The way to other domains. `policies`: what these ask of TLS; None: nobody is asked. `presets`: the limits of
    sites; None: as they are configured."""
    delivery = config.delivery
    static = {
        route.domain if route.domain == "*" else to_a_labels(route.domain): StaticRoute(
            host=to_a_labels(route.host) if is_domain(route.host) else route.host,
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
        policies=policies,
        presets=shaping.presets(config) if presets is None else presets,
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
        longest_queue_s=LONGEST_QUEUE_S,
    )


def pool(config: Config, router: Router, on_tls: Callable[[TlsSession], None], guidance: Guidance) -> Pool:
    """The connections out of one worker. `on_tls` is told of sessions with hosts that MX records name."""
    return Pool(pool_settings(config), router.endpoints, ssl_contexts=client_context, on_tls=on_tls, guidance=guidance)


async def retire(pool: Pool, resolver: DnsResolver, patience_s: float) -> None:
    """A road that was replaced: what is under way on it may end."""
    await pool.close()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(patience_s):
            while pool.open_connections:
                await asyncio.sleep(0.5)
    await resolver.close()


def retry_schedule(config: Config) -> RetrySchedule:
    """When a failed delivery is tried again."""
    delivery = config.delivery
    return RetrySchedule(
        first_s=delivery.first_retry_s,
        factor=delivery.retry_factor,
        ceiling_s=delivery.retry_ceiling_s,
        lifetime_s=delivery.lifetime_s,
        jitter=delivery.retry_jitter,
        first_of={
            Kind.GREYLISTED: config.queueing.greylisted_retry_s,
            Kind.MAILBOX_FULL: config.queueing.mailbox_full_retry_s,
            Kind.RATE_LIMITED: config.queueing.rate_limited_retry_s,
        },
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
        per_domain=shaping.connections_to_one_site(config),
        total=delivery.connections,
        recipients_per_item=delivery.recipients_per_message,
        bulk_share=config.queueing.bulk_share,
    )
