"""Which addresses are ours, and where their mail is kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from postroad.config import Config
from postroad.deliver.local import MailboxNameError, Maildirs, MaildirSettings
from postroad.receive.directory import Directory, DomainRules
from postroad.smtp.address import Address, to_a_labels
from postroad.store.accounts import Accounts


def domains(config: Config) -> frozenset[str]:
    """The local domains in canonical form."""
    return frozenset(to_a_labels(domain) for domain in config.domains.local)


def delivered_here(config: Config) -> frozenset[str]:
    """The local domains that have Maildirs: those with a route of their own go where it says."""
    return domains(config) - {to_a_labels(route.domain) for route in config.route if route.domain != "*"}


def own_literals(config: Config) -> frozenset[str]:
    """The address literals that are this host."""
    return frozenset(
        f"[IPv6:{listener.address}]" if ":" in listener.address else f"[{listener.address}]"
        for listener in config.listener
        if listener.address not in ("0.0.0.0", "::")  # noqa: S104 - a comparison
    )


def local_domains(config: Config, accounts: Accounts) -> Directory:
    """Which addresses are ours."""

    asked_there = frozenset(to_a_labels(domain) for domain in config.call_forward.domains)
    """Domains whose mailboxes the next host knows, which is asked (receive/guard/call_forward.py)."""

    def has_mailbox(address: str) -> bool:
        if address.rpartition("@")[2] in asked_there:
            return True
        account = accounts.get(address)
        return account is not None and not account.is_disabled

    rules = DomainRules(
        mailboxes=has_mailbox if config.domains.mailboxes == "accounts" else None, separator=config.domains.separator
    )
    return Directory(
        domains=dict.fromkeys(domains(config), rules),
        main=to_a_labels(config.domains.local[0]),
        literals=own_literals(config),
        has_aliases=lambda: False,
        can_keep=_can_keep(config),
    )


def _can_keep(config: Config) -> Callable[[Address], bool]:
    here, boxes = delivered_here(config), maildirs(config)

    def can_keep(address: Address) -> bool:
        if address.domain not in here:
            return True
        try:
            boxes.mailbox_path(address)
        except MailboxNameError:
            return False
        return True

    return can_keep


def maildirs(config: Config) -> Maildirs:
    """Where local mail goes."""
    return Maildirs(
        MaildirSettings(
            root=Path(config.domains.maildir),
            hostname=config.server.hostname,
            separator=config.domains.separator,
            postmaster=config.domains.postmaster,
        )
    )
