"""Final delivery: messages for local domains into Maildirs, `{root}/{domain}/{user}`.

A message is in the mailbox when its file and the directory that names it are synced (tmp → fsync → new → fsync); only
then does `store` return. The file's name comes from queue id and recipient, so that a delivery repeated after a crash
replaces what the first one left instead of adding to it. Names that could lead out of the root are refused, and so is
what finds no room within the quota of its mailbox (maildir_size.py); postmaster has none (RFC 5321 §4.5.1).
Blocks on the disk: deliver/attempt.py calls it in a thread. Never decides which mailboxes exist.
"""

from __future__ import annotations

import asyncio
import errno
import os
import time
import unicodedata
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from postroad.deliver.maildir_size import Quota, add, usage
from postroad.message.envelope import format_queue_id
from postroad.message.headers import delivered_to_header, return_path_header
from postroad.smtp.address import Address
from postroad.smtp.reply import Reply, reply
from postroad.store.spool import Queued, SpooledMessage

_DELIVERED = reply(250, "Delivered to the mailbox", "2.0.0")
_BAD_NAME = reply(550, "This address cannot be the name of a mailbox here", "5.1.1")
_NO_ROOM = reply(452, "There is no room on the disk of the mailboxes", "4.2.2")
_FULL = (errno.ENOSPC, errno.EDQUOT)


NO_QUOTA = Quota()


class MailboxFullError(Exception):
    """The mailbox has no room within its quota; `reply` says so."""

    def __init__(self, said: Reply) -> None:
        super().__init__(str(said))
        self.reply = said


class MailboxNameError(ValueError):
    """The address cannot name a mailbox: its parts would not stay inside the root."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MaildirSettings:
    """Where mailboxes are. `postmaster`: the user who gets what comes for postmaster at any local domain."""

    root: Path
    hostname: str
    separator: str = "+"
    """Between user and detail in a local part; empty: details are not known."""
    separators: Mapping[str, str] = field(default_factory=dict)
    """Of domains with one of their own."""
    postmaster: str = "postmaster"
    quota: Callable[[str, str], Quota] = lambda user, domain: NO_QUOTA
    """Of a mailbox, by its user and domain in small letters."""
    wall: Callable[[], float] = time.time

    def separator_of(self, domain: str) -> str:
        """Between user and detail at that domain."""
        return self.separators.get(domain, self.separator)


class Maildirs:
    """The mailboxes below one root. Safe to call from several threads."""

    def __init__(self, settings: MaildirSettings) -> None:
        self._settings = settings
        self._host = _file_name(settings.hostname, "host name")

    def mailbox_path(self, address: Address) -> Path:
        """The Maildir of an address: case folded, detail dropped. Raises MailboxNameError."""
        user, domain = self._names(address)
        if user == "postmaster":  # RFC 5321 §4.5.1
            user = unicodedata.normalize("NFC", self._settings.postmaster).casefold()
        return self._settings.root / _file_name(domain, "domain") / _file_name(user, "local part")

    def _names(self, address: Address) -> tuple[str, str]:
        """User and domain, as they are compared."""
        settings = self._settings
        user = unicodedata.normalize("NFC", address.local).casefold()
        separator = settings.separator_of(address.domain)
        if separator:
            # A local part that begins with the separator has no user to cut off.
            user = user.partition(separator)[0] or user
        return user, (address.domain or settings.hostname).lower()

    def refusal(self, address: Address, octets: int = 0) -> Reply | None:
        """What a message of about that size is told now where the mailbox is full. Blocks; never raises."""
        user, domain = self._names(address)
        quota = NO_QUOTA if user == "postmaster" else self._settings.quota(user, domain)
        if not quota.is_limited:
            return None
        try:
            self._make_room(self.mailbox_path(address), quota, address, octets)
        except MailboxFullError as error:
            return error.reply
        except (MailboxNameError, OSError):
            return None  # delivery will say what is wrong
        return None

    def _make_room(self, mailbox: Path, quota: Quota, address: Address, octets: int) -> None:
        """Raises MailboxFullError where there is no room for so many octets more."""
        if quota.octets and octets > quota.octets:
            raise MailboxFullError(
                reply(
                    552, f"The message is larger than the mailbox of {address} may be: {quota.octets} octets", "5.2.3"
                )
            )
        used = usage(mailbox, quota, octets, self._settings.wall())
        if not used.has_room(quota, octets):
            raise MailboxFullError(
                reply(452, f"The mailbox of {address} is full: it holds {used.told(quota)}", "4.2.2")
            )

    def deliver(self, message: SpooledMessage, queued: Sequence[Queued]) -> list[Reply]:
        """Store the message for each recipient; the fate of each as a reply, in order."""
        return [self._deliver_one(message, one) for one in queued]

    def _deliver_one(self, message: SpooledMessage, queued: Queued) -> Reply:
        try:
            self.store(message, queued)
        except MailboxNameError:
            return _BAD_NAME
        except MailboxFullError as error:
            return error.reply
        except OSError as error:
            if error.errno in _FULL:
                return _NO_ROOM
            return reply(451, f"The mailbox cannot be written: {os.strerror(error.errno or 0)}", "4.3.0")
        return _DELIVERED

    def store(self, message: SpooledMessage, queued: Queued) -> Path:
        """The file that now, durably, holds the message. Raises MailboxNameError, MailboxFullError, OSError."""
        address = queued.recipient.address
        mailbox = self.mailbox_path(address)
        self._make(mailbox)
        head = return_path_header(message.envelope.reverse_path) + delivered_to_header(address)
        size = len(head) + len(message.body)
        name = f"{int(message.received_at)}.{format_queue_id(message.id)}R{queued.id}.{self._host},S={size}"
        temporary, final = mailbox / "tmp" / name, mailbox / "new" / name
        user, domain = self._names(address)
        quota = NO_QUOTA if user == "postmaster" else self._settings.quota(user, domain)
        is_counted = quota.is_limited and not final.exists()  # else it was delivered before, and is there
        if is_counted:
            self._make_room(mailbox, quota, address, size)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            try:
                _write_all(descriptor, head)
                _write_all(descriptor, message.body)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            temporary.rename(final)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        _sync_directory(mailbox / "new")
        if is_counted:
            add(mailbox, size)
        return final

    def _make(self, mailbox: Path) -> None:
        """Make what is missing of the Maildir, and sync every directory in which a name was made."""
        if (mailbox / "new").is_dir() and (mailbox / "tmp").is_dir():
            return
        missing = [mailbox / name for name in ("cur", "tmp", "new")]
        parent = mailbox
        while not parent.exists():
            missing.insert(0, parent)
            parent = parent.parent
        for directory in missing:
            directory.mkdir(mode=0o700, exist_ok=True)
            _sync_directory(directory.parent)


class LocalMaildirs:
    """Local delivery into Maildirs. `takes` tells the domains; `in_thread` runs a blocking call beside the loop."""

    def __init__(
        self,
        maildirs: Maildirs,
        takes: Callable[[str], bool],
        in_thread: Callable[..., Awaitable[list[Reply]]] = asyncio.to_thread,
    ) -> None:
        self._maildirs = maildirs
        self._takes = takes
        self._in_thread = in_thread

    def takes(self, domain: str) -> bool:
        """Whether its mailboxes are here."""
        return self._takes(domain)

    async def deliver(self, message: SpooledMessage, queued: Sequence[Queued]) -> Sequence[Reply]:
        """Store the message for each recipient."""
        return await self._in_thread(self._maildirs.deliver, message, queued)


def _file_name(text: str, what: str) -> str:
    """The text as one component of a path. Raises MailboxNameError."""
    is_odd = (
        not text
        or not text.isprintable()
        or text.startswith(".")
        or any(character in text for character in "/\\\0")
        or len(text.encode("utf-8", "surrogatepass")) > 255
    )
    if is_odd:
        raise MailboxNameError(f"the {what} {text[:80]!a} cannot name a directory")
    return text


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
