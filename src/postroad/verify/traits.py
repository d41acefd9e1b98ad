"""What an address is, by lists alone: disposable, a function, free, mistyped, and its usual form. Pure."""

from __future__ import annotations

import re

from postroad.smtp.address import Address, AddressError
from postroad.verify.data_lists import DataLists, role_key
from postroad.verify.verdict import Traits

_WORDS = re.compile(r"[._-]+")
_NUMBERED = re.compile(r"[._-]?[0-9]{1,4}$")
_QUALIFIERS = frozenset(
    {
        *("ag", "at", "au", "be", "br", "ca", "ch", "co", "cn", "com", "cz", "de"),
        *("dept", "department", "desk", "dk", "en", "es", "eu", "europe", "fi", "fr", "gb", "global"),
        *("gmbh", "group", "gr", "hu", "ie", "in", "india", "int", "intl", "it", "jp", "kr"),
        *("mx", "nl", "no", "online", "org", "pl", "pt", "ro", "ru", "se", "sg", "sk"),
        *("tw", "team", "tr", "ua", "uk", "us", "usa", "web", "world", "za"),
    }
)
"""Words beside the name of a function that leave it one: `sales-de`, `support.team`."""


def describe(address: Address, lists: DataLists) -> Traits:
    """What lists tell of an address. Never raises."""
    domain = address.domain
    disposable = lists.is_disposable(domain)
    meant = suggest(domain, lists)
    return Traits(
        disposable=disposable,
        role=is_role(address.local, lists),
        free=not disposable and lists.is_free(domain),
        suggestion=str(Address(address.local, meant)) if meant else "",
        normalised=normalised(address, lists),
    )


def suggest(domain: str, lists: DataLists | None = None) -> str:
    """The domain that was probably meant by a mistyped one (`gmial.com`), or nothing."""
    if not domain or domain.startswith("["):
        return ""
    return (lists or DataLists.load()).speller.suggest(domain)


def normalised(address: Address, lists: DataLists) -> str:
    """The form under which all spellings of one mailbox are one, so far as its provider's rules are known."""
    provider = lists.providers.by_domain.get(address.domain)
    return str(address if provider is None else Address(*provider.mailbox(address.local, address.domain)))


def mailbox(name: str, lists: DataLists | None = None) -> str:
    """What stands for a mailbox, whatever the spelling of its address and its capital letters: `normalised` in small
    ones. `name`: an address in canonical form; a domain, or what is no address, stands for itself."""
    known = lists or DataLists.load()
    small = name.lower()
    if small.rpartition("@")[2] not in known.providers.by_domain:
        return small
    try:
        return normalised(Address.parse(small, smtputf8=True), known).lower()
    except AddressError:
        return small


def is_role(local: str, lists: DataLists) -> bool:
    """Whether a local part names a function: `info`, `Sales-DE`, `support2`, `no-reply+x`."""
    name = local.partition("+")[0].lower()
    if role_key(name) in lists.roles:
        return True
    bare = _NUMBERED.sub("", name)
    words = [word for word in _WORDS.split(bare) if word]
    if "".join(words) in lists.roles:
        return bool(words)
    if len(words) < 2:
        return False
    return (words[-1] in _QUALIFIERS and "".join(words[:-1]) in lists.roles) or (
        words[0] in _QUALIFIERS and "".join(words[1:]) in lists.roles
    )
