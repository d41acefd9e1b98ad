"""A whole verification: addresses from a source, over the plan and the prober, to verdicts that are kept.

Memory is bounded by the window of addresses held at a time, the network by the number of connections. Verdicts are
recorded soon after they are found, so that a run that is stopped or killed goes on where it was. Prints nothing:
progress and notices go to whom it may concern by callbacks. Used by the verify command and by `library.verification`.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from postroad.net.endpoint import PhaseTimeouts, TlsMode
from postroad.net.resolver import DnsStatus, Resolver
from postroad.road.policy import TlsPolicy
from postroad.road.pool import Pool, PoolSettings
from postroad.road.route import Route, RouteFailure, Router
from postroad.road.site import SiteLimits, SitePresets
from postroad.road.throttle import BackOff
from postroad.smtp.address import NULL, Address, NullPath
from postroad.smtp.outcome import Phase
from postroad.verify.address import BadAddress, check
from postroad.verify.plan import Batch, Item, Plan
from postroad.verify.probe import Answer, Asked, Prober, route_answer
from postroad.verify.source import Source
from postroad.verify.judge import Known, bad_syntax, judge
from postroad.verify.verdict import Traits, Verdict

FEED = 1000
"""Addresses taken from the source at a time."""
FLUSH_AT = 500
FLUSH_S = 0.5
ROUTES_AT_A_TIME = 100
CLOSED_AFTER = 5
"""Hosts that time out, while nobody answers, before a closed port is suspected aloud."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifySettings:
    """How addresses are asked about."""

    hello: str
    mail_from: Address | NullPath = NULL
    port: int = 25
    tls: TlsMode = TlsMode.OPPORTUNISTIC
    source_address: str | None = None
    allow_private: bool = False
    connections: int = 50
    per_site: int = 2
    """Connections to one site at a time."""
    recipients_per_session: int = 50
    timeouts: PhaseTimeouts = field(default_factory=lambda: PhaseTimeouts.all(60.0, connect_s=15.0))
    window: int = 50_000
    """Addresses held in memory."""
    idle_s: float = 2.0
    longest_pause_s: float = 60.0
    """A site that is to be left alone for longer is not waited for."""
    back_off: BackOff = field(default_factory=BackOff)


class Job:
    """One run. `on_progress` gets the number of verdicts found since the last call, `on_notice` a sentence to tell."""

    def __init__(
        self,
        settings: VerifySettings,
        resolver: Resolver,
        source: Source,
        *,
        rng: random.Random,
        on_progress: Callable[[int], None] = lambda count: None,
        on_notice: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self.settings = settings
        self.counts: Counter[str] = Counter()
        """Verdicts of this run, by `Verdict.state`."""
        self._source = source
        self._on_progress = on_progress
        self._reach = _Reach(settings.port, on_notice)
        self._plan = Plan(batch_size=settings.recipients_per_session, per_site=settings.per_site)
        self._router = Router(
            resolver,
            rng=rng,
            port=settings.port,
            source_address=settings.source_address,
            allow_private=settings.allow_private,
            tls=TlsPolicy(settings.tls),
            presets=SitePresets(
                SiteLimits(
                    connections=settings.per_site,
                    messages_per_connection=settings.recipients_per_session,
                    recipients_per_message=settings.recipients_per_session,
                    idle_s=settings.idle_s,
                )
            ),
        )
        self._routes: dict[str, Route] = {}
        self._found: list[tuple[int, Verdict]] = []
        self._flushed_at = 0.0
        self.is_stopping = False
        """Whether `stop` was called."""
        self._is_fed = False
        self._routing: dict[asyncio.Task[Route | RouteFailure], str] = {}
        self._probing: dict[asyncio.Task[Asked], Batch] = {}
        self._unrouted: list[str] = []

    async def run(self) -> None:
        """Until every address has a verdict, or `stop`; what was found is recorded in any case."""
        settings = self.settings
        pool = Pool(
            PoolSettings(
                hello=settings.hello,
                timeouts=settings.timeouts,
                connections=settings.connections,
                longest_pause_s=settings.longest_pause_s,
                back_off=settings.back_off,
            ),
            self._router.endpoints,
        )
        prober = Prober(pool, mail_from=settings.mail_from, session_size=settings.recipients_per_session)
        try:
            while await self._advance(prober):
                pass
        finally:
            tasks = [*self._routing, *self._probing]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._flush()
            await pool.close()
        self._reach.conclude()

    def stop(self, grace_s: float = 5.0) -> None:
        """Begin nothing more; what is being asked may end within `grace_s`."""
        self.is_stopping = True
        for routing in self._routing:
            routing.cancel()
        if grace_s > 0:
            asyncio.get_running_loop().call_later(grace_s, self.stop, 0.0)
            return
        for probing in self._probing:
            probing.cancel()

    async def _advance(self, prober: Prober) -> bool:
        """Begin what may begin, and wait until something ends. False when all is done."""
        if not self.is_stopping:
            await self._feed()
            self._begin(prober)
        tasks: list[asyncio.Task[Route | RouteFailure] | asyncio.Task[Asked]] = [*self._routing, *self._probing]
        if not tasks:
            return False
        done, _ = await asyncio.wait(
            tasks, timeout=FLUSH_S if self._found else None, return_when=asyncio.FIRST_COMPLETED
        )
        for task in done:
            if task in self._routing:
                self._end_routing(task)  # type: ignore[arg-type]
            else:
                self._end_probing(task)  # type: ignore[arg-type]
        now = asyncio.get_running_loop().time()
        if len(self._found) >= FLUSH_AT or now - self._flushed_at >= FLUSH_S:
            self._flushed_at = now
            await self._flush()
        return True

    async def _feed(self) -> None:
        while not self._is_fed and not self.is_stopping and self._plan.size < self.settings.window:
            taken = await self._source.take(FEED)
            self._is_fed = not taken
            for number, text in taken:
                checked = check(text)
                if isinstance(checked, BadAddress):
                    self._keep(number, bad_syntax(text, checked.fault))
                elif self._plan.add(Item(number, checked)):
                    self._unrouted.append(checked.domain)
            if len(self._found) >= FLUSH_AT:
                await self._flush()

    def _begin(self, prober: Prober) -> None:
        loop = asyncio.get_running_loop()
        while self._unrouted and len(self._routing) < ROUTES_AT_A_TIME:
            domain = self._unrouted.pop()
            self._routing[loop.create_task(self._router.route(domain))] = domain
        while len(self._probing) < self.settings.connections:
            batch = self._plan.next_batch()
            if batch is None:
                break
            self._probing[loop.create_task(prober.ask(self._routes[batch.domain], batch.items))] = batch

    def _end_routing(self, task: asyncio.Task[Route | RouteFailure]) -> None:
        domain = self._routing.pop(task)
        if task.cancelled():
            return
        found = task.result()
        if isinstance(found, Route):
            self._routes[domain] = found
            self._plan.place(domain, found.site.key)
            return
        answer = route_answer(found)
        for item in self._plan.give_up(domain):
            self._settle(item, answer, ())

    def _end_probing(self, task: asyncio.Task[Asked]) -> None:
        batch = self._probing.pop(task)
        if task.cancelled():
            return
        asked = task.result()
        route = self._routes[batch.domain]
        mx = () if route.is_implicit else tuple(host.name for host in route.hosts)
        for item in batch.items:
            answer = asked.answers.get(item.id)
            if answer is not None:
                self._settle(item, answer, mx)
        rest: tuple[Item, ...] = ()
        if asked.is_unreachable:
            rest = self._plan.give_up(batch.domain)
            answer = next(iter(asked.answers.values()))
            for item in rest:
                self._settle(item, answer, mx)
        self._plan.finished(batch, asked.again)
        if not self._plan.holds(batch.domain):
            del self._routes[batch.domain]

    def _settle(self, item: Item, answer: Answer, mx: tuple[str, ...]) -> None:
        text = str(item.address)
        self._reach.note(answer)
        self._keep(item.id, judge(text, answer.steps, answer.decided_by, Known(mx=mx, traits=Traits(normalised=text))))

    def _keep(self, number: int, verdict: Verdict) -> None:
        self.counts[verdict.state] += 1
        self._found.append((number, verdict))

    async def _flush(self) -> None:
        found, self._found = self._found, []
        if found:
            await self._source.record(found)
            self._on_progress(len(found))


class _Reach:
    """Whether anybody can be reached at all: a closed port is said once, not once for each address."""

    def __init__(self, port: int, on_notice: Callable[[str], None]) -> None:
        self._port = port
        self._on_notice = on_notice
        self._silent: set[str] = set()
        self._is_settled = False

    def note(self, answer: Answer) -> None:
        """Take what one address met with."""
        if self._is_settled:
            return
        for step in answer.steps:
            if step.phase is Phase.CONNECT and "timed out" in step.detail:
                self._silent.add(step.address)
            elif step.host and (step.phase is not Phase.CONNECT or "refused" in step.detail):
                self._is_settled = True
        if len(self._silent) >= CLOSED_AFTER:
            self.conclude()

    def conclude(self) -> None:
        """Say it, if it is so."""
        if len(self._silent) > 1 and not self._is_settled:  # one silent host may just be down
            self._is_settled = True
            self._on_notice(
                f"No mail host can be reached on port {self._port}: every connection timed out. Most likely this"
                " network closes that port, as many providers do; verify from a machine where it is open."
            )


async def doubts(settings: VerifySettings, resolver: Resolver) -> list[str]:
    """What mail hosts will hold against us, one sentence each: a hello or sender that is nobody's (V-08)."""
    found = []
    name = settings.hello
    if not name.startswith("["):
        answer = await resolver.addresses(name) if "." in name else None
        if answer is None or answer.status in (DnsStatus.NO_DOMAIN, DnsStatus.NO_DATA):
            found.append(
                f"The name given in EHLO, {name}, is not in DNS: mail hosts may refuse us for it. Name one that leads"
                " to this machine by --hello."
            )
    if isinstance(settings.mail_from, Address):
        domain = settings.mail_from.domain
        mx = await resolver.mx(domain)
        has_none = mx.status is DnsStatus.NO_DOMAIN or mx.records == ((0, ""),)
        if mx.status is DnsStatus.NO_DATA:
            has_none = (await resolver.addresses(domain)).status in (DnsStatus.NO_DOMAIN, DnsStatus.NO_DATA)
        if has_none:
            found.append(
                f"The sender's domain, {domain}, takes no mail: many hosts refuse such a sender. Give an address"
                " of yours by --mail-from."
            )
    return found
