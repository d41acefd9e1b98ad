"""What keeps abuse at the door, from the configuration; and a worker's guard, with the files it keeps."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from postroad.clock import Clock
from postroad.compose.mailboxes import own_literals
from postroad.compose.receiving import auth_limits
from postroad.config import Config
from postroad.deliver.ask import ask_next_host
from postroad.deliver.ports import Pool, Router
from postroad.events import emit
from postroad.receive.guard.block_lists import DnsList, DnsListSettings
from postroad.receive.guard.call_forward import CallForwardSettings
from postroad.receive.guard.greylist import GreylistPolicy
from postroad.receive.guard.guard import TABLE_SIZES, DoorResolver, Guard, GuardSettings, GuardSurroundings
from postroad.receive.guard.networks import Networks, parse_network
from postroad.receive.guard.rates import RateLimits
from postroad.receive.guard.strangers import StrangerSettings
from postroad.smtp.address import Address, to_a_labels
from postroad.smtp.reply import Reply
from postroad.store.guard_book import GuardBook
from postroad.store.shared_counts import SharedCounts
from postroad.store.spool import SpoolError


def guard_settings(config: Config) -> GuardSettings:
    """What the guard does."""
    exempt = Networks(parse_network(text) for text in config.door.exempt)
    greylist, call_forward = config.greylist, config.call_forward
    return GuardSettings(
        strangers=_strangers(config, exempt),
        rates=_rates(config, exempt),
        lists=_lists(config),
        greylist=GreylistPolicy(
            delay_s=greylist.delay_s,
            retry_s=greylist.retry_s,
            keep_s=greylist.keep_s,
            network_passes=greylist.network_passes,
        )
        if greylist.enabled
        else None,
        known_senders=frozenset(to_a_labels(domain) for domain in greylist.known_senders),
        call_forward=CallForwardSettings(
            domains=frozenset(to_a_labels(domain) for domain in call_forward.domains),
            known_s=call_forward.known_s,
            absent_s=call_forward.absent_s,
            unknown_s=call_forward.unknown_s,
            timeout_s=call_forward.timeout_s,
        ),
        attempts=auth_limits(config).attempts,
        ban_s=config.auth.ban_s,
        longest_ban_s=config.auth.longest_ban_s,
    )


def _strangers(config: Config, exempt: Networks) -> StrangerSettings:
    door = config.door
    own = frozenset({config.server.hostname, *(literal.lower() for literal in own_literals(config))})
    return StrangerSettings(
        exempt=exempt,
        refuse_at=door.refuse_at,
        reverse_dns=door.reverse_dns,
        hello_name=door.hello_name,
        own_names=own if door.own_name == "refuse" else frozenset(),
        dns_timeout_s=door.dns_timeout_s,
        early_talk=door.early_talk,
        pipelining=door.pipelining,
        greeting_delay_s=door.greeting_delay_s,
        tarpit_after=door.tarpit_after,
        tarpit_s=door.tarpit_s,
        known_hosts=tuple(to_a_labels(domain) for domain in config.greylist.known_hosts)
        if config.greylist.enabled
        else (),
    )


def _rates(config: Config, exempt: Networks) -> RateLimits:
    rates = config.rates
    return RateLimits(
        window_s=rates.window_s,
        connections=rates.connections,
        messages=rates.messages,
        recipients=rates.recipients,
        failed_recipients=rates.failed_recipients,
        user_messages=rates.user_messages,
        user_recipients=rates.user_recipients,
        neighbours=rates.neighbours,
        exempt=exempt,
    )


def _lists(config: Config) -> DnsListSettings:
    return DnsListSettings(
        lists=tuple(
            DnsList(
                zone=to_a_labels(one.zone.strip(".")),
                weight=one.weight,
                answers=tuple(ipaddress.IPv4Network(text, strict=False) for text in one.answers),
                url=one.url,
            )
            for one in config.block_list
        ),
        threshold=config.block_lists.threshold,
        timeout_s=config.block_lists.timeout_s,
    )


class GuardHouse:
    """A worker's guard with its book (guard.db) and its shared counts (guard.counts) in the state directory.

    Raises SpoolError where the book cannot be opened; counts that cannot be mapped are the worker's own."""

    def __init__(
        self,
        config: Config,
        *,
        secret: bytes,
        clock: Clock,
        resolver: Callable[[], DoorResolver],
        road: Callable[[], tuple[Router, Pool]],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        state = Path(config.server.state_dir)
        self._road = road
        self._book = GuardBook(state / "guard.db")
        self._thread = ThreadPoolExecutor(1, "guard")
        self.guard = Guard(
            guard_settings(config),
            GuardSurroundings(
                book=self._book,
                regions=_regions(state / "guard.counts", secret),
                secret=secret,
                clock=clock,
                resolver=resolver,
                ask_next_host=self._ask,
                in_thread=self._in_thread,
                spawn=spawn,
            ),
        )

    def use(self, config: Config) -> None:
        """From now on this configuration."""
        self.guard.use(guard_settings(config))

    async def close(self) -> None:
        """Share the last counts, and close the book."""
        self.guard.rates.flush()
        await asyncio.get_running_loop().run_in_executor(None, partial(self._thread.shutdown, wait=True))
        self._book.close()

    def _in_thread(self, work: Callable[..., Any], *arguments: Any) -> Awaitable[Any]:
        return asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    async def _ask(self, address: Address) -> Reply | None:
        router, pool = self._road()
        return await ask_next_host(router, pool, address)


def _regions(path: Path, secret: bytes) -> tuple[memoryview, ...]:
    try:
        return SharedCounts(path, TABLE_SIZES, secret=secret).regions
    except SpoolError as error:
        emit("guard.failed", what="the shared counts: this worker counts alone", error=str(error))
        return tuple(memoryview(bytearray(size)) for size in TABLE_SIZES)
