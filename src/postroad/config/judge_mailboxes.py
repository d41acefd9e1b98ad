"""What is wrong with local domains, mailboxes, aliases and transports as they are configured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from postroad.config.mailboxes import BUILT_IN
from postroad.config.values import Config
from postroad.smtp.address import Address, AddressError, to_a_labels

Complain = Callable[..., None]

MAX_SHOWN = 5
"""Names of one circle that are told."""

Listed = dict[str, "set[str] | None"]
"""Local domains, each with its users where only those that are listed exist."""


def judge_mailboxes(config: Config, complain: Complain) -> None:
    """Report names that cannot be, transports that there are none of, aliases that lead nowhere or in a circle."""
    transports = _judge_transports(config, complain)
    domains = _judge_domains(config, transports, complain)
    _judge_mailboxes(config, domains, transports, complain)
    _judge_aliases(config, domains, complain)
    srs = config.srs.domain
    if srs and _domain(srs) not in domains:
        complain(("srs", "domain"), f'[srs] domain: "{srs}" is no local domain, so bounces would not come back to it')


def _judge_transports(config: Config, complain: Complain) -> set[str]:
    known = set(BUILT_IN)
    named = [
        *(("lmtp", index, one.name) for index, one in enumerate(config.lmtp)),
        *(("webhook", index, one.name) for index, one in enumerate(config.webhook)),
        *(("command", index, one.name) for index, one in enumerate(config.command)),
    ]
    for kind, index, name in named:
        if not name or name in known:
            why = "is taken: each transport has a name of its own" if name else "is missing"
            complain((kind, f"#{index}", "name"), f'[[{kind}]] name: "{name}" {why}')
        known.add(name)
    for index, lmtp in enumerate(config.lmtp):
        if not _is_place(lmtp.address):
            complain(("lmtp", f"#{index}", "address"), "[[lmtp]] address: write HOST:PORT, or unix:/path/of/socket")
    for index, webhook in enumerate(config.webhook):
        try:
            parts = urlsplit(webhook.url)
            is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.username is None
            is_url = is_url and (parts.port is None or parts.port > 0)
        except ValueError:
            is_url = False
        if not is_url:
            complain(("webhook", f"#{index}", "url"), "[[webhook]] url: write https://HOST/PATH, without a user's name")
    for index, command in enumerate(config.command):
        if not command.argv or not command.argv[0].startswith("/"):
            complain(("command", f"#{index}", "argv"), "[[command]] argv: begin with the whole path of the program")
    return known


def _is_place(text: str) -> bool:
    if text.startswith("unix:/"):
        return True
    host, colon, port = text.rpartition(":")
    return bool(colon and host) and port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65_535


def _domain(text: str) -> str:
    try:
        return to_a_labels(text)
    except AddressError:
        return ""


def _judge_domains(config: Config, transports: set[str], complain: Complain) -> Listed:
    """The local domains that there are."""
    domains: Listed = dict.fromkeys(map(_domain, config.domains.local))
    routed = {_domain(route.domain) for route in config.route}
    named: set[str] = set()
    for index, one in enumerate(config.domain):
        path = ("domain", f"#{index}")
        name = _domain(one.name)
        if not name:
            complain((*path, "name"), f'[[domain]] name: "{one.name}" is no domain name')
            continue
        if name in named:
            complain((*path, "name"), f'[[domain]] name: "{one.name}" is there twice')
        named.add(name)
        domains[name] = {user.casefold() for user in one.users} if one.mailboxes == "listed" else None
        if one.transport not in transports:
            complain((*path, "transport"), _no_transport("domain", one.transport, transports))
        if one.transport == "route" and name not in routed:
            complain((*path, "transport"), f'[[domain]] transport: there is no [[route]] for "{one.name}"')
        if one.separator != "inherit" and len(one.separator) > 1:
            complain((*path, "separator"), '[[domain]] separator: write one character, none, or "inherit"')
        for user in one.users:
            if _address(user, name) is None or "@" in user:
                complain((*path, "users"), f'[[domain]] users: "{user}" is no local part of an address')
        for target in one.catch_all:
            if _address(target, name) is None:
                complain((*path, "catch_all"), f'[[domain]] catch_all: "{target}" is no address')
    for index, one in enumerate(config.domain):
        other = _domain(one.same_as)
        chained = [each for each in config.domain if _domain(each.name) == other and each.same_as]
        if one.same_as and (other not in domains or other == _domain(one.name) or chained):
            complain(
                ("domain", f"#{index}", "same_as"),
                f'[[domain]] same_as: "{one.same_as}" is no other local domain with mailboxes of its own',
            )
    return domains


def _no_transport(kind: str, name: str, transports: set[str]) -> str:
    return f'[[{kind}]] transport: "{name}" is not one of {", ".join(sorted(filter(None, transports)))}'


def _address(text: str, domain: str) -> Address | None:
    try:
        return Address.parse(text if "@" in text else f"{text}@{domain}", smtputf8=True)
    except AddressError:
        return None


def _judge_mailboxes(config: Config, domains: Listed, transports: set[str], complain: Complain) -> None:
    seen: set[str] = set()
    for index, one in enumerate(config.mailbox):
        path = ("mailbox", f"#{index}")
        address = _address(one.address, "")
        if address is None or address.domain not in domains:
            complain((*path, "address"), f'[[mailbox]] address: "{one.address}" is no address at a local domain')
            continue
        name = _name(address)
        if name in seen:
            complain((*path, "address"), f'[[mailbox]] address: "{one.address}" is there twice')
        seen.add(name)
        if one.transport and one.transport not in transports - {"route"}:
            complain((*path, "transport"), _no_transport("mailbox", one.transport, transports - {"route"}))


def _name(address: Address) -> str:
    return f"{address.local.casefold()}@{address.domain}"


def _judge_aliases(config: Config, domains: Listed, complain: Complain) -> None:
    aliases: dict[str, list[Address]] = {}
    places: dict[str, tuple[str, ...]] = {}
    for index, one in enumerate(config.alias):
        path = ("alias", f"#{index}")
        address = _address(one.address, "")
        if address is None or address.domain not in domains:
            complain((*path, "address"), f'[[alias]] address: "{one.address}" is no address at a local domain')
            continue
        name = _name(address)
        if name in aliases:
            complain((*path, "address"), f'[[alias]] address: "{one.address}" is there twice: name all in one "to"')
        targets = {text: _address(text, address.domain) for text in one.to}
        for text, target in targets.items():
            if target is None:
                complain((*path, "to"), f'[[alias]] to: "{text}" is no address')
        if not one.to:
            complain(path, f'[[alias]] "{one.address}" goes nowhere: give it a "to"')
        aliases[name] = [target for target in targets.values() if target is not None]
        places[name] = (*path, "to")

    def ends(address: Address) -> bool:
        """Whether mail for it may arrive: unknown names of accounts are given the benefit of the doubt."""
        listed = domains.get(address.domain)
        return listed is None or _exists(config, listed, address)

    for name, targets_of in aliases.items():
        for target in targets_of:
            if _name(target) not in aliases and not ends(target):
                complain(places[name], f"[[alias]] {name} leads to {target}, which does not exist")
        circle = _circle(name, aliases, ends)
        if circle:
            complain(places[name], f"[[alias]] {name} leads in a circle: {circle}")


def _exists(config: Config, listed: set[str], address: Address) -> bool:
    domain = next((one for one in config.domain if _domain(one.name) == address.domain), None)
    separator = config.domains.separator if domain is None or domain.separator == "inherit" else domain.separator
    user = address.local.casefold()
    users = {user, user.partition(separator)[0]} if separator else {user}
    boxes = {each.address.casefold() for each in config.mailbox}
    is_known = bool(users & (listed | {"postmaster", "abuse"})) or any(
        f"{one}@{address.domain}" in boxes for one in users
    )
    return is_known or bool(domain and (domain.catch_all or domain.same_as))


def _circle(start: str, aliases: Mapping[str, list[Address]], ends: Callable[[Address], bool]) -> str:
    """The way in which an alias comes back to itself without reaching anybody; empty where it reaches somebody."""
    followed: list[str] = []
    waiting = [start]
    while waiting:
        name = waiting.pop()
        if name in followed:
            continue
        followed.append(name)
        for target in aliases[name]:
            there = _name(target)
            if there not in aliases or (there == name and ends(target)):
                return ""
            waiting.append(there)
    return " → ".join([*followed[:MAX_SHOWN], *(["…"] if len(followed) > MAX_SHOWN else []), start])
