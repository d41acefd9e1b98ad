"""Who is banned, as a worker holds it in memory: networks by their prefixes, accounts by name. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from postroad.receive.guard.attempts import account_key
from postroad.receive.guard.networks import Networks, parse_network
from postroad.smtp.reply import Reply, reply
from postroad.store.guard_book import FOR_GOOD, Ban

_REFUSED = reply(554, "Your address is banned here; write to the postmaster by another way", "5.7.1")


class Bans:
    """The bans of one reading; those that have ended since are passed over."""

    def __init__(self, bans: Iterable[Ban] = ()) -> None:
        self._networks: dict[str, Ban] = {}
        self._accounts: dict[str, Ban] = {}
        parsed = []
        for ban in bans:
            if ban.kind == "account":
                self._accounts[ban.subject] = ban
                continue
            try:
                network = parse_network(ban.subject)
            except ValueError:
                continue
            parsed.append(network)
            self._networks[str(network)] = ban
        self._lookup = Networks(parsed)

    def __len__(self) -> int:
        return len(self._networks) + len(self._accounts)

    def of_peer(self, peer: str, now: float, *, is_submission: bool) -> Ban | None:
        """The ban that keeps an address from connecting: on submission those of AUTH count too."""
        for network in self._lookup.around(peer):
            ban = self._networks[str(network)]
            if ban.until > now and (ban.reach == "all" or is_submission):
                return ban
        return None

    def of_account(self, username: str, now: float) -> Ban | None:
        """The ban that keeps an account from authenticating."""
        ban = self._accounts.get(account_key(username)) if self._accounts else None
        return ban if ban is not None and ban.until > now else None


def refusal(ban: Ban, now: float) -> Reply:
    """What is said instead of the greeting: 421 where it ends, 554 where it is for good."""
    if ban.until >= FOR_GOOD:
        return _REFUSED
    return reply(421, f"Your address is banned for now: try again in {max(1, int(ban.until - now))} seconds", "4.7.0")
