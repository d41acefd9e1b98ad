"""Sources of running workers: chosen for each message, counted over all of them, and kept to their quotas."""

from __future__ import annotations

import random
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from deliver.messages import envelope, message, queue
from deliver.peers import Host, listening
from postroad.compose import sending
from postroad.compose.site_house import SiteHouse
from postroad.compose.source_house import SOON_S
from postroad.config import Config
from postroad.config.shaping import PoolSettings, SourceSettings
from postroad.config.values import DeliverySection, DnsSection, RouteSettings, ServerSection
from postroad.deliver.attempt import Attempter, Outcome
from postroad.events import configure
from postroad.net.resolver import DnsResolver
from postroad.store.site_book import SiteBook
from road.test_pool import run

NOON = 1_900_000_000.0 - 1_900_000_000.0 % 86_400 + 43_200


class SteppedClock:
    def __init__(self) -> None:
        self.now = NOON

    def wall(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now


class Joined:
    def __init__(self, state: Path, port: int, sources: tuple[SourceSettings, ...], clock: SteppedClock) -> None:
        config = Config(
            server=ServerSection(hostname="us.test", state_dir=str(state), workers=1),
            delivery=DeliverySection(port=port, allow_private=True),
            dns=DnsSection(nameserver="127.0.0.1:9"),
            route=(RouteSettings(domain="*", host="127.0.0.1", port=port),),
            source=sources,
            pool=(PoolSettings(name="all", sources=tuple(one.name for one in sources)),),
        )
        self.house = SiteHouse(config, clock, 0)
        resolver = DnsResolver("127.0.0.1:9")
        router = sending.router(config, resolver, random.Random(1), presets=self.house.presets(config))
        self.pool = sending.pool(config, router, lambda session: None, self.house)
        self.house.use(self.pool)
        self._resolver = resolver
        self.attempter = Attempter(router, self.pool, sources=self.house.sources(config))

    async def send(self, number: int) -> Outcome:
        about = message(envelope("a@example.net"), number=number)
        return (await self.attempter.attempt(about, queue(about)))[1]

    async def close(self) -> None:
        await self.pool.close()
        await self.house.close()
        await self._resolver.close()


A = SourceSettings(name="a", address="127.0.0.2", hello="a.us.test")
B = SourceSettings(name="b", address="127.0.0.3", hello="b.us.test")


def test_mail_leaves_from_its_source_with_its_name_and_sites_count_each_apart(tmp_path: Path) -> None:
    host = Host()

    async def work() -> None:
        async with listening(host) as port:
            joined = Joined(tmp_path, port, (A, B), SteppedClock())
            for number in range(1, 20):
                found = await joined.send(number)
                assert found.is_delivered
            assert host.hellos == {"a.us.test", "b.us.test"}
            assert {state.source for state in joined.pool.states()} == {"a", "b"}
            assert host.connections == 2, "a message keeps its source, and sources keep their connections"
            await joined.close()

    run(work())


def test_a_used_quota_spills_over_to_another_source_of_the_pool_and_else_waits_for_tomorrow(tmp_path: Path) -> None:
    host, clock = Host(), SteppedClock()

    async def work() -> None:
        async with listening(host) as port:
            new = (replace(A, warm_up_first=2), replace(B, warm_up_first=3, warm_up_growth=2.0))
            joined = Joined(tmp_path, port, new, clock)
            outcomes = [await joined.send(number) for number in range(1, 7)]
            assert [one.is_delivered for one in outcomes] == [True] * 5 + [False]
            assert outcomes[5].is_paced and outcomes[5].meaning.retry_after_s == 43_200
            assert "the warm-up quota of source" in outcomes[5].detail and "for today is used" in outcomes[5].detail
            await joined.close()
            joined = Joined(tmp_path, port, new, clock)
            assert (await joined.send(9)).is_paced, "a restart does not begin the day anew"
            clock.now += 86_400
            await joined.house.look()
            outcomes = [await joined.send(number) for number in range(10, 20)]
            assert sum(one.is_delivered for one in outcomes) == 3 + 6, "the next day has more"
            await joined.close()

    run(work())


def test_what_is_not_delivered_does_not_use_the_quota(tmp_path: Path) -> None:
    host = Host(answers={"RCPT": b"451 4.2.1 later\r\n"})

    async def work() -> None:
        async with listening(host) as port:
            joined = Joined(tmp_path, port, (replace(A, warm_up_first=1),), SteppedClock())
            assert not (await joined.send(1)).is_delivered
            host.answers.clear()
            assert (await joined.send(2)).is_delivered
            assert (await joined.send(3)).is_paced
            await joined.close()

    run(work())


def test_a_source_that_the_system_lacks_is_said_and_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    host = Host()

    async def work() -> None:
        async with listening(host) as port:
            configure()
            absent = SourceSettings(name="gone", address="192.0.2.1")
            joined = Joined(tmp_path, port, (absent, B), SteppedClock())
            assert all([(await joined.send(number)).is_delivered for number in range(1, 6)])
            assert host.hellos == {"b.us.test"}
            await joined.close()

    run(work())
    assert "source.absent" in capsys.readouterr().err


def test_a_book_that_cannot_be_read_delays_mail_and_stops_nobody(tmp_path: Path) -> None:
    host = Host()

    async def work() -> None:
        async with listening(host) as port:
            with SiteBook(tmp_path / "sites.db"), sqlite3.connect(tmp_path / "sites.db") as connection:
                connection.execute("ALTER TABLE used RENAME TO elsewhere")
            joined = Joined(tmp_path, port, (replace(A, warm_up_first=5),), SteppedClock())
            found = await joined.send(1)
            assert found.is_paced and found.meaning.retry_after_s == SOON_S
            with sqlite3.connect(tmp_path / "sites.db") as connection:
                connection.execute("ALTER TABLE elsewhere RENAME TO used")
            connection.close()
            await joined.house.look()
            assert (await joined.send(1)).is_delivered
            await joined.close()

    run(work())
