"""Who a client is: S-25, S-26, H-07."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

from postroad.receive.auth import Authenticator, AuthLimits
from postroad.receive.guard.attempts import AttemptLimits, Attempts
from postroad.receive.guard.tally import Tally, table_octets
from postroad.store.accounts import MemoryAccounts


class SteppedClock:
    """A clock that moves when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def wall(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now


def with_authenticator(use: Callable[[Authenticator, SteppedClock, MemoryAccounts], Awaitable[None]]) -> None:
    accounts = MemoryAccounts()
    accounts.add("ann@us.test", "right", identities=["ann@us.test"])
    clock = SteppedClock()

    async def run() -> None:
        with ThreadPoolExecutor(2) as executor:
            limits = AuthLimits(attempts=AttemptLimits(failures=3, account_failures=8, window_s=60), delay_s=0)
            await use(Authenticator(accounts, executor, clock, secret=b"k" * 32, limits=limits), clock, accounts)

    asyncio.run(run())


def test_s25_right_and_wrong_passwords() -> None:
    async def use(authenticator: Authenticator, clock: SteppedClock, accounts: MemoryAccounts) -> None:
        check = authenticator.check_password
        assert await check("ann@us.test", "", "right", "192.0.2.1") is None
        assert await check("ANN@us.test", "ann@us.test", "right", "192.0.2.1") is None
        refusal = await check("ann@us.test", "", "wrong", "192.0.2.1")
        assert str(refusal).startswith("535 5.7.8")
        assert await check("nobody@us.test", "", "right", "192.0.2.1") == refusal

    with_authenticator(use)


def test_s26_the_authzid_must_be_the_user_himself() -> None:
    async def use(authenticator: Authenticator, clock: SteppedClock, accounts: MemoryAccounts) -> None:
        assert await authenticator.check_password("ann@us.test", "bob@us.test", "right", "192.0.2.1") is not None

    with_authenticator(use)


def test_a_remembered_password_is_forgotten_when_it_is_changed() -> None:
    async def use(authenticator: Authenticator, clock: SteppedClock, accounts: MemoryAccounts) -> None:
        assert await authenticator.check_password("ann@us.test", "", "right", "192.0.2.1") is None
        accounts.set_password("ann@us.test", "new")
        assert await authenticator.check_password("ann@us.test", "", "right", "192.0.2.1") is not None
        assert await authenticator.check_password("ann@us.test", "", "new", "192.0.2.1") is None

    with_authenticator(use)


def test_h07_guessing_is_refused_after_a_while_and_users_elsewhere_are_unharmed() -> None:
    async def use(authenticator: Authenticator, clock: SteppedClock, accounts: MemoryAccounts) -> None:
        for _ in range(3):
            await authenticator.check_password("ann@us.test", "", "guess", "192.0.2.66")
        refusal = await authenticator.check_password("ann@us.test", "", "right", "192.0.2.66")
        assert str(refusal).startswith("454 4.7.0")
        assert await authenticator.check_password("ann@us.test", "", "right", "192.0.2.1") is None
        clock.now += 61
        assert await authenticator.check_password("ann@us.test", "", "right", "192.0.2.66") is None

    with_authenticator(use)


def test_s25_scram_keys_of_the_unknown_look_real_and_stay_the_same() -> None:
    async def use(authenticator: Authenticator, clock: SteppedClock, accounts: MemoryAccounts) -> None:
        unknown = authenticator.scram_keys("nobody@us.test", "")
        assert unknown == authenticator.scram_keys("NOBODY@us.test", "")
        known = authenticator.scram_keys("ann@us.test", "")
        assert (known.iterations, len(known.salt), len(known.stored_key)) == (
            unknown.iterations,
            len(unknown.salt),
            len(unknown.stored_key),
        )
        assert authenticator.scram_keys("ann@us.test", "bob@us.test") != known

    with_authenticator(use)


def test_h07_guesses_side_by_side_are_not_all_heard() -> None:
    async def use(authenticator: Authenticator, clock: SteppedClock, accounts: MemoryAccounts) -> None:
        guesses = [authenticator.check_password("ann@us.test", "", f"wrong {n}", "192.0.2.1") for n in range(20)]
        answers = await asyncio.gather(*guesses, authenticator.check_password("ann@us.test", "", "right", "192.0.2.1"))
        assert answers[-1] is not None, "the right one after too many wrong ones tells nothing"
        assert sum(str(answer).startswith("535") for answer in answers) <= authenticator.limits.attempts.failures + 1
        assert await authenticator.check_password("ann@us.test", "", "right", "192.0.2.2") is None, "others go on"

    with_authenticator(use)


def test_h07_an_ipv6_peer_is_its_network() -> None:
    async def use(authenticator: Authenticator, clock: SteppedClock, accounts: MemoryAccounts) -> None:
        for number in range(5):
            await authenticator.check_password("ann@us.test", "", "wrong", f"2001:db8::{number}")
        assert authenticator.bar("bob@us.test", "2001:db8::ffff") is not None
        assert authenticator.bar("bob@us.test", "2001:db8:0:1::1") is None

    with_authenticator(use)


def test_h07_an_account_attacked_from_everywhere_is_closed_to_strangers_and_open_to_its_user() -> None:
    async def use(authenticator: Authenticator, clock: SteppedClock, accounts: MemoryAccounts) -> None:
        check = authenticator.check_password
        assert await check("ann@us.test", "", "right", "203.0.113.5") is None
        for number in range(8):
            await check("ann@us.test", "", "guess", f"198.51.100.{number}")
        assert str(await check("ann@us.test", "", "right", "192.0.2.200")).startswith("454 4.7.0")
        assert await check("ann@us.test", "", "right", "203.0.113.5") is None, "her own network is heard"
        accounts.add("bob@us.test", "his", identities=["bob@us.test"])
        assert await check("bob@us.test", "", "his", "192.0.2.200") is None, "other accounts are unharmed"

    with_authenticator(use)


def test_h07_many_accounts_from_one_peer_are_stopped_and_a_user_known_from_there_is_heard() -> None:
    async def use(authenticator: Authenticator, clock: SteppedClock, accounts: MemoryAccounts) -> None:
        check = authenticator.check_password
        assert await check("ann@us.test", "", "right", "203.0.113.5") is None
        for number in range(3):
            await check(f"user{number}@us.test", "", "guess", "203.0.113.5")
        assert str(await check("bob@us.test", "", "guess", "203.0.113.5")).startswith("454 4.7.0")
        assert await check("ann@us.test", "", "right", "203.0.113.5") is None
        for _ in range(3):
            await check("ann@us.test", "", "guess", "203.0.113.5")
        assert await check("ann@us.test", "", "right", "203.0.113.5") is not None, "but not without end"

    with_authenticator(use)


def test_h07_workers_that_share_their_counts_stop_a_guesser_together() -> None:
    accounts = MemoryAccounts()
    clock = SteppedClock()
    limits = AuthLimits(attempts=AttemptLimits(failures=4, window_s=60), delay_s=0)
    told: list[str] = []

    async def run() -> None:
        with ThreadPoolExecutor(1) as executor:
            one, other = (
                Authenticator(
                    accounts,
                    executor,
                    clock,
                    secret=b"k" * 32,
                    limits=limits,
                    attempts=attempts,
                    on_barred=lambda barred: told.append(barred.subject),
                )
                for attempts in [_shared(limits.attempts)] * 2
            )
            for authenticator in (one, other, one, other):
                assert authenticator.bar("ann@us.test", "192.0.2.1") is None
                await authenticator.failed("ann@us.test", "192.0.2.1")
            assert one.bar("ann@us.test", "192.0.2.1") is not None
            assert other.bar("", "192.0.2.1") is not None

    asyncio.run(run())
    assert told == ["192.0.2.1"], "told once, when the limit was reached"


def _shared(limits: AttemptLimits) -> Attempts:
    failures, known_good = (Tally(bytearray(table_octets(100)), secret=b"k", window_s=60) for _ in range(2))
    return Attempts(limits, failures, known_good)
