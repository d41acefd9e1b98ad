"""Tag lists: `v=1; a=rsa-sha256; …`, the one form of signatures, seals and key records (RFC 6376 §3.2)."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping

MAX_TAG_LIST_OCTETS = 16_384
"""A longer list is refused unread: an honest one has no more than a few hundred."""
MAX_TAGS = 64
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_SPACE = " \t\r\n"
_FORBIDDEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_ANY_SPACE = re.compile(r"[ \t\r\n]+")
_DIGITS = re.compile(r"[0-9]{1,12}")


class TagError(ValueError):
    """What stands there is no tag list, or a tag has a value that it cannot have; the message is one sentence."""


def parse_tags(raw: bytes) -> dict[str, str]:
    """Names and values of a tag list, white space around them taken away; names keep their case. Raises TagError.

    Values may hold UTF-8 (RFC 8616); other octets become surrogate escapes and match nothing."""
    if len(raw) > MAX_TAG_LIST_OCTETS:
        raise TagError(f"the list is longer than {MAX_TAG_LIST_OCTETS} octets")
    text = raw.decode("utf-8", "surrogateescape")
    if _FORBIDDEN.search(text):
        raise TagError("the list holds a control character")
    parts = text.split(";")
    if len(parts) > MAX_TAGS:
        raise TagError(f"the list has more than {MAX_TAGS} tags")
    if len(parts) > 1 and not parts[-1].strip(_SPACE):
        parts.pop()
    tags: dict[str, str] = {}
    for part in parts:
        name, equals, value = part.partition("=")
        name = name.strip(_SPACE)
        if not equals or _NAME.fullmatch(name) is None:
            raise TagError(f"{part.strip(_SPACE)[:30]!a} is no tag")
        if name in tags:
            raise TagError(f"the tag {name}= stands there twice")
        tags[name] = value.strip(_SPACE)
    return tags


def required(tags: Mapping[str, str], name: str) -> str:
    """The value of a tag that must be there and say something. Raises TagError."""
    value = tags.get(name)
    if not value:
        raise TagError(f"the tag {name}= is missing" if value is None else f"the tag {name}= is empty")
    return value


def base64_of(tags: Mapping[str, str], name: str) -> bytes:
    """The octets of a tag in base64, in which white space counts for nothing. Raises TagError."""
    try:
        return base64.b64decode(_ANY_SPACE.sub("", required(tags, name)), validate=True)
    except (binascii.Error, ValueError):
        raise TagError(f"the tag {name}= is no base64") from None


def number_of(tags: Mapping[str, str], name: str) -> int | None:
    """A whole number of at most 12 digits; None where the tag is not there. Raises TagError."""
    value = tags.get(name)
    if value is None:
        return None
    if _DIGITS.fullmatch(value) is None:
        raise TagError(f"the tag {name}= is no number")
    return int(value)


def words_of(value: str) -> tuple[str, ...]:
    """A list with colons, white space around its words taken away."""
    return tuple(word.strip(_SPACE) for word in value.split(":"))
