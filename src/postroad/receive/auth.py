"""Who a client is: passwords and SCRAM keys against the account store.

Argon2 runs in a thread, a few at a time; a verified password is remembered for a short while, as a keyed digest.
An unknown user costs what a known one does (S-25), and repeated failures by one peer or for one account are slowed,
then refused for a while (H-07): receive/guard/attempts.py counts them, for all workers.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Protocol

from postroad.clock import Clock
from postroad.events import emit
from postroad.receive.guard.attempts import AttemptLimits, Attempts, Barred
from postroad.receive.guard.tally import Tally, table_octets
from postroad.receive.tokens import Introspection, TokenTrouble
from postroad.smtp.reply import Reply, reply
from postroad.smtp.sasl import ScramKeys
from postroad.store.accounts import Account, Accounts, hash_password, verify_password

BAD_CREDENTIALS = reply(535, "Authentication credentials invalid", "5.7.8")
_NO_ANSWER = reply(454, "The authorization server gives no answer: try again later", "4.7.0")
_TRY_LATER = reply(454, "Too many failed attempts: try again later", "4.7.0")


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthLimits:
    """Seconds and counts."""

    attempts: AttemptLimits = field(default_factory=AttemptLimits)
    """How many failures are heard."""
    delay_s: float = 1.0
    """How long a refusal is held back."""
    remember_s: float = 60.0
    table_size: int = 10_000
    """Verified passwords remembered; the oldest goes."""


OWN_TABLE = 10_000
"""Keys counted by an Authenticator that shares its counts with nobody."""


def _own_attempts(limits: AuthLimits, secret: bytes) -> Attempts:
    failures, known_good = (
        Tally(bytearray(table_octets(OWN_TABLE)), secret=secret, window_s=limits.attempts.window_s) for _ in range(2)
    )
    return Attempts(limits.attempts, failures, known_good)


def _nobody(username: str, peer: str) -> bool:
    return False


def _untold(barred: Barred) -> None:
    return None


class Authority(Protocol):
    """What a session asks about users."""

    async def check_password(self, username: str, authzid: str, password: str, peer: str) -> Reply | None:
        """None where the password is right and the user acts for himself; else the refusal."""
        ...

    async def check_token(self, username: str, authzid: str, token: str, peer: str) -> Reply | None:
        """None where the token is good and stands for this user; else the refusal."""
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
        self,
        accounts: Accounts,
        executor: Executor,
        clock: Clock,
        *,
        secret: bytes,
        limits: AuthLimits | None = None,
        attempts: Attempts | None = None,
        is_banned: Callable[[str, str], bool] = _nobody,
        on_barred: Callable[[Barred], None] = _untold,
    ) -> None:
        """`attempts`: counts shared with others. `is_banned`: whether a user's attempt from a peer is not to be heard.
        `on_barred` is told who has just reached a limit."""
        self.limits = limits or AuthLimits()
        self.attempts = attempts or _own_attempts(self.limits, secret)
        self._is_banned = is_banned
        self._on_barred = on_barred
        self._accounts = accounts
        self._executor = executor
        self._clock = clock
        self._secret = secret
        self.tokens: Introspection | None = None
        """Who knows what tokens stand for; None: tokens are not taken."""
        self._verified: OrderedDict[bytes, float] = OrderedDict()
        self._dummy_hash: str | None = None

    def use(self, limits: AuthLimits) -> None:
        """From now on, slow guessing by these: the configuration was reloaded."""
        self.limits = limits
        self.attempts.use(limits.attempts)

    def account(self, username: str) -> Account | None:
        """The account of that name, unless it is disabled."""
        account = self._accounts.get(username)
        return None if account is None or account.is_disabled else account

    def bar(self, username: str, peer: str) -> Reply | None:
        """The refusal for a peer or an account that has failed too often."""
        is_barred = self._is_banned(username, peer) or self.attempts.is_barred(username, peer, self._clock.wall())
        return _TRY_LATER if is_barred else None

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

    async def check_token(self, username: str, authzid: str, token: str, peer: str) -> Reply | None:
        """None where the authorization server says that the token stands for this user, who has an account here."""
        barred = self.bar(username, peer)
        if barred is not None:
            await asyncio.sleep(self.limits.delay_s)
            return barred
        digest = hmac.digest(self._secret, f"token\0{username.lower()}\0{token}".encode(), "sha256")
        now = self._clock.monotonic()
        if self._verified.get(digest, 0.0) <= now:
            if self.tokens is None:
                return BAD_CREDENTIALS
            try:
                names = await self.tokens.names(token)
            except TokenTrouble as error:
                emit("auth.unanswered", user=username, reason=str(error))
                return _NO_ANSWER
            if username.lower() not in names or self.account(username) is None:
                await self.failed(username, peer)
                return BAD_CREDENTIALS
        elif self.account(username) is None:
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
        for barred in self.attempts.failed(username, peer, self._clock.wall()):
            self._on_barred(barred)
        await asyncio.sleep(self.limits.delay_s)

    def succeeded(self, username: str, peer: str) -> None:
        """Forget the failures of this user from this peer, and know where he comes from."""
        self.attempts.succeeded(username, peer, self._clock.wall())
