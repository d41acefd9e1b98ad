"""One worker process: configuration → the objects of every room → one task group, until it is told to stop.

The only place that knows both sides: what `receive` has committed is handed to `deliver` here. SIGTERM (or the end of
the supervisor) drains: listeners close, sessions end as their transactions do, deliveries under way finish, the
rest stays in the spool. SIGHUP reloads configuration and certificates for the sessions and deliveries that follow.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import secrets
import signal
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from postroad.clock import SystemClock
from postroad.compose import authentication, hooks, queueing, receiving, returns, sending, server, signing
from postroad.compose.guard import GuardHouse
from postroad.compose.history import History
from postroad.compose.log import use_log
from postroad.compose.mailbox_house import MailboxHouse
from postroad.compose.quota import QuotaHouse
from postroad.compose.site_house import SiteHouse
from postroad.compose.spool import open_spool
from postroad.compose.tls_policy import ReportSending, TlsHouse
from postroad.config import Config, ConfigMistake
from postroad.deliver.attempt import Attempter
from postroad.deliver.examiner import PENDING, Examiner, ExaminerPorts, ExaminerSettings
from postroad.deliver.ports import LocalDelivery
from postroad.deliver.returns import Return, ReturnPorts, ReturnsDelivery
from postroad.deliver.settle import Judgement
from postroad.deliver.worker import Deliverer, DelivererSettings, Surroundings
from postroad.events import emit, watch
from postroad.hook.notices import Notices
from postroad.hook.plugin import PluginError
from postroad.hook.scanner import Scanner
from postroad.metrics import Counting
from postroad.net.resolver import DnsResolver, TextsAnswer
from postroad.net.tls import TlsError
from postroad.receive.accept import Acceptor
from postroad.receive.auth import Authenticator
from postroad.receive.caller import Role
from postroad.receive.checks import Checks
from postroad.receive.door import TlsDoor
from postroad.receive.limits import Budget, Gate
from postroad.receive.session import Reception
from postroad.receive.station import Roll, Station
from postroad.road.pool import Pool
from postroad.store.accounts import AccountError, SqliteAccounts
from postroad.store.spool import Queued, SpooledMessage, SpoolError
from postroad.supervisor import EXIT_CANNOT_START, Assignment

SWEEP_S = 1.0


def run_worker(config: Config, reload: Callable[[], Config | list[ConfigMistake]], assignment: Assignment) -> int:
    """Serve until told to stop; returns the exit status."""
    _spare_the_collector()
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(Worker(config, reload, assignment).run())
    except (SpoolError, TlsError, AccountError, PluginError, OSError) as error:
        emit("worker.failed", worker=assignment.index, error=str(error))
        return EXIT_CANNOT_START
    return 0


def _spare_the_collector() -> None:
    """What was loaded by now stays: looking through it for garbage again and again only costs time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


class Worker:
    """Its parts live as long as the process; what depends on the configuration is replaced on reload."""

    def __init__(
        self, config: Config, reload: Callable[[], Config | list[ConfigMistake]], assignment: Assignment
    ) -> None:
        self._config = config
        self._load = reload
        self._assignment = assignment
        self._clock = SystemClock()
        self._rng = random.Random(secrets.randbits(64))  # noqa: S311 - chance, not secrecy
        self._roll = Roll()
        self._stations: list[Station] = []
        self._servers: list[asyncio.Server] = []
        self._doors: list[asyncio.Task[None]] = []
        self._stop = asyncio.Event()
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Until SIGTERM, or until the supervisor is gone."""
        config, index = self._config, self._assignment.index
        state = Path(config.server.state_dir)
        self._counting = Counting(server.metrics_directory(config))
        watch(self._counting.watch)
        self._disk = server.DiskGuard(config)
        self._spool = await open_spool(config, index, self._clock)
        with ThreadPoolExecutor(8, "mailbox") as self._mailbox_threads, ThreadPoolExecutor(2, "auth") as auth_threads:
            self._accounts = SqliteAccounts(state / "accounts.db")
            self._secret = server.secret_path(config).read_bytes()
            self._mailbox_house = MailboxHouse(
                config, self._clock, self._accounts, secret=self._secret, in_thread=self._in_mailbox_thread
            )
            self._guard_house = GuardHouse(
                config,
                secret=self._secret,
                clock=self._clock,
                resolver=lambda: self._resolver,
                road=lambda: (self._router, self._pool),
                spawn=self._spawn,
            )
            guard = self._guard_house.guard
            self._authenticator = Authenticator(
                self._accounts,
                auth_threads,
                self._clock,
                secret=self._secret,
                limits=receiving.auth_limits(config),
                attempts=guard.attempts,
                is_banned=guard.is_banned,
                on_barred=guard.on_barred,
            )
            self._authenticator.tokens = receiving.tokens(config, self._clock)
            self._gate = Gate(*receiving.connection_limits(config))
            self._budget = Budget(config.limits.body_memory_octets)
            self._facts = returns.Facts(config, self._clock)
            self._quota = QuotaHouse(config, self._secret, self._clock)
            self._history = History(config, self._clock)
            self._signer = signing.signer(config, self._clock, self._accounts)
            self._scanners = hooks.scanners(config, self._clock.monotonic)
            self._notices = Notices(self._scanners)
            self._tls = TlsHouse(config, self._clock)
            self._sites = SiteHouse(config, self._clock, index)
            self._resolver, self._pool, attempter = self._make_road(config)
            self._deliverer = Deliverer(
                self._spool,
                attempter,
                sending.settle_policy(config),
                Surroundings(
                    clock=self._clock,
                    rng=self._rng,
                    token=lambda: secrets.token_hex(12),
                    emit=emit,
                    settled=self._settled,
                    finish=self._signer.finish,
                ),
                DelivererSettings(limits=sending.schedule_limits(config)),
            )
            self._examiner = Examiner(
                ExaminerSettings(hostname=config.server.hostname),
                ExaminerPorts(
                    spool=self._spool,
                    clock=self._clock,
                    rng=self._rng,
                    token=lambda: secrets.token_hex(12),
                    hand_on=self._hand_on,
                    finish=self._signer.finish,
                    settled=self._settled,
                ),
                self._scanners,
                sending.settle_policy(config),
            )
            try:
                await self._serve(index)
            finally:
                await self._guard_house.close()
                await self._facts.close()
                await self._history.close()
                await self._tls.close()
                await self._sites.close()
                self._signer.close()
                self._mailbox_house.close()
                self._accounts.close()

    def _make_road(self, config: Config) -> tuple[DnsResolver, Pool, Attempter]:
        resolver = DnsResolver(
            config.dns.nameserver or None,
            timeout_s=config.dns.timeout_s,
            tries=config.dns.tries,
            cache_size=config.dns.cache_size,
            clock=self._clock,
        )
        policies, presets = self._tls.policies(config, resolver), self._sites.presets(config)
        router = self._router = sending.router(config, resolver, self._rng, policies, presets)
        pool = sending.pool(config, router, self._tls.on_tls, self._sites)
        self._sites.use(pool)
        attempter = Attempter(
            router,
            pool,
            local=self._local_delivery(config),
            returns=returns.return_route(config, self._secret),
            sources=self._sites.sources(config),
            forwarding=self._mailbox_house.forwarding(),
        )
        return resolver, pool, attempter

    def _local_delivery(self, config: Config) -> LocalDelivery:
        settings = returns.return_settings(config, self._secret)
        if settings is None:
            return self._mailbox_house.local
        ports = ReturnPorts(
            originals=self._history,
            heard=self._heard,
            left=self._facts.left,
            queue=self._queue_of_ours,
            new_id=self._spool.new_id,
            wall=self._clock.wall,
        )
        return ReturnsDelivery(settings, ports, self._mailbox_house.local)

    def _heard(self, returned: Return) -> None:
        self._facts.heard(returned)
        self._history.heard(returned)

    async def _queue_of_ours(self, message: SpooledMessage) -> None:
        """A message that this server made, on its way when this returns. Raises SpoolError."""
        self._hand_on(await self._spool.commit(message, self._clock.wall()))
        self._history.accepted(message)

    async def _in_mailbox_thread(self, work: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._mailbox_threads, work, *arguments)

    # Serving --------------------------------------------------------------------------------------------------

    async def _serve(self, index: int) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        loop.add_reader(self._assignment.lifeline, self._stop.set)
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            self._stations = self._make_stations(self._config)
            delivering = tasks.create_task(self._deliverer.run())
            upkeep = [tasks.create_task(_contained(work())) for work in self._upkeep()]
            await self._listen(tasks)
            server.mark_alive(self._config, index)
            os.write(self._assignment.ready, b".")
            emit("worker.serving", worker=index, pid=os.getpid())
            await self._stop.wait()
            await self._drain()
            for task in upkeep:
                task.cancel()
            await asyncio.wait([delivering])
        await self._pool.close()
        await self._resolver.close()
        await self._spool.close()

    async def _listen(self, tasks: asyncio.TaskGroup) -> None:
        loop = asyncio.get_running_loop()
        for place, (listener, bound) in enumerate(zip(self._config.listener, self._assignment.sockets, strict=True)):
            station = partial(self._stations_now, place)
            if Role(listener.role) is Role.SUBMISSIONS:
                self._doors.append(tasks.create_task(TlsDoor(bound, station, self._roll).serve()))
            else:
                factory = partial(self._make_reception, station)
                self._servers.append(await loop.create_server(factory, sock=bound, backlog=1024))

    def _stations_now(self, place: int) -> Station:
        return self._stations[place]

    def _make_reception(self, station: Callable[[], Station]) -> Reception:
        return Reception(station(), self._roll)

    def _make_stations(self, config: Config) -> list[Station]:
        acceptor = Acceptor(
            self._spool,
            self._clock,
            hostname=config.server.hostname,
            lifetime_s=config.delivery.lifetime_s,
            on_committed=self._hand_on,
            on_accepted=self._accepted,
            expand=self._mailbox_house.expand,
            priorities=queueing.priorities(config),
        )
        contexts = server.tls_contexts(config)
        local = self._mailbox_house.directory
        router = sending.router(config, self._resolver, self._rng)
        asking = self._facts.asking(config, self._resolver, router, self._rng)
        of_users = self._facts.checks(self._secret, local.is_local, asking)
        guard = self._guard_house.guard
        return [
            Station(
                settings=receiving.server_settings(config, listener),
                role=role,
                checks=Checks(mail=(self._disk.mail,))
                + guard.before(role)
                + receiving.checks(config, listener, local)
                + self._mailbox_house.checks()
                + (of_users if role.is_submission else Checks())
                + authentication.checks(config, role, lambda: self._resolver, self._clock.wall)
                + hooks.checks(self._scanners, config.server.hostname, listener.role)
                + guard.after(role)
                + (self._quota.checks(config) if role.is_submission else Checks())
                + self._signing(role),
                accept=acceptor.accept,
                spawn=self._spawn,
                nonce=lambda: secrets.token_urlsafe(18),
                authenticator=self._authenticator,
                tls=contexts[listener.role],
                timeouts=receiving.session_timeouts(config),
                greeting_delay=guard.greeting_delay(role),
                refuses_early_talk=guard.refuses_early_talk(role),
                recipient_refused=guard.rates.recipient_failed,
                gate=self._gate,
                budget=self._budget,
            )
            for listener in config.listener
            for role in (Role(listener.role),)
        ]

    def _signing(self, role: Role) -> Checks:
        """The last check: what hooks may still change is signed when they have seen it; what is forwarded is sealed."""
        if not role.is_submission:
            return self._mailbox_house.sealing(self._signer)
        is_last = not hooks.is_examined_later(self._scanners, role.value)
        return self._signer.checks() if is_last else Checks()

    def _settled(
        self, message: SpooledMessage, judgement: Judgement, bounces: Sequence[SpooledMessage], at: float
    ) -> None:
        """An attempt's outcome is durable: whoever keeps a record is told."""
        self._facts.settled(message, judgement, bounces, at)
        self._history.settled(message, judgement, bounces, at)
        hooks.notice_all(self._notices, message, judgement)

    def _accepted(self, message: SpooledMessage) -> None:
        """A message is safe: whoever is to see it next is told."""
        self._history.accepted(message)
        if message.held == PENDING:
            self._examiner.take(message.id)

    def _hand_on(self, queued: Sequence[Queued]) -> None:
        self._deliverer.enqueue(queued)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> object:
        assert self._tasks is not None
        return self._tasks.create_task(_contained(work))

    def _upkeep(self) -> list[Callable[[], Coroutine[Any, Any, None]]]:
        """What runs beside receiving and delivering, until the drain is over."""
        return [
            self._sweep,
            self._facts.behind.run,
            self._facts.upkeep,
            self._history.behind.run,
            *([self._history.upkeep] if self._assignment.index == 0 else []),
            self._keep_keys,
            self._mailbox_house.run,
            self._notices.run,
            self._examiner.run,
            self._guard_house.guard.run,
            self._tls.run,
            self._sites.run,
            *((self._tls.keep_house, self._report_tls) if self._assignment.index == 0 else ()),
        ]

    async def _report_tls(self) -> None:
        await self._tls.report(ReportSending(self._spool, self._signer.finish, self._hand_on, self._rng))

    async def _keep_keys(self) -> None:
        """One worker is enough to ask whether new keys are published."""
        await self._signer.upkeep(self._texts if self._assignment.index == 0 else None)

    async def _texts(self, name: str) -> TextsAnswer:
        return await self._resolver.texts(name)

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP_S)
            self._roll.sweep(loop.time())
            self._disk.look()
            self._counting.measured(
                self._clock.wall(),
                {
                    "postroad_sessions": len(self._roll.sessions),
                    "postroad_connections_out": self._pool.open_connections,
                    "postroad_deliveries_under_way": self._deliverer.in_flight,
                    "postroad_recipients_in_memory": self._deliverer.held,
                },
            )
            server.mark_alive(self._config, self._assignment.index)

    # Reload and drain -----------------------------------------------------------------------------------------

    def _reload(self) -> None:
        loaded = self._load()
        if isinstance(loaded, list):
            for mistake in loaded:
                emit("config.refused", mistake=str(mistake))
            return
        if server.needs_restart(self._config, loaded):
            emit("config.refused", mistake="a changed listener, worker count or state directory needs a restart")
            return
        before = self._scanners
        try:
            self._guard_house.use(loaded)
            scanners = self._scanners = hooks.scanners(loaded, self._clock.monotonic)
            tokens = receiving.tokens(loaded, self._clock)
            self._signer.use(loaded)
            self._mailbox_house.use(loaded)
            stations = self._make_stations(loaded)
        except (TlsError, PluginError, SpoolError, OSError) as error:
            self._scanners = before
            self._guard_house.use(self._config)
            self._signer.use(self._config)
            self._mailbox_house.use(self._config)
            emit("config.refused", mistake=str(error))
            return
        self._config = loaded
        self._stations = stations
        self._facts.use(loaded)
        self._history.use(loaded)
        self._disk.use(loaded)
        self._use_hooks(scanners, loaded)
        use_log(loaded)
        old_pool, old_resolver = self._pool, self._resolver
        self._resolver, self._pool, attempter = self._make_road(loaded)
        self._deliverer.use(attempter, sending.settle_policy(loaded), sending.schedule_limits(loaded))
        self._gate.total, self._gate.per_peer = receiving.connection_limits(loaded)
        self._budget.octets = loaded.limits.body_memory_octets
        self._authenticator.use(receiving.auth_limits(loaded))
        self._authenticator.tokens = tokens
        self._spawn(sending.retire(old_pool, old_resolver, loaded.outgoing_timeouts.body_s))
        emit("config.reloaded", worker=self._assignment.index)

    def _use_hooks(self, scanners: Sequence[Scanner], config: Config) -> None:
        self._notices.use(scanners)
        old, self._examiner.scanners = self._examiner.scanners, scanners
        self._examiner.policy = sending.settle_policy(config)
        for scanner in old:
            self._spawn(scanner.close())

    async def _drain(self) -> None:
        """Stop taking connections; give what is under way `drain_s` to end."""
        asyncio.get_running_loop().remove_reader(self._assignment.lifeline)
        for listening in self._servers:
            listening.close()
        for door in self._doors:
            door.cancel()
        self._roll.drain()
        drain_s = self._config.server.drain_s
        delivering = asyncio.ensure_future(self._deliverer.drain(drain_s))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(drain_s):
                while self._roll.sessions:
                    await asyncio.sleep(0.05)
        self._roll.abort()
        await delivering


async def _contained(work: Coroutine[Any, Any, None]) -> None:
    """A fault in what serves one connection must not end the worker that serves all."""
    try:
        await work
    except Exception as error:
        emit("internal.error", where="worker", error=f"{type(error).__name__}: {error}", exception=error)
