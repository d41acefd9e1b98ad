"""A whole verification: addresses from a source, over the plan and the prober, to verdicts that are kept.

Memory is bounded by the windows of addresses held at a time, the network by the number of connections. Verdicts are
recorded soon after they are found, so that a run that is stopped or killed goes on where it was. What an answer means
and what follows from it is inquiry's; this module moves things along. Prints nothing: progress and notices go to whom
it may concern by callbacks. Used by the verify command and by `library.verification`.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from zlib import crc32

from postroad.clock import Clock, SystemClock
from postroad.net.dialogue import connect
from postroad.net.resolver import Resolver
from postroad.road.policy import TlsPolicy
from postroad.road.pool import Pool, PoolSettings
from postroad.road.provider import Answers, ProviderKind
from postroad.road.route import Route, RouteFailure, Router
from postroad.road.site import SiteLimits, SitePresets
from postroad.road.throttle import Throttle
from postroad.smtp.address import Address
from postroad.smtp.outcome import Phase
from postroad.verify.address import BadAddress, check
from postroad.verify.block_lists import listed_by
from postroad.verify.data_lists import DataLists
from postroad.verify.found import Found
from postroad.verify.inquiry import Inquiry, Settled
from postroad.verify.judge import Step, bad_syntax
from postroad.verify.memory import Memory, NoMemory
from postroad.verify.plan import Batch, Item, Plan, Share
from postroad.verify.probe import Answer, Asked, Prober, route_answer
from postroad.verify.reach import Dialler, Reach
from postroad.verify.settings import VerifySettings
from postroad.verify.source import Source
from postroad.verify.traits import describe
from postroad.verify.verdict import Verdict

FEED = 1000
"""Addresses taken from the source at a time."""
FLUSH_AT = 500
FLUSH_S = 0.5
ROUTES_AT_A_TIME = 100
DNS_AGAIN_S = 30.0
"""After this a domain of which DNS gave no answer is looked for once more."""
DNS_FAILURES = 3
"""Domains without an answer, and none with one, after which the name server is taken to be away."""
BATCHES_FOR_CONNECTIONS = 4
"""Batches under way for each connection: those that wait out the pace of a slow site do not hold up the others."""


@dataclass(frozen=True, slots=True)
class _Way:
    """Where a domain's mail goes, and what was found on the way."""

    route: Route | RouteFailure
    listed_by: str = ""


@dataclass(slots=True)
class _Lane:
    """One way out: its own connections and limits."""

    pool: Pool
    prober: Prober


class Job:
    """One run. `on_progress` gets the number of verdicts found since the last call, `on_notice` a sentence to tell."""

    def __init__(
        self,
        settings: VerifySettings,
        resolver: Resolver,
        source: Source,
        *,
        rng: random.Random,
        lists: DataLists | None = None,
        memory: Memory | None = None,
        clock: Clock | None = None,
        connector: Dialler = connect,
        on_progress: Callable[[int], None] = lambda count: None,
        on_notice: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self.settings = settings
        self.is_stopping = False
        """Whether `stop` was called."""
        self.is_port_closed = False
        """Whether nobody could be reached at all, so that the run was given up."""
        self._source = source
        self._lists = DataLists.load() if lists is None else lists
        self._memory = memory or NoMemory()
        self._clock = clock or SystemClock()
        self._on_notice = on_notice
        self._resolver = resolver
        self._reach = Reach(connector, settings.port, by_proxy=any(one.proxy for one in settings.egress))
        self._plan = Plan()
        self._pace = Throttle(SiteLimits(recipients_per_minute=settings.recipients_per_minute_in_all))
        """Of all sites together."""
        self._inquiry = Inquiry(
            rng=rng,
            wait_s=settings.wait_s,
            describe=lambda address: describe(address, self._lists),
            is_asking_at_random=settings.is_asking_at_random,
        )
        presets = SitePresets(settings.site_limits(), operator=self._lists.providers.probe_operator)
        self._routers = [
            Router(
                resolver,
                rng=rng,
                port=settings.port,
                egress=egress,
                allow_private=settings.allow_private,
                tls=TlsPolicy(settings.tls),
                presets=presets,
            )
            for egress in settings.egress
        ]
        self._lanes: list[_Lane] = []
        self._routes: dict[str, Route] = {}
        self._found = Found(source, self._memory, on_progress)
        self._flushed_at = 0.0
        self._is_fed = False
        self._stopped = asyncio.Event()
        self._has_told_waiting = False
        self._dns_failures: int | None = 0
        """Domains of which DNS gave no answer; None: of some other it did."""
        self._has_told_doubt = False
        self._routing: dict[asyncio.Task[_Way], str] = {}
        self._probing: dict[asyncio.Task[Asked], Batch] = {}
        self._unrouted: list[str] = []
        self._unrouted_later: deque[tuple[float, str]] = deque()
        """Domains of which DNS gave no answer: when they are looked for again."""
        self._asked_dns: dict[str, None] = {}

    @property
    def counts(self) -> Mapping[str, int]:
        """Verdicts of this run, by `Verdict.state`."""
        return self._found.counts

    @property
    def waiting(self) -> int:
        """Addresses put off until later: greylisted, or at a site in trouble."""
        return self._plan.deferred

    def troubles(self) -> list[tuple[str, str, int]]:
        """The sites that slowed us down or refused us: site, their words, in how many sessions."""
        return self._inquiry.troubles()

    async def run(self) -> None:
        """Until every address has a verdict, or `stop`; what was found is recorded in any case."""
        self._lanes = [self._lane(router) for router in self._routers]
        try:
            while await self._advance():
                pass
            if not self.is_stopping and self._reach.is_closed(self._now(), is_over=True):
                self._tell_closed()
            if not self.is_stopping:
                self._found.release()
            self._tell_doubt()
        finally:
            tasks = [*self._routing, *self._probing]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._found.flush()
            await self._memory.keep(())
            await asyncio.gather(*(lane.pool.close() for lane in self._lanes))

    def stop(self, grace_s: float = 5.0) -> None:
        """Begin nothing more; what is being asked may end within `grace_s`."""
        self.is_stopping = True
        self._stopped.set()
        for routing in self._routing:
            routing.cancel()
        if grace_s > 0:
            asyncio.get_running_loop().call_later(grace_s, self.stop, 0.0)
            return
        for probing in self._probing:
            probing.cancel()

    def _lane(self, router: Router) -> _Lane:
        settings = self.settings
        pool = Pool(
            PoolSettings(
                hello=settings.hello,
                timeouts=settings.timeouts,
                connections=settings.connections,
                longest_pause_s=0.0,
                back_off=settings.back_off,
            ),
            router.endpoints,
            connector=self._reach.connect,
        )
        prober = Prober(
            pool,
            mail_from=settings.mail_from,
            session_size=settings.recipients_per_session,
            wall=self._clock.wall,
        )
        return _Lane(pool, prober)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    async def _advance(self) -> bool:
        """Begin what may begin, and wait until something ends. False when all is done."""
        if not self.is_stopping:
            await self._feed()
            self._begin()
        tasks: list[asyncio.Task[_Way] | asyncio.Task[Asked]] = [*self._routing, *self._probing]
        done: set[asyncio.Task[_Way] | asyncio.Task[Asked]] = set()
        due = self._next_due()
        if tasks:
            timeout = None if self.is_stopping else self._patience(due)
            done, _ = await asyncio.wait(tasks, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        elif self.is_stopping or (due is None and self._is_fed):
            return False
        elif due is not None:
            await self._rest(due)
        for task in done:
            if task in self._routing:
                self._end_routing(task)  # type: ignore[arg-type]
            else:
                self._end_probing(task)  # type: ignore[arg-type]
        now = self._now()
        if self._reach.is_open:
            self._found.release()
        if not self.is_stopping and self._reach.is_closed(now):
            await self._give_up_closed()
        if len(self._found) >= FLUSH_AT or now - self._flushed_at >= FLUSH_S:
            self._flushed_at = now
            await self._found.flush()
        return True

    def _next_due(self) -> float | None:
        """In how many seconds something that waits may go on; None: nothing does."""
        now = self._now()
        waits = []
        if (due := self._plan.next_time()) is not None:
            waits.append(due - now)
        if self._unrouted_later:
            waits.append(self._unrouted_later[0][0] - now)
        if self._plan.size > self._plan.deferred:
            waits.append(self._pace.message_wait(now, self.settings.recipients_per_session))
        waits = [max(0.01, wait) for wait in waits if wait]
        return min(waits) if waits else None

    def _patience(self, due: float | None) -> float | None:
        """How long something may take to end before something else is to be done; None: as long as it takes."""
        waits = [FLUSH_S if self._found else None, due, self._reach.next_look(self._now())]
        known = [wait for wait in waits if wait is not None]
        return min(known) if known else None

    async def _rest(self, seconds: float) -> None:
        """Nothing is under way: wait, unless somebody stops the run."""
        if self._found:
            seconds = min(seconds, FLUSH_S)
        else:
            self._tell_waiting()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopped.wait()

    # Feeding --------------------------------------------------------------------------------------------------

    async def _feed(self) -> None:
        settings = self.settings
        while (
            not self._is_fed
            and not self.is_stopping
            and self._plan.size - self._plan.deferred + self._inquiry.held < settings.window
            and self._plan.deferred < settings.deferred
        ):
            taken = await self._source.take(FEED)
            self._is_fed = not taken
            addresses: list[tuple[int, Address]] = []
            for number, text in taken:
                checked = check(text)
                if isinstance(checked, BadAddress):
                    self._keep(number, bad_syntax(text, checked.fault))
                else:
                    addresses.append((number, checked))
            remembered = await self._memory.recall([address for _, address in addresses])
            for number, address in addresses:
                verdict = remembered.get(str(address))
                if verdict is not None:
                    self._keep(number, verdict, is_new=False)
                elif self._plan.add(Item(number, address)):
                    self._unrouted.append(address.domain)
            if len(self._found) >= FLUSH_AT:
                await self._found.flush()

    def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        while self._unrouted_later and self._unrouted_later[0][0] <= self._now():
            self._unrouted.append(self._unrouted_later.popleft()[1])
        while self._unrouted and len(self._routing) < ROUTES_AT_A_TIME:
            domain = self._unrouted.pop()
            self._routing[loop.create_task(self._find_way(domain))] = domain
        most = self.settings.connections * len(self._lanes) * BATCHES_FOR_CONNECTIONS
        while len(self._probing) < most and not self._pace.message_wait(
            self._now(), self.settings.recipients_per_session
        ):
            batch = self._plan.next_batch(self._now())
            if batch is None:
                break
            refusal = self._inquiry.refusal(batch.site)
            if refusal is not None:
                self._keep_all(self._inquiry.answer_all(batch.domain, batch.items, refusal))
                self._finish(batch)
                continue
            # The made-up recipient goes last: a host that takes offence at it has then answered the others.
            items = sorted(batch.items, key=lambda item: item.id < 0)
            prober = self._lanes[self._lane_number(self._routes[batch.domain])].prober
            self._pace.message_begun(self._now(), len(items))
            self._probing[loop.create_task(prober.ask(self._routes[batch.domain], items))] = batch

    def _lane_number(self, route: Route) -> int:
        """Always the same for a site, or for a domain where sites are split: greylisting hosts know us again."""
        name = route.domain if self.settings.splits_sites else route.site.key
        return crc32(name.encode()) % len(self._lanes)

    # Routing --------------------------------------------------------------------------------------------------

    async def _find_way(self, domain: str) -> _Way:
        router = self._routers[0]
        route = await router.route(domain)
        if isinstance(route, RouteFailure) or not self.settings.block_lists:
            return _Way(route)
        endpoints = await router.endpoints(route, route.hosts[0])
        if isinstance(endpoints, RouteFailure):
            return _Way(route)
        return _Way(route, await listed_by(self._resolver, endpoints[0].address, self.settings.block_lists))

    def _end_routing(self, task: asyncio.Task[_Way]) -> None:
        domain = self._routing.pop(task)
        if task.cancelled():
            return
        way = task.result()
        self._note_dns(way.route)
        if isinstance(way.route, RouteFailure):
            self._no_route(domain, way.route)
            return
        route = way.route
        self._asked_dns.pop(domain, None)
        self._routes[domain] = route
        hosts = [host.name for host in route.hosts]
        provider = self._lists.providers.of(hosts)
        facts = self._inquiry.facts(domain)
        self._memory.recall_domain(domain, facts)
        if way.listed_by:
            facts.is_listed = True
        if provider is not None and domain in provider.domains and not facts.is_settled:
            # Everybody knows that gmail.com refuses whom it does not have: no stranger's name is needed to show it.
            facts.catch_all, facts.is_settled = False, True
        for item in self._inquiry.open_domain(
            domain,
            mx=() if route.is_implicit else tuple(hosts),
            provider="" if provider is None else provider.key,
            answers=Answers.HONEST if provider is None else provider.answers,
            is_parked=provider is not None and provider.kind is ProviderKind.PARKED,
        ):
            self._plan.add(item, is_first=True)
        key = f"{route.site.key} {self._lane_number(route)}" if self.settings.splits_sites else route.site.key
        self._plan.place(domain, key, _share(route.site.limits, self.settings))

    def _note_dns(self, route: Route | RouteFailure) -> None:
        """A name server that answers nobody is told once."""
        if not isinstance(route, RouteFailure) or route.is_permanent:
            self._dns_failures = None
        elif self._dns_failures is not None:
            self._dns_failures += 1
            if self._dns_failures == DNS_FAILURES:
                self._on_notice("The name server gives no answer to any question; name another by --resolver.")

    def _no_route(self, domain: str, failure: RouteFailure) -> None:
        if not failure.is_permanent and domain not in self._asked_dns and self.settings.wait_s >= DNS_AGAIN_S:
            self._asked_dns[domain] = None
            self._unrouted_later.append((self._now() + DNS_AGAIN_S, domain))
            return
        self._asked_dns.pop(domain, None)
        self._no_way(domain, route_answer(failure, self._clock.wall()))

    def _no_way(self, domain: str, answer: Answer) -> None:
        items = self._plan.give_up(domain)
        self._keep_all(self._inquiry.answer_all(domain, items, answer))

    # Probing --------------------------------------------------------------------------------------------------

    def _end_probing(self, task: asyncio.Task[Asked]) -> None:
        batch = self._probing.pop(task)
        self._pace.message_ended(self._now(), len(batch.items))
        if task.cancelled() or self.is_port_closed:
            return
        asked, now = task.result(), self._now()
        if asked.pause_s is not None:
            self._plan.pause(batch.site, now + asked.pause_s)
            self._inquiry.note_pause(batch.site, now, asked.pause_s)
            self._finish(batch, again=batch.items)
            self._recall_refused(batch.site)
            return
        outcome = self._inquiry.hear(batch, asked, now)
        self._keep_all(outcome.settled)
        if outcome.gives_up is not None:
            self._no_way(batch.domain, outcome.gives_up)
        if outcome.rest_until is not None:
            self._plan.defer(batch.domain, outcome.rest_until)
        for item in outcome.first:
            self._plan.add(item, is_first=True)
        self._finish(batch, again=outcome.again, later=outcome.later)
        self._recall_refused(batch.site)

    def _recall_refused(self, site: str) -> None:
        if self._inquiry.refusal(site) is not None:
            self._plan.recall(site)

    def _finish(self, batch: Batch, again: Iterable[Item] = (), later: Iterable[tuple[float, Item]] = ()) -> None:
        self._plan.finished(batch, again, later)
        if not self._plan.holds(batch.domain):
            self._routes.pop(batch.domain, None)
            self._memory.note_domain(batch.domain, self._inquiry.facts(batch.domain))
            self._inquiry.close_domain(batch.domain)

    async def _give_up_closed(self) -> None:
        """Nobody can be reached: what is open stays open where it can be gone on with, and is `unknown` elsewhere."""
        self._tell_closed()
        if not self._source.is_resumable:
            step = Step(
                phase=Phase.CONNECT,
                reason="connect_failed",
                detail=f"no mail host at all can be reached on port {self.settings.port} from here",
                at=self._clock.wall(),
            )
            answer = Answer((step,), step)
            for batch in [*self._probing.values()]:
                self._keep_all(self._inquiry.answer_all(batch.domain, batch.items, answer))
            while not self.is_stopping:
                for domain, items in self._plan.give_up_all():
                    self._keep_all(self._inquiry.answer_all(domain, items, answer))
                if self._is_fed:
                    break
                await self._feed()
        self.stop(0.0)

    def _tell_waiting(self) -> None:
        """Once, when nothing is left but to wait."""
        self._tell_doubt()
        if not self._has_told_waiting and self._plan.deferred:
            self._has_told_waiting = True
            count = self._plan.deferred
            who = "one address is" if count == 1 else f"{count:,} addresses are"
            self._on_notice(
                f"{who} to be asked again: greylisting, or trouble that may pass; this takes up to"
                f" {_minutes(self.settings.wait_s)} (--wait 0 does not wait)"
            )

    def _tell_doubt(self) -> None:
        """Once, where nobody was reached, and it is not certain why."""
        if self._reach.is_doubtful and not (self.is_port_closed or self._has_told_doubt):
            self._has_told_doubt = True
            self._on_notice(self._reach.doubt())

    def _tell_closed(self) -> None:
        self.is_port_closed = True
        self._on_notice(self._reach.notice())

    # Keeping --------------------------------------------------------------------------------------------------

    def _keep_all(self, settled: Iterable[Settled]) -> None:
        for one in settled:
            self._keep(one.id, one.verdict)

    def _keep(self, number: int, verdict: Verdict, *, is_new: bool = True) -> None:
        self._found.keep(number, verdict, is_new=is_new, is_reached=self._reach.is_open)


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} seconds" if seconds < 120 else f"{seconds / 60:.0f} minutes"


def _share(limits: SiteLimits, settings: VerifySettings) -> Share:
    sizes = [settings.recipients_per_session, limits.recipients_per_message]
    if limits.recipients_per_connection is not None:
        sizes.append(limits.recipients_per_connection)
    if limits.recipients_per_minute is not None:
        sizes.append(int(limits.recipients_per_minute))
    return Share(batches=limits.connections, batch_size=max(1, min(sizes)))
