"""Hosts that tell the truth, but not at once, or not as often as one would like: patience hears them out."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict, deque

from postroad.lab.personality import Action, Directory, Options, Personality, Talk, Then, answer
from postroad.lab.wording import Manner
from postroad.smtp.address import Address

MAX_REMEMBERED = 200_000
"""Triplets a host keeps; the oldest is forgotten."""
MAX_NETWORKS = 10_000
"""Networks whose rate a host keeps in mind."""


def network_of(address: str) -> str:
    """The network by which hosts know a client again: /24, or /64 of IPv6."""
    parsed = ipaddress.ip_address(address)
    return str(ipaddress.ip_network((parsed, 64 if parsed.version == 6 else 24), strict=False))


class Greylisting(Personality):
    """Wants each triplet (network, sender, recipient) to come again after `delay_s`, and before `expiry_s`.

    `knows_first` (1 or 0): whether an absent mailbox is told at once. `passes`: after so many triplets that came again,
    the network is known and no longer greylisted; 0 for never.
    """

    defaults = {"delay_s": 300.0, "expiry_s": 14_400.0, "knows_first": 1, "passes": 0}

    def __init__(self, manner: Manner, directory: Directory, options: Options) -> None:
        super().__init__(manner, directory, options)
        self._first_seen: OrderedDict[tuple[str, str, str], float] = OrderedDict()
        self._passed: dict[str, int] = {}

    def rcpt(self, talk: Talk, now: float, address: Address) -> Action:
        truth = super().rcpt(talk, now, address)
        if truth.code >= 500 and self.options["knows_first"]:
            return truth
        wait = self._wait(talk, now, str(address).lower())
        return self.say("greylisted", talk, address=str(address), seconds=wait) if wait > 0 else truth

    def _wait(self, talk: Talk, now: float, address: str) -> float:
        network = network_of(talk.peer)
        passes = self.options["passes"]
        if passes and self._passed.get(network, 0) >= passes:
            return 0.0
        triplet = (network, talk.sender or "", address)
        since = self._first_seen.get(triplet)
        if since is None or now - since > self.options["expiry_s"]:
            self._first_seen[triplet] = now
            self._first_seen.move_to_end(triplet)
            if len(self._first_seen) > MAX_REMEMBERED:
                self._first_seen.popitem(last=False)
            return self.options["delay_s"]
        left = since + self.options["delay_s"] - now
        if left <= 0 and passes and len(self._passed) < MAX_REMEMBERED:
            self._passed[network] = self._passed.get(network, 0) + 1
        return left


class Tarpit(Personality):
    """After `free` recipients in a session each further one takes `step_s` longer, up to `ceiling_s`."""

    defaults = {"free": 5, "step_s": 0.5, "ceiling_s": 10.0}

    def rcpt(self, talk: Talk, now: float, address: Address) -> Action:
        said = super().rcpt(talk, now, address)
        over = max(0.0, talk.asked - self.options["free"])
        return Action(said.said, min(self.options["ceiling_s"], over * self.options["step_s"]), said.then, said.code)


class Slow(Personality):
    """Greets after `greeting_s`, and takes `reply_s` for each other reply."""

    defaults = {"greeting_s": 15.0, "reply_s": 3.0}

    def greet(self, talk: Talk, now: float) -> Action:
        return _later(super().greet(talk, now), self.options["greeting_s"])

    def ehlo(self, talk: Talk, now: float, name: str, *, is_extended: bool) -> Action:
        return _later(super().ehlo(talk, now, name, is_extended=is_extended), self.options["reply_s"])

    def mail(self, talk: Talk, now: float, sender: str) -> Action:
        return _later(super().mail(talk, now, sender), self.options["reply_s"])

    def rcpt(self, talk: Talk, now: float, address: Address) -> Action:
        return _later(super().rcpt(talk, now, address), self.options["reply_s"])


def _later(said: Action, seconds: float) -> Action:
    return Action(said.said, said.delay_s + seconds, said.then, said.code)


class RateLimited(Personality):
    """Takes `recipients_in` of a network in any `window_s`; `closes` (1 or 0): says 421 to more, or 4yz to each."""

    defaults = {"recipients_in": 30, "window_s": 60.0, "closes": 1}

    def __init__(self, manner: Manner, directory: Directory, options: Options) -> None:
        super().__init__(manner, directory, options)
        self._times: OrderedDict[str, deque[float]] = OrderedDict()

    def rcpt(self, talk: Talk, now: float, address: Address) -> Action:
        limit = max(1, int(self.options["recipients_in"]))
        times = self._times.setdefault(network_of(talk.peer), deque(maxlen=limit))
        if len(self._times) > MAX_NETWORKS:
            self._times.popitem(last=False)
        if len(times) == limit and now - times[0] < self.options["window_s"]:
            return self.say("slow_down" if self.options["closes"] else "rate", talk)
        times.append(now)
        return super().rcpt(talk, now, address)


class FewConnections(Personality):
    """Bears `connections` of a client at a time, and greets more with 421."""

    defaults = {"connections": 1}

    def __init__(self, manner: Manner, directory: Directory, options: Options) -> None:
        super().__init__(manner, directory, options)
        self._open: dict[str, int] = {}

    def greet(self, talk: Talk, now: float) -> Action:
        self._open[talk.peer] = self._open.get(talk.peer, 0) + 1
        if self._open[talk.peer] > self.options["connections"]:
            return self.say("too_many_connections", talk)
        return super().greet(talk, now)

    def end(self, talk: Talk) -> None:
        self._open[talk.peer] -= 1
        if not self._open[talk.peer]:
            del self._open[talk.peer]


class ShortSessions(Personality):
    """Bears `session` recipients in a session: more are too many; `cuts`: 0 says so, 1 closes, 2 resets."""

    defaults = {"session": 8, "cuts": 0}

    def rcpt(self, talk: Talk, now: float, address: Address) -> Action:
        if talk.asked <= self.options["session"]:
            return super().rcpt(talk, now, address)
        if self.options["cuts"] == 0:
            return self.say("too_many_recipients", talk)
        return Action(then=Then.CLOSE if self.options["cuts"] == 1 else Then.RESET)


class Temporary(Personality):
    """Has some trouble of its own with every recipient, for as long as anybody asks."""

    def rcpt(self, talk: Talk, now: float, address: Address) -> Action:
        return answer(self.manner.say("temporary"))
