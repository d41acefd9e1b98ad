"""Signing: the keys in force, and the threads that sign by them, so that the event loop goes on meanwhile.

Keys come from the state directory (`postroad domain`) and from `[[dkim_key]]`. They are read at the start, on reload,
and where a look every few seconds shows that a command changed them. A key that cannot be read is told once.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from postroad.clock import Clock
from postroad.config import Config
from postroad.events import emit
from postroad.message.arc import ArcResult
from postroad.message.arc_seal import seal
from postroad.message.author import authors
from postroad.message.dkim_key import AskTexts, is_published, query_name
from postroad.message.dkim_sign import SigningKey, sign
from postroad.message.envelope import format_queue_id
from postroad.receive.checks import Checks
from postroad.receive.signing import NOT_THEIRS, CannotSign, SubmissionSigning
from postroad.smtp.address import Address, to_a_labels
from postroad.store.accounts import Accounts, may_send_as
from postroad.store.dkim_keys import DkimKeys, KeptKey, KeyState, KeyStoreError, read_private_key
from postroad.store.spool import SpooledMessage

LOOK_S = 5.0
"""How often keys are looked at for changes."""
ASK_S = 60.0
"""How often DNS is asked for keys that wait to be published."""
MAX_ASKED = 20
"""Keys asked for at a time; the others wait for the next time."""
OWN_PROTOCOLS = frozenset({"bounce", "report"})
"""What the trace of a message says that the server itself wrote. Not «without a peer»: what is forwarded has none."""
KEYS_AT_ONCE = 4
"""Signatures on one message at most: receivers look at a few only."""


@dataclass(frozen=True, slots=True)
class _Keys:
    """Of one domain: those that sign, and why one cannot."""

    signing: tuple[SigningKey, ...] = ()
    fault: str = ""


@dataclass(frozen=True, slots=True)
class _State:
    keys: Mapping[str, _Keys] = field(default_factory=dict)
    pending: tuple[KeptKey, ...] = ()


class Signer:
    """One for a worker. `may_send_as`: whether an account may write in the name of an address."""

    def __init__(self, config: Config, clock: Clock, may_send_as: Callable[[str, Address], bool]) -> None:
        self._config = config
        self._clock = clock
        self._may_send_as = may_send_as
        self._store = DkimKeys(Path(config.server.state_dir) / "dkim")
        self._threads = ThreadPoolExecutor(config.dkim.threads, "sign")
        self._stamp: tuple[object, ...] | None = None
        self._faults: dict[str, str] = {}
        self._state = _State()
        self.refresh()

    # Keys -----------------------------------------------------------------------------------------------------

    def use(self, config: Config) -> None:
        """From now on, by this configuration; the number of threads stays."""
        self._config = config
        self._stamp = None
        self.refresh()

    def refresh(self) -> None:
        """Read the keys again where something changed. Blocks; never raises."""
        if not self._config.dkim.enabled:
            self._state = _State()
            return
        try:
            stamp = self._store.stamp()
            if stamp != self._stamp:
                self._state = self._read()
                self._stamp = stamp
        except KeyStoreError as error:
            self._tell("", str(error))

    def _read(self) -> _State:
        signing: dict[str, list[SigningKey]] = {}
        faults: dict[str, str] = {}
        pending: list[KeptKey] = []

        def add(domain: str, selector: str, path: Path) -> None:
            try:
                key = SigningKey(domain, selector, read_private_key(path))
                signing.setdefault(domain, []).append(key)
            except KeyStoreError as error:
                faults[domain] = str(error)

        for one in self._config.dkim_key:
            add(to_a_labels(one.domain), one.selector.lower(), Path(one.file))
        for domain in self._store.domains():
            try:
                keys = self._store.keys(domain)
            except KeyStoreError as error:
                faults[domain] = str(error)
                continue
            pending += [kept for kept in keys if kept.state is KeyState.PENDING]
            for kept in keys:
                if kept.state is KeyState.ACTIVE:
                    add(domain, kept.selector, self._store.path(kept))
        for domain, fault in faults.items():
            self._tell(domain, fault)
        self._faults = {domain: fault for domain, fault in self._faults.items() if domain in faults}
        known = {
            domain: _Keys(tuple(signing.get(domain, ())[:KEYS_AT_ONCE]), faults.get(domain, ""))
            for domain in signing.keys() | faults.keys()
        }
        return _State(known, tuple(pending))

    def _tell(self, domain: str, fault: str) -> None:
        if self._faults.get(domain) != fault:
            self._faults[domain] = fault
            emit("dkim.failed", domain=domain, error=fault)

    async def upkeep(self, texts: AskTexts | None) -> None:
        """Take up keys that commands changed; where `texts` asks DNS, let new keys sign once it shows them."""
        loop = asyncio.get_running_loop()
        ask_at = 0.0
        while True:
            await asyncio.sleep(LOOK_S)
            await loop.run_in_executor(self._threads, self.refresh)
            if texts is not None and self._state.pending and self._clock.monotonic() >= ask_at:
                ask_at = self._clock.monotonic() + ASK_S
                await self._activate(self._state.pending[:MAX_ASKED], texts)

    async def _activate(self, pending: Sequence[KeptKey], texts: AskTexts) -> None:
        loop = asyncio.get_running_loop()
        for kept in pending:
            answer = await texts(query_name(kept.selector, kept.domain))
            try:
                key = await loop.run_in_executor(self._threads, self._store.private, kept)
                if is_published(answer, key):
                    activate = partial(self._store.activate, kept.domain, [kept.selector], now=self._clock.wall())
                    await loop.run_in_executor(self._threads, activate)
                    emit("dkim.activated", domain=kept.domain, selector=kept.selector)
            except KeyStoreError as error:
                self._tell(kept.domain, str(error))

    def close(self) -> None:
        """End the threads; what is being signed is finished."""
        self._threads.shutdown()

    # Signing --------------------------------------------------------------------------------------------------

    @property
    def has_keys(self) -> bool:
        """Whether any domain has keys that sign, or should."""
        return bool(self._state.keys)

    def domain_for(self, domain: str) -> str | None:
        """The domain whose keys sign for that one: itself, or the nearest above it that has keys; None without any."""
        keys = self._state.keys
        while keys and domain:
            if domain in keys:
                return domain
            domain = domain.partition(".")[2]
        return None

    async def sign(self, message: bytes, *, from_domain: str) -> bytes:
        """The message with a signature by each key above it; as it was where its domain has no keys.

        Raises CannotSign where there are keys, and none can be used."""
        domain = self.domain_for(from_domain)
        if domain is None:
            return message
        keys = self._usable(domain)
        work = partial(sign, message, keys, now=self._clock.wall(), lifetime_s=self._config.dkim.lifetime_s)
        return await asyncio.get_running_loop().run_in_executor(self._threads, work) + message

    async def seal(self, message: bytes, *, domain: str, chain: ArcResult, results: str) -> bytes:
        """The message with an ARC set of ours above it, for mail that is forwarded (see arc_seal.seal)."""
        ours = self.domain_for(domain)
        if ours is None:
            return message
        work = partial(seal, message, self._usable(ours)[0], chain=chain, results=results, now=self._clock.wall())
        return await asyncio.get_running_loop().run_in_executor(self._threads, work) + message

    def _usable(self, domain: str) -> Sequence[SigningKey]:
        keys = self._state.keys[domain]
        if not keys.signing:
            raise CannotSign(keys.fault)
        return keys.signing

    async def finish(self, message: SpooledMessage) -> SpooledMessage:
        """The last change to a message that is in our hands: our own notices and what users sent get signed.

        What cannot be signed stays as it is, which is told."""
        if not self.has_keys:
            return message
        written_by, count = authors(message.body)
        user = message.trace.user
        is_ours = bool(user) or message.trace.protocol in OWN_PROTOCOLS
        domain = self.domain_for(written_by[0].domain) if is_ours and count == 1 and written_by else None
        if domain is None:
            return message
        queue_id = format_queue_id(message.id)
        if user and not all(self._may_send_as(user, one) for one in written_by):
            emit("dkim.unsigned", domain=domain, queue_id=queue_id, reason=NOT_THEIRS)
            return message
        try:
            return replace(message, body=await self.sign(message.body, from_domain=domain))
        except CannotSign as error:
            emit("dkim.unsigned", domain=domain, queue_id=queue_id, reason=str(error))
            return message

    def checks(self) -> Checks:
        """The check of submitted messages; nothing where signing is off."""
        if not self._config.dkim.enabled:
            return Checks()
        signing = SubmissionSigning(
            self,
            hostname=self._config.server.hostname,
            now=self._clock.wall,
            token=lambda: secrets.token_hex(12),
            is_required=self._config.dkim.required,
        )
        return Checks(message=(signing.message,))


def signer(config: Config, clock: Clock, accounts: Accounts) -> Signer:
    """The keys of the configuration and of its state directory, and who may have mail signed in whose name."""

    def may(user: str, address: Address) -> bool:
        account = accounts.get(user)
        return account is not None and may_send_as(account, address)

    return Signer(config, clock, may)
