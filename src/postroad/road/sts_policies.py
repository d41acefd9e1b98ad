"""MTA-STS policies of domains: asked of DNS and of their web servers, kept for their time, known at once afterwards.

A policy that was fetched holds until its `max_age` is over, whatever DNS or the web server say in between, unless they
give another one (RFC 8461 §5.1). What fails where none is held is no policy. Failures are told to `on_failure`.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from postroad.clock import Clock
from postroad.message.dns import DnsStatus, TextsAnswer
from postroad.message.mta_sts import KeptPolicy, StsInvalid, StsPolicy, parse_policy, record_id
from postroad.net.https import HttpsError

RECHECK_S = 1800.0
"""How often DNS is asked whether a domain has a new policy, or one at all."""
RETRY_S = 300.0
"""How long a failed fetch, or DNS without an answer, is left alone (RFC 8461 §3.3: five minutes)."""
REFRESH_S = 86_400.0
"""A policy older than this, or than half its time, is fetched again though its id is the same (RFC 8461 §10.2)."""
MAX_KNOWN = 50_000
"""Domains whose answer is held in memory, most of them without a policy."""
MAX_ASKED = 100
"""Domains asked about at a time; more wait."""


class Texts(Protocol):
    """What is asked of DNS."""

    async def texts(self, name: str) -> TextsAnswer: ...


class PolicyStore(Protocol):
    """Where policies outlive the process. Never raises: a store that does not work holds nothing."""

    async def policy(self, domain: str) -> KeptPolicy | None: ...
    async def keep(self, policy: KeptPolicy) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StsFailure:
    """A policy could not be had; `result` as reports name it (RFC 8460 §4.3.2.2). `is_kept`: an older one holds."""

    domain: str
    result: str
    reason: str
    is_kept: bool


@dataclass(frozen=True, slots=True)
class _Known:
    policy: StsPolicy | None
    until: float


class StsPolicies:
    """`fetch` gets the policy file of a domain, or raises HttpsError."""

    def __init__(
        self,
        resolver: Texts,
        fetch: Callable[[str], Awaitable[bytes]],
        store: PolicyStore,
        clock: Clock,
        *,
        on_failure: Callable[[StsFailure], None],
    ) -> None:
        self._resolver = resolver
        self._fetch = fetch
        self._store = store
        self._clock = clock
        self._on_failure = on_failure
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._asking: dict[str, asyncio.Task[StsPolicy | None]] = {}
        self._places = asyncio.Semaphore(MAX_ASKED)

    def prepare(self, domain: str) -> None:
        """Begin to ask, unless the answer is known or asked for."""
        known = self._known.get(domain)
        if (known is None or known.until <= self._clock.monotonic()) and domain not in self._asking:
            task = asyncio.get_running_loop().create_task(self._ask(domain))
            self._asking[domain] = task
            task.add_done_callback(lambda _: self._asking.pop(domain, None))

    async def policy(self, domain: str) -> StsPolicy | None:
        """The policy that holds for a domain, or None. Waits where it must be asked for."""
        self.prepare(domain)
        task = self._asking.get(domain)
        return await asyncio.shield(task) if task is not None else self._known[domain].policy

    async def refresh(self, domain: str) -> None:
        """Fetch the policy again, whatever is known: so that it does not end while the domain still has one."""
        self._known.pop(domain, None)
        await self.policy(domain)

    async def _ask(self, domain: str) -> StsPolicy | None:
        async with self._places:
            policy, hold_s = await self._find(domain)
        self._known[domain] = _Known(policy, self._clock.monotonic() + hold_s)
        self._known.move_to_end(domain)
        while len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
        return policy

    async def _find(self, domain: str) -> tuple[StsPolicy | None, float]:
        """The policy, and for how long that is to be believed without asking again."""
        kept, answer = await asyncio.gather(self._store.policy(domain), self._resolver.texts(f"_mta-sts.{domain}"))
        now = self._clock.wall()
        held = _readable(kept) if kept is not None and now < kept.expires_at else None
        left_s = kept.expires_at - now if kept is not None and held is not None else RECHECK_S
        if answer.status is DnsStatus.TEMPORARY:
            return held, min(RETRY_S, left_s)
        try:
            number = record_id(text.decode("ascii", "replace") for text in answer.texts)
        except StsInvalid as fault:
            self._on_failure(
                StsFailure(
                    domain=domain, result="sts-policy-invalid", reason=f"_mta-sts: {fault}", is_kept=held is not None
                )
            )
            number = None
        if number is None:
            return held, min(RECHECK_S, left_s)
        if kept is not None and held is not None and kept.record_id == number and not _is_old(kept, now):
            return held, min(RECHECK_S, left_s)
        found = await self._fetched(domain, number, is_kept=held is not None)
        if found is None:
            return held, min(RETRY_S, left_s)
        return found, min(RECHECK_S, max(1.0, float(found.max_age_s)))

    async def _fetched(self, domain: str, number: str, *, is_kept: bool) -> StsPolicy | None:
        try:
            content = await self._fetch(domain)
            policy = parse_policy(content)
        except HttpsError as fault:
            result = "sts-webpki-invalid" if fault.is_certificate else "sts-policy-fetch-error"
            self._on_failure(StsFailure(domain=domain, result=result, reason=str(fault), is_kept=is_kept))
            return None
        except StsInvalid as fault:
            self._on_failure(StsFailure(domain=domain, result="sts-policy-invalid", reason=str(fault), is_kept=is_kept))
            return None
        now = self._clock.wall()
        await self._store.keep(
            KeptPolicy(
                domain=domain, record_id=number, content=content, fetched_at=now, expires_at=now + policy.max_age_s
            )
        )
        return policy


def _readable(kept: KeptPolicy) -> StsPolicy | None:
    try:
        return parse_policy(kept.content)
    except StsInvalid:
        return None


def _is_old(kept: KeptPolicy, now: float) -> bool:
    age = now - kept.fetched_at
    return age > REFRESH_S or age > (kept.expires_at - kept.fetched_at) / 2
