"""Who a client is: passwords and SCRAM keys against the account store.

Argon2 runs in a thread, a few at a time; a verified password is remembered for a short while, as a keyed digest.
An unknown user costs what a known one does (S-25), and repeated failures by one peer or for one account are slowed,
then refused for a while (H-07).
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Protocol

from postroad.clock import Clock
from postroad.receive.limits import network_of
from postroad.smtp.reply import Reply, reply
from postroad.smtp.sasl import ScramKeys
from postroad.store.accounts import Account, Accounts, hash_password, verify_password

BAD_CREDENTIALS = reply(535, "Authentication credentials invalid", "5.7.8")
_TRY_LATER = reply(454, "Too many failed attempts: try again later", "4.7.0")


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthLimits:
    """Seconds and counts; the tables forget their oldest entry when full."""

    failures: int = 10
    """Failures of one peer, or for one account, within the window, before it is refused unheard."""
    window_s: float = 600.0
    delay_s: float = 1.0
    """How long a refusal is held back."""
    remember_s: float = 60.0
    table_size: int = 10_000


class FailureTable:
    """Failed attempts by key, within a sliding window, in bounded memory."""

    def __init__(self, limits: AuthLimits) -> None:
        self.limits = limits
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def is_barred(self, key: str, now: float) -> bool:
        """Whether this key has failed too often of late."""
        count, since = self._failures.get(key, (0, now))
        return count >= self.limits.failures and now - since < self.limits.window_s

    def add(self, key: str, now: float) -> None:
        """Count one more."""
        count, since = self._failures.pop(key, (0, now))
        if now - since >= self.limits.window_s:
            count, since = 0, now
        self._failures[key] = (count + 1, since)
        if len(self._failures) > self.limits.table_size:
            self._failures.popitem(last=False)

    def clear(self, key: str) -> None:
        """It has succeeded."""
        self._failures.pop(key, None)


class Authority(Protocol):
    """What a session asks about users."""

    async def check_password(self, username: str, authzid: str, password: str, peer: str) -> Reply | None:
        """None where the password is right and the user acts for himself; else the refusal."""
        ...

    def scram_keys(self, username: str, authzid: str) -> ScramKeys:
        """Keys for SCRAM; never tells that a user is unknown."""
        ...

    def bar(self, username: str, peer: str) -> Reply | None:
        """The refusal for one who is not even heard."""
        ...

    def account(self, username: str) -> Account | None:
        """The account of a user who has proven himself."""
        ...

    async def failed(self, username: str, peer: str) -> None:
        """Count a failure."""
        ...

    def succeeded(self, username: str, peer: str) -> None:
        """Note a success."""
        ...


class Authenticator:
    """The Authority over an account store; one a worker. `secret` keys digests and the made-up keys of the unknown."""

    def __init__(
        self, accounts: Accounts, executor: Executor, clock: Clock, *, secret: bytes, limits: AuthLimits | None = None
    ) -> None:
        self.limits = limits or AuthLimits()
        self._accounts = accounts
        self._executor = executor
        self._clock = clock
        self._secret = secret
        self._failures = FailureTable(self.limits)
        self._verified: OrderedDict[bytes, float] = OrderedDict()
        self._dummy_hash: str | None = None

    def use(self, limits: AuthLimits) -> None:
        """From now on, slow guessing by these: the configuration was reloaded."""
        self.limits = self._failures.limits = limits

    def account(self, username: str) -> Account | None:
        """The account of that name, unless it is disabled."""
        account = self._accounts.get(username)
        return None if account is None or account.is_disabled else account

    def bar(self, username: str, peer: str) -> Reply | None:
        """The refusal for a peer or an account that has failed too often."""
        now = self._clock.monotonic()
        return _TRY_LATER if any(self._failures.is_barred(key, now) for key in _keys(username, peer)) else None

    async def check_password(self, username: str, authzid: str, password: str, peer: str) -> Reply | None:
        """None where the password is right and the user acts for himself; else the refusal, in its own time."""
        barred = self.bar(username, peer)
        if barred is not None:
            await asyncio.sleep(self.limits.delay_s)
            return barred
        account = self.account(username)
        stored = account.password_hash if account is not None else await self._unknown_hash()
        digest = hmac.digest(self._secret, f"{stored}\0{password}".encode("utf-8", "surrogatepass"), "sha256")
        now = self._clock.monotonic()
        is_right = account is not None and self._verified.get(digest, 0.0) > now
        if not is_right:
            is_right = await self._in_thread(lambda: verify_password(stored, password)) and account is not None
            barred = self.bar(username, peer)  # guesses that ran beside this one may have used up what is heard
            if barred is not None:
                await asyncio.sleep(self.limits.delay_s)
                return barred
        if not is_right or (authzid and authzid.lower() != username.lower()):
            await self.failed(username, peer)
            return BAD_CREDENTIALS
        self._remember(digest, now)
        self.succeeded(username, peer)
        return None

    async def _in_thread(self, work: Callable[[], bool]) -> bool:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    async def _unknown_hash(self) -> str:
        if self._dummy_hash is None:
            loop = asyncio.get_running_loop()
            self._dummy_hash = await loop.run_in_executor(self._executor, hash_password, self._secret.hex())
        return self._dummy_hash

    def _remember(self, digest: bytes, now: float) -> None:
        self._verified[digest] = now + self.limits.remember_s
        self._verified.move_to_end(digest)
        if len(self._verified) > self.limits.table_size:
            self._verified.popitem(last=False)

    def scram_keys(self, username: str, authzid: str) -> ScramKeys:
        """The account's keys; for anyone unknown, keys that look the same each time and fit no password."""
        account = self.account(username)
        is_self = not authzid or authzid.lower() == username.lower()
        if account is not None and account.scram is not None and is_self:
            return account.scram
        seed = hmac.digest(self._secret, username.lower().encode("utf-8", "surrogatepass"), "sha256")
        salt = seed[:16]
        stored_key = hashlib.sha256(seed + b"stored").digest()
        server_key = hashlib.sha256(seed + b"server").digest()
        return ScramKeys(salt=salt, iterations=4096, stored_key=stored_key, server_key=server_key)

    async def failed(self, username: str, peer: str) -> None:
        """Count a failure and hold the answer back."""
        now = self._clock.monotonic()
        for key in _keys(username, peer):
            self._failures.add(key, now)
        await asyncio.sleep(self.limits.delay_s)

    def succeeded(self, username: str, peer: str) -> None:
        """Forget the failures of this user from this peer."""
        self._failures.clear(_keys(username, peer)[1])


def _keys(username: str, peer: str) -> tuple[str, str]:
    """Under what failures are counted: the peer, and the peer with the account."""
    network = network_of(peer)
    return f"peer {network}", f"user {username.lower()} {network}"
