"""How much one client may do in a while: connections, messages, recipients, failed recipients (RFC 5321 §7.8).

Counted for the address (IPv6: its /64) and for its neighbours (IPv4 /24, IPv6 /48), for the whole server: the table is
shared by the workers. Each worker gathers what it counts of a client and carries it over when that is a fiftieth of
the limit, or a second old, so a message costs a look-up and an addition. An authenticated user is counted by his
account instead, wherever he is. Exempt networks cost one look-up.
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from weakref import WeakValueDictionary

from postroad.events import emit
from postroad.receive.caller import Caller
from postroad.receive.guard.networks import Networks, customer_of, neighbours_of
from postroad.receive.guard.tally import Tally
from postroad.smtp.reply import Reply, reply
from postroad.smtp.server_events import MailReceived, RcptReceived

CLIENTS = 20_000
"""Clients whose counts a worker gathers at a time; those of the one longest unseen are carried over."""
_FRESH_S = 1.0
_SHARE = 50


class Kind(IntEnum):
    """What is counted."""

    CONNECTIONS = 0
    MESSAGES = 1
    RECIPIENTS = 2
    FAILED_RECIPIENTS = 3


_SAID = {
    Kind.CONNECTIONS: (421, "Too many connections from your {whose}", "4.7.0"),
    Kind.MESSAGES: (450, "Too many messages from your {whose}", "4.7.0"),
    Kind.RECIPIENTS: (452, "Too many recipients from your {whose}", "4.5.3"),
    Kind.FAILED_RECIPIENTS: (421, "Too many unknown or refused recipients from your {whose}", "4.7.0"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimits:
    """Within `window_s` seconds; 0 is no limit. `neighbours`: how many times as much a whole network may do."""

    window_s: float = 60.0
    connections: int = 0
    messages: int = 0
    recipients: int = 0
    failed_recipients: int = 0
    user_messages: int = 0
    user_recipients: int = 0
    neighbours: float = 4.0
    exempt: Networks = dataclasses.field(default_factory=Networks)

    def of_peer(self) -> tuple[int, int, int, int]:
        """By kind."""
        return self.connections, self.messages, self.recipients, self.failed_recipients

    def of_user(self) -> tuple[int, int, int, int]:
        """By kind; a user's connections are those of his address."""
        return 0, self.user_messages, self.user_recipients, 0


class _Counter:
    """One kind for one key: what is known of the shared count, and what is not yet carried over to it."""

    __slots__ = ("__weakref__", "key", "limit", "pending", "read_at", "shared", "whose")

    def __init__(self, key: str, limit: float, whose: str) -> None:
        self.key = key
        self.limit = limit
        self.whose = whose
        self.pending = 0
        self.shared = 0.0
        self.read_at = float("-inf")


class _Client:
    """The counters of one client, by kind."""

    __slots__ = ("counters",)

    def __init__(self, counters: tuple[tuple[_Counter, ...], ...]) -> None:
        self.counters = counters


class Rates:
    """The limits of a worker, over a table that all workers share. `wall`: the wall clock."""

    def __init__(self, limits: RateLimits, tally: Tally, wall: Callable[[], float]) -> None:
        self._tally = tally
        self._wall = wall
        self._clients: OrderedDict[str, _Client | None] = OrderedDict()
        self._counters: WeakValueDictionary[str, _Counter] = WeakValueDictionary()
        """By key: clients of one network share its counters."""
        self._told: OrderedDict[str, float] = OrderedDict()
        self.limits = limits
        tally.window_s = limits.window_s

    def use(self, limits: RateLimits) -> None:
        """From now on these: the configuration was reloaded."""
        self.flush()
        self._clients.clear()
        self._counters.clear()
        self.limits = limits
        self._tally.window_s = limits.window_s

    # As checks ------------------------------------------------------------------------------------------------

    def connect(self, caller: Caller) -> Reply | None:
        """One more connection, or 421."""
        return self._admit(caller, Kind.CONNECTIONS)

    def mail(self, caller: Caller, event: MailReceived) -> Reply | None:
        """One more message, or 450."""
        return self._admit(caller, Kind.MESSAGES)

    def rcpt(self, caller: Caller, event: RcptReceived) -> Reply | None:
        """One more recipient, or 452; 421 where too many were refused."""
        client = self._client(caller)
        if client is None:
            return None
        refused = self._over(client, Kind.FAILED_RECIPIENTS)
        if refused is not None:
            return self._refuse(caller, Kind.FAILED_RECIPIENTS, refused)
        return self._admit(caller, Kind.RECIPIENTS)

    def recipient_failed(self, caller: Caller) -> None:
        """A recipient was refused for good."""
        client = self._client(caller)
        if client is not None:
            for counter in client.counters[Kind.FAILED_RECIPIENTS]:
                counter.pending += 1

    # ----------------------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Carry over all that was gathered; for upkeep, and before this worker ends."""
        now = self._wall()
        for client in self._clients.values():
            if client is not None:
                self._carry_over(client, now)

    def _admit(self, caller: Caller, kind: Kind) -> Reply | None:
        client = self._client(caller)
        if client is None:
            return None
        over = self._over(client, kind)
        if over is not None:
            return self._refuse(caller, kind, over)
        for counter in client.counters[kind]:
            counter.pending += 1
        return None

    def _over(self, client: _Client, kind: Kind) -> _Counter | None:
        """The counter that has reached its limit."""
        counters = client.counters[kind]
        now = self._wall() if counters else 0.0
        for counter in counters:
            if counter.pending * _SHARE >= counter.limit or abs(now - counter.read_at) >= _FRESH_S:
                self._read(counter, now)
            if counter.shared + counter.pending >= counter.limit:
                return counter
        return None

    def _read(self, counter: _Counter, now: float) -> None:
        if counter.pending:
            counter.shared = self._tally.add(counter.key, now, counter.limit, counter.pending)
            counter.pending = 0
        else:
            counter.shared = self._tally.count(counter.key, now)
        counter.read_at = now

    def _refuse(self, caller: Caller, kind: Kind, counter: _Counter) -> Reply:
        name = kind.name.lower()
        now = self._wall()
        if self._told.get(counter.key, 0.0) + self.limits.window_s <= now:
            self._told[counter.key] = now
            self._told.move_to_end(counter.key)
            if len(self._told) > CLIENTS:
                self._told.popitem(last=False)
            emit("rate.exceeded", peer=caller.peer, user=caller.user, kind=name, whose=counter.whose)
        code, words, enhanced = _SAID[kind]
        wait_s = max(1, int(self.limits.window_s / 2))
        return reply(code, f"{words.format(whose=counter.whose)}: try again in {wait_s} seconds", enhanced)

    def _client(self, caller: Caller) -> _Client | None:
        """The counters of whom this caller is; None for one who is exempt."""
        account = caller.account
        name = caller.peer if account is None else f"user {account.name}"
        try:
            client = self._clients[name]
        except KeyError:
            client = self._new_client(caller.peer, "" if account is None else account.name)
            self._clients[name] = client
            if len(self._clients) > CLIENTS:
                _, gone = self._clients.popitem(last=False)
                if gone is not None:
                    self._carry_over(gone, self._wall())
        return client

    def _new_client(self, peer: str, user: str) -> _Client | None:
        if user:
            keys = [(f"user {user.lower()}", "account", 1.0)]
            limits = self.limits.of_user()
        elif peer in self.limits.exempt:
            return None
        else:
            keys = [(customer_of(peer), "address", 1.0), (neighbours_of(peer), "network", self.limits.neighbours)]
            limits = self.limits.of_peer()
        if not any(limits):
            return None
        return _Client(
            tuple(
                tuple(self._counter(f"{kind:d} {key}", limit * factor, whose) for key, whose, factor in keys)
                if (limit := limits[kind])
                else ()
                for kind in Kind
            )
        )

    def _counter(self, key: str, limit: float, whose: str) -> _Counter:
        counter = self._counters.get(key)
        if counter is None:
            counter = self._counters[key] = _Counter(key, limit, whose)
        return counter

    def _carry_over(self, client: _Client, now: float) -> None:
        for counters in client.counters:
            for counter in counters:
                if counter.pending:
                    self._read(counter, now)
