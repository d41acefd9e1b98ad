"""What domains ask of TLS, joined: MTA-STS and DANE for the router, sessions counted for reports, the reports sent."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from postroad.clock import Clock
from postroad.config import Config
from postroad.config.judge_tls_policy import trusted_resolver
from postroad.deliver.tls_reports import DAY_S, ReporterPorts, ReporterSettings, TlsReporter
from postroad.events import emit
from postroad.meaning.backoff import Chance
from postroad.message.mta_sts import MAX_POLICY_OCTETS, KeptPolicy
from postroad.message.tls_report import AppliedPolicy, PolicyKind, TlsSession
from postroad.net.dnssec import ValidatingResolver
from postroad.net.https import HttpsClient
from postroad.net.resolver import DnsResolver
from postroad.road.policy import is_public
from postroad.road.sts_policies import REFRESH_S, StsFailure, StsPolicies
from postroad.road.tls_policies import TlsPolicies
from postroad.store.spool import Queued, Spool, SpooledMessage, SpoolError
from postroad.store.tls_book import TlsBook

POLICY_PATH = "/.well-known/mta-sts.txt"
POST_S = 60.0
"""How long a report may take to be sent by HTTPS."""
FLUSH_S = 10.0
"""How often counted sessions are written."""
MAX_COUNTED = 20_000
"""Different sessions that wait to be written; beyond it new ones are not counted."""
UPKEEP_S = 3600.0
LOOK_S = 1800.0
"""How often it is looked for domains that are still to be told."""
SPREAD_S = 4 * 3600.0
"""After midnight reports wait up to so long."""
MAX_REFRESHED = 200
"""Policies fetched again each hour, so that they do not end while nobody mails the domain."""
MAX_REASON_CHARS = 200
Result = TypeVar("Result")


class KeptPolicies:
    """The book as road/sts_policies.py wants it: in a thread, and empty where it does not work."""

    def __init__(self, book: TlsBook) -> None:
        self._book = book

    async def policy(self, domain: str) -> KeptPolicy | None:
        """The policy that is kept."""
        try:
            return await _in_thread(partial(self._book.policy, domain))
        except SpoolError as error:
            emit("tls.book_failed", error=str(error))
            return None

    async def keep(self, policy: KeptPolicy) -> None:
        """Keep it."""
        try:
            await _in_thread(partial(self._book.keep, policy))
        except SpoolError as error:
            emit("tls.book_failed", error=str(error))


@dataclass(frozen=True, slots=True)
class ReportSending:
    """What sends the mail of reports."""

    spool: Spool
    finish: Callable[[SpooledMessage], Awaitable[SpooledMessage]]
    hand_on: Callable[[Sequence[Queued]], None]
    rng: Chance


class TlsHouse:
    """One for a worker: the book of the state directory, and what the configuration of the moment makes of it."""

    def __init__(self, config: Config, clock: Clock, *, https_port: int = 443) -> None:
        """`https_port`: where the web servers of policies listen."""
        self._config = config
        self._clock = clock
        self._https_port = https_port
        self.book = TlsBook(Path(config.server.state_dir) / "tls.db")
        self._counted: dict[tuple[int, TlsSession], int] = {}
        self._sts: StsPolicies | None = None
        self._resolver: DnsResolver | None = None

    def policies(self, config: Config, resolver: DnsResolver) -> TlsPolicies | None:
        """What the router of that configuration asks; None where it asks for nothing."""
        self._config = config
        self._resolver = resolver
        self._sts = None
        if config.delivery.tls == "none":
            return None
        if config.mta_sts.mode != "off":
            self._sts = sts_policies(
                config,
                resolver,
                self.book,
                self._clock,
                on_failure=self._policy_failed,
                https_port=self._https_port,
            )
        dane = secure_resolver(config, self._clock)
        if self._sts is None and dane is None:
            return None
        return TlsPolicies(
            sts=self._sts, dane=dane, wall=self._clock.wall, is_enforced=config.mta_sts.mode == "enforce"
        )

    # What happens ---------------------------------------------------------------------------------------------

    def on_tls(self, session: TlsSession) -> None:
        """A session was opened, or failed for its TLS."""
        policy = session.policy
        if session.result and policy is not None:
            emit(
                "tls.policy_failed",
                domain=session.domain,
                host=session.host,
                policy=policy.kind.value,
                result=session.result,
                reason=session.reason,
                enforced=session.is_enforced,
            )
        if self._config.tls_reports.count:
            self._count(session)

    def _policy_failed(self, failure: StsFailure) -> None:
        emit(
            "tls.policy_unfetched",
            domain=failure.domain,
            result=failure.result,
            reason=failure.reason,
            kept=failure.is_kept,
        )
        if self._config.tls_reports.count:
            self._count(
                TlsSession(
                    domain=failure.domain,
                    policy=AppliedPolicy(PolicyKind.STS, failure.domain),
                    host="",
                    address="",
                    source_address="",
                    result=failure.result,
                    reason=failure.reason[:MAX_REASON_CHARS],
                )
            )

    def _count(self, session: TlsSession) -> None:
        key = (int(self._clock.wall() // DAY_S), session)
        count = self._counted.get(key)
        if count is not None:
            self._counted[key] = count + 1
        elif len(self._counted) < MAX_COUNTED:
            self._counted[key] = 1

    # Upkeep ---------------------------------------------------------------------------------------------------

    async def flush(self) -> None:
        """Write what was counted since the last time."""
        if not self._counted:
            return
        counted, self._counted = self._counted, {}
        try:
            await _in_thread(partial(self.book.count, counted))
        except SpoolError as error:
            for key, count in counted.items():
                self._counted[key] = self._counted.get(key, 0) + count
            emit("tls.book_failed", error=str(error))

    async def run(self) -> None:
        """Write counts until cancelled."""
        while True:
            await asyncio.sleep(FLUSH_S)
            await self.flush()

    async def keep_house(self) -> None:
        """For one worker of a server: `tidy` each hour, until cancelled."""
        while True:
            await asyncio.sleep(UPKEEP_S)
            await self.tidy()

    async def tidy(self) -> None:
        """Forget what is old, and fetch policies again before they end."""
        now = self._clock.wall()
        try:
            await _in_thread(partial(self.book.forget, today=int(now // DAY_S), now=now))
            stale = await _in_thread(
                partial(self.book.stale, fetched_before=now - REFRESH_S, now=now, most=MAX_REFRESHED)
            )
        except SpoolError as error:
            emit("tls.book_failed", error=str(error))
            return
        for domain in stale:
            if self._sts is not None:
                await self._sts.refresh(domain)

    async def report(self, sending: ReportSending) -> None:
        """For one worker of a server: each day reports of the one before, until cancelled.

        After midnight (UTC) and a wait by chance, so that not everybody reports at once (RFC 8460 §4.1)."""
        wait_s = SPREAD_S * sending.rng.random()
        while True:
            now = self._clock.wall()
            if self._config.tls_reports.send and self._resolver is not None and now % DAY_S >= wait_s:
                await self.flush()
                await self._reporter(self._resolver, sending).report(int(now // DAY_S) - 1)
            await asyncio.sleep(LOOK_S)

    def _reporter(self, resolver: DnsResolver, sending: ReportSending) -> TlsReporter:
        config = self._config
        client = HttpsClient(resolver, is_allowed=partial(_is_allowed, config), timeout_s=POST_S)
        ports = ReporterPorts(
            book=self.book,
            resolver=resolver,
            post=client.post,
            spool=sending.spool,
            finish=sending.finish,
            hand_on=sending.hand_on,
            clock=self._clock,
            token=lambda: secrets.token_hex(8),
            emit=emit,
        )
        return TlsReporter(reporter_settings(config), ports)

    async def close(self) -> None:
        """Write what was counted last."""
        await self.flush()
        self.book.close()


def sts_policies(
    config: Config,
    resolver: DnsResolver,
    book: TlsBook,
    clock: Clock,
    *,
    on_failure: Callable[[StsFailure], None],
    https_port: int = 443,
) -> StsPolicies:
    """MTA-STS as the configuration has it."""
    client = HttpsClient(
        resolver,
        is_allowed=partial(_is_allowed, config),
        timeout_s=config.mta_sts.fetch_s,
        port=https_port,
    )

    async def fetch(domain: str) -> bytes:
        return await client.get(
            f"mta-sts.{domain}", POLICY_PATH, most_octets=MAX_POLICY_OCTETS, media_type="text/plain"
        )

    return StsPolicies(resolver, fetch, KeptPolicies(book), clock, on_failure=on_failure)


def secure_resolver(config: Config, clock: Clock) -> ValidatingResolver | None:
    """The resolver whose word about DNSSEC is believed; None where DANE is off."""
    place = trusted_resolver(config) if config.dane.enabled else None
    if place is None:
        return None
    dns = config.dns
    return ValidatingResolver(*place, timeout_s=dns.timeout_s, tries=dns.tries, cache_size=dns.cache_size, clock=clock)


def reporter_settings(config: Config) -> ReporterSettings:
    """Who reports, and who may be asked."""
    return ReporterSettings(
        hostname=config.server.hostname,
        organization=config.tls_reports.organization or config.server.hostname,
        contact=config.tls_reports.contact or f"postmaster@{config.server.hostname}",
        lifetime_s=config.delivery.lifetime_s,
    )


def _is_allowed(config: Config, address: str) -> bool:
    return config.delivery.allow_private or is_public(address)


async def _in_thread(work: Callable[[], Result]) -> Result:
    return await asyncio.get_running_loop().run_in_executor(None, work)
