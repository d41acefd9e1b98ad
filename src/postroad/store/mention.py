"""Whether a stored text mentions an address, as a function that SQL statements can use. For results and facts."""

from __future__ import annotations

import re
import sqlite3


def know_mentions(connection: sqlite3.Connection, address: str) -> None:
    """Give the connection `mentions(text)`: whether that address stands in it, in capital or small letters, and not as
    a part of a longer one."""
    found = re.compile(rf"(?<![\w.+~=&%'-]){re.escape(address)}(?![\w-]|\.\w)", re.IGNORECASE)
    connection.create_function("mentions", 1, lambda text: bool(text) and found.search(text) is not None)
