"""Final delivery: messages for local domains into Maildirs, `{root}/{domain}/{user}`.

A message is in the mailbox when its file and the directory that names it are synced (tmp → fsync → new → fsync); only
then does `store` return. The file's name comes from queue id and recipient, so that a delivery repeated after a crash
replaces what the first one left instead of adding to it. Names that could lead out of the root are refused.
Blocks on the disk: deliver/attempt.py calls it in a thread. Never decides which mailboxes exist.
"""

from __future__ import annotations

import asyncio
import errno
import os
import unicodedata
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from postroad.message.envelope import format_queue_id
from postroad.message.headers import delivered_to_header, return_path_header
from postroad.smtp.address import Address
from postroad.smtp.reply import Reply, reply
from postroad.store.spool import Queued, SpooledMessage

_DELIVERED = reply(250, "Delivered to the mailbox", "2.0.0")
_BAD_NAME = reply(550, "This address cannot be the name of a mailbox here", "5.1.1")
_NO_ROOM = reply(452, "There is no room on the disk of the mailboxes", "4.2.2")
_FULL = (errno.ENOSPC, errno.EDQUOT)


class MailboxNameError(ValueError):
    """The address cannot name a mailbox: its parts would not stay inside the root."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MaildirSettings:
    """Where mailboxes are. `postmaster`: the user who gets what comes for postmaster at any local domain."""

    root: Path
    hostname: str
    separator: str = "+"
    """Between user and detail in a local part; empty: details are not known."""
    postmaster: str = "postmaster"


class Maildirs:
    """The mailboxes below one root. Safe to call from several threads."""

    def __init__(self, settings: MaildirSettings) -> None:
        self._settings = settings
        self._host = _file_name(settings.hostname, "host name")

    def mailbox_path(self, address: Address) -> Path:
        """The Maildir of an address: case folded, detail dropped. Raises MailboxNameError."""
        settings = self._settings
        user = unicodedata.normalize("NFC", address.local).casefold()
        if settings.separator:
            # A local part that begins with the separator has no user to cut off.
            user = user.partition(settings.separator)[0] or user
        if user == "postmaster":  # RFC 5321 §4.5.1
            user = unicodedata.normalize("NFC", settings.postmaster).casefold()
        domain = address.domain or settings.hostname
        return settings.root / _file_name(domain.lower(), "domain") / _file_name(user, "local part")

    def deliver(self, message: SpooledMessage, queued: Sequence[Queued]) -> list[Reply]:
        """Store the message for each recipient; the fate of each as a reply, in order."""
        return [self._deliver_one(message, one) for one in queued]

    def _deliver_one(self, message: SpooledMessage, queued: Queued) -> Reply:
        try:
            self.store(message, queued)
        except MailboxNameError:
            return _BAD_NAME
        except OSError as error:
            if error.errno in _FULL:
                return _NO_ROOM
            return reply(451, f"The mailbox cannot be written: {os.strerror(error.errno or 0)}", "4.3.0")
        return _DELIVERED

    def store(self, message: SpooledMessage, queued: Queued) -> Path:
        """The file that now, durably, holds the message. Raises MailboxNameError, OSError."""
        address = queued.recipient.address
        mailbox = self.mailbox_path(address)
        self._make(mailbox)
        name = f"{int(message.received_at)}.{format_queue_id(message.id)}R{queued.id}.{self._host}"
        temporary, final = mailbox / "tmp" / name, mailbox / "new" / name
        head = return_path_header(message.envelope.reverse_path) + delivered_to_header(address)
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
