"""What all sessions of one worker share: how many there may be, and how much of unfinished messages they may hold."""

from __future__ import annotations

from postroad.receive.guard.networks import customer_of


class Gate:
    """Counts connections, in all and per peer. An IPv6 peer is its /64: one customer has that many addresses."""

    def __init__(self, total: int, per_peer: int) -> None:
        self.total = total
        self.per_peer = per_peer
        self.open = 0
        self._peers: dict[str, int] = {}

    def enter(self, peer: str) -> str | None:
        """Take a place. None, or why there is none."""
        key = customer_of(peer)
        if self.open >= self.total:
            return "Too many connections"
        count = self._peers.get(key, 0)
        if count >= self.per_peer:
            return "Too many connections from your address"
        self.open += 1
        self._peers[key] = count + 1
        return None

    def leave(self, peer: str) -> None:
        """Give the place back."""
        key = customer_of(peer)
        self.open -= 1
        count = self._peers[key] - 1
        if count:
            self._peers[key] = count
        else:
            del self._peers[key]


class Budget:
    """Octets of memory for messages that are still arriving."""

    def __init__(self, octets: int) -> None:
        self.octets = octets
        self.used = 0

    def change(self, difference: int) -> bool:
        """Account for more (or fewer) octets; False when that is over the limit."""
        self.used += difference
        return self.used <= self.octets or difference <= 0
