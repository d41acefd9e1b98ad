"""How much users may send: messages and recipients in an hour and in a day, of a user and of a sender's domain.

Counted when a message is whole, over all workers and restarts (store/shared_counts.py); refused with 452 and the time
after which there is room again. A message that is refused counts for nothing. Used by compose/quota.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from postroad.events import emit
from postroad.receive.caller import Caller
from postroad.receive.guard.tally import Tally
from postroad.smtp.address import Address
from postroad.smtp.reply import Reply, reply
from postroad.smtp.server_events import MailReceived, MessageReceived

HOUR_S = 3600.0
DAY_S = 86_400.0
LOOKS = 48
"""Times at which it is looked whether there is room again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SendingLimits:
    """0: as many as wanted."""

    messages_per_hour: int = 0
    messages_per_day: int = 0
    recipients_per_hour: int = 0
    recipients_per_day: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaSettings:
    """`users`: of every user; `by_name`: of some, and of domains of senders, instead."""

    users: SendingLimits = field(default_factory=SendingLimits)
    by_name: Mapping[str, SendingLimits] = field(default_factory=dict)

    @property
    def is_needed(self) -> bool:
        """Whether anybody has a limit."""
        return any(one != SendingLimits() for one in (self.users, *self.by_name.values()))


@dataclass(frozen=True, slots=True)
class _Bound:
    key: str
    tally: Tally
    limit: int
    amount: int
    what: str


class SendingQuota:
    """The checks of submission listeners. `hour` and `day`: tables that all workers share."""

    def __init__(self, settings: QuotaSettings, hour: Tally, day: Tally, wall: Callable[[], float]) -> None:
        self._settings = settings
        self._hour = hour
        self._day = day
        self._wall = wall

    def mail(self, caller: Caller, event: MailReceived) -> Reply | None:
        """Refuse at once where not one message more may be sent now: nobody should send it in vain."""
        return self._refusal(self._bounds(caller, event.reverse_path, 1), caller)

    def message(self, caller: Caller, event: MessageReceived) -> Reply | None:
        """Count a message and its recipients, or refuse it."""
        bounds = self._bounds(caller, event.mail.reverse_path, len(event.recipients))
        refusal = self._refusal(bounds, caller)
        if refusal is None:
            now = self._wall()
            for bound in bounds:
                bound.tally.add(bound.key, now, bound.limit, bound.amount)
        return refusal

    def _bounds(self, caller: Caller, sender: object, recipients: int) -> list[_Bound]:
        found: list[_Bound] = []
        names = [caller.user or ""] + ([f"@{sender.domain}"] if isinstance(sender, Address) else [])
        for name in filter(None, names):
            limits = self._settings.by_name.get(name.lstrip("@").lower())
            if limits is None:
                limits = SendingLimits() if name.startswith("@") else self._settings.users
            for limit, tally, amount, what in (
                (limits.messages_per_hour, self._hour, 1, "messages an hour"),
                (limits.messages_per_day, self._day, 1, "messages a day"),
                (limits.recipients_per_hour, self._hour, recipients, "recipients an hour"),
                (limits.recipients_per_day, self._day, recipients, "recipients a day"),
            ):
                if limit:
                    found.append(_Bound(f"{what.split()[0]} {name.lower()}", tally, limit, amount, f"{limit:,} {what}"))
        return found

    def _refusal(self, bounds: list[_Bound], caller: Caller) -> Reply | None:
        now = self._wall()
        for bound in bounds:
            if bound.tally.count(bound.key, now) + bound.amount > bound.limit:
                emit("quota.exceeded", user=caller.user, limit=bound.what)
                if bound.amount > bound.limit:
                    return reply(552, f"This message alone is more than you may send: {bound.what}", "5.7.1")
                wait = self._wait(bound, now)
                return reply(452, f"You may send {bound.what}: try again in {_span(wait)}", "4.7.1")
        return None

    def _wait(self, bound: _Bound, now: float) -> float:
        """Seconds until there is room, about."""
        step = bound.tally.window_s * 2 / LOOKS
        for look in range(1, LOOKS):
            if bound.tally.count(bound.key, now + look * step) + bound.amount <= bound.limit:
                return look * step
        return bound.tally.window_s * 2


def _span(seconds: float) -> str:
    minutes = max(1, round(seconds / 60))
    return f"{minutes} minutes" if minutes < 120 else f"{round(minutes / 60)} hours"
