"""Authentication-Results: what was found of a message, for those who read it later (RFC 8601, RFC 8616).

`results_header` writes ours; `without_results_of` takes out whatever claims to be ours and is not; `parse_results`
reads what others wrote, which says no more than they are trusted for.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

MAX_FIELD_OCTETS = 32_768
"""A longer field is not read."""
MAX_RESULTS = 64
MAX_PROPERTIES = 32
MAX_VALUE_CHARS = 200
MAX_COMMENT_DEPTH = 10

_TOKEN = re.compile(r"[!#$%&'*+\-.0-9A-Z^_`a-z{|}~\u0080-\U0010ffff]+")
_PLAIN = re.compile(r"[!#$%&'*+\-.0-9A-Z^_`a-z{|}~]*@?[!#$%&'*+\-.0-9A-Z^_`a-z{|}~]+")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_PIECE = re.compile(r"[^\"\\()]+|.", re.DOTALL)
_FIELD = re.compile(
    rb"^authentication-results[ \t]*:([^\r\n]*(?:\r\n[ \t][^\r\n]*)*)(?:\r\n|\Z)", re.IGNORECASE | re.MULTILINE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodResult:
    """One finding: `dkim=pass header.d=example.org`. `properties`: (`ptype.property`, value) in their order."""

    method: str
    result: str
    reason: str = ""
    properties: tuple[tuple[str, str], ...] = ()

    def value(self, name: str) -> str:
        """Of a property; empty without."""
        return next((value for own, value in self.properties if own == name), "")


@dataclass(frozen=True, slots=True)
class AuthenticationResults:
    """A whole field. `authserv_id`: who found it, in lower case."""

    authserv_id: str
    results: tuple[MethodResult, ...] = ()


def results_header(found: AuthenticationResults) -> bytes:
    """The field, folded, one finding a line. What came from outside is cut and made printable (H-05, H-06)."""
    value = ";\r\n\t".join("\r\n\t ".join(piece) for piece in _pieces(found))
    return f"Authentication-Results: {value}\r\n".encode()


def results_value(found: AuthenticationResults) -> str:
    """What stands in the field, on one line, as an ARC set takes it."""
    return "; ".join(" ".join(piece) for piece in _pieces(found))


def _pieces(found: AuthenticationResults) -> list[list[str]]:
    """Our id and each finding, by their words."""
    pieces = [[_quotable(found.authserv_id)]]
    for one in found.results[:MAX_RESULTS]:
        reason = [f"reason={_quoted(_shown(one.reason))}"] if one.reason else []
        properties = [f"{name}={_quotable(_shown(value))}" for name, value in one.properties[:MAX_PROPERTIES] if value]
        pieces.append([f"{one.method}={one.result}", *reason, *properties])
    return pieces if found.results else [*pieces, ["none"]]


def _shown(value: str) -> str:
    return _UNPRINTABLE.sub("?", value[:MAX_VALUE_CHARS])


def _quotable(value: str) -> str:
    return value if _PLAIN.fullmatch(value) else _quoted(value)


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


# What others wrote ---------------------------------------------------------------------------------------------------


class _Unreadable(Exception):
    """It is no such field."""


def parse_results(value: bytes | str) -> AuthenticationResults | None:
    """The field with this value; None where it is none."""
    if len(value) > MAX_FIELD_OCTETS:
        return None
    text = value if isinstance(value, str) else value.decode("utf-8", "replace")
    try:
        scan = _Scan(text.replace("\r\n", ""))
        authserv_id = scan.word()
        scan.take_version()
        results: list[MethodResult] = []
        while scan.takes(";") and not scan.is_at_end:
            if len(results) >= MAX_RESULTS:
                return None
            found = _result(scan)
            if found is not None:
                results.append(found)
        if not scan.is_at_end:
            return None
    except _Unreadable:
        return None
    return AuthenticationResults(authserv_id.lower(), tuple(results))


def _result(scan: _Scan) -> MethodResult | None:
    """One finding; None for `none`, which says that there are none."""
    method = scan.token().lower()
    if method == "none" and not scan.is_before("="):
        return None
    if scan.takes("/"):
        scan.token()
    scan.demand("=")
    result = scan.token().lower()
    reason = ""
    properties: list[tuple[str, str]] = []
    while not scan.is_at_end and not scan.is_before(";"):
        name = scan.token().lower()
        scan.demand("=")
        value = scan.pvalue()
        if name == "reason":
            reason = value
        elif len(properties) < MAX_PROPERTIES:
            properties.append((name, value))
    return MethodResult(method=method, result=result, reason=reason, properties=tuple(properties))


class _Scan:
    """Walks over the words of a field; blanks and comments are nothing."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._skip()

    @property
    def is_at_end(self) -> bool:
        """Whether nothing is left."""
        return self._at >= len(self._text)

    def is_before(self, mark: str) -> bool:
        """Whether that comes next."""
        return self._text.startswith(mark, self._at)

    def takes(self, mark: str) -> bool:
        """Take it if it comes next."""
        if not self.is_before(mark):
            return False
        self._at += len(mark)
        self._skip()
        return True

    def demand(self, mark: str) -> None:
        """Take it, or give up."""
        if not self.takes(mark):
            raise _Unreadable

    def token(self) -> str:
        """A bare word."""
        found = _TOKEN.match(self._text, self._at)
        if found is None:
            raise _Unreadable
        self._at = found.end()
        self._skip()
        return found[0]

    def word(self) -> str:
        """A bare or a quoted word."""
        found = _QUOTED.match(self._text, self._at)
        if found is None:
            return self.token()
        self._at = found.end()
        self._skip()
        return re.sub(r"\\(.)", r"\1", found[1])

    def pvalue(self) -> str:
        """A word, or a mailbox, or `@` and a domain (§2.2)."""
        value = "" if self.is_before("@") else self.word()
        if self.takes("@"):
            value = f"{value}@{self.token()}"
        while self.is_before("/") or self.is_before(":") or self.is_before("="):  # base64 and the like, seen unquoted
            mark = self._text[self._at]
            self.takes(mark)
            found = _TOKEN.match(self._text, self._at)
            value += mark + (self.token() if found is not None else "")
        return value

    def take_version(self) -> None:
        """The version that may follow the id (§2.2)."""
        if not self.is_at_end and not self.is_before(";") and not self.token().isdigit():
            raise _Unreadable

    def _skip(self) -> None:
        text, depth = self._text, 0
        while self._at < len(text):
            character = text[self._at]
            if character == "(":
                depth += 1
                if depth > MAX_COMMENT_DEPTH:
                    raise _Unreadable
            elif depth and character == ")":
                depth -= 1
            elif depth and character == "\\":
                self._at += 1
            elif not depth and character not in " \t":
                return
            self._at += 1
        if depth:
            raise _Unreadable


def without_results_of(message: bytes, authserv_ids: Collection[str]) -> bytes:
    """The message without fields that claim to be by one of the ids (in lower case), wherever they stand (§5).

    Read with suspicion: an id is whatever a lenient reader might take for one."""
    if message.startswith(b"\r\n"):
        return message
    end_of_headers = message.find(b"\r\n\r\n")
    section = message if end_of_headers < 0 else message[: end_of_headers + 2]
    if b"authentication-results" not in section.lower():
        return message
    kept: list[bytes] = []
    end = 0
    for found in _FIELD.finditer(section):
        if _claims(found[1], authserv_ids):
            kept.append(section[end : found.start()])
            end = found.end()
    return b"".join(kept) + message[end:] if end else message


def _claims(value: bytes, authserv_ids: Collection[str]) -> bool:
    """Whether the field names one of the ids in front of its first finding."""
    text = value[:MAX_FIELD_OCTETS].decode("utf-8", "replace").replace("\r\n", "").lower()
    bare, depth = "", 0
    for found in _PIECE.finditer(text):
        piece = found[0]
        if piece == "(":
            depth += 1
        elif piece == ")":
            depth = max(0, depth - 1)
        elif not depth and piece not in '"\\':
            bare += piece
            if ";" in piece:
                break
    words = bare.partition(";")[0].split()
    is_named = any(word.strip(".") in authserv_ids for word in words) or "".join(words).strip(".") in authserv_ids
    return is_named or _claimed_plainly(text, authserv_ids)


def _claimed_plainly(text: str, authserv_ids: Collection[str]) -> bool:
    """The same by the grammar."""
    parsed = parse_results(text)
    return parsed is not None and parsed.authserv_id in authserv_ids
