"""Header fields octet for octet, and the two canonical forms in which they and the body are signed (RFC 6376 §3.4).

`simple` keeps all but the empty lines at the end; `relaxed` makes runs of white space one space. The hash is fed from
these, so nothing here may be «nearly right». Linear in the size of the message, whatever it holds.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from postroad.message.headers import header_end

MAX_HEADER_LINES = 20_000
"""A header of more lines is nobody's: it is read as if it had no fields, and no signature in it costs anything."""
_FIELD_NAME = re.compile(rb"[!-9;-~]+")
_RUN = re.compile(rb"[ \t]+")
_B_VALUE = re.compile(rb"((?:^|;)[ \t\r\n]*b[ \t\r\n]*=)[^;]*")


@dataclass(frozen=True, slots=True)
class Field:
    """One header field. `name` is in lower case; `raw` is the whole field without its final CRLF."""

    name: bytes
    raw: bytes

    @property
    def value(self) -> bytes:
        """What stands after the colon, folding kept."""
        return self.raw.partition(b":")[2]


def split_fields(message: bytes) -> tuple[list[Field], int]:
    """The header fields in order, and where the body begins. Lines that are no field are passed over."""
    end = header_end(message)
    fields: list[Field] = []
    start = 0 if message.count(b"\r\n", 0, end) <= MAX_HEADER_LINES else end
    while start < end:
        stop = message.find(b"\r\n", start, end)
        while 0 <= stop < end - 2 and message[stop + 2] in b" \t":
            stop = message.find(b"\r\n", stop + 2, end)
        if stop < 0:
            stop = end
        raw = message[start:stop]
        name, colon, _ = raw.partition(b":")
        name = name.rstrip(b" \t")
        if colon and _FIELD_NAME.fullmatch(name):
            fields.append(Field(name.lower(), raw))
        start = stop + 2
    return fields, end + 2 if message.startswith(b"\r\n", end) else end


def relaxed_field(raw: bytes) -> bytes:
    """A field in relaxed form, without the final CRLF (§3.4.2)."""
    name, _, value = raw.partition(b":")
    return name.rstrip(b" \t").lower() + b":" + _RUN.sub(b" ", value.replace(b"\r\n", b"")).strip(b" ")


def without_signature(raw: bytes) -> bytes:
    """A signature's own field as it is signed: with an empty b= (§3.5)."""
    name, colon, value = raw.partition(b":")
    return name + colon + _B_VALUE.sub(rb"\1", value, count=1)


def chosen_fields(fields: Iterable[Field], names: Iterable[bytes]) -> list[bytes]:
    """The fields that a list of names means: of one name the last first; a name too many adds nothing (§5.4.2).

    `names` in lower case."""
    stacks: dict[bytes, list[bytes]] = {}
    for one in fields:
        stacks.setdefault(one.name, []).append(one.raw)
    return [stacks[name].pop() for name in names if stacks.get(name)]


def signed_octets(fields: Iterable[bytes], own: bytes, *, is_relaxed: bool) -> bytes:
    """What is hashed of the header: the chosen fields, then the signature's own without b= and without CRLF (§3.7)."""
    if is_relaxed:
        return b"".join([relaxed_field(raw) + b"\r\n" for raw in fields]) + relaxed_field(own)
    return b"".join([raw + b"\r\n" for raw in fields]) + own


def canonical_body(body: bytes, *, is_relaxed: bool) -> bytes:
    """The body in the form that is hashed (§3.4.3, §3.4.4)."""
    if is_relaxed:
        body = body.replace(b"\t", b" ")
        while b"  " in body:  # each turn halves the runs, and a turn costs a tenth of a regular expression
            body = body.replace(b"  ", b" ")
        if b" \r\n" in body:
            body = body.replace(b" \r\n", b"\r\n")
        if body.endswith(b" "):
            body = body[:-1]
    content = _without_empty_end(body)
    if not content:
        return b"" if is_relaxed else b"\r\n"
    return content + b"\r\n"


def _without_empty_end(body: bytes) -> bytes:
    end = len(body.rstrip(b"\r\n"))
    pairs, odd = divmod(len(body) - end, 2)
    if not odd and body.endswith(b"\r\n" * pairs):
        return body[:end]
    end = len(body)  # bare CR or LF in it: those are no empty lines
    while body.endswith(b"\r\n", 0, end):
        end -= 2
    return body[:end]


@dataclass(slots=True)
class BodyHashes:
    """SHA-256 of a body in both forms, each made once, however many signatures ask."""

    body: bytes
    _known: dict[bool, tuple[bytes, int]] = field(default_factory=dict)

    def of(self, *, is_relaxed: bool) -> tuple[bytes, int]:
        """The hash, and how many octets were hashed."""
        if is_relaxed not in self._known:
            canonical = canonical_body(self.body, is_relaxed=is_relaxed)
            self._known[is_relaxed] = hashlib.sha256(canonical).digest(), len(canonical)
        return self._known[is_relaxed]
