"""The guard of a worker's listeners: bans, rates, strangers, greylisting and call-forward joined into checks.

Lives as long as the worker; `use` takes up a changed configuration. Bans are read again when they have changed, at most
`BANS_EVERY_S` after a command or another worker changed them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from postroad.clock import Clock
from postroad.events import emit
from postroad.message.dns import Lookup
from postroad.message.spf import SpfResult, check_host
from postroad.net.resolver import ReverseResolver
from postroad.receive.caller import Caller, Role
from postroad.receive.checks import Checks
from postroad.receive.guard.attempts import AttemptLimits, Attempts, Barred
from postroad.receive.guard.bans import Bans, refusal
from postroad.receive.guard.block_lists import DnsLists, DnsListSettings
from postroad.receive.guard.call_forward import Ask, CallForward, CallForwardSettings
from postroad.receive.guard.greylist import GreylistPolicy
from postroad.receive.guard.greylisting import Greylisting, InThread
from postroad.receive.guard.networks import parse_network
from postroad.receive.guard.rates import RateLimits, Rates
from postroad.receive.guard.strangers import Strangers, StrangerSettings, mark
from postroad.receive.guard.tally import Tally, table_octets
from postroad.smtp.address import Address
from postroad.smtp.reply import Reply
from postroad.smtp.server_events import RcptReceived
from postroad.store.guard_book import Ban, BanKind, GuardBook
from postroad.store.spool import SpoolError

BANS_EVERY_S = 2.0
FORGET_EVERY_S = 3600.0
TABLE_SIZES = (table_octets(65_536), table_octets(32_768), table_octets(32_768))
"""Octets of the tables: rates, failures, networks that users are known by."""


class DoorResolver(ReverseResolver, Lookup, Protocol):
    """What the guard asks of DNS."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardSettings:
    """What the guard does. Seconds."""

    strangers: StrangerSettings = field(default_factory=StrangerSettings)
    rates: RateLimits = field(default_factory=RateLimits)
    lists: DnsListSettings = field(default_factory=DnsListSettings)
    greylist: GreylistPolicy | None = None
    known_senders: frozenset[str] = frozenset()
    """Domains, their subdomains with them, whose mail is not put off where SPF passes."""
    call_forward: CallForwardSettings = field(default_factory=CallForwardSettings)
    attempts: AttemptLimits = field(default_factory=AttemptLimits)
    ban_s: float = 0.0
    """The first ban of who failed too often; 0: none is entered, the count alone bars."""
    longest_ban_s: float = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardSurroundings:
    """What the guard is handed. `regions`: the tables of `TABLE_SIZES`, perhaps shared with other workers."""

    book: GuardBook
    regions: tuple[memoryview, ...]
    secret: bytes
    clock: Clock
    resolver: Callable[[], DoorResolver]
    ask_next_host: Ask
    in_thread: InThread
    spawn: Callable[[Coroutine[Any, Any, None]], object]


class Guard:
    """One a worker."""

    def __init__(self, settings: GuardSettings, around: GuardSurroundings) -> None:
        self.settings = settings
        self._around = around
        clock, secret = around.clock, around.secret
        rates, failures, known_good = (Tally(region, secret=secret, window_s=60.0) for region in around.regions)
        self.attempts = Attempts(settings.attempts, failures, known_good)
        self.rates = Rates(settings.rates, rates, clock.wall)
        self.lists = DnsLists(settings.lists, around.resolver, clock.monotonic)
        self.strangers = Strangers(settings.strangers, self.lists, around.resolver)
        self.greylisting = Greylisting(settings.greylist, around.book, around.in_thread, clock.wall, around.spawn)
        self.call_forward = CallForward(settings.call_forward, around.ask_next_host, clock.monotonic)
        self._bans = Bans()
        self._listed: dict[str, Ban] = {}
        self._revision = -1

    def use(self, settings: GuardSettings) -> None:
        """From now on these: the configuration was reloaded."""
        self.settings = settings
        self.rates.use(settings.rates)
        self.lists.use(settings.lists)
        self.strangers.use(settings.strangers)
        self.greylisting.policy = settings.greylist
        self.call_forward.use(settings.call_forward)

    # Checks ---------------------------------------------------------------------------------------------------

    def before(self, role: Role) -> Checks:
        """What is asked before the rules of acceptance."""
        if role.is_submission:
            return Checks(
                connect=(self._not_banned, self.rates.connect), mail=(self.rates.mail,), rcpt=(self.rates.rcpt,)
            )
        return Checks(
            connect=(self._not_banned, self.rates.connect, self.strangers.connect),
            hello=(self.strangers.hello,),
            mail=(self.rates.mail,),
            rcpt=(self.rates.rcpt, self.strangers.rcpt),
        )

    def after(self, role: Role) -> Checks:
        """What is asked of recipients and messages that the rules of acceptance let pass."""
        if role.is_submission:
            return Checks()
        return Checks(rcpt=(self.call_forward.rcpt, self._greylist), message=(mark,))

    def greeting_delay(self, role: Role) -> Callable[[Caller], float] | None:
        """Who waits for the greeting, and how long."""
        has_delay = not role.is_submission and self.settings.strangers.greeting_delay_s > 0
        return self.strangers.greeting_delay if has_delay else None

    def refuses_early_talk(self, role: Role) -> bool:
        """Whether one who does not wait for it is refused."""
        return not role.is_submission and self.settings.strangers.early_talk == "refuse"

    def _not_banned(self, caller: Caller) -> Reply | None:
        if not self._bans:
            return None
        now = self._around.clock.wall()
        ban = self._bans.of_peer(caller.peer, now, is_submission=caller.role.is_submission)
        return None if ban is None else refusal(ban, now)

    def _greylist(self, caller: Caller, event: RcptReceived) -> Awaitable[Reply | None] | None:
        if self.greylisting.policy is None or caller.peer in self.settings.strangers.exempt:
            return None
        if self.strangers.is_known_host(caller):
            return None
        sender = caller.reverse_path
        if isinstance(sender, Address) and self._is_known_sender(sender):
            return self._greylist_unless_spf_passes(caller, sender, event)
        return self.greylisting.rcpt(caller, event)

    def _is_known_sender(self, sender: Address) -> bool:
        labels = sender.domain.split(".")
        return any(".".join(labels[start:]) in self.settings.known_senders for start in range(len(labels)))

    async def _greylist_unless_spf_passes(self, caller: Caller, sender: Address, event: RcptReceived) -> Reply | None:
        now = self._around.clock.wall()
        try:
            async with asyncio.timeout(self.settings.strangers.dns_timeout_s):
                resolver = self._around.resolver()
                verdict = await check_host(
                    caller.peer, sender.domain, str(sender), resolver, hello=caller.hello, now=now
                )
            if verdict.result is SpfResult.PASS:
                return None
        except (TimeoutError, ValueError):  # DNS is slow, or the peer has no address
            pass
        put_off = self.greylisting.rcpt(caller, event)
        return None if put_off is None else await put_off

    # Authentication -------------------------------------------------------------------------------------------

    def is_banned(self, username: str, peer: str) -> bool:
        """Whether an attempt to authenticate is not to be heard; an account barred for its failures is heard from the
        networks it is known by."""
        if not self._bans:
            return False
        now = self._around.clock.wall()
        if self._bans.of_peer(peer, now, is_submission=True) is not None:
            return True
        ban = self._bans.of_account(username, now)
        return ban is not None and (ban.reach == "all" or not self.attempts.is_known_good(username, peer, now))

    def on_barred(self, barred: Barred) -> None:
        """Somebody has failed too often: tell, and ban. Exempt networks are barred by the count alone."""
        emit("auth.barred", kind=barred.kind, subject=barred.subject, window_s=self.settings.attempts.window_s)
        if self.settings.ban_s <= 0:
            return
        subject = barred.subject
        if barred.kind == "network":
            try:
                network = parse_network(subject)
            except ValueError:
                return
            if str(network.network_address) in self.settings.strangers.exempt:
                return
            subject = str(network)
        self._around.spawn(self._ban(subject, barred.kind))

    async def _ban(self, subject: str, kind: BanKind) -> None:
        try:
            ban = await self._around.in_thread(
                partial(
                    self._around.book.ban_again,
                    subject,
                    kind,
                    now=self._around.clock.wall(),
                    first_s=self.settings.ban_s,
                    longest_s=self.settings.longest_ban_s,
                    reason="too many failed attempts to authenticate",
                )
            )
        except SpoolError as error:
            emit("guard.failed", what="a ban", error=str(error))
            return
        emit("ban.entered", subject=ban.subject, kind=ban.kind, seconds=int(ban.until - ban.made_at), times=ban.times)
        await self.read_bans()

    # Upkeep ---------------------------------------------------------------------------------------------------

    async def read_bans(self) -> None:
        """Take up the bans where they have changed; who is no longer on the list is counted from nothing again."""
        book, clock = self._around.book, self._around.clock
        try:
            revision = await self._around.in_thread(book.revision)
            if revision == self._revision:
                return
            bans: list[Ban] = await self._around.in_thread(book.bans, clock.wall())
        except SpoolError as error:
            emit("guard.failed", what="the bans", error=str(error))
            return
        listed = {ban.subject: ban for ban in bans}
        now = clock.wall()
        for subject, ban in self._listed.items():
            if subject not in listed and ban.until > now:
                self._forgive(ban)
        self._bans, self._listed, self._revision = Bans(bans), listed, revision

    def _forgive(self, ban: Ban) -> None:
        subject = ban.subject
        if ban.kind == "network":
            network = parse_network(subject)
            subject = str(network.network_address) if network.version == 4 else str(network)
        self.attempts.forgive(Barred(ban.kind, subject))

    async def run(self) -> None:
        """Until cancelled: read bans, share the counts, forget what is old."""
        forget_at = self._around.clock.monotonic() + FORGET_EVERY_S
        while True:
            await self.read_bans()
            self.rates.flush()
            if self._around.clock.monotonic() >= forget_at:
                forget_at += FORGET_EVERY_S
                await self.greylisting.forget()
            await asyncio.sleep(BANS_EVERY_S)
