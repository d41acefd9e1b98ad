"""Sites of running workers: what an operator wants is taken up without a restart, what is learnt outlives one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from postroad.clock import SystemClock
from postroad.compose.site_house import SiteHouse
from postroad.config import Config
from postroad.config.shaping import SiteSettings
from postroad.config.values import ServerSection
from postroad.road.pool import ConnectFailure, Pool, PoolSettings
from postroad.road.route import Route
from postroad.road.throttle import BackOff
from postroad.store.site_book import FOR_GOOD, SiteBook
from road.hosts import Internet, MailHost, internet, send, take
from road.test_pool import leased, run, turns

BACK_OFF = BackOff(first_s=1000.0)
KEY = "mx.test"


class Worker:
    """The sites of one worker, on hosts of one name."""

    def __init__(self, config: Config, there: Internet, index: int = 0) -> None:
        self.house = SiteHouse(config, SystemClock(), index)
        self.presets = self.house.presets(config)
        self.pool = Pool(PoolSettings(hello="us.test", back_off=BACK_OFF), there.endpoints, guidance=self.house)
        self.house.use(self.pool)
        self._there = there

    def route(self) -> Route:
        return replace(self._there.route(), site=self.presets.site(["mx.test"]))

    async def close(self) -> None:
        await self.pool.close()
        await self.house.close()


@contextlib.asynccontextmanager
async def working(
    state: Path, *, workers: int = 1, sites: tuple[SiteSettings, ...] = ()
) -> AsyncIterator[list[Worker]]:
    config = Config(server=ServerSection(state_dir=str(state), workers=workers), site=sites)
    async with internet(MailHost("mx.test")) as there:
        made = [Worker(config, there, index) for index in range(workers)]
        try:
            yield made
        finally:
            for worker in made:
                await worker.close()


def test_the_configured_limits_of_a_site_hold(tmp_path: Path) -> None:
    async def work() -> None:
        async with working(tmp_path, sites=(SiteSettings(key="MX.test", connections=1),)) as (worker,):
            lease = await take(worker.pool, worker.route())
            waiting = asyncio.create_task(worker.pool.acquire(worker.route()))
            await turns()
            assert not waiting.done()
            lease.release()
            await leased(waiting)

    run(work())


def test_an_override_reaches_a_running_worker_and_those_who_wait(tmp_path: Path) -> None:
    async def work() -> None:
        async with working(tmp_path, sites=(SiteSettings(key=KEY, connections=1),)) as (worker,):
            lease = await take(worker.pool, worker.route())
            waiting = asyncio.create_task(worker.pool.acquire(worker.route()))
            await turns()
            with SiteBook(tmp_path / "sites.db") as book:
                book.want(KEY, {"connections": 2.0}, FOR_GOOD, SystemClock().wall())
            await worker.house.look()
            await leased(waiting)
            lease.release()
            with SiteBook(tmp_path / "sites.db") as book:
                book.clear(KEY, SystemClock().wall())
            await worker.house.look()
            assert worker.route().site.limits.connections == 1

    run(work())


def test_a_pause_holds_idle_connections_too_and_resume_lets_mail_go(tmp_path: Path) -> None:
    async def work() -> None:
        async with working(tmp_path) as (worker,):
            (await take(worker.pool, worker.route())).release()
            with SiteBook(tmp_path / "sites.db") as book:
                now = SystemClock().wall()
                book.pause(KEY, now + 3600, now)
                await worker.house.look()
                refused = await worker.pool.acquire(worker.route())
                assert isinstance(refused, ConnectFailure) and refused.is_ours
                book.resume(KEY, now)
                await worker.house.look()
            await take(worker.pool, worker.route())

    run(work())


@pytest.mark.parametrize("workers", [1, 2])
def test_what_a_site_taught_is_known_after_a_restart(tmp_path: Path, workers: int) -> None:
    async def work() -> None:
        async with working(tmp_path, workers=workers) as (worker, *_):
            lease = await take(worker.pool, worker.route())
            lease.trouble("421 4.7.0 slow down")
            lease.release()
        async with working(tmp_path) as (worker,):
            refused = await worker.pool.acquire(worker.route())
            assert isinstance(refused, ConnectFailure) and "421 4.7.0 slow down" in refused.last.detail
            (state,) = worker.pool.states()
            assert state.learnt.share == 0.5 and state.learnt.troubles == 1
            with SiteBook(tmp_path / "sites.db") as book:
                book.resume(KEY, SystemClock().wall())
            await worker.house.look()
            await take(worker.pool, worker.route())

    run(work())


def test_what_a_site_taught_is_known_after_a_reload(tmp_path: Path) -> None:
    async def work() -> None:
        async with working(tmp_path) as (worker,):
            lease = await take(worker.pool, worker.route())
            lease.trouble("421 4.7.0 slow down")
            lease.release()
            async with internet(MailHost("mx.test")) as there:
                again = Pool(PoolSettings(hello="us.test"), there.endpoints, guidance=worker.house)
                worker.house.use(again)
                refused = await again.acquire(worker.route())
                assert isinstance(refused, ConnectFailure) and "421 4.7.0 slow down" in refused.last.detail
                worker.house.use(worker.pool)
                await again.close()

    run(work())


def test_limits_are_the_servers_and_each_worker_takes_its_part(tmp_path: Path) -> None:
    async def work() -> None:
        sites = (SiteSettings(key=KEY, connections=5, messages_per_minute=30),)
        async with working(tmp_path, workers=2, sites=sites) as workers:
            parts = [worker.route().site.limits for worker in workers]
            assert [part.connections for part in parts] == [3, 2]
            assert [part.messages_per_minute for part in parts] == [15, 15]

    run(work())


def test_the_book_tells_how_sites_are(tmp_path: Path) -> None:
    async def work() -> None:
        async with working(tmp_path) as (worker,):
            lease = await take(worker.pool, worker.route())
            assert await send(lease)
            await worker.house.look()
            with SiteBook(tmp_path / "sites.db") as book:
                (seen,) = book.seen()
                assert (seen.key, seen.state["connections"], seen.state["messages"]) == (KEY, 1, 1)
                await worker.house.look()
                assert book.seen() == [seen], "what has not changed is not written again"

    run(work())


def test_of_many_sites_only_those_that_changed_are_looked_at_and_all_of_them_in_time(tmp_path: Path) -> None:
    async def work() -> None:
        async with working(tmp_path) as (worker,):
            (await take(worker.pool, worker.route())).release()
            assert [state.key for state in worker.pool.changed(10)] == [KEY]
            assert worker.pool.changed(10) == []
            lease = await take(worker.pool, worker.route())
            others = [worker.pool.homes()[0], *(worker.pool.homes(KEY))]
            for home in others:
                worker.pool.note_change(home)
            assert len(worker.pool.changed(0)) == 0 and len(worker.pool.changed(1)) == 1
            lease.trouble("421 4.7.0 slow down")
            (state,) = worker.pool.changed(10)
            assert state.words == "421 4.7.0 slow down"
            lease.release()

    run(work())


def test_a_worker_that_begins_anew_after_a_crash_has_no_connections(tmp_path: Path) -> None:
    async def work() -> None:
        async with working(tmp_path) as (worker,):
            lease = await take(worker.pool, worker.route())
            await worker.house.look()
            config = Config(server=ServerSection(state_dir=str(tmp_path)))
            again = SiteHouse(config, SystemClock(), 0)
            with SiteBook(tmp_path / "sites.db") as book:
                (seen,) = book.seen()
                assert (seen.state["connections"], seen.state["messages"]) == (0, 1)
            await again.close()
            lease.release()

    run(work())


def test_a_domain_of_recipients_is_paused_alone_among_those_of_its_provider(tmp_path: Path) -> None:
    async def work() -> None:
        async with working(tmp_path) as (worker,):
            with SiteBook(tmp_path / "sites.db") as book:
                now = SystemClock().wall()
                book.pause("customer.test", now + 3600, now)
                await worker.house.look()
                theirs, others = (worker.presets.site(["mx.test"], domain) for domain in ("customer.test", "a.test"))
                assert (theirs.key, others.key) == ("customer.test", KEY)
                assert theirs.limits == others.limits
                refused = await worker.pool.acquire(replace(worker.route(), site=theirs))
                assert isinstance(refused, ConnectFailure) and "paused by an operator" in refused.last.detail
                (await take(worker.pool, replace(worker.route(), site=others))).release()
                book.resume("customer.test", now)
                await worker.house.look()
            assert worker.presets.site(["mx.test"], "customer.test").key == KEY

    run(work())
