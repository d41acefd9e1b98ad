"""Local addresses, joined: the directory with its aliases, local delivery, full mailboxes, forwarding, its bounces."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from postroad.clock import Clock
from postroad.compose.mailboxes import directory, domains, has_quotas, maildirs, quotas
from postroad.compose.returns import return_settings
from postroad.compose.signing import Signer
from postroad.compose.transports import destinations, separator
from postroad.config import Config
from postroad.deliver.destinations import Destinations
from postroad.deliver.forwarding import Forwarding
from postroad.deliver.returns import is_return_address
from postroad.events import emit
from postroad.message.arc import ArcResult
from postroad.message.envelope import Recipient
from postroad.message.srs import Srs, SrsFault, SrsName
from postroad.receive.checks import Checks
from postroad.receive.directory import Directory, canonical
from postroad.receive.mailbox_room import MailboxRoom
from postroad.receive.sealing import ForwardSealing
from postroad.smtp.address import Address, to_a_labels
from postroad.smtp.reply import Reply, reply
from postroad.store.accounts import Accounts
from postroad.store.mailbox_book import MailboxBook
from postroad.store.spool import SpoolError

DAY_S = 86_400.0
LOOK_S = 1.0
"""How often it is looked for aliases that commands changed."""
_FORGED = reply(550, "This return address is not one of ours", "5.1.1")
_EXPIRED = reply(550, "This return address has expired", "5.1.1")
_NOT_NOW = reply(451, "This return address cannot be looked up now", "4.3.0")


class MailboxHouse:
    """One for a worker. `in_thread` runs what blocks on mailboxes. Making it raises SpoolError and OSError."""

    def __init__(
        self,
        config: Config,
        clock: Clock,
        accounts: Accounts,
        *,
        secret: bytes,
        in_thread: Callable[..., Awaitable[Any]],
    ) -> None:
        self._clock = clock
        self._accounts = accounts
        self._secret = secret
        self._in_thread = in_thread
        self._book = MailboxBook(Path(config.server.state_dir) / "mailboxes.db")
        self.use(config)

    def use(self, config: Config) -> None:
        """From now on, by this configuration. Raises OSError where a secret cannot be read: all stays as it was."""
        local = destinations(config, self._clock, self._in_thread)
        self._config = config
        self.local: Destinations = local
        self._srs = Srs(to_a_labels(config.srs.domain or config.domains.local[0]), self._secret)
        self.directory: Directory = directory(
            config,
            self._accounts,
            stored=self._stored,
            has_stored=self._book.has_aliases,
            returned=self._returned if config.srs.enabled else (lambda address: None),
            is_return=self._is_return(config),
        )

    def _is_return(self, config: Config) -> Callable[[Address], bool]:
        """What of the return domain is read here."""
        settings = return_settings(config, self._secret)
        return (lambda address: False) if settings is None else (lambda address: is_return_address(address, settings))

    def _stored(self, name: str) -> Sequence[Address]:
        try:
            return self._book.targets(name)
        except SpoolError as error:
            emit("alias.failed", error=str(error))
            return ()

    # Receiving ----------------------------------------------------------------------------------------------------

    def expand(self, recipients: Sequence[Recipient]) -> tuple[Recipient, ...] | None:
        """Who gets a message, each once; None: too many."""
        found = self.directory.expand(recipients)
        if found is None:
            return None
        kept, astray = found
        for address in astray:
            emit("alias.astray", address=str(address))
        return kept

    def checks(self) -> Checks:
        """The check of full mailboxes, where any mailbox has a limit."""
        config = self._config
        if not has_quotas(config):
            return Checks()
        boxes, quota_of = maildirs(config), quotas(config)

        def has_quota(address: Address) -> bool:
            local = canonical(address).rpartition("@")[0]
            between = separator(config, address.domain)
            user = (local.partition(between)[0] or local) if between else local
            return user != "postmaster" and quota_of(user, address.domain).is_limited

        return Checks(rcpt=(MailboxRoom(self.directory, has_quota, partial(self._in_thread, boxes.refusal)).rcpt,))

    def sealing(self, signer: Signer) -> Checks:
        """The last check of messages from elsewhere: what is forwarded is sealed, where our domain has keys."""
        domain = self._srs.domain

        def seal(message: bytes, chain: ArcResult, results: str) -> Awaitable[bytes]:
            return signer.seal(message, domain=domain, chain=chain, results=results)

        return Checks(message=(ForwardSealing(self.directory, domain, lambda: signer.has_keys, seal).message,))

    def _returned(self, address: Address) -> Address | Reply | None:
        """Whom a bounce to an address of the rewriting scheme is for."""
        found = self._srs.reverse(address, self._clock.wall(), max_age_days=self._config.srs.max_age_days)
        if isinstance(found, SrsName):
            try:
                return self._book.recall(found.name) or _EXPIRED
            except SpoolError as error:
                emit("alias.failed", error=str(error))
                return _NOT_NOW
        if isinstance(found, SrsFault):
            return _EXPIRED if found is SrsFault.EXPIRED else _FORGED
        return found

    # Forwarding ---------------------------------------------------------------------------------------------------

    def forwarding(self) -> Forwarding | None:
        """How mail leaves that was sent to us and goes elsewhere; None: as it came."""
        if not self._config.srs.enabled:
            return None
        return Forwarding(self._srs, domains(self._config).__contains__, self._remember, self._clock.wall)

    async def _remember(self, name: str, sender: Address) -> None:
        await asyncio.to_thread(self._book.remember, name, sender, self._clock.wall())

    # Upkeep -------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Look for aliases that commands changed, and forget senders whose bounces are not taken any more."""
        forgotten_at = self._clock.monotonic()
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                self._book.look()
                if self._clock.monotonic() - forgotten_at > DAY_S / 24:
                    forgotten_at = self._clock.monotonic()
                    before = self._clock.wall() - (self._config.srs.max_age_days + 2) * DAY_S
                    await asyncio.to_thread(self._book.forget_senders, before)
            except SpoolError as error:
                emit("alias.failed", error=str(error))

    def close(self) -> None:
        """Give the file up."""
        self._book.close()
