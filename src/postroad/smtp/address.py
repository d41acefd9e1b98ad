"""Mailboxes and paths (RFC 5321 §4.1.2, §4.1.3; RFC 6531 §3.3; IDNA by RFC 5891).

Parsing is strict where a mistake would be ambiguous and lenient where the field is (underscores in host names).
The usual `user@example.org` takes one regular expression; everything else a hand-written scan.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

import idna

MAX_PATH_OCTETS = 256  # RFC 5321 §4.5.3.1.3
MAX_LOCAL_OCTETS = 64  # §4.5.3.1.1
MAX_DOMAIN_OCTETS = 255  # §4.5.3.1.2


class AddressError(ValueError):
    """Text that is no mailbox; the message says in one sentence what is wrong with it."""


class NullPath:
    """The type of the null reverse-path `<>` (RFC 5321 §4.5.5): its own value, never an empty string."""

    __slots__ = ()

    def __str__(self) -> str:
        return ""

    def __repr__(self) -> str:
        return "NULL"

    def __bool__(self) -> bool:
        return False


NULL = NullPath()

_ATEXT = r"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~]"
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_SIMPLE = re.compile(rf"({_ATEXT}{{1,64}}(?:\.{_ATEXT}{{1,64}})*)@({_LABEL}(?:\.{_LABEL})*)")
_DOT_STRING = re.compile(rf"{_ATEXT}+(?:\.{_ATEXT}+)*")
_UTF8_DOT_STRING = re.compile(
    r"[^\s\x00-\x20\x7f-\x9f\"(),.:;<>@\[\\\]]+(?:\.[^\s\x00-\x20\x7f-\x9f\"(),.:;<>@\[\\\]]+)*"
)
_ASCII_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_TAGGED_LITERAL = re.compile(r"[A-Za-z0-9-]*[A-Za-z0-9]:[!-Z^-~]+")


@dataclass(frozen=True, slots=True)
class Address:
    """A mailbox. `local` is the meaning of the local part (unquoted, case kept, perhaps non-ASCII).

    `domain` is canonical: lower-case A-labels, or an address literal `[192.0.2.1]`, `[IPv6:2001:db8::1]`;
    empty only for `<postmaster>` (RFC 5321 §4.1.1.3).
    """

    local: str
    domain: str

    @classmethod
    def parse(cls, text: str, *, smtputf8: bool = False) -> Address:
        """The mailbox that `text` is. Raises AddressError."""
        found = _SIMPLE.fullmatch(text) if len(text) <= MAX_PATH_OCTETS - 2 else None
        if found is not None:
            local, domain = found.groups()
            if len(local) <= MAX_LOCAL_OCTETS and len(domain) <= MAX_DOMAIN_OCTETS:
                domain = domain.lower()
                if "xn--" not in domain:
                    return cls(local, domain)
        address, rest = _scan_mailbox(text, smtputf8=smtputf8)
        if rest:
            raise AddressError(f"there is something after the address: {rest[:20]!r}")
        return address

    def __str__(self) -> str:
        return f"{quote_local(self.local)}@{self.domain}" if self.domain else quote_local(self.local)

    @property
    def is_ascii(self) -> bool:
        """Whether it can travel without SMTPUTF8; the domain always can."""
        return self.local.isascii()

    @property
    def is_literal(self) -> bool:
        """Whether the domain is an address literal."""
        return self.domain.startswith("[")


def quote_local(local: str) -> str:
    """The local part as it is written: quoted where it must be."""
    if _DOT_STRING.fullmatch(local) or (not local.isascii() and _UTF8_DOT_STRING.fullmatch(local)):
        return local
    escaped = local.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def path_text(path: Address | NullPath) -> str:
    """The path as a command carries it, in angle brackets. Raises AddressError for one no command may carry.

    An Address made by hand, not parsed, may hold anything: this is where CR LF would slip in.
    """
    if isinstance(path, NullPath):
        return "<>"
    if not path.domain:
        if path.local.lower() != "postmaster":
            raise AddressError("only postmaster may stand without a domain")
        return "<postmaster>"
    text = str(path)
    if _SIMPLE.fullmatch(text) is None and Address.parse(text, smtputf8=True) != path:
        raise AddressError("the address is not in canonical form")
    return f"<{text}>"


def parse_path(text: str, *, smtputf8: bool = False) -> tuple[Address | NullPath, str]:
    """The path `<…>` at the start of `text`, and what follows it. Source routes are dropped (RFC 5321 App. C).

    A path without angle brackets is taken too, up to the first space: old clients send it. Raises AddressError.
    """
    if not text.startswith("<"):
        bare, _, rest = text.partition(" ")
        if not bare or bare.startswith("@"):
            raise AddressError("a path must stand in angle brackets: <user@example.org>")
        return Address.parse(bare, smtputf8=smtputf8), rest and f" {rest}"
    if text.startswith("<>"):
        return NULL, text[2:]
    inner = text[1:]
    if inner.startswith("@"):
        if text.find(">") >= MAX_PATH_OCTETS:
            raise AddressError(f"the path is longer than {MAX_PATH_OCTETS} octets")
        inner = _drop_source_route(inner)
    if inner[:11].lower() == "postmaster>":
        return Address("postmaster", ""), inner[11:]
    close = inner.find(">")
    if 0 < close <= MAX_PATH_OCTETS - 2:
        found = _SIMPLE.fullmatch(inner, 0, close)
        if found is not None:
            return Address.parse(inner[:close], smtputf8=smtputf8), inner[close + 1 :]
    address, rest = _scan_mailbox(inner, smtputf8=smtputf8)
    if not rest.startswith(">"):
        raise AddressError("the path is not closed by >")
    if len(text) - len(rest) + 1 > MAX_PATH_OCTETS:
        raise AddressError(f"the path is longer than {MAX_PATH_OCTETS} octets")
    return address, rest[1:]


def _drop_source_route(inner: str) -> str:
    route, colon, mailbox = inner.partition(":")
    hops = route.split(",")
    if not colon or not all(hop.startswith("@") and _ASCII_DOMAIN.fullmatch(hop[1:]) for hop in hops):
        raise AddressError("a source route must read @host,@host:user@example.org")
    return mailbox


def _scan_mailbox(text: str, *, smtputf8: bool) -> tuple[Address, str]:
    local, rest = _scan_quoted(text, smtputf8=smtputf8) if text.startswith('"') else _scan_dot_string(text, smtputf8)
    if not rest.startswith("@"):
        if not local and not rest:
            raise AddressError("the address is empty")
        raise AddressError("there is no @ after the local part" if local else "the local part is empty or malformed")
    if not local and not text.startswith('"'):
        raise AddressError("there is nothing before the @")
    if len(local.encode("utf-8", "surrogatepass")) > MAX_LOCAL_OCTETS:
        raise AddressError(f"the local part is longer than {MAX_LOCAL_OCTETS} octets")
    domain, rest = _scan_domain(rest[1:], smtputf8=smtputf8)
    address = Address(local, domain)
    if len(str(address).encode("utf-8", "surrogatepass")) > MAX_PATH_OCTETS - 2:
        raise AddressError(f"the address is longer than {MAX_PATH_OCTETS - 2} octets")
    return address, rest


def _scan_dot_string(text: str, smtputf8: bool) -> tuple[str, str]:
    found = (_UTF8_DOT_STRING if smtputf8 else _DOT_STRING).match(text)
    if found is None:
        return "", text
    _check_characters(found[0])
    return found[0], text[found.end() :]


def _scan_quoted(text: str, *, smtputf8: bool) -> tuple[str, str]:
    meaning: list[str] = []
    position = 1
    while position < len(text):
        character = text[position]
        if character == '"':
            return "".join(meaning), text[position + 1 :]
        is_escaped = character == "\\"
        if is_escaped:  # quoted-pairSMTP is ASCII, with SMTPUTF8 too (RFC 6531 §3.3 leaves it)
            position += 1
            character = text[position : position + 1]
        takes_utf8 = smtputf8 and not is_escaped
        if not character or not (
            " " <= character <= "~" or (takes_utf8 and character > "\x9f" and character not in "\u2028\u2029")
        ):
            break
        _check_characters(character)
        meaning.append(character)
        position += 1
    raise AddressError("the quoted local part is not closed, or holds a character that may not stand there")


def _check_characters(text: str) -> None:
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise AddressError("the address is not valid UTF-8")


def _scan_domain(text: str, *, smtputf8: bool) -> tuple[str, str]:
    if text.startswith("["):
        close = text.find("]")
        if close < 0:
            raise AddressError("the address literal is not closed by ]")
        return parse_literal(text[: close + 1]), text[close + 1 :]
    end = 0
    while end < len(text) and text[end] not in '<>@[]()\\,;:" \t' and text[end] > " ":
        end += 1
    return to_a_labels(text[:end], smtputf8=smtputf8), text[end:]


def parse_literal(text: str) -> str:
    """An address literal in canonical form: `[192.0.2.1]`, `[IPv6:2001:db8::1]`. Raises AddressError."""
    inner = text[1:-1]
    if not (text.startswith("[") and text.endswith("]")) or "%" in inner:  # a zone id may hold anything, CR LF too
        raise AddressError(f"{text[:60]!r} is no address literal")
    try:
        if inner[:5].lower() == "ipv6:":
            return f"[IPv6:{ipaddress.IPv6Address(inner[5:])}]"
        if ":" not in inner:
            return f"[{ipaddress.IPv4Address(inner)}]"
    except ValueError:
        raise AddressError(f"{text[:60]!a} is no address literal") from None
    if not _TAGGED_LITERAL.fullmatch(inner):
        raise AddressError(f"{text[:60]!r} is no address literal")
    return f"[{inner}]"


def to_a_labels(domain: str, *, smtputf8: bool = True) -> str:
    """A domain name in canonical form: lower case, U-labels as A-labels (RFC 5890 §2.3.2.1). Raises AddressError."""
    if not domain:
        raise AddressError("there is no domain after the @")
    if domain.isascii():
        canonical = domain.lower()
        if not _ASCII_DOMAIN.fullmatch(canonical):
            raise AddressError(f"{domain[:80]!r} is no domain name")
        if "xn--" in canonical:
            _check_a_labels(canonical)
    else:
        if not smtputf8:
            raise AddressError("the domain has characters outside ASCII")
        try:
            canonical = idna.encode(domain, uts46=True, transitional=False).decode("ascii")
        except (idna.IDNAError, UnicodeError):
            raise AddressError(f"{ascii(domain)[:80]} is no internationalised domain name") from None
        if not _ASCII_DOMAIN.fullmatch(canonical):
            raise AddressError(f"{ascii(domain)[:80]} is no domain name")
    if len(canonical) > MAX_DOMAIN_OCTETS:
        raise AddressError(f"the domain is longer than {MAX_DOMAIN_OCTETS} octets")
    return canonical


def _check_a_labels(domain: str) -> None:
    for label in domain.split("."):
        if label.startswith("xn--"):
            try:
                idna.ulabel(label)
            except (idna.IDNAError, UnicodeError):
                raise AddressError(f"{label!r} is no A-label") from None
