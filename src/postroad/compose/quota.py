"""How much users may send, as configured, counted in a file that all workers share."""

from __future__ import annotations

from pathlib import Path

from postroad.clock import Clock
from postroad.config import Config
from postroad.receive.checks import Checks
from postroad.receive.guard.tally import Tally, table_octets
from postroad.receive.quota import DAY_S, HOUR_S, QuotaSettings, SendingLimits, SendingQuota
from postroad.store.shared_counts import SharedCounts

KEYS = 20_000
"""Users and domains that are counted."""


def settings(config: Config) -> QuotaSettings:
    """The limits of every user, and those of some."""
    queueing = config.queueing
    users = SendingLimits(
        messages_per_hour=queueing.user_messages_per_hour,
        messages_per_day=queueing.user_messages_per_day,
        recipients_per_hour=queueing.user_recipients_per_hour,
        recipients_per_day=queueing.user_recipients_per_day,
    )
    named = {}
    for sender in config.sender:
        usual = users if "@" in sender.name else SendingLimits()
        named[sender.name.lower()] = SendingLimits(
            messages_per_hour=_own(sender.messages_per_hour, usual.messages_per_hour),
            messages_per_day=_own(sender.messages_per_day, usual.messages_per_day),
            recipients_per_hour=_own(sender.recipients_per_hour, usual.recipients_per_hour),
            recipients_per_day=_own(sender.recipients_per_day, usual.recipients_per_day),
        )
    return QuotaSettings(users=users, by_name=named)


def _own(value: int, usual: int) -> int:
    return usual if value < 0 else value


class QuotaHouse:
    """One for a worker. The file is made where somebody has a limit."""

    def __init__(self, config: Config, secret: bytes, clock: Clock) -> None:
        self._path = Path(config.server.state_dir) / "quota.counts"
        self._secret = secret
        self._clock = clock
        self._tallies: tuple[Tally, Tally] | None = None

    def checks(self, config: Config) -> Checks:
        """The checks of submission listeners. Raises SpoolError where the file cannot be made."""
        found = settings(config)
        if not found.is_needed:
            return Checks()
        if self._tallies is None:
            hour, day = SharedCounts(self._path, [table_octets(KEYS)] * 2, secret=self._secret).regions
            self._tallies = (
                Tally(hour, secret=self._secret, window_s=HOUR_S),
                Tally(day, secret=self._secret, window_s=DAY_S),
            )
        quota = SendingQuota(found, *self._tallies, self._clock.wall)
        return Checks(mail=(quota.mail,), message=(quota.message,))
