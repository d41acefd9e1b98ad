"""The parameters that extensions add to MAIL and RCPT, and what a server's EHLO reply says it offers.

    RFC 1870 SIZE   RFC 6152 8BITMIME   RFC 3030 BINARYMIME   RFC 6531 SMTPUTF8
    RFC 3461 DSN (RET, ENVID, NOTIFY, ORCPT; RFC 6533 for its UTF-8 form)   RFC 4954 AUTH   RFC 9422 LIMITS
    RFC 8689 REQUIRETLS   and those of `timing`: RFC 4865 FUTURERELEASE, RFC 2852 DELIVERBY, RFC 6710 MT-PRIORITY

A parameter is known only where its extension was offered. Adding an extension is adding a row to `_MAIL` or `_RCPT`
and a field to the value. Reading what we are sent refuses with a reply; reading what a server offers never fails:
what is not understood is not used. Used by `server`, `client`, and by whoever builds a Mail or Rcpt.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from postroad.smtp.command import CommandError, Parameters
from postroad.smtp.reply import Reply, reply
from postroad.smtp.timing import By, print_date, read_by, read_date, read_interval, read_priority

MAX_ENVID_CHARACTERS = 100  # RFC 3461 §4.4, as encoded
MAX_ORCPT_CHARACTERS = 500  # RFC 3461 §4.2, as encoded

_BODIES = frozenset({"7BIT", "8BITMIME", "BINARYMIME"})
_RETURNS = frozenset({"FULL", "HDRS"})
_NOTIFIES = frozenset({"SUCCESS", "FAILURE", "DELAY"})
_NOTIFY_ORDER = ("NEVER", "SUCCESS", "FAILURE", "DELAY")

_DIGITS = re.compile(r"[0-9]{1,20}")
_ATOM = re.compile(r"[A-Za-z0-9\-]+")
_KEYWORD = re.compile(r"[A-Z0-9][A-Z0-9\-]*")
_LIMIT = re.compile(r"([A-Za-z0-9\-]+)=([0-9]{1,10})")
_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-Fa-f]{2})*")
_HEXCHAR = re.compile(r"\+([0-9A-Fa-f]{2})")
_UTF8_XTEXT = re.compile("(?:[!-*,-<>-\\[\\]-~\xa0-\u2027\u202a-\U0010ffff]|\\\\x\\{[0-9A-Fa-f]{2,6}\\})*")
_EMBEDDED = re.compile(r"\\x\{([0-9A-Fa-f]+)\}")
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class MailParameters:
    """What MAIL asks for. Everything None or False: nothing was asked."""

    size: int | None = None
    """Octets declared (RFC 1870)."""
    body: str | None = None
    """7BIT, 8BITMIME or BINARYMIME."""
    smtputf8: bool = False
    ret: str | None = None
    """FULL or HDRS."""
    envid: str | None = None
    """Decoded from xtext."""
    auth: str | None = None
    """Who submitted it, decoded from xtext; `<>` where the peer won't say (RFC 4954 §5)."""
    hold_for: int | None = None
    """Seconds to hold the message (RFC 4865); never together with `hold_until`."""
    hold_until: int | None = None
    """The moment to release it, seconds since 1970 (RFC 4865)."""
    by: By | None = None
    """By when it is to be delivered (RFC 2852)."""
    mt_priority: int | None = None
    """-9 to 9 (RFC 6710)."""
    require_tls: bool = False
    """Each hop is to be secured and verified (RFC 8689)."""


@dataclass(frozen=True, slots=True)
class RcptParameters:
    """What RCPT asks for."""

    notify: frozenset[str] | None = None
    """NEVER alone, or some of SUCCESS, FAILURE, DELAY."""
    orcpt: str | None = None
    """Address type, semicolon, address decoded: `rfc822;someone@example.org`."""


NO_MAIL_PARAMETERS = MailParameters()
NO_RCPT_PARAMETERS = RcptParameters()


def mail_parameters(parameters: Parameters, offered: frozenset[str]) -> MailParameters:
    """What the parameters of MAIL mean, given the extensions `offered` (EHLO keywords, upper case).

    Raises CommandError: 555 5.5.4 for one that is not known here, 501 5.5.4 for a bad value.
    """
    return MailParameters(**_read(parameters, offered, _MAIL)) if parameters else NO_MAIL_PARAMETERS


def rcpt_parameters(parameters: Parameters, offered: frozenset[str]) -> RcptParameters:
    """As `mail_parameters`, for RCPT."""
    return RcptParameters(**_read(parameters, offered, _RCPT)) if parameters else NO_RCPT_PARAMETERS


def to_parameters(wanted: MailParameters | RcptParameters) -> Parameters:
    """The parameters to write for a value, so that reading them gives the value back.

    Says everything the value holds: leaving out what a server does not offer is the caller's work.
    """
    written: dict[str, str | None] = {}
    if isinstance(wanted, RcptParameters):
        if wanted.notify is not None:
            written["NOTIFY"] = ",".join(name for name in _NOTIFY_ORDER if name in wanted.notify)
        if wanted.orcpt is not None:
            written["ORCPT"] = _print_orcpt(wanted.orcpt)
        return written
    if wanted.size is not None:
        written["SIZE"] = str(wanted.size)
    if wanted.body is not None:
        written["BODY"] = wanted.body
    if wanted.smtputf8:
        written["SMTPUTF8"] = None
    if wanted.ret is not None:
        written["RET"] = wanted.ret
    if wanted.envid is not None:
        written["ENVID"] = xtext_encode(wanted.envid)
    if wanted.auth is not None:
        written["AUTH"] = wanted.auth if wanted.auth == "<>" else xtext_encode(wanted.auth)
    written.update(_timing_parameters(wanted))
    if wanted.require_tls:
        written["REQUIRETLS"] = None
    return written


def _timing_parameters(wanted: MailParameters) -> Parameters:
    written: dict[str, str | None] = {}
    if wanted.hold_for is not None:
        written["HOLDFOR"] = str(wanted.hold_for)
    if wanted.hold_until is not None:
        written["HOLDUNTIL"] = print_date(wanted.hold_until)
    if wanted.by is not None:
        written["BY"] = str(wanted.by)
    if wanted.mt_priority is not None:
        written["MT-PRIORITY"] = str(wanted.mt_priority)
    return written


def xtext_encode(text: str) -> str:
    """`text` as xtext (RFC 3461 §4): octets that it may not hold become `+` and two hexadecimal digits."""
    return "".join(
        character if "!" <= character <= "~" and character not in "+=" else _hexchars(character) for character in text
    )


def xtext_decode(text: str) -> str:
    """The text behind xtext. Raises ValueError where it is none, or where its octets are not UTF-8."""
    if _XTEXT.fullmatch(text) is None:
        raise ValueError("this is not xtext (RFC 3461 section 4)")
    if "+" not in text:
        return text
    return _HEXCHAR.sub(lambda found: chr(int(found[1], 16)), text).encode("latin-1").decode("utf-8")


def _hexchars(character: str) -> str:
    return "".join(f"+{octet:02X}" for octet in character.encode("utf-8", "surrogateescape"))


# Values ---------------------------------------------------------------------------------------------------------

_Reader = Callable[["str | None"], Any]
# Any, since each row of a table reads the type of its own field.


def _read(
    parameters: Parameters, offered: frozenset[str], table: Mapping[str, tuple[frozenset[str], str, _Reader]]
) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for keyword, written in parameters.items():
        row = table.get(keyword)
        if row is None or row[0].isdisjoint(offered):
            raise CommandError(reply(555, f"Parameter {keyword[:40]} is not recognised here", "5.5.4"))
        try:
            values[row[1]] = row[2](written)
        except ValueError:
            raise CommandError(reply(501, f"The value of parameter {keyword} is malformed", "5.5.4")) from None
    body = values.get("body")
    if body is not None and ("BINARYMIME" if body == "BINARYMIME" else "8BITMIME") not in offered:
        raise CommandError(reply(501, "This BODY is not offered here", "5.5.4"))
    if "hold_for" in values and "hold_until" in values:
        raise CommandError(reply(501, "HOLDFOR and HOLDUNTIL exclude each other", "5.5.4"))
    return values


def _size(value: str | None) -> int:
    if value is None or _DIGITS.fullmatch(value) is None:
        raise ValueError
    return int(value)


def _one_of(names: frozenset[str]) -> Callable[[str | None], str]:
    def read(value: str | None) -> str:
        name = _upper(value)
        if name not in names:
            raise ValueError
        return name

    return read


def _upper(value: str | None) -> str:
    if value is None or not value.isascii():  # a dotless i in upper case is an I, and no keyword
        raise ValueError
    return value.upper()


def _flag(value: str | None) -> bool:
    if value is not None:
        raise ValueError
    return True


def _printable_xtext(value: str | None) -> str:
    if not value:
        raise ValueError
    text = xtext_decode(value)
    if _UNPRINTABLE.search(text):
        raise ValueError
    return text


def _envid(value: str | None) -> str:
    text = _printable_xtext(value)
    if value is None or len(value) > MAX_ENVID_CHARACTERS or not text.isascii():
        raise ValueError
    return text


def _auth(value: str | None) -> str:
    return "<>" if value == "<>" else _printable_xtext(value)


def _notify(value: str | None) -> frozenset[str]:
    names = _upper(value).split(",")
    if names == ["NEVER"]:
        return frozenset(names)
    if len(set(names)) != len(names) or not _NOTIFIES.issuperset(names):
        raise ValueError
    return frozenset(names)


def _orcpt(value: str | None) -> str:
    if value is None or len(value) > MAX_ORCPT_CHARACTERS:
        raise ValueError
    kind, semicolon, written = value.partition(";")
    if not semicolon or not written or _ATOM.fullmatch(kind) is None:
        raise ValueError
    text = _decode_utf8_xtext(written) if kind.lower() == "utf-8" else xtext_decode(written)
    if _UNPRINTABLE.search(text):
        raise ValueError
    return f"{kind};{text}"


def _print_orcpt(orcpt: str) -> str:
    kind, _, text = orcpt.partition(";")
    return f"{kind};{_encode_utf8_xtext(text) if kind.lower() == 'utf-8' else xtext_encode(text)}"


def _decode_utf8_xtext(text: str) -> str:
    """utf-8-addr-xtext and utf-8-addr-unitext of RFC 6533 §3."""
    if _UTF8_XTEXT.fullmatch(text) is None:
        raise ValueError
    return _EMBEDDED.sub(lambda found: chr(int(found[1], 16)), text)


def _encode_utf8_xtext(text: str) -> str:
    return "".join(
        character if "!" <= character <= "~" and character not in "+=\\" else f"\\x{{{ord(character):02X}}}"
        for character in text
    )


_BODY_KEYWORDS = frozenset({"8BITMIME", "BINARYMIME"})
_DSN = frozenset({"DSN"})
_FUTURE_RELEASE = frozenset({"FUTURERELEASE"})

_MAIL: Mapping[str, tuple[frozenset[str], str, _Reader]] = {
    "SIZE": (frozenset({"SIZE"}), "size", _size),
    "BODY": (_BODY_KEYWORDS, "body", _one_of(_BODIES)),
    "SMTPUTF8": (frozenset({"SMTPUTF8"}), "smtputf8", _flag),
    "RET": (_DSN, "ret", _one_of(_RETURNS)),
    "ENVID": (_DSN, "envid", _envid),
    "AUTH": (frozenset({"AUTH"}), "auth", _auth),
    "HOLDFOR": (_FUTURE_RELEASE, "hold_for", read_interval),
    "HOLDUNTIL": (_FUTURE_RELEASE, "hold_until", read_date),
    "BY": (frozenset({"DELIVERBY"}), "by", read_by),
    "MT-PRIORITY": (frozenset({"MT-PRIORITY"}), "mt_priority", read_priority),
    "REQUIRETLS": (frozenset({"REQUIRETLS"}), "require_tls", _flag),
}
"""Keyword → EHLO keywords any of which makes it known, field, reader of the value (ValueError: malformed)."""

_RCPT: Mapping[str, tuple[frozenset[str], str, _Reader]] = {
    "NOTIFY": (_DSN, "notify", _notify),
    "ORCPT": (_DSN, "orcpt", _orcpt),
}


# What a server offers -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Capabilities:
    """An EHLO reply as facts. Keywords are upper case, their arguments as the server wrote them."""

    name: str = ""
    """The server's own name for itself: the first word of its first line."""
    keywords: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    size_limit: int | None = None
    """Octets; None where the server names no limit (none given, or SIZE 0: RFC 1870 §4)."""
    auth_mechanisms: tuple[str, ...] = ()
    """Upper case, in the server's order."""
    shortest_by_s: int = 0
    """The shortest time after which the server takes it upon itself to return a message (RFC 2852 §4); 0: any."""
    limits: Mapping[str, int] = field(default_factory=dict)
    """RCPTMAX, MAILMAX, RCPTDOMAINMAX (RFC 9422), and whatever else it names with a number above nought."""

    def has(self, keyword: str) -> bool:
        """Whether the extension of that keyword (upper case) is offered."""
        return keyword in self.keywords

    @classmethod
    def parse(cls, said: Reply) -> Capabilities:
        """What `said`, the reply to an EHLO, offers. Never raises: a refusal offers nothing, nor does garbage.

        Also understood: lower case, keywords told twice, and `AUTH=LOGIN PLAIN` as servers wrote it before RFC 2554.
        """
        lines = said.lines if said.is_positive else said.lines[:1]
        first = lines[0].split(maxsplit=1) if lines else []
        keywords: dict[str, tuple[str, ...]] = {}
        for line in lines[1:]:
            words = line.split()
            if not words:
                continue
            keyword, equals, value = words[0].upper().partition("=")
            if _KEYWORD.fullmatch(keyword) is None or (equals and keyword != "AUTH"):
                continue
            arguments = ([value] if value else []) + words[1:]
            known = keywords.get(keyword, ())
            keywords[keyword] = known + tuple(argument for argument in arguments if argument not in known)
        return cls(
            name=first[0] if first else "",
            keywords=keywords,
            size_limit=_number(keywords.get("SIZE", ())),
            auth_mechanisms=tuple(dict.fromkeys(name.upper() for name in keywords.get("AUTH", ()))),
            shortest_by_s=_number(keywords.get("DELIVERBY", ())) or 0,
            limits=_limits(keywords.get("LIMITS", ())),
        )


def _number(arguments: tuple[str, ...]) -> int | None:
    """The number above nought that a keyword's first argument is."""
    if not arguments or _DIGITS.fullmatch(arguments[0]) is None:
        return None
    return int(arguments[0]) or None


def _limits(arguments: tuple[str, ...]) -> dict[str, int]:
    limits: dict[str, int] = {}
    for argument in arguments:
        found = _LIMIT.fullmatch(argument)
        if found is not None and int(found[2]) > 0:
            limits[found[1].upper()] = int(found[2])
    return limits
