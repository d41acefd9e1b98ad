"""Guessing passwords, slowed and stopped (H-07): one account from many peers, many accounts from one. Pure.

Failures are counted for the peer, for an account from that peer, and for an account from everywhere, in a table that
all workers share and that outlives them. A network from which a user has succeeded of late is heard for that account,
whatever others do to it: who attacks an account from everywhere keeps nobody from his own mail.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from postroad.receive.guard.networks import customer_of
from postroad.receive.guard.tally import Tally
from postroad.store.accounts import MAX_NAME_CHARS, AccountError, normalise_name

KNOWN_GOOD_S = 30 * 86_400.0
"""How long a network is known to be a user's, since he last succeeded from there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptLimits:
    """Failures within `window_s` seconds before an attempt is refused unheard."""

    failures: int = 10
    """Of one peer, or of one peer for one account."""
    account_failures: int = 100
    """For one account, from everywhere; 0 for no limit."""
    window_s: float = 600.0


@dataclass(frozen=True, slots=True)
class Barred:
    """Who has just reached a limit. `subject`: a customer's network, or the key of an account."""

    kind: Literal["network", "account"]
    subject: str


def account_key(username: str) -> str:
    """One key for all spellings of an account's name, as accounts are found; names that can be none keep theirs."""
    if not username:
        return ""
    try:
        return normalise_name(username)
    except AccountError:
        return username[:MAX_NAME_CHARS].lower()


class Attempts:
    """`failures`, `known_good`: tables of their own, so that no failure pushes out who is known."""

    def __init__(self, limits: AttemptLimits, failures: Tally, known_good: Tally) -> None:
        self._failures = failures
        self._known_good = known_good
        known_good.window_s = KNOWN_GOOD_S
        self.use(limits)

    def use(self, limits: AttemptLimits) -> None:
        """From now on these."""
        self.limits = limits
        self._failures.window_s = limits.window_s

    def is_barred(self, username: str, peer: str, now: float) -> bool:
        """Whether an attempt is not even heard. An empty username: whoever it would be."""
        user, network = account_key(username), customer_of(peer)
        count = self._failures.count
        if user and self.is_known_good(user, peer, now):
            return count(f"pair {user} {network}", now) >= self.limits.failures
        if count(f"peer {network}", now) >= self.limits.failures:
            return True
        return bool(user) and self._is_attacked(user, now)

    def _is_attacked(self, user: str, now: float) -> bool:
        limit = self.limits.account_failures
        return bool(limit) and self._failures.count(f"user {user}", now) >= limit

    def is_known_good(self, username: str, peer: str, now: float) -> bool:
        """Whether this user has succeeded from there of late."""
        return self._known_good.count(f"{account_key(username)} {customer_of(peer)}", now) > 0

    def failed(self, username: str, peer: str, now: float) -> list[Barred]:
        """Count a failure; who reached a limit by it."""
        user, network, limits = account_key(username), customer_of(peer), self.limits
        barred: list[Barred] = []
        if self._count(f"peer {network}", now, limits.failures):
            barred.append(Barred("network", network))
        if user:
            self._count(f"pair {user} {network}", now, limits.failures)
            if limits.account_failures and self._count(f"user {user}", now, limits.account_failures):
                barred.append(Barred("account", user))
        return barred

    def _count(self, key: str, now: float, limit: int) -> bool:
        """Whether this one reached the limit."""
        before = self._failures.count(key, now)
        return before < limit <= self._failures.add(key, now, limit)

    def succeeded(self, username: str, peer: str, now: float) -> None:
        """Forget the failures of this user from there, and know the network for his."""
        user, network = account_key(username), customer_of(peer)
        self._failures.clear(f"pair {user} {network}")
        self._known_good.clear(f"{user} {network}")
        self._known_good.add(f"{user} {network}", now, 1.0)

    def forgive(self, barred: Barred) -> None:
        """Count from nothing again: its ban was lifted."""
        self._failures.clear(f"{'peer' if barred.kind == 'network' else 'user'} {barred.subject}")
