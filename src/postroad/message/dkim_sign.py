"""DKIM signatures made (RFC 6376 §5): by several keys in one pass, in relaxed form, the fields that matter oversigned.

Oversigned: named once more than they stand in the message, so that nobody can add another From, Subject or Reply-To
that readers would show instead of the signed one. A signature says nothing of fields that lists on the way add.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from postroad.message.dkim_canon import BodyHashes, Field, chosen_fields, relaxed_field, split_fields
from postroad.message.dkim_key import Algorithm, PrivateKey, algorithm_of, make_signature

OVERSIGNED = (
    "From",
    "To",
    "Cc",
    "Subject",
    "Date",
    "Message-ID",
    "Reply-To",
    "In-Reply-To",
    "References",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
)
SIGNED_WHERE_THERE = (
    "Sender",
    "Auto-Submitted",
    "List-Id",
    "List-Help",
    "List-Post",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "Feedback-ID",
    "TLS-Required",
)
"""Not oversigned: a list that passes the message on may add its own."""
MAX_OF_ONE_NAME = 20
"""Fields of one name that are signed."""
_LINE_CHARS = 72


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key and where its public half is published. `domain` and `selector` in A-labels, lower case."""

    domain: str
    selector: str
    key: PrivateKey

    @property
    def algorithm(self) -> Algorithm:
        """What kind of key it is."""
        return algorithm_of(self.key)


def sign(message: bytes, keys: Iterable[SigningKey], *, now: float, lifetime_s: float = 0.0) -> bytes:
    """A DKIM-Signature field by each key, each with its CRLF: to be put above the message.

    `now` is wall clock time; `lifetime_s` above 0 says for how long the signatures hold (x=)."""
    fields, body_start = split_fields(message)
    body_hash = base64.b64encode(BodyHashes(message[body_start:]).of(is_relaxed=True)[0]).decode("ascii")
    names = names_to_sign(fields)
    header = b"".join([relaxed_field(raw) + b"\r\n" for raw in chosen_fields(fields, [_lower(name) for name in names])])
    made = []
    for key in keys:
        times = f"t={int(now // 1)};" + (f" x={int((now + lifetime_s) // 1)};" if lifetime_s > 0 else "")
        before = (
            f"DKIM-Signature: v=1; a={key.algorithm.signature}; c=relaxed/relaxed;\r\n\td={key.domain};"
            f" s={key.selector};\r\n\t{times}\r\n\th={folded(names)};\r\n\tbh={body_hash};\r\n\tb="
        )
        made.append(signed_field(before, "", key, header))
    return b"".join(made)


def signed_field(before: str, after: str, key: SigningKey, octets: bytes) -> bytes:
    """A field with its signature, over `octets` and itself: `before` ends in `b=`, `after` is the rest of its tags."""
    own = relaxed_field(f"{before}{after}".encode("ascii"))
    digest = hashlib.sha256(octets + own).digest()
    text = "b=" + base64.b64encode(make_signature(key.key, digest)).decode("ascii")
    lines = [text[start : start + _LINE_CHARS] for start in range(0, len(text), _LINE_CHARS)]
    return (before + "\r\n\t ".join(lines)[2:] + after + "\r\n").encode("ascii")


def names_to_sign(fields: Sequence[Field]) -> list[str]:
    """The names for h=, one for each field that is signed, and one more for each that nobody may add."""
    counts = Counter(one.name for one in fields)
    names: list[str] = []
    for name in OVERSIGNED:
        names += [name] * (min(counts[_lower(name)], MAX_OF_ONE_NAME) + 1)
    for name in SIGNED_WHERE_THERE:
        names += [name] * min(counts[_lower(name)], MAX_OF_ONE_NAME)
    return names


def folded(names: Sequence[str]) -> str:
    """The names with colons between them, over as many lines as they need."""
    lines, line = [], ""
    for index, name in enumerate(names):
        word = name if index == len(names) - 1 else f"{name}:"
        if len(line) + len(word) > _LINE_CHARS - 3:
            lines.append(line)
            line = ""
        line += word
    return "\r\n\t ".join([*lines, line])


def _lower(name: str) -> bytes:
    return name.lower().encode("ascii")
