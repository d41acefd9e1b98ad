"""The local addresses of a state directory, for commands: where each leads, and which aliases are mistakes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from postroad.compose.mailboxes import directory, domains
from postroad.compose.transports import chosen
from postroad.config import Config
from postroad.receive.directory import Directory, Resolved, canonical
from postroad.smtp.address import Address
from postroad.store.accounts import SqliteAccounts
from postroad.store.mailbox_book import Alias, MailboxBook, alias_name, make_alias

PAGE = 1000
MAX_TOLD = 1000
"""Mistakes that are told at a time."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """What a server with that configuration and state knows of its own addresses."""

    config: Config
    book: MailboxBook | None
    directory: Directory

    def aliases(self) -> Iterator[tuple[Alias, bool]]:
        """Every alias, and whether it stands in the configuration: those first."""
        named = set()
        for one in self.config.alias:
            alias = make_alias(one.address, one.to)
            named.add(alias.name)
            yield alias, True
        after = ""
        while self.book is not None and (page := self.book.aliases(after, PAGE)):
            yield from ((alias, False) for alias in page if alias.name not in named)
            after = page[-1].name

    def is_local(self, alias: Alias) -> bool:
        """Whether mail to it comes to this server at all."""
        return alias.name.rpartition("@")[2] in domains(self.config)

    def resolve(self, name: str) -> Resolved:
        """Where mail for that address goes. Raises AliasError where it is none."""
        return self.directory.resolve(Address.parse(alias_name(name), smtputf8=True))

    def transport(self, address: Address) -> str:
        """How mail for a final address is delivered; `smtp` elsewhere."""
        return chosen(self.config)(address) if self.directory.is_local(address) else "smtp"

    def fault(self, alias: Alias) -> str:
        """What is wrong with an alias, in words; empty where nothing is."""
        if not self.is_local(alias):
            return f"{alias.name} is at no local domain: no mail for it comes here"
        found = self.resolve(alias.name)
        if found.refusal is not None:
            lost = f" ({', '.join(map(str, found.astray[:5]))})" if found.astray else ""
            return f"mail to {alias.name} is refused: {found.refusal.text}{lost}"
        if found.astray:
            return f"{alias.name} leads to {', '.join(map(str, found.astray[:5]))}, which does not exist"
        return ""

    def about(self, name: str) -> list[str]:
        """What concerns mail to that account: an alias that takes it, and aliases to it that are mistakes now."""
        told = []
        for alias, _ in self.aliases():
            if alias.name == name.casefold():
                told.append(f"mail to {name} goes to {', '.join(map(str, alias.targets))}, as its alias says")
            elif any(canonical(one) == name.casefold() for one in alias.targets) and (fault := self.fault(alias)):
                told.append(fault)
            if len(told) >= MAX_TOLD:
                break
        return told

    def faults(self) -> list[str]:
        """What is wrong with any alias."""
        found = []
        for alias, _ in self.aliases():
            fault = self.fault(alias)
            if fault:
                found.append(fault)
            if len(found) >= MAX_TOLD:
                break
        return found


@contextmanager
def addresses(config: Config, *, may_make: bool = False) -> Iterator[Addresses]:
    """The addresses of a configuration (with its defaults filled in) and its state directory. `may_make`: also the file
    of aliases, where there is none. Raises SpoolError."""
    state = Path(config.server.state_dir)
    accounts = SqliteAccounts(state / "accounts.db") if (state / "accounts.db").is_file() else None
    book = None
    try:
        if may_make or (state / "mailboxes.db").is_file():
            book = MailboxBook(state / "mailboxes.db")
            yield Addresses(config, book, directory(config, accounts, stored=book.targets, has_stored=book.has_aliases))
        else:
            yield Addresses(config, None, directory(config, accounts))
    finally:
        if book is not None:
            book.close()
        if accounts is not None:
            accounts.close()
