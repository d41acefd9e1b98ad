"""Whether a stored text is or mentions an address, as functions that SQL statements can use. For results and facts."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator

MAX_LOCAL_CHARS = 64
_LOCAL = re.compile(r"[\w.+~=&%'-]+\Z")
_DOMAIN = re.compile(r"\w[\w-]*(?:\.\w[\w-]*)+")


def know_mentions(connection: sqlite3.Connection, address: str, mailbox_of: Callable[[str], str] = str.lower) -> None:
    """Give the connection `is_spelling(text)`: whether a text is that address in capital or small letters, or another
    spelling of its mailbox; and `mentions(text)`: whether such a one stands in it, and not as a part of a longer one.

    `mailbox_of`: the same for all spellings of one mailbox."""
    found = re.compile(rf"(?<![\w.+~=&%'-]){re.escape(address)}(?![\w-]|\.\w)", re.IGNORECASE)
    mailbox = mailbox_of(address)

    def is_spelling(text: str | None) -> bool:
        if not text or "@" not in text:
            return bool(text) and text == address
        return text.lower() == address.lower() or mailbox_of(text) == mailbox

    def mentions(text: str | None) -> bool:
        if not text:
            return False
        return found.search(text) is not None or any(mailbox_of(one) == mailbox for one in _addresses_in(text))

    connection.create_function("is_spelling", 1, is_spelling)
    connection.create_function("mentions", 1, mentions)


def _addresses_in(text: str) -> Iterator[str]:
    """What in a text looks like an address; looks at few characters around each @."""
    at = text.find("@")
    while at >= 0:
        local = _LOCAL.search(text, max(0, at - MAX_LOCAL_CHARS), at)
        domain = _DOMAIN.match(text, at + 1)
        if local is not None and domain is not None:
            yield f"{local[0]}@{domain[0]}"
        at = text.find("@", at + 1)
