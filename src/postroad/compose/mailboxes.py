"""Which addresses are ours, where their mail is kept, and how much room it has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from postroad.config import Config
from postroad.config.mailboxes import DomainSettings
from postroad.deliver.local import NO_QUOTA, MailboxNameError, Maildirs, MaildirSettings
from postroad.deliver.maildir_size import Quota
from postroad.receive.directory import Aliases, Directory, DomainRules, canonical
from postroad.smtp.address import Address, to_a_labels
from postroad.smtp.reply import Reply
from postroad.store.accounts import Accounts


def named_domains(config: Config) -> dict[str, DomainSettings]:
    """The domains with rules of their own, by canonical name."""
    return {to_a_labels(one.name): one for one in config.domain}


def domains(config: Config) -> frozenset[str]:
    """The local domains in canonical form."""
    returns = {to_a_labels(config.returns.domain)} if config.returns.domain else set()
    return frozenset(to_a_labels(domain) for domain in config.domains.local) | named_domains(config).keys() | returns


def delivered_here(config: Config) -> frozenset[str]:
    """The local domains whose mail ends here: those with a route of their own go where it says."""
    routed = {to_a_labels(route.domain) for route in config.route if route.domain != "*"}
    routed |= {name for name, rules in named_domains(config).items() if rules.transport == "route"}
    return domains(config) - routed


def own_literals(config: Config) -> frozenset[str]:
    """The address literals that are this host."""
    return frozenset(
        f"[IPv6:{listener.address}]" if ":" in listener.address else f"[{listener.address}]"
        for listener in config.listener
        if listener.address not in ("0.0.0.0", "::")  # noqa: S104 - a comparison
    )


def directory(
    config: Config,
    accounts: Accounts | None,
    *,
    stored: Aliases = lambda name: (),
    has_stored: Callable[[], bool] = lambda: False,
    returned: Callable[[Address], Address | Reply | None] = lambda address: None,
    is_return: Callable[[Address], bool] = lambda address: False,
) -> Directory:
    """Which addresses are ours, and where they lead. `stored`: aliases that commands add; those of the file come first.
    `accounts` None: nobody knows who has one, so anybody may."""
    asked_there = frozenset(to_a_labels(domain) for domain in config.call_forward.domains)
    """Domains whose mailboxes the next host knows, which is asked (receive/guard/call_forward.py)."""

    def has_account(address: str) -> bool:
        if accounts is None or address.rpartition("@")[2] in asked_there:
            return True
        account = accounts.get(address)
        return account is not None and not account.is_disabled

    def takes_returns(name: str) -> bool:
        local, _, domain = name.rpartition("@")
        return is_return(Address(local, domain))

    def rules(name: str) -> DomainRules:
        if config.returns.domain and name == to_a_labels(config.returns.domain):
            return DomainRules(mailboxes=takes_returns, separator="")
        own = named.get(name) or DomainSettings(name=name)
        boxes = {
            canonical(address)
            for one in config.mailbox
            for address in (Address.parse(one.address, smtputf8=True),)
            if address.domain == name
        } | {canonical(Address(user, name)) for user in own.users}
        known = own.mailboxes or config.domains.mailboxes
        return DomainRules(
            mailboxes={
                "any": None,
                "accounts": lambda address: address in boxes or has_account(address),
                "listed": boxes.__contains__,
            }[known],
            catch_all=tuple(_target(one, name) for one in own.catch_all),
            separator=config.domains.separator if own.separator == "inherit" else own.separator,
            same_as=to_a_labels(own.same_as) if own.same_as else "",
        )

    named = named_domains(config)
    listed = {
        canonical(address): tuple(_target(one, address.domain) for one in alias.to)
        for alias in config.alias
        for address in (Address.parse(alias.address, smtputf8=True),)
    }
    return Directory(
        domains={name: rules(name) for name in domains(config)},
        main=to_a_labels(config.domains.local[0]),
        literals=own_literals(config),
        aliases=lambda name: listed.get(name) or stored(name),
        has_aliases=(lambda: True) if listed else has_stored,
        can_keep=_can_keep(config),
        returned=returned,
    )


def _target(text: str, domain: str) -> Address:
    return Address.parse(text if "@" in text else f"{text}@{domain}", smtputf8=True)


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


def quotas(config: Config) -> Callable[[str, str], Quota]:
    """The quota of a mailbox, by user and domain."""
    by_domain = {name: Quota(rules.quota_octets, rules.quota_messages) for name, rules in named_domains(config).items()}
    by_mailbox: dict[tuple[str, str], Quota] = {}
    for one in config.mailbox:
        address = Address.parse(one.address, smtputf8=True)
        inherited = by_domain.get(address.domain, NO_QUOTA)
        by_mailbox[canonical(address).rpartition("@")[0], address.domain] = Quota(
            inherited.octets if one.quota_octets < 0 else one.quota_octets,
            inherited.messages if one.quota_messages < 0 else one.quota_messages,
        )
    if not any(quota.is_limited for quota in (*by_domain.values(), *by_mailbox.values())):
        return lambda user, domain: NO_QUOTA
    return lambda user, domain: by_mailbox.get((user, domain)) or by_domain.get(domain, NO_QUOTA)


def has_quotas(config: Config) -> bool:
    """Whether any mailbox has a limit."""
    of_domains = [max(one.quota_octets, one.quota_messages) for one in config.domain]
    return max([*of_domains, *[max(one.quota_octets, one.quota_messages) for one in config.mailbox]], default=0) > 0


def maildirs(config: Config) -> Maildirs:
    """Where local mail goes."""
    return Maildirs(
        MaildirSettings(
            root=Path(config.domains.maildir),
            hostname=config.server.hostname,
            separator=config.domains.separator,
            separators={
                name: rules.separator for name, rules in named_domains(config).items() if rules.separator != "inherit"
            },
            postmaster=config.domains.postmaster,
            quota=quotas(config),
        )
    )
