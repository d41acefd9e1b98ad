"""The sites of one worker beside those of the others: what an operator wants is taken up, what is learnt is kept.

Every few seconds STATE/sites.db is read and written, in a thread. Limits are the server's: each worker takes its part
(road/site.py), and where there are fewer connections than workers, they take turns (road/seats.py).
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from postroad.clock import Clock
from postroad.compose import shaping
from postroad.compose.source_house import Found, Report, SourceHouse
from postroad.config import Config
from postroad.events import emit
from postroad.road.pool import Pool
from postroad.road.provider import providers
from postroad.road.seats import Seats
from postroad.road.shaping import Remembered, SiteState
from postroad.road.site import SiteBounds, SitePresets
from postroad.road.throttle import Learnt
from postroad.store.site_book import Seen, SiteBook, Wish
from postroad.store.spool import SpoolError

EVERY_S = 2.0
MAX_STATES = 5_000
"""Sites that one worker writes down at a time; the others with the next look."""
_AT_ONCE = 100
"""Of them, those that are looked at before other work goes on."""

_Place = tuple[str, str]


class SiteHouse:
    """Made before the pool, which asks it (road.shaping.Guidance); closed after it."""

    def __init__(self, config: Config, clock: Clock, index: int) -> None:
        self._clock = clock
        self._index = index
        directory = Path(config.server.state_dir)
        self._book = SiteBook(directory / "sites.db")
        self._seats = Seats(directory / "site-seats")
        self._overrides: dict[str, SiteBounds] = {}
        self._wishes: dict[str, Wish] = {}
        self._presets = SitePresets()
        self._pool: Pool | None = None
        self._known: dict[_Place, tuple[float, Remembered]] = {}
        """Until when a pause lasts (wall clock), and what was learnt."""
        self._unwritten: list[SiteState] = []
        """What could not be written down when it should."""
        self._source_house = SourceHouse(clock, config.server.workers, index)
        now = clock.wall()
        self._book.begin(index)
        self._take_up(self._book.wishes(now))
        self._remember(self._book.seen())

    def presets(self, config: Config) -> SitePresets:
        """The limits of sites, as they are wanted at each moment."""
        self._presets = shaping.presets(config, self._overrides, self._index)
        return self._presets

    def sources(self, config: Config) -> SourceHouse | None:
        """Where mail leaves from; None: all of it from the same address."""
        pools = shaping.source_pools(config)
        house = self._source_house
        house.use(pools)
        if not pools:
            return None
        report = house.report()
        try:
            house.learn(house.exchange(self._book, report, self._clock.wall()))
        except SpoolError as error:
            house.failed(report)  # the next look may do better
            emit("sites.failed", error=str(error))
        return house

    def use(self, pool: Pool) -> None:
        """Another pool from now on; it begins with what the one before has learnt."""
        if self._pool is not None:
            now, then = self._clock.wall(), self._pool.now()
            taught = (home for home in self._pool.homes() if not home.throttle.learnt(then).is_nothing)
            self._remember([self._seen(home.state(), now) for home in taught])
        self._pool = pool

    # Asked by the pool --------------------------------------------------------------------------------------------

    def remembered(self, place: _Place) -> Remembered | None:
        """What was learnt of a site before this pool knew it."""
        found = self._known.pop(place, None)
        if found is None:
            return None
        paused_until, known = found
        left = max(0.0, paused_until - self._clock.wall())
        return Remembered(
            learnt=Learnt(share=known.learnt.share, troubles=known.learnt.troubles, pause_s=left), words=known.words
        )

    def hold_s(self, key: str) -> float:
        """How long an operator wants it left alone."""
        wish = self._wishes.get(key)
        return 0.0 if wish is None else max(0.0, wish.paused_until - self._clock.wall())

    def take_seat(self, place: _Place, most: int) -> int | None:
        """A seat among those of all workers."""
        return self._seats.take(place, most, self._clock.monotonic())

    def give_seat_back(self, place: _Place, seat: int) -> None:
        """It is the others' now."""
        self._seats.give_back(place, seat, self._clock.monotonic())

    # What others want and see -------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Read and write what there is, every few seconds."""
        while True:
            await asyncio.sleep(EVERY_S)
            await self.look()

    async def look(self) -> None:
        """Once."""
        now = self._clock.wall()
        states, report = await self._changed(), self._source_house.report()
        try:
            wishes, found = await asyncio.to_thread(self._exchange, states, report, now)
        except SpoolError as error:
            self._failed(states, report, error)
            return
        self._take_up(wishes)
        self._source_house.learn(found)

    async def close(self) -> None:
        """Keep what was learnt last, and give back what of quotas was taken and not sent."""
        now = self._clock.wall()
        states, report = await self._changed(), self._source_house.report(is_last=True)
        try:
            await asyncio.to_thread(self._exchange, states, report, now)
        except SpoolError as error:
            self._failed(states, report, error)
        self._book.close()
        self._seats.close()

    def _failed(self, states: list[SiteState], report: Report, error: SpoolError) -> None:
        self._unwritten = states
        self._source_house.failed(report)
        emit("sites.failed", error=str(error))

    def _exchange(self, states: list[SiteState], report: Report, now: float) -> tuple[dict[str, Wish], Found]:
        """In a thread."""
        if states:
            self._book.note([self._seen(state, now) for state in states])
        return self._book.wishes(now), self._source_house.exchange(self._book, report, now)

    async def _changed(self) -> list[SiteState]:
        """How sites are that have changed since they were last written down; nobody waits for it long."""
        states, self._unwritten = self._unwritten, []
        while self._pool is not None and len(states) < MAX_STATES and (some := self._pool.changed(_AT_ONCE)):
            states += some
            await asyncio.sleep(0)
        return states

    def _seen(self, state: SiteState, now: float) -> Seen:
        told: dict[str, Any] = {
            "connections": state.connections,
            "waiting": state.waiting,
            "most": state.most,
            "rate": state.rate,
            "share": state.learnt.share,
            "troubles_in_a_row": state.learnt.troubles,
            "paused_until": now + state.learnt.pause_s if state.learnt.pause_s > 0 else 0.0,
            "words": state.words,
            "trouble_at": None if state.trouble_ago_s is None else now - state.trouble_ago_s,
            "messages": state.messages,
            "troubles": state.troubles,
        }
        return Seen(worker=self._index, key=state.key, source=state.source, at=now, state=told)

    def _remember(self, seen: list[Seen]) -> None:
        """The latest first; what this worker saw itself goes before what others did."""
        found: dict[_Place, Seen] = {}
        for one in seen:
            wish = self._wishes.get(one.key)
            if wish is not None and wish.resumed_at >= one.at:
                continue
            place = (one.key, one.source)
            if place not in found or (one.worker == self._index != found[place].worker):
                found[place] = one
        for place, one in found.items():
            state = one.state
            learnt = Learnt(share=float(state["share"]), troubles=int(state["troubles_in_a_row"]))
            paused_until = float(state["paused_until"])
            if not learnt.is_nothing or paused_until:
                self._known[place] = (paused_until, Remembered(learnt=learnt, words=str(state["words"])))

    def _take_up(self, wishes: dict[str, Wish]) -> None:
        before, self._wishes = self._wishes, wishes
        self._overrides.clear()
        now = self._clock.wall()
        for key, wish in wishes.items():
            if wish.limits or wish.paused_until > now:  # a domain that is paused is a site of its own until then
                self._overrides[key] = shaping.wanted_limits(wish.limits)
        for key in before.keys() | wishes.keys():
            old, new = before.get(key, Wish(key=key)), wishes.get(key, Wish(key=key))
            if old != new and self._pool is not None:
                self._change(self._pool, old, new)

    def _change(self, pool: Pool, old: Wish, new: Wish) -> None:
        if new.resumed_at != old.resumed_at:
            for place in [place for place in self._known if place[0] == new.key]:
                del self._known[place]
        for home in pool.homes(new.key):
            if new.resumed_at != old.resumed_at:
                home.resume()
            if new.paused_until != old.paused_until:
                home.hold(self.hold_s(new.key))
            known = providers().by_key.get(new.key)
            site = self._presets.named(new.key, SiteBounds() if known is None else known.mail)
            home.use(site.of(home.site.source))
        emit("site.changed", site=new.key, limits=dict(new.limits), paused_until=new.paused_until)
