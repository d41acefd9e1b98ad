"""MTA-STS policies are asked for, kept, refreshed and believed as RFC 8461 says (T-01)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

import pytest

from postroad.message.dns import DnsStatus, TextsAnswer
from postroad.message.mta_sts import KeptPolicy, StsMode, StsPolicy
from postroad.net.https import HttpsError
from postroad.road import sts_policies
from postroad.road.sts_policies import RECHECK_S, REFRESH_S, RETRY_S, StsFailure, StsPolicies

T = TypeVar("T")
DAY = 86_400.0


def policy(mode: str = "enforce", max_age: float = 7 * DAY, mx: str = "mx.example.net") -> bytes:
    return f"version: STSv1\nmode: {mode}\nmx: {mx}\nmax_age: {max_age:.0f}\n".encode()


@dataclass
class World:
    """One domain, its web server, a store, and a clock that is moved by hand."""

    texts_now: TextsAnswer = field(default_factory=lambda: announced("1"))
    file: bytes | Exception = field(default_factory=policy)
    now: float = 1.8e9
    kept: dict[str, KeptPolicy] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)
    failures: list[StsFailure] = field(default_factory=list)

    def wall(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    async def texts(self, name: str) -> TextsAnswer:
        self.asked.append(name)
        await asyncio.sleep(0)
        return self.texts_now

    async def fetch(self, domain: str) -> bytes:
        self.fetched.append(domain)
        if isinstance(self.file, Exception):
            raise self.file
        return self.file

    async def policy(self, domain: str) -> KeptPolicy | None:
        return self.kept.get(domain)

    async def keep(self, policy: KeptPolicy) -> None:
        self.kept[policy.domain] = policy

    def policies(self) -> StsPolicies:
        """As a process that has just started knows them."""
        return StsPolicies(self, self.fetch, self, self, on_failure=self.failures.append)


def announced(number: str) -> TextsAnswer:
    return TextsAnswer(DnsStatus.FOUND, (f"v=STSv1; id={number};".encode(),))


NOTHING = TextsAnswer(DnsStatus.NO_DOMAIN)
SILENT = TextsAnswer(DnsStatus.TEMPORARY, (), "time-out")


def within(use: Callable[[World], Awaitable[T]], world: World | None = None) -> T:
    async def run() -> T:
        return await use(world or World())

    return asyncio.run(run())


def mode(found: StsPolicy | None) -> StsMode | None:
    return None if found is None else found.mode


def test_t01_one_txt_query_and_one_fetch_serve_all_who_ask() -> None:
    async def use(world: World) -> None:
        policies = world.policies()
        policies.prepare("example.net")
        found = await asyncio.gather(*(policies.policy("example.net") for _ in range(5)))
        found.append(await policies.policy("example.net"))
        assert {mode(one) for one in found} == {StsMode.ENFORCE}
        assert world.asked == ["_mta-sts.example.net"]
        assert world.fetched == ["example.net"]

    within(use)


def test_t01_a_domain_without_a_record_is_asked_seldom_and_never_fetched_from() -> None:
    async def use(world: World) -> None:
        world.texts_now = NOTHING
        policies = world.policies()
        assert await policies.policy("example.net") is None
        world.now += RECHECK_S - 1
        assert await policies.policy("example.net") is None
        assert (len(world.asked), world.fetched, world.failures) == (1, [], [])
        world.now += 2
        world.texts_now = announced("1")
        assert mode(await policies.policy("example.net")) is StsMode.ENFORCE

    within(use)


def test_t01_a_policy_is_kept_over_a_restart_and_fetched_again_where_its_id_changes() -> None:
    async def use(world: World) -> None:
        await world.policies().policy("example.net")
        assert mode(await world.policies().policy("example.net")) is StsMode.ENFORCE
        assert len(world.fetched) == 1, "the one that is kept holds"
        world.texts_now, world.file = announced("2"), policy("testing")
        assert mode(await world.policies().policy("example.net")) is StsMode.TESTING
        assert world.kept["example.net"].record_id == "2"

    within(use)


@pytest.mark.parametrize("file", [HttpsError("404"), b"no policy", HttpsError("expired", is_certificate=True)])
def test_t01_a_failed_fetch_leaves_the_kept_policy_in_force(file: bytes | Exception) -> None:
    async def use(world: World) -> None:
        await world.policies().policy("example.net")
        world.texts_now, world.file = announced("2"), file
        assert mode(await world.policies().policy("example.net")) is StsMode.ENFORCE
        (failure,) = world.failures
        assert failure.is_kept
        assert failure.reason

    within(use)


@pytest.mark.parametrize(
    ("file", "result"),
    [
        (HttpsError("404"), "sts-policy-fetch-error"),
        (b"no policy", "sts-policy-invalid"),
        (HttpsError("expired", is_certificate=True), "sts-webpki-invalid"),
    ],
)
def test_t01_a_failed_fetch_without_a_kept_policy_is_no_policy_and_is_told(
    file: bytes | Exception, result: str
) -> None:
    async def use(world: World) -> None:
        world.file = file
        policies = world.policies()
        assert await policies.policy("example.net") is None
        assert [(one.result, one.is_kept) for one in world.failures] == [(result, False)]
        world.now += RETRY_S - 1
        await policies.policy("example.net")
        assert len(world.fetched) == 1, "it is left alone for five minutes"
        world.now += 2
        world.file = policy()
        assert mode(await policies.policy("example.net")) is StsMode.ENFORCE

    within(use)


@pytest.mark.parametrize("answer", [NOTHING, SILENT, TextsAnswer(DnsStatus.FOUND, (b"v=STSv1; id=!",))])
def test_t01_a_kept_policy_holds_while_dns_denies_it_until_its_time_is_over(answer: TextsAnswer) -> None:
    async def use(world: World) -> None:
        policies = world.policies()
        await policies.policy("example.net")
        world.texts_now = answer
        world.now += 6 * DAY
        assert mode(await policies.policy("example.net")) is StsMode.ENFORCE
        world.now += 2 * DAY
        assert await policies.policy("example.net") is None

    within(use)


def test_t01_a_short_policy_is_not_believed_longer_than_it_says() -> None:
    async def use(world: World) -> None:
        world.file = policy(max_age=100)
        policies = world.policies()
        await policies.policy("example.net")
        world.now += 101
        world.texts_now = NOTHING
        assert await policies.policy("example.net") is None

    within(use)


def test_t01_an_old_policy_with_the_same_id_is_fetched_again_before_it_ends() -> None:
    async def use(world: World) -> None:
        await world.policies().policy("example.net")
        world.now += REFRESH_S + 1
        await world.policies().policy("example.net")
        assert len(world.fetched) == 2
        assert world.kept["example.net"].fetched_at == world.now

    within(use)


def test_t01_a_policy_can_be_refreshed_though_it_is_known() -> None:
    async def use(world: World) -> None:
        policies = world.policies()
        await policies.policy("example.net")
        world.texts_now, world.file = announced("2"), policy("none")
        await policies.refresh("example.net")
        assert mode(await policies.policy("example.net")) is StsMode.NONE

    within(use)


def test_so_many_domains_are_held_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sts_policies, "MAX_KNOWN", 3)

    async def use(world: World) -> None:
        world.texts_now = NOTHING
        policies = world.policies()
        for number in [*range(5), 4, 3, 2, 0]:
            await policies.policy(f"d{number}.test")
        assert world.asked == [f"_mta-sts.d{number}.test" for number in (0, 1, 2, 3, 4, 0)]

    within(use)
