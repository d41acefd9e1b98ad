"""The pool: connections shared under each site's limits, waited for in order, and never lost."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroad.net.endpoint import PhaseTimeouts, TlsMode
from postroad.road.pool import ConnectFailure, PoolSettings
from postroad.road.route import NO_MAIL_HOST, Route, RouteFailure, dns_trouble
from postroad.road.site import SiteLimits
from postroad.road.site_pool import Lease
from postroad.road.throttle import BackOff
from postroad.smtp.outcome import Phase
from road.hosts import Internet, MailHost, internet, send, take

ONE = SiteLimits(connections=1)
HELD = BackOff(first_s=1000.0)
"""Longer than anybody waits."""


def run(work: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(30):
            await work

    asyncio.run(bounded())


async def turns(count: int = 5) -> None:
    """Let every task that can go on do so."""
    for _ in range(count):
        await asyncio.sleep(0)


def begin(there: Internet, route: Route) -> asyncio.Task[Lease | RouteFailure | ConnectFailure]:
    return asyncio.create_task(there.pool.acquire(route))


async def leased(task: asyncio.Task[Lease | RouteFailure | ConnectFailure]) -> Lease:
    got = await task
    assert isinstance(got, Lease), got
    return got


# Reuse ---------------------------------------------------------------------------------------------------------------


def test_c13_a_connection_is_used_again_for_the_next_message() -> None:
    async def work() -> None:
        async with internet(host := MailHost("mx.test")) as there:
            for _ in range(3):
                lease = await take(there.pool, there.route())
                assert await send(lease)
                lease.release()
            assert host.connections == 1
            assert host.said("MAIL") == 3

    run(work())


def test_c13_a_connection_carries_no_more_messages_than_its_limit() -> None:
    async def work() -> None:
        async with internet(host := MailHost("mx.test")) as there:
            route = there.route(limits=SiteLimits(messages_per_connection=2))
            for _ in range(4):
                lease = await take(there.pool, route)
                assert await send(lease)
                lease.release()
            await host.until(lambda: host.said("QUIT") == 2)
            assert host.connections == 2

    run(work())


def test_c13_an_idle_connection_is_ended_by_quit() -> None:
    async def work() -> None:
        async with internet(host := MailHost("mx.test")) as there:
            route = there.route(limits=SiteLimits(idle_s=0.01))
            (await take(there.pool, route)).release()
            await host.until(lambda: host.said("QUIT") == 1)
            await host.until(lambda: host.open == 0)

    run(work())


def test_c13_a_site_that_keeps_none_idle_is_left_by_quit_at_once() -> None:
    async def work() -> None:
        async with internet(host := MailHost("mx.test")) as there:
            route = there.route(limits=SiteLimits(idle_s=0))
            (await take(there.pool, route)).release()
            assert there.pool.try_acquire(route) is None
            await host.until(lambda: host.said("QUIT") == 1)

    run(work())


def test_an_idle_connection_that_the_host_closed_is_not_leased() -> None:
    async def work() -> None:
        async with internet(host := MailHost("mx.test")) as there:
            route = there.route()
            lease = await take(there.pool, route)
            lease.release()
            host.writers[0].close()
            while lease.connection.is_open:
                await asyncio.sleep(0)
            assert there.pool.try_acquire(route) is None
            assert await send(await take(there.pool, route))
            assert (host.connections, there.pool.open_connections) == (2, 1)

    run(work())


def test_a_lease_is_given_back_once() -> None:
    async def work() -> None:
        async with internet(MailHost("mx.test")) as there:
            lease = await take(there.pool, there.route())
            lease.release()
            lease.release(reusable=False)
            assert there.pool.open_connections == 1
            first, second = there.pool.try_acquire(there.route()), there.pool.try_acquire(there.route())
            assert first is not None
            assert second is None

    run(work())


def test_a_connection_serves_only_routes_to_its_host_secured_as_they_ask() -> None:
    async def work() -> None:
        async with internet(MailHost("mx1.test"), MailHost("mx2.test")) as there:
            (await take(there.pool, there.route("mx1.test"))).release()
            assert there.pool.try_acquire(there.route("mx2.test")) is None
            assert there.pool.try_acquire(there.route("mx1.test", tls=TlsMode.REQUIRED)) is None
            assert there.pool.try_acquire(there.route("mx1.test", tls=TlsMode.VERIFIED)) is None
            assert there.pool.try_acquire(replace(there.route("mx1.test"), port=1)) is None
            assert there.pool.try_acquire(there.route("mx2.test", "mx1.test")) is not None

    run(work())


def test_h09_an_mx_record_never_gets_the_connection_to_a_host_of_the_operators() -> None:
    async def work() -> None:
        async with internet(MailHost("inner.test")) as there:
            (await take(there.pool, there.route(is_trusted=True))).release()
            assert there.pool.try_acquire(there.route()) is None
            assert there.pool.try_acquire(there.route(is_trusted=True)) is not None

    run(work())


# Concurrency ---------------------------------------------------------------------------------------------------------


def test_a_site_bears_no_more_connections_than_its_limit() -> None:
    async def work() -> None:
        async with internet(host := MailHost("mx.test")) as there:
            route = there.route(limits=SiteLimits(connections=3))

            async def one() -> None:
                lease = await take(there.pool, route)
                assert await send(lease)
                lease.release()

            await asyncio.gather(*(one() for _ in range(30)))
            assert host.most_open == 3
            assert host.said("MAIL") == 30

    run(work())


def test_waiters_of_a_site_are_served_in_order() -> None:
    async def work() -> None:
        async with internet(MailHost("mx.test")) as there:
            route, served = there.route(limits=ONE), list[int]()

            async def one(number: int) -> None:
                got = await there.pool.acquire(route)
                assert isinstance(got, Lease)
                served.append(number)
                got.release(reusable=number % 2 == 0)

            first = await take(there.pool, route)
            tasks = [asyncio.create_task(one(number)) for number in range(10)]
            await turns()
            first.release()
            await asyncio.gather(*tasks)
            assert served == list(range(10))

    run(work())


def test_a_newcomer_does_not_overtake_a_waiter_whose_place_has_just_come_free() -> None:
    async def work() -> None:
        async with internet(MailHost("mx.test")) as there:
            route = there.route(limits=ONE)
            first = await take(there.pool, route)
            waiting = begin(there, route)
            await turns()
            first.connection.abort()
            first.release()
            late = begin(there, route)
            held = await leased(waiting)
            assert not late.done()
            held.release()
            (await leased(late)).release()

    run(work())


def test_a_connection_that_fits_nobody_who_waits_makes_room_and_only_one_does() -> None:
    async def work() -> None:
        hosts = MailHost("mx1.test"), MailHost("mx2.test")
        async with internet(*hosts) as there:
            limits = SiteLimits(connections=3)
            held = [await take(there.pool, there.route("mx1.test", limits=limits)) for _ in range(3)]
            for lease in held[:2]:
                lease.release()
            other = await take(there.pool, there.route("mx2.test", limits=limits))
            assert (hosts[0].said("QUIT"), there.pool.open_connections) == (1, 3)
            waiting = begin(there, there.route("mx2.test", limits=limits))
            (await leased(waiting)).release()
            waiting = begin(there, there.route("mx2.test", limits=limits))
            (await leased(waiting)).release()
            other.release()
            held[2].release()

    run(work())


def test_a_waiter_for_another_host_does_not_wait_until_an_idle_connection_grows_old() -> None:
    async def work() -> None:
        async with internet(MailHost("mx1.test"), MailHost("mx2.test")) as there:
            limits = SiteLimits(connections=1, idle_s=10_000)
            first = await take(there.pool, there.route("mx1.test", limits=limits))
            waiting = begin(there, there.route("mx2.test", limits=limits))
            await turns()
            first.release()
            assert (await leased(waiting)).connection.endpoint.host == "mx2.test"

    run(work())


def test_the_limit_of_all_sites_holds_and_idle_connections_make_room() -> None:
    async def work() -> None:
        host = MailHost("mx.test")
        async with internet(host, settings=PoolSettings(hello="us.test", connections=2)) as there:

            async def one(number: int) -> None:
                lease = await take(there.pool, there.route(site=f"site{number % 5}.test"))
                assert there.pool.open_connections <= 2
                assert await send(lease)
                lease.release()

            await asyncio.gather(*(one(number) for number in range(20)))
            assert host.said("MAIL") == 20

    run(work())


def test_those_who_wait_for_a_site_are_bounded() -> None:
    async def work() -> None:
        async with internet(MailHost("mx.test"), settings=PoolSettings(hello="us.test", waiting=1)) as there:
            first = await take(there.pool, there.route(limits=ONE))
            waiting = begin(there, there.route(limits=ONE))
            await turns()
            refused = await there.pool.acquire(there.route(limits=ONE))
            assert isinstance(refused, ConnectFailure)
            assert "too many messages wait" in refused.last.detail
            first.release()
            await leased(waiting)

    run(work())


def test_the_pace_of_a_site_holds_also_for_a_connection_handed_from_one_to_the_next() -> None:
    async def work() -> None:
        async with internet(MailHost("mx.test")) as there:
            route = there.route(limits=SiteLimits(connections=1, messages_per_minute=2))
            first = await take(there.pool, route)
            second, third = begin(there, route), begin(there, route)
            await turns()
            first.release()
            lease = await leased(second)
            lease.release()
            await turns(20)
            assert not third.done()
            assert there.pool.try_acquire(route) is None
            third.cancel()
            await asyncio.gather(third, return_exceptions=True)

    run(work())


def test_sites_that_nothing_is_known_of_are_forgotten_and_one_in_use_never() -> None:
    async def work() -> None:
        host = MailHost("mx.test")
        async with internet(host, settings=PoolSettings(hello="us.test", sites=2)) as there:
            kept = await take(there.pool, there.route(site="kept.test", limits=ONE))
            for number in range(10):
                lease = await take(there.pool, there.route(site=f"site{number}.test", limits=ONE))
                lease.release(reusable=False)
                await host.until(lambda: host.open == 1)
                while there.pool.open_connections > 1:
                    await asyncio.sleep(0)
            assert len(there.pool._sites) == 2
            waiting = begin(there, there.route(site="kept.test", limits=ONE))
            await turns()
            assert not waiting.done()
            kept.release()
            await leased(waiting)

    run(work())


# Cancellation --------------------------------------------------------------------------------------------------------


def test_a_cancelled_opening_gives_its_place_back() -> None:
    async def work() -> None:
        host = MailHost("mx.test", answers=asyncio.Event())
        async with internet(host) as there:
            opening, waiting = begin(there, there.route(limits=ONE)), begin(there, there.route(limits=ONE))
            await host.until(lambda: host.connections == 1)
            opening.cancel()
            await asyncio.gather(opening, return_exceptions=True)
            assert host.answers is not None
            host.answers.set()
            (await leased(waiting)).release(reusable=False)

    run(work())


def test_a_cancelled_waiter_leaves_the_queue() -> None:
    async def work() -> None:
        async with internet(MailHost("mx.test")) as there:
            route = there.route(limits=ONE)
            first = await take(there.pool, route)
            gone, waiting = begin(there, route), begin(there, route)
            await turns()
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)
            first.release()
            await leased(waiting)

    run(work())


@pytest.mark.parametrize("is_reusable", [True, False])
def test_a_waiter_cancelled_just_as_its_turn_came_passes_it_on(is_reusable: bool) -> None:
    async def work() -> None:
        async with internet(host := MailHost("mx.test")) as there:
            route = there.route(limits=ONE)
            first = await take(there.pool, route)
            gone, waiting = begin(there, route), begin(there, route)
            await turns()
            if not is_reusable:
                first.connection.abort()
            first.release()
            gone.cancel()
            lease = await leased(waiting)
            assert gone.cancelled()
            assert host.connections == (1 if is_reusable else 2)
            assert there.pool.open_connections == 1
            lease.release()

    run(work())


def test_a_waiter_cancelled_at_the_limit_of_all_sites_passes_its_place_on() -> None:
    async def work() -> None:
        async with internet(MailHost("mx.test"), settings=PoolSettings(hello="us.test", connections=1)) as there:
            first = await take(there.pool, there.route(site="a.test"))
            gone, waiting = begin(there, there.route(site="b.test")), begin(there, there.route(site="c.test"))
            await turns()
            first.connection.abort()
            first.release()
            gone.cancel()
            await leased(waiting)

    run(work())


def test_one_who_waits_out_a_pause_keeps_nobody_from_the_place_when_cancelled() -> None:
    async def work() -> None:
        pause = PoolSettings(hello="us.test", back_off=BackOff(first_s=0.05), longest_pause_s=60)
        async with internet(MailHost("mx.test"), settings=pause) as there:
            route = there.route(limits=ONE)
            lease = await take(there.pool, route)
            sleeping, waiting = begin(there, route), begin(there, route)
            await turns()
            lease.trouble()
            lease.connection.abort()
            lease.release()
            await turns()
            sleeping.cancel()
            await leased(waiting)

    run(work())


# Failing hosts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad",
    [
        {"is_down": True},
        {"greeting": b"421 busy\r\n"},
        {"greeting": b"450 not now\r\n"},
        {"greeting": b"554 not you\r\n"},
        {"greeting": b"nonsense\r\n"},
    ],
)
def test_c04_the_next_host_is_tried_where_one_cannot_be_used(bad: dict[str, Any]) -> None:
    async def work() -> None:
        async with internet(MailHost("mx1.test", **bad), MailHost("mx2.test")) as there:
            lease = await take(there.pool, there.route())
            assert lease.connection.endpoint.host == "mx2.test"
            assert await send(lease)

    run(work())


def test_c04_a_host_whose_greeting_does_not_come_in_time_is_left_for_the_next() -> None:
    async def work() -> None:
        mute = MailHost("mx1.test", answers=asyncio.Event())
        timeouts = replace(PhaseTimeouts.all(20), greeting_s=0.02)
        quick = PoolSettings(hello="us.test", timeouts=timeouts)
        async with internet(mute, MailHost("mx2.test"), settings=quick) as there:
            task = begin(there, there.route())
            await mute.until(lambda: mute.connections == 1)
            lease = await task
            # The second host greets at once, or even it was too slow on this machine: but it was asked.
            assert not isinstance(lease, RouteFailure)
            if isinstance(lease, ConnectFailure):
                assert [attempt.host for attempt in lease.attempts] == ["mx1.test", "mx2.test"]

    run(work())


def test_c04_where_every_host_fails_each_ones_words_are_kept() -> None:
    async def work() -> None:
        hosts = MailHost("mx1.test", greeting=b"450 later\r\n"), MailHost("mx2.test", is_down=True)
        async with internet(*hosts) as there:
            failure = await there.pool.acquire(there.route())
            assert isinstance(failure, ConnectFailure)
            assert [(attempt.host, attempt.phase) for attempt in failure.attempts] == [
                ("mx1.test", Phase.GREETING),
                ("mx2.test", Phase.CONNECT),
            ]
            assert str(failure.last.reply) == "450 later"
            assert failure.attempts[1].detail == "connection refused"
            assert there.pool.open_connections == 0

    run(work())


def test_c05_a_host_that_dns_may_yet_find_outweighs_one_that_is_not_there() -> None:
    async def work() -> None:
        async with internet(MailHost("mx1.test"), MailHost("mx2.test")) as there:
            there.failures = {"mx1.test": NO_MAIL_HOST, "mx2.test": dns_trouble("SERVFAIL")}
            failure = await there.pool.acquire(there.route())
            assert isinstance(failure, RouteFailure)
            assert failure.reason == "dns_temporary"
            there.failures = {"mx1.test": NO_MAIL_HOST}
            assert (await take(there.pool, there.route())).connection.endpoint.host == "mx2.test"

    run(work())


def test_a_host_that_has_just_failed_is_passed_over_and_tried_again_once_nothing_else_answers() -> None:
    async def work() -> None:
        first, second = MailHost("mx1.test", greeting=b"421 busy\r\n"), MailHost("mx2.test")
        async with internet(first, second) as there:
            for _ in range(3):
                (await take(there.pool, there.route())).release(reusable=False)
            assert (first.connections, second.connections) == (1, 3)
            first.greeting, second.greeting = b"220 better\r\n", b"421 busy\r\n"
            assert (await take(there.pool, there.route())).connection.endpoint.host == "mx1.test"

    run(work())


def test_c12_a_failed_handshake_is_followed_by_one_try_in_the_clear() -> None:
    async def work() -> None:
        host = MailHost("mx.test", offers=("STARTTLS",), breaks_tls=True)
        async with internet(host) as there:
            lease = await take(there.pool, there.route(tls=TlsMode.OPPORTUNISTIC))
            assert lease.connection.tls is None
            assert await send(lease)
            assert (host.connections, host.said("STARTTLS")) == (2, 1)

    run(work())


@pytest.mark.parametrize("tls", [TlsMode.REQUIRED, TlsMode.VERIFIED])
def test_c12_where_policy_forbids_it_nothing_is_said_in_the_clear(tls: TlsMode) -> None:
    async def work() -> None:
        host = MailHost("mx.test", offers=("STARTTLS",), breaks_tls=True)
        async with internet(host) as there:
            failure = await there.pool.acquire(there.route(tls=tls))
            assert isinstance(failure, ConnectFailure)
            assert failure.last.phase is Phase.STARTTLS
            assert (host.connections, host.said("MAIL")) == (1, 0)

    run(work())


# Back-off ------------------------------------------------------------------------------------------------------------


def test_v09_a_site_in_trouble_is_left_alone_and_the_caller_is_told_for_how_long() -> None:
    async def work() -> None:
        host = MailHost("mx.test", is_down=True)
        async with internet(host, settings=PoolSettings(hello="us.test", back_off=HELD)) as there:
            assert isinstance(await there.pool.acquire(there.route()), ConnectFailure)
            paused = await there.pool.acquire(there.route())
            assert isinstance(paused, ConnectFailure)
            assert paused.retry_after_s is not None
            assert 0 < paused.retry_after_s <= 1000
            assert "left alone" in paused.last.detail

    run(work())


def test_v09_a_long_pause_answers_everybody_who_waits() -> None:
    async def work() -> None:
        async with internet(MailHost("mx.test"), settings=PoolSettings(hello="us.test", back_off=HELD)) as there:
            lease = await take(there.pool, there.route(limits=ONE))
            tasks = [begin(there, there.route(limits=ONE)) for _ in range(5)]
            await turns()
            lease.trouble()
            lease.release()
            for answer in await asyncio.gather(*tasks):
                assert isinstance(answer, ConnectFailure)
                assert answer.retry_after_s is not None

    run(work())


def test_v09_a_connection_on_which_there_was_trouble_is_no_success_and_not_used_again() -> None:
    async def work() -> None:
        async with internet(
            host := MailHost("mx.test"), settings=PoolSettings(hello="us.test", back_off=HELD)
        ) as there:
            lease = await take(there.pool, there.route())
            assert await send(lease)
            lease.trouble()
            lease.release()
            assert isinstance(await there.pool.acquire(there.route()), ConnectFailure)
            await host.until(lambda: host.said("QUIT") == 1)

    run(work())


def test_v09_another_site_is_not_held_up_by_one_in_trouble() -> None:
    async def work() -> None:
        limited = PoolSettings(hello="us.test", back_off=HELD, longest_pause_s=10_000, connections=1)
        async with internet(MailHost("mx.test"), settings=limited) as there:
            lease = await take(there.pool, there.route(site="a.test"))
            sleeping, waiting = begin(there, there.route(site="a.test")), begin(there, there.route(site="b.test"))
            await turns()
            lease.trouble()
            lease.connection.abort()
            lease.release()
            await leased(waiting)
            assert not sleeping.done()

    run(work())


# Closing -------------------------------------------------------------------------------------------------------------


def test_close_ends_idle_connections_by_quit_and_those_in_use_when_they_are_released() -> None:
    async def work() -> None:
        async with internet(host := MailHost("mx.test")) as there:
            used, idle = await take(there.pool, there.route()), await take(there.pool, there.route())
            idle.release()
            await there.pool.close()
            assert host.said("QUIT") == 1
            assert await send(used)
            used.release()
            await host.until(lambda: host.said("QUIT") == 2)
            assert there.pool.try_acquire(there.route()) is None

    run(work())


def test_close_answers_everybody_who_waits() -> None:
    async def work() -> None:
        settings = PoolSettings(hello="us.test", connections=2, back_off=HELD, longest_pause_s=10_000)
        async with internet(MailHost("mx.test"), settings=settings) as there:
            troubled = await take(there.pool, there.route(site="troubled.test"))
            troubled.trouble()
            troubled.release()
            lease = await take(there.pool, there.route(limits=ONE))
            tasks = [begin(there, there.route(limits=ONE)) for _ in range(3)]
            tasks += [begin(there, there.route(site="troubled.test")) for _ in range(2)]
            other = await take(there.pool, there.route(site="other.test"))
            tasks += [begin(there, there.route(site=f"full{number}.test")) for number in range(2)]
            await turns()
            await there.pool.close()
            for answer in await asyncio.gather(*tasks):
                assert isinstance(answer, ConnectFailure)
                assert "shutting down" in answer.last.detail
            lease.release()
            other.release()

    run(work())


# Everything at once --------------------------------------------------------------------------------------------------

ACTIONS = st.lists(
    st.tuples(
        st.sampled_from("aab"), st.sampled_from(["keep", "end", "break", "cancel", "trouble"]), st.integers(0, 3)
    ),
    min_size=1,
    max_size=25,
)


@settings(max_examples=30)
@given(actions=ACTIONS)
def test_whatever_happens_no_place_is_lost_and_nobody_is_forgotten(actions: list[tuple[str, str, int]]) -> None:
    async def work() -> None:
        limits = SiteLimits(connections=2)
        quick = PoolSettings(hello="us.test", connections=3, back_off=BackOff(first_s=0.001, ceiling_s=0.002))
        async with internet(MailHost("mx1.test"), MailHost("mx2.test"), settings=quick) as there:

            async def one(site: str, action: str, pauses: int) -> None:
                route = there.route(f"mx{1 + pauses % 2}.test", site=site, limits=limits)
                lease = there.pool.try_acquire(route) or await there.pool.acquire(route)
                assert isinstance(lease, Lease)
                assert there.pool.open_connections <= 3
                try:
                    await turns(pauses)
                    if action == "break":
                        lease.connection.abort()
                    if action == "trouble":
                        lease.trouble()
                finally:
                    lease.release(reusable=action != "end")

            tasks = [asyncio.create_task(one(*action)) for action in actions]
            for task, (_, action, pauses) in zip(tasks, actions, strict=True):
                if action == "cancel":
                    await turns(pauses * 3)
                    task.cancel()
            await asyncio.gather(*(task for task in tasks if not task.cancelling()))
            await asyncio.gather(*tasks, return_exceptions=True)
            await there.pool.close()
            assert there.pool.open_connections == 0
            assert there.pool._waiting == 0
            assert all(not home.throttle.connections and not home.waiters for home in there.pool._sites.values())

    run(work())


# What changes from outside -------------------------------------------------------------------------------------------


def test_a_pause_that_ends_early_wakes_who_waits_it_out() -> None:
    async def work() -> None:
        patient = PoolSettings(hello="us.test", back_off=HELD, longest_pause_s=10_000)
        async with internet(MailHost("mx.test"), settings=patient) as there:
            lease = await take(there.pool, there.route())
            lease.trouble("421 4.7.0 slow down")
            lease.release()
            waiting = begin(there, there.route())
            await turns()
            assert not waiting.done()
            for home in there.pool.homes("site.test"):
                home.resume()
            await leased(waiting)

    run(work())


def test_v09_a_site_that_asked_for_less_is_not_asked_on_another_connection_in_its_pause() -> None:
    async def work() -> None:
        async with internet(MailHost("mx.test"), settings=PoolSettings(hello="us.test", back_off=HELD)) as there:
            troubled, other = await take(there.pool, there.route()), await take(there.pool, there.route())
            assert await send(other)
            troubled.trouble("450 4.7.1 rate limit exceeded")
            troubled.release()
            other.release()
            assert there.pool.try_acquire(there.route()) is None
            answer = await there.pool.acquire(there.route())
            assert isinstance(answer, ConnectFailure) and "rate limit exceeded" in answer.last.detail
            assert not answer.is_ours, "it is the site that asked for it"

    run(work())


def test_other_limits_of_a_site_are_taken_up_at_once() -> None:
    async def work() -> None:
        async with internet(MailHost("mx.test")) as there:
            first = await take(there.pool, there.route(limits=ONE))
            waiting = begin(there, there.route(limits=ONE))
            await turns()
            more = begin(there, there.route(limits=SiteLimits(connections=3)))
            await leased(waiting)
            await leased(more)
            first.release()

    run(work())


def test_a_message_that_would_wait_too_long_for_a_sites_rate_comes_back_when_it_is_its_turn() -> None:
    async def work() -> None:
        hasty = PoolSettings(hello="us.test", longest_queue_s=60)
        async with internet(MailHost("mx.test"), settings=hasty) as there:
            route = there.route(limits=SiteLimits(messages_per_minute=2))
            for _ in range(2):
                (await take(there.pool, route)).release()
            waiting = [begin(there, route) for _ in range(4)]
            await turns()
            late = [await there.pool.acquire(route) for _ in range(2)]
            waits = []
            for answer in late:
                assert isinstance(answer, ConnectFailure) and answer.is_ours
                assert "rate of 2 messages a minute" in answer.last.detail
                waits.append(answer.retry_after_s or 0)
            assert waits[1] - waits[0] == pytest.approx(30, abs=5), "each in its turn"
            for task in waiting:
                task.cancel()

    run(work())
