"""What comes back, and what follows from it: facts of deliveries, the suppression list, unsubscribing, asking first."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

from postroad.clock import Clock
from postroad.config import Config
from postroad.deliver.attempt import ReturnRoute
from postroad.deliver.outcomes import suppression, taught
from postroad.deliver.returns import Happened, Return, ReturnSettings
from postroad.deliver.settle import Judgement
from postroad.events import emit
from postroad.message.return_path import ReturnPaths
from postroad.message.unsubscribe import Leaving, Unsubscriber
from postroad.net.endpoint import Egress, PhaseTimeouts
from postroad.net.resolver import Resolver
from postroad.receive.checks import Checks
from postroad.receive.list_mail import ListMail
from postroad.receive.suppression import SuppressionCheck
from postroad.receive.verify_first import VerifyFirstCheck
from postroad.road.route import RouteFailure, Router
from postroad.smtp.address import NULL, Address, to_a_labels
from postroad.smtp.reply import Reply, reply
from postroad.store.behind import Behind
from postroad.store.facts import EVERYBODY, Cause, Delivered, DeliveryOutcome, FactStore, Suppressed
from postroad.store.spool import SpooledMessage
from postroad.verify.data_lists import DataLists
from postroad.verify.first import AskingFirst
from postroad.verify.memory import FactMemory
from postroad.verify.settings import VerifySettings
from postroad.verify.traits import describe, mailbox

DAY_S = 86_400.0
CONNECT_S = 10.0
Ask = Callable[[Address], Awaitable[Reply | None]]
LOOK_S = 1.0
"""How often the list is looked at for entries that others made."""


def return_paths(config: Config, secret: bytes) -> ReturnPaths | None:
    """The return addresses of outgoing mail, where there is a domain for them."""
    return ReturnPaths(to_a_labels(config.returns.domain), secret) if config.returns.domain else None


def return_route(config: Config, secret: bytes) -> ReturnRoute | None:
    """Where bounces of what users send are to come."""
    paths = return_paths(config, secret)
    return None if paths is None else ReturnRoute(paths, config.returns.per_recipient)


def return_settings(config: Config, secret: bytes) -> ReturnSettings | None:
    """What is read of what comes back."""
    paths = return_paths(config, secret)
    if paths is None:
        return None
    return ReturnSettings(
        hostname=config.server.hostname,
        paths=paths,
        feedback=config.returns.feedback,
        unsubscriber=unsubscriber(config, secret),
        lifetime_s=config.delivery.lifetime_s,
    )


def unsubscriber(config: Config, secret: bytes) -> Unsubscriber | None:
    """Makes the headers of list mail, where people can reach the page they name."""
    url = config.unsubscribe.url
    return Unsubscriber(secret, url, config.returns.domain) if url else None


class Facts:
    """What a worker knows and learns of addresses, in the state directory's facts.db, which `postroad verify` reads."""

    def __init__(self, config: Config, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._lists = DataLists.load()
        self.store = FactStore(Path(config.server.state_dir) / "facts.db", mailbox_of=self._mailbox)
        self.behind: Behind[Delivered | Suppressed] = Behind(self._write, on_trouble=_report)
        self._is_empty = not self.store.has_suppressions()

    def _mailbox(self, name: str) -> str:
        return mailbox(name, self._lists)

    def use(self, config: Config) -> None:
        """From now on, by this configuration."""
        self._config = config

    # Learning -------------------------------------------------------------------------------------------------

    def settled(self, message: SpooledMessage, judgement: Judgement, bounces: object, at: float) -> None:
        """What an attempt taught; written soon after."""
        if not self._config.suppression.enabled:
            return
        for one in taught(message, judgement, at):
            self._learn(one)

    def heard(self, returned: Return) -> None:
        """What came back later taught."""
        if not self._config.suppression.enabled:
            return
        if returned.happened is Happened.COMPLAINED:
            is_everybodys = self._config.suppression.complaint_scope == "everybody"
            self.behind.add(
                Suppressed(
                    name=returned.address.lower(),
                    cause=Cause.DO_NOT_MAIL,
                    added_at=returned.at,
                    note=f"a complaint about mail of {returned.sender}",
                    scope=EVERYBODY if is_everybodys else returned.sender.rpartition("@")[2],
                )
            )
        elif returned.is_gone:
            self._learn(
                Delivered(
                    address=returned.address,
                    domain=returned.address.rpartition("@")[2],
                    at=returned.at,
                    outcome=DeliveryOutcome.BOUNCED_LATER,
                    said=returned.said,
                )
            )

    async def left(self, who: Leaving) -> None:
        """Somebody leaves a list by mail: kept when it returns."""
        entry = Suppressed(
            name=who.address,
            cause=Cause.OPT_OUT,
            added_at=self._clock.wall(),
            note="unsubscribed by mail",
            scope=who.scope,
        )
        await asyncio.get_running_loop().run_in_executor(None, self.store.suppress, [entry])
        self._is_empty = False

    def _learn(self, one: Delivered) -> None:
        self.behind.add(one)
        days = self._config.suppression.bounce_days
        entry = suppression(one, lasts_s=days * DAY_S if days else None)
        if entry is not None:
            self.behind.add(entry)

    def _write(self, batch: Sequence[Delivered | Suppressed]) -> None:
        deliveries = [one for one in batch if isinstance(one, Delivered)]
        if deliveries:
            self.store.note_deliveries(deliveries)
        entries = [one for one in batch if isinstance(one, Suppressed)]
        if entries:
            self.store.suppress(entries)
            self._is_empty = False

    async def upkeep(self) -> None:
        """Look for what others put on the list, and take off what has ended."""
        loop = asyncio.get_running_loop()
        expired_at = 0.0
        while True:
            self._is_empty = not await loop.run_in_executor(None, self.store.has_suppressions)
            if self._clock.monotonic() - expired_at > 3600.0:
                expired_at = self._clock.monotonic()
                await loop.run_in_executor(None, self.store.expire_suppressions, self._clock.wall())
            await asyncio.sleep(LOOK_S)

    # Asking ---------------------------------------------------------------------------------------------------

    async def find(self, names: Sequence[str], scopes: Sequence[str]) -> Suppressed | None:
        """The entry that stops mail to one of the names."""

        def look() -> Suppressed | None:
            found = self.store.suppressed(names, scopes=scopes, now=self._clock.wall())
            return next((found[name] for name in names if name in found), None)

        return await asyncio.get_running_loop().run_in_executor(None, look)

    def suppression_check(self, is_local: Callable[[Address], bool]) -> SuppressionCheck:
        """The check at submission."""
        return SuppressionCheck(self.find, lambda: self._is_empty or not self._config.suppression.enabled, is_local)

    def checks(self, secret: bytes, is_local: Callable[[Address], bool], ask: Ask | None) -> Checks:
        """The checks of a submission listener. `ask`: how recipients are asked about, where they are to be."""
        first = () if ask is None else (VerifyFirstCheck(ask, is_local).rcpt,)
        return Checks(
            rcpt=(self.suppression_check(is_local).rcpt, *first),
            message=(self.list_mail(secret).message,),
        )

    def list_mail(self, secret: bytes) -> ListMail:
        """The check of messages that name a list."""
        find = self.find if self._config.suppression.enabled else None
        return ListMail(unsubscriber(self._config, secret), find)

    def asking(self, config: Config, resolver: Resolver, router: Router, rng: random.Random) -> Ask | None:
        """How recipients are asked about while their sender waits; None: not at all."""
        match config.verify_first.mode:
            case "off":
                return None
            case "domain":
                return partial(_domain_refusal, router, config.verify_first.wait_s)
        wait_s = config.verify_first.wait_s
        delivery = config.delivery
        settings = VerifySettings(
            hello=config.server.hostname,
            mail_from=NULL,
            port=delivery.port,
            egress=(Egress(source_address=delivery.source_address or None),),
            allow_private=delivery.allow_private,
            wait_s=0.0,
            timeouts=PhaseTimeouts.all(wait_s, connect_s=min(CONNECT_S, wait_s)),
        )

        def memory() -> FactMemory:
            return FactMemory(self.store, clock=self._clock, describe=lambda address: describe(address, self._lists))

        return AskingFirst(settings, resolver, memory=memory, rng=rng, wait_s=wait_s).refusal

    async def close(self) -> None:
        """Write what was learned last."""
        await self.behind.flush()
        self.store.close()


async def _domain_refusal(router: Router, wait_s: float, address: Address) -> Reply | None:
    """The refusal of a domain that takes no mail, by what DNS says; None where it does, or nobody knows."""
    try:
        async with asyncio.timeout(wait_s):
            route = await router.route(address.domain)
    except TimeoutError:
        return None
    if not isinstance(route, RouteFailure) or route.reply.code < 500:
        return None
    return reply(550, f"{address.domain} takes no mail: {' '.join(route.reply.lines)}", "5.1.2")


def _report(error: Exception, dropped: int) -> None:
    emit("facts.failed", error=str(error), dropped=dropped)
