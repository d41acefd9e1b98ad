"""An SPF record as values (RFC 7208 §4.5, §4.6, §5, §6): its terms, read whole before any is judged."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from postroad.message.spf_macro import MacroString, SpfSyntaxError, parse_domain_spec, parse_unknown_value

MAX_RECORD_OCTETS = 16_384
"""A longer record is a mistake: senders are asked to stay below 512 (§3.4)."""
LOOKUP_TERMS = frozenset({"include", "a", "mx", "ptr", "exists", "redirect"})
"""Terms that make receivers ask DNS: ten of them are allowed (§4.6.4)."""

_MODIFIER = re.compile(r"([A-Za-z][A-Za-z0-9_.-]*)=(.*)", re.DOTALL)
_MECHANISM = re.compile(r"([+?~-]?)([A-Za-z][A-Za-z0-9_.-]*)(?:([:/])(.*))?", re.DOTALL)
_DUAL_PREFIX = re.compile(r"(?P<domain>.*?)(?:/(?P<v4>[0-9]{1,3}))?(?://(?P<v6>[0-9]{1,3}))?", re.DOTALL)
_TAKES_DOMAIN = frozenset({"include", "exists", "ptr"})

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True, kw_only=True)
class Mechanism:
    """One mechanism. `qualifier`: `+` pass, `-` fail, `~` softfail, `?` neutral. `text`: as it was written."""

    name: str
    qualifier: str = "+"
    text: str
    domain: MacroString | None = None
    """None: the domain under examination."""
    network: Network | None = None
    """Of `ip4` and `ip6`."""
    prefix_v4: int = 32
    prefix_v6: int = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class SpfRecord:
    """The terms that matter; modifiers nobody knows are gone."""

    mechanisms: tuple[Mechanism, ...] = ()
    redirect: MacroString | None = None
    explanation: MacroString | None = None

    @property
    def sends_nothing(self) -> bool:
        """Whether it says that the domain sends no mail at all: `v=spf1 -all`."""
        return len(self.mechanisms) == 1 and self.mechanisms[0].name == "all" and self.mechanisms[0].qualifier == "-"


def spf_texts(texts: Iterable[bytes]) -> list[bytes]:
    """Those TXT records that are SPF's (§4.5)."""
    return [text for text in texts if text[:6].lower() == b"v=spf1" and text[6:7] in (b"", b" ")]


@lru_cache(maxsize=512)
def parse_spf(text: bytes) -> SpfRecord:
    """The record that a TXT record is, with its version. Raises SpfSyntaxError."""
    if len(text) > MAX_RECORD_OCTETS:
        raise SpfSyntaxError(f"the record is longer than {MAX_RECORD_OCTETS} octets")
    if not text.isascii():
        raise SpfSyntaxError("the record has octets outside ASCII")
    mechanisms: list[Mechanism] = []
    modifiers: dict[str, MacroString] = {}
    for term in text[6:].decode("ascii").split(" "):
        if not term:
            continue
        found = _MODIFIER.fullmatch(term)
        if found is None:
            mechanisms.append(_mechanism(term))
            continue
        name = found[1].lower()
        if name not in ("redirect", "exp"):
            parse_unknown_value(found[2])
            continue
        if name in modifiers:
            raise SpfSyntaxError(f"{name}= stands twice in the record")
        modifiers[name] = parse_domain_spec(found[2])
    return SpfRecord(mechanisms=tuple(mechanisms), redirect=modifiers.get("redirect"), explanation=modifiers.get("exp"))


def _mechanism(term: str) -> Mechanism:
    found = _MECHANISM.fullmatch(term)
    if found is None:
        raise SpfSyntaxError(f"{term[:80]!a} is no mechanism")
    qualifier, name, mark, argument = found[1] or "+", found[2].lower(), found[3], found[4]
    if name == "all" and mark is None:
        return Mechanism(name=name, qualifier=qualifier, text=term)
    if name in ("ip4", "ip6") and mark == ":":
        return Mechanism(name=name, qualifier=qualifier, text=term, network=_network(name, argument))
    if name in ("a", "mx"):
        return _with_prefixes(name, qualifier, term, mark, argument or "")
    if name in _TAKES_DOMAIN and mark == ":":
        return Mechanism(name=name, qualifier=qualifier, text=term, domain=parse_domain_spec(argument))
    if name == "ptr" and mark is None:
        return Mechanism(name=name, qualifier=qualifier, text=term)
    raise SpfSyntaxError(f"{term[:80]!a} is no mechanism")


def _with_prefixes(name: str, qualifier: str, term: str, mark: str | None, argument: str) -> Mechanism:
    found = _DUAL_PREFIX.fullmatch(f"/{argument}" if mark == "/" else argument)
    if found is None or (mark == "/" and found["domain"]):
        raise SpfSyntaxError(f"{term[:80]!a} has a prefix length that is none")
    return Mechanism(
        name=name,
        qualifier=qualifier,
        text=term,
        domain=parse_domain_spec(found["domain"]) if mark == ":" else None,
        prefix_v4=_prefix(found["v4"], 32),
        prefix_v6=_prefix(found["v6"], 128),
    )


def _prefix(digits: str | None, longest: int) -> int:
    if digits is None:
        return longest
    if int(digits) > longest or (digits[0] == "0" and len(digits) > 1):
        raise SpfSyntaxError(f"a prefix length is 0 to {longest}")
    return int(digits)


def _network(name: str, argument: str) -> Network:
    address, slash, digits = argument.partition("/")
    if slash and re.fullmatch(r"[0-9]{1,3}", digits) is None:
        raise SpfSyntaxError(f"{argument[:80]!a} is no network")
    try:
        if name == "ip4":
            prefix = _prefix(digits or None, 32)
            return ipaddress.IPv4Network((ipaddress.IPv4Address(address), prefix), strict=False)
        if "%" in address:
            raise ValueError
        prefix = _prefix(digits or None, 128)
        return ipaddress.IPv6Network((ipaddress.IPv6Address(address), prefix), strict=False)
    except SpfSyntaxError:
        raise
    except ValueError:
        raise SpfSyntaxError(f"{argument[:80]!a} is no address") from None
