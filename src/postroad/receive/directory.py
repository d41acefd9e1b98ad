"""Where mail for a local address goes: its mailbox, the addresses of an alias, the catch-all; or nowhere.

Asked twice: at RCPT, whether the address leads anywhere, and when the message is kept, where to. An alias comes before
a mailbox of the same name; one that names itself keeps a copy there. `user+detail` is looked for as a whole, then as
`user`. Aliases of aliases are followed, each once, to MAX_DEPTH; what leads in a circle leads nowhere.

Pure: which names there are comes by callables that answer from memory. Used by receive/checks.py and receive/accept.py.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from postroad.message.envelope import Recipient
from postroad.smtp.address import Address, NullPath
from postroad.smtp.reply import Reply, reply

MAX_DEPTH = 20
MAX_TARGETS = 1000
"""Addresses that one may lead to."""
MAX_RECIPIENTS = 20_000
"""Recipients of a message once its aliases are followed."""

_NO_SUCH_MAILBOX = reply(550, "No such mailbox here", "5.1.1")
_ASTRAY = reply(550, "This address is an alias that leads nowhere", "5.1.1")
_CIRCLE = reply(550, "This address is an alias that leads in a circle", "5.4.6")
_TOO_MANY = reply(550, f"This address leads to more than {MAX_TARGETS} others", "5.4.6")
_BOUNCES_ONLY = reply(550, "This address takes bounces only, from the null sender", "5.7.1")
_FOR_POSTMASTER = ("postmaster", "abuse")
"""Whom a person may write to at any domain (RFC 5321 §4.5.1, RFC 2142)."""

Aliases = Callable[[str], Sequence[Address]]
"""What an alias stands for, by its canonical name; empty: there is no such alias."""


def canonical(address: Address) -> str:
    """The name under which a local address is looked up: its case does not matter."""
    local = unicodedata.normalize("NFC", address.local).casefold()
    return f"{local}@{address.domain}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainRules:
    """Of one local domain. `mailboxes` None takes every local part; else it is asked by canonical names."""

    mailboxes: Callable[[str], bool] | None = None
    catch_all: tuple[Address, ...] = ()
    separator: str = "+"
    same_as: str = ""
    """Another local domain whose addresses are this one's too."""

    @property
    def is_plain(self) -> bool:
        """Whether each address is a mailbox, or nothing."""
        return not self.catch_all and not self.same_as


@dataclass(frozen=True, slots=True)
class Resolved:
    """`addresses`: mailboxes here, and those of hosts elsewhere. `refusal` where there is none; `astray`: targets of
    aliases that lead nowhere."""

    addresses: tuple[Address, ...] = ()
    refusal: Reply | None = None
    astray: tuple[Address, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """All local addresses. `main`: the domain of `<postmaster>` and of address literals of ours."""

    domains: Mapping[str, DomainRules]
    main: str = ""
    literals: frozenset[str] = frozenset()
    aliases: Aliases = lambda name: ()
    has_aliases: Callable[[], bool] = lambda: True
    can_keep: Callable[[Address], bool] = lambda address: True
    """Whether mail for a mailbox could be stored at all: what cannot is refused here, not bounced later."""
    returned: Callable[[Address], Address | Reply | None] = lambda address: None
    """For an address to which bounces of forwarded mail come (message/srs.py): whom they are for, or the refusal; None:
    it is no such address."""

    def is_local(self, address: Address) -> bool:
        """Whether it is for us to deliver, or to forward."""
        return not address.domain or address.domain in self.domains or address.domain in self.literals

    def refusal(self, address: Address, sender: Address | NullPath | None) -> Reply | None:
        """Why mail from that sender to a local address is not taken."""
        if self._is_itself(address):
            mailboxes = self.domains[address.domain].mailboxes
            if mailboxes is None or mailboxes(canonical(address)):
                return None if self.can_keep(address) else _NO_SUCH_MAILBOX
        if address.local[:3].lower() == "srs" and self.returned(address) is not None and isinstance(sender, Address):
            return _BOUNCES_ONLY
        return self.resolve(address).refusal

    def expand(self, recipients: Sequence[Recipient]) -> tuple[tuple[Recipient, ...], tuple[Address, ...]] | None:
        """Who gets the message, each once, and which targets of aliases lead nowhere. None: too many.

        What was asked about notifications goes on to each (RFC 3461 §5.2.7), and the address that the sender knows."""
        kept: dict[str, Recipient] = {}
        astray: list[Address] = []
        for one in recipients:
            address = one.address
            if not self.is_local(address):
                kept.setdefault(str(address), one)
                continue
            if self._is_itself(address):
                kept.setdefault(canonical(address), one)
                continue
            resolved = self.resolve(address)
            astray += resolved.astray
            for target in resolved.addresses or (address,):
                name = canonical(target) if self.is_local(target) else str(target)
                if name not in kept:
                    kept[name] = one if target == address else _to(target, one)
            if len(kept) > MAX_RECIPIENTS:
                return None
        return tuple(kept.values()), tuple(astray)

    def leads_elsewhere(self, address: Address) -> bool:
        """Whether mail for a local address goes on to a host elsewhere, other than back to its sender."""
        if not self.is_local(address) or self._is_itself(address) or address.local[:3].lower() == "srs":
            return False
        return any(not self.is_local(one) for one in self.resolve(address).addresses)

    def _is_itself(self, address: Address) -> bool:
        """Whether nothing has to be looked up for it: the common case."""
        rules = self.domains.get(address.domain)
        if rules is None or not rules.is_plain or self.has_aliases():
            return False
        local = address.local.lower()
        return local not in _FOR_POSTMASTER and not local.startswith("srs")

    def resolve(self, address: Address) -> Resolved:
        """Where mail for a local address goes."""
        found: dict[str, Address] = {}
        astray: list[Address] = []
        followed: set[str] = set()
        waiting = [(address, "", 0)]
        is_circle = False
        while waiting:
            target, alias, depth = waiting.pop()
            if not self.is_local(target):
                found.setdefault(str(target), target)
            else:
                step = self._step(target, alias, followed)
                if isinstance(step, Address):
                    found.setdefault(canonical(step) if self.is_local(step) else str(step), step)
                elif isinstance(step, Reply):
                    if not depth:
                        return Resolved(refusal=step)
                    astray.append(target)
                elif step is None or depth >= MAX_DEPTH:
                    is_circle = True
                else:
                    name, targets = step
                    followed.add(name)
                    waiting += [(one, name, depth + 1) for one in reversed(targets)]
            if len(found) + len(waiting) > MAX_TARGETS:
                return Resolved(refusal=_TOO_MANY)
        if not found:
            return Resolved(refusal=_CIRCLE if is_circle else _ASTRAY, astray=tuple(astray))
        return Resolved(tuple(found.values()), None, tuple(astray))

    def _step(
        self, address: Address, alias: str, followed: set[str]
    ) -> Address | tuple[str, Sequence[Address]] | Reply | None:
        """One step on from a local address: a mailbox, what it stands for, or why it is nothing; None: been there."""
        address = self._placed(address)
        rules = self.domains.get(address.domain, _ANY)
        returned = self.returned(address) if address.local[:3].lower() == "srs" else None
        if isinstance(returned, Reply):
            return returned
        names = _names(address, rules.separator)
        if returned is not None:
            return names[0], (returned,)
        if self.has_aliases():
            for name in names:
                if name == alias:
                    break  # an alias that names itself: the mailbox is meant
                targets = self.aliases(name)
                if targets:
                    return None if name in followed else (name, targets)
        user = names[-1].partition("@")[0]
        if rules.mailboxes is None:
            is_mailbox = user != "abuse"
        else:
            is_mailbox = any(map(rules.mailboxes, names))
        if is_mailbox or user == "postmaster":
            return address if self.can_keep(address) else _NO_SUCH_MAILBOX
        if user in _FOR_POSTMASTER:
            return names[-1], (Address("postmaster", address.domain),)
        if rules.catch_all:
            everyone = f"@{address.domain}"
            return None if everyone in followed else (everyone, rules.catch_all)
        return _NO_SUCH_MAILBOX

    def _placed(self, address: Address) -> Address:
        """The address at the domain that has its mailboxes."""
        domain = address.domain
        if not domain or domain in self.literals:
            domain = self.main or domain
        rules = self.domains.get(domain)
        if rules is not None and rules.same_as:
            domain = rules.same_as
        return address if domain == address.domain else Address(address.local, domain)


_ANY = DomainRules()


def _names(address: Address, separator: str) -> list[str]:
    """The names to look for: the whole, then without the detail."""
    name = canonical(address)
    local = name.rpartition("@")[0]
    user = local.partition(separator)[0] if separator else local
    return [name] if not user or user == local else [name, f"{user}@{address.domain}"]


def _to(target: Address, recipient: Recipient) -> Recipient:
    """The same wishes for another address. The sender hears of it by the address he knows (RFC 3461 §5.2.7.2)."""
    known = recipient.address
    original = recipient.original or f"{'rfc822' if known.is_ascii else 'utf-8'};{known}"
    return replace(recipient, address=target, original=original)
