"""What was said on a connection, kept within bounds: how it was opened, and the transaction now under way.

The message itself is not kept, only its size; secrets are masked before they come here. Used by `dialogue`; the ledger
keeps the text with each attempt.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

MAX_PIECES = 60
MAX_PIECE_OCTETS = 1200
_CHUNK = re.compile(rb"BDAT \d+(?: LAST)?\r\n")


class Transcript:
    """Pieces as they went over the wire: cheap to note, made into text only where somebody asks."""

    __slots__ = ("_opening", "_pieces")

    def __init__(self) -> None:
        self._opening: list[tuple[str, bytes, int]] = []
        self._pieces = self._opening

    def note(self, who: str, octets: bytes, *, is_body: bool = False) -> None:
        """`who`: C or S."""
        if len(self._pieces) >= MAX_PIECES:
            return
        self._pieces.append((who, b"" if is_body else octets[:MAX_PIECE_OCTETS], len(octets)))

    def begin(self) -> None:
        """A transaction begins: what the last one said is let go."""
        self._pieces = []

    def kept(self) -> Callable[[], str]:
        """What stands here now, as text once somebody asks: what is said later does not change it."""
        opening, pieces = self._opening, self._pieces
        # A transaction's list is its own: the next one begins another.
        return lambda: _text(opening if pieces is opening else [*opening, *pieces])

    def text(self) -> str:
        """What was said so far."""
        return self.kept()()


def _text(pieces: Sequence[tuple[str, bytes, int]]) -> str:
    """`C: …` and `S: …`, a line each, first how the connection was opened."""
    lines: list[str] = []
    for who, octets, size in pieces:
        if not octets:
            lines.append(f"{who}: … {size} octets of the message")
            continue
        cut = _CHUNK.search(octets) if who == "C" else None
        shown = octets if cut is None else octets[: cut.end()]
        lines += [f"{who}: {line}" for line in shown.decode("utf-8", "backslashreplace").splitlines()]
        if len(shown) < size:
            lines.append(f"{who}: … {size - len(shown)} octets more")
    return "\n".join(lines)
