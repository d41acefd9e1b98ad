"""The commands of SMTP as values, read from lines and written to them (RFC 5321 §4.1; RFC 3030, 3207, 4954).

`parse_command` judges the grammar of one line and nothing else: neither the order of commands, nor what the
parameters of MAIL and RCPT mean (`extension`), nor how long a line may be (`framing`). Whatever the bytes are, it
gives a Command or raises CommandError with the reply to say. `to_line` is the one place where commands become
bytes, and so the one that refuses CR, LF and NUL in them. Used by `server` and `client`.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from postroad.smtp.address import MAX_DOMAIN_OCTETS, Address, AddressError, NullPath, parse_path, path_text
from postroad.smtp.errors import LocalProtocolError
from postroad.smtp.reply import Reply, reply

Parameters = Mapping[str, "str | None"]
"""Keyword (upper case) → value, or None where the parameter has none; as written, not yet judged."""


@dataclass(frozen=True, slots=True)
class Ehlo:
    name: str
    is_lmtp: bool = False
    """Said as LHLO: what follows is LMTP (RFC 2033 §4.1). A client's alone: no server here takes it."""


@dataclass(frozen=True, slots=True)
class Helo:
    name: str


@dataclass(frozen=True, slots=True)
class Mail:
    reverse_path: Address | NullPath
    parameters: Parameters


@dataclass(frozen=True, slots=True)
class Rcpt:
    forward_path: Address
    parameters: Parameters


@dataclass(frozen=True, slots=True)
class Data:
    pass


@dataclass(frozen=True, slots=True)
class Bdat:
    size: int
    last: bool


@dataclass(frozen=True, slots=True)
class Rset:
    pass


@dataclass(frozen=True, slots=True)
class Noop:
    argument: str = ""


@dataclass(frozen=True, slots=True)
class Quit:
    pass


@dataclass(frozen=True, slots=True)
class Vrfy:
    argument: str


@dataclass(frozen=True, slots=True)
class Expn:
    argument: str


@dataclass(frozen=True, slots=True)
class Help:
    argument: str = ""


@dataclass(frozen=True, slots=True)
class StartTls:
    pass


@dataclass(frozen=True, slots=True)
class Auth:
    mechanism: str
    initial: bytes | None = None
    """The initial response, decoded; None when absent, b"" when sent as `=` (RFC 4954 §4)."""


Command = Ehlo | Helo | Mail | Rcpt | Data | Bdat | Rset | Noop | Quit | Vrfy | Expn | Help | StartTls | Auth


class CommandError(Exception):
    """The other side's command is refused for its form; `reply` says so."""

    def __init__(self, refusal: Reply) -> None:
        super().__init__(str(refusal))
        self.reply = refusal


_UNKNOWN = reply(500, "Command not recognised", "5.5.2")
_EIGHT_BIT = reply(501, "Only ASCII is understood in this command", "5.5.2")
_NOT_UTF8 = reply(501, "The command is not valid UTF-8", "5.5.2")
_NEEDS_SMTPUTF8 = reply(553, "An address that is not ASCII needs SMTPUTF8", "5.6.7")
_CONTROL_CHARACTER = reply(501, "The command holds a control character", "5.5.2")
_NO_ARGUMENT_ALLOWED = reply(501, "The command takes no argument", "5.5.4")
_ARGUMENT_WANTED = reply(501, "The command needs an argument", "5.5.4")
_BAD_HELLO = reply(501, "The name must be a domain name or an address literal", "5.5.4")
_FROM_WANTED = reply(501, "Syntax: MAIL FROM:<address>", "5.5.4")
_TO_WANTED = reply(501, "Syntax: RCPT TO:<address>", "5.5.4")
_NULL_RECIPIENT = reply(501, "The null path is no recipient", "5.1.3")
_GARBAGE = reply(501, "A space must follow the path before any parameter", "5.5.4")
_BAD_PARAMETER = reply(501, "A parameter is malformed", "5.5.4")
_DUPLICATE = reply(501, "A parameter is given twice", "5.5.4")
_BAD_BDAT = reply(501, "Syntax: BDAT size [LAST]", "5.5.4")
_BAD_AUTH = reply(501, "Syntax: AUTH mechanism [initial-response]", "5.5.4")
_BAD_BASE64 = reply(501, "The initial response is not base64", "5.5.2")

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# What clients do send: names with underscores, single labels, trailing dots, untagged IPv6 literals (RFC 5321 §4.1.4).
_HELLO_NAME = re.compile(r"[A-Za-z0-9._:\-]*[A-Za-z0-9][A-Za-z0-9._:\-]*|\[[A-Za-z0-9._:%\-]+\]")
_TOKEN = re.compile(r"[!-~]+")
_KEYWORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9\-]*")
_VALUE = re.compile("[!-<>-~\xa0-\u2027\u202a-\U0010ffff]+")
_CHUNK = re.compile(r"([0-9]{1,20})(?: +(LAST))?", re.IGNORECASE | re.ASCII)
_MECHANISM = re.compile(r"[A-Za-z0-9_\-]{1,20}")  # RFC 4422 §3.1


def parse_command(line: bytes, *, smtputf8: bool) -> Command:
    """The command that a line (without its CRLF) is. Raises CommandError, and nothing else, for any other bytes.

    With `smtputf8`, addresses and their parameters may hold UTF-8 (RFC 6531 §3.3); whether this very transaction
    may is for the session to say.
    """
    try:
        text = line.decode("ascii")
    except UnicodeDecodeError:
        text = _decode(line, smtputf8)
    verb, _, rest = text.partition(" ")
    parser = _PARSERS.get(verb) or _PARSERS.get(verb.upper())
    if parser is None:
        parser = _PARSERS.get(text.rstrip(" \t").upper())
        if parser is None:
            raise CommandError(_UNKNOWN)
        rest = ""
    if not text.isprintable():
        rest = rest.rstrip(" \t")
        if _CONTROL.search(rest):
            raise CommandError(_CONTROL_CHARACTER)
    return parser(rest.strip(" "), smtputf8)


def _decode(line: bytes, smtputf8: bool) -> str:
    verb = line.partition(b" ")[0].upper()
    if not verb.isascii() or verb.decode("ascii") not in _PARSERS:
        raise CommandError(_UNKNOWN)
    if verb not in (b"MAIL", b"RCPT", b"VRFY", b"EXPN"):
        raise CommandError(_EIGHT_BIT)
    if not smtputf8:
        raise CommandError(_NEEDS_SMTPUTF8)
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        raise CommandError(_NOT_UTF8) from None


def _parse_ehlo(rest: str, smtputf8: bool) -> Ehlo:
    if len(rest) > MAX_DOMAIN_OCTETS or _HELLO_NAME.fullmatch(rest) is None:
        raise CommandError(_BAD_HELLO)
    return Ehlo(rest)


def _parse_helo(rest: str, smtputf8: bool) -> Helo:
    if len(rest) > MAX_DOMAIN_OCTETS or _TOKEN.fullmatch(rest) is None:
        raise CommandError(_BAD_HELLO)
    return Helo(rest)


def _parse_mail(rest: str, smtputf8: bool) -> Mail:
    if rest[:5] != "FROM:" and rest[:5].upper() != "FROM:":
        raise CommandError(_FROM_WANTED)
    try:
        path, rest = parse_path(rest[5:].lstrip(" "), smtputf8=smtputf8)
    except AddressError as error:
        raise CommandError(reply(501, str(error), "5.1.7")) from None
    return Mail(path, _parse_parameters(rest) if rest else {})


def _parse_rcpt(rest: str, smtputf8: bool) -> Rcpt:
    if rest[:3] != "TO:" and rest[:3].upper() != "TO:":
        raise CommandError(_TO_WANTED)
    try:
        path, rest = parse_path(rest[3:].lstrip(" "), smtputf8=smtputf8)
    except AddressError as error:
        raise CommandError(reply(501, str(error), "5.1.3")) from None
    if isinstance(path, NullPath):
        raise CommandError(_NULL_RECIPIENT)
    return Rcpt(path, _parse_parameters(rest) if rest else {})


def _parse_parameters(rest: str) -> Parameters:
    """`rest` is what follows the path, so it must begin with a space (RFC 5321 §4.1.1.11, §4.1.2)."""
    if rest[0] != " ":
        raise CommandError(_GARBAGE)
    parameters: dict[str, str | None] = {}
    for written in rest.split(" "):
        if not written:
            continue
        keyword, equals, value = written.partition("=")
        if _KEYWORD.fullmatch(keyword) is None or (equals and _VALUE.fullmatch(value) is None):
            raise CommandError(_BAD_PARAMETER)
        keyword = keyword.upper()
        if keyword in parameters:
            raise CommandError(_DUPLICATE)
        parameters[keyword] = value if equals else None
    return parameters


def _parse_bdat(rest: str, smtputf8: bool) -> Bdat:
    found = _CHUNK.fullmatch(rest)
    if found is None:
        raise CommandError(_BAD_BDAT)
    return Bdat(int(found[1]), found[2] is not None)


def _parse_auth(rest: str, smtputf8: bool) -> Auth:
    mechanism, _, initial = rest.partition(" ")
    initial = initial.lstrip(" ")
    if _MECHANISM.fullmatch(mechanism) is None or " " in initial:
        raise CommandError(_BAD_AUTH)
    if not initial:
        return Auth(mechanism.upper())
    if initial == "=":
        return Auth(mechanism.upper(), b"")
    try:
        return Auth(mechanism.upper(), b64decode(initial, validate=True))
    except (binascii.Error, ValueError):
        raise CommandError(_BAD_BASE64) from None


def _parse_vrfy(rest: str, smtputf8: bool) -> Vrfy:
    return Vrfy(_wanted(rest))


def _parse_expn(rest: str, smtputf8: bool) -> Expn:
    return Expn(_wanted(rest))


def _wanted(rest: str) -> str:
    if not rest:
        raise CommandError(_ARGUMENT_WANTED)
    return rest


def _parse_noop(rest: str, smtputf8: bool) -> Noop:
    return Noop(rest)


def _parse_help(rest: str, smtputf8: bool) -> Help:
    return Help(rest)


def _bare(command: Command) -> Callable[[str, bool], Command]:
    def parse(rest: str, smtputf8: bool) -> Command:
        if rest:
            raise CommandError(_NO_ARGUMENT_ALLOWED)
        return command

    return parse


_PARSERS: dict[str, Callable[[str, bool], Command]] = {
    "EHLO": _parse_ehlo,
    "HELO": _parse_helo,
    "MAIL": _parse_mail,
    "RCPT": _parse_rcpt,
    "DATA": _bare(Data()),
    "BDAT": _parse_bdat,
    "RSET": _bare(Rset()),
    "NOOP": _parse_noop,
    "QUIT": _bare(Quit()),
    "VRFY": _parse_vrfy,
    "EXPN": _parse_expn,
    "HELP": _parse_help,
    "STARTTLS": _bare(StartTls()),
    "AUTH": _parse_auth,
}
"""Verb → what reads the rest of its line (spaces at both ends removed) and whether UTF-8 may be in it."""

_BARE_LINES: dict[type, bytes] = {
    Data: b"DATA\r\n",
    Rset: b"RSET\r\n",
    Quit: b"QUIT\r\n",
    StartTls: b"STARTTLS\r\n",
}


def to_line(command: Command) -> bytes:
    """The line of a command, CRLF included.

    UTF-8 leaves only for an address that needs it. Raises LocalProtocolError for a value that `parse_command` would
    not read back: a CR, LF, NUL or other control character in it, a space where none may be, a name that is none.
    """
    bare = _BARE_LINES.get(type(command))
    if bare is not None:
        return bare
    match command:
        case Mail():
            return _path_line("MAIL FROM:", command.reverse_path, command.parameters)
        case Rcpt():
            return _path_line("RCPT TO:", command.forward_path, command.parameters)
        case Ehlo():
            return _word_line("LHLO" if command.is_lmtp else "EHLO", command.name, _HELLO_NAME)
        case Helo():
            return _word_line("HELO", command.name, _TOKEN)
        case Bdat():
            if not 0 <= command.size < 10**20:
                raise LocalProtocolError("BDAT takes a size of 1 to 20 digits")
            return b"BDAT %d%b\r\n" % (command.size, b" LAST" if command.last else b"")
        case Auth():
            line = _word_line("AUTH", command.mechanism, _MECHANISM)
            return line if command.initial is None else line[:-2] + b" %b\r\n" % (b64encode(command.initial) or b"=")
        case Vrfy() | Expn():
            if not command.argument:
                raise LocalProtocolError(f"{type(command).__name__.upper()} needs an argument")
            return _text_line(type(command).__name__.upper(), command.argument)
        case Noop() | Help():
            return _text_line(type(command).__name__.upper(), command.argument)
        case _:
            raise LocalProtocolError(f"{type(command).__name__} is no command")


def _path_line(prefix: str, path: Address | NullPath, parameters: Parameters) -> bytes:
    try:
        line = prefix + path_text(path)
    except AddressError as error:
        raise LocalProtocolError(f"{prefix} {error}") from None
    is_ascii = line.isascii()
    for keyword, value in parameters.items():
        if _KEYWORD.fullmatch(keyword) is None:
            raise LocalProtocolError("the keyword of a parameter is made of letters, digits and hyphens")
        if value is None:
            line += f" {keyword}"
            continue
        if _VALUE.fullmatch(value) is None or (is_ascii and not value.isascii()):
            raise LocalProtocolError(f"the value of {keyword} holds a character that no parameter may hold here")
        line += f" {keyword}={value}"
    return _encode(line)


def _word_line(verb: str, word: str, grammar: re.Pattern[str]) -> bytes:
    if len(word) > MAX_DOMAIN_OCTETS or grammar.fullmatch(word) is None:
        raise LocalProtocolError(f"{verb} takes one word: neither empty nor with spaces or control characters")
    return _encode(f"{verb} {word}")


def _text_line(verb: str, argument: str) -> bytes:
    if not argument.isascii() or not argument.isprintable():
        raise LocalProtocolError(f"the argument of {verb} is printable ASCII")
    return _encode(f"{verb} {argument}" if argument else verb)


def _encode(line: str) -> bytes:
    try:
        return line.encode("utf-8") + b"\r\n"
    except UnicodeEncodeError:
        raise LocalProtocolError("the command holds a lone surrogate") from None
