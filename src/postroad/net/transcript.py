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
        self._opening = _Pieces()
        self._pieces = self._opening

    def note(self, who: str, octets: bytes, *, is_body: bool = False) -> None:
        """`who`: C or S."""
        pieces = self._pieces.pieces
        if len(pieces) < MAX_PIECES:
            pieces.append((who, b"" if is_body else octets[:MAX_PIECE_OCTETS], len(octets)))

    def begin(self) -> None:
        """A transaction begins: what the last one said is let go."""
        self._pieces = _Pieces()

    def kept(self) -> Callable[[], str]:
        """What stands here now, as text once somebody asks: no later transaction changes it."""
        opening, now = self._opening, self._pieces
        return now.text if now is opening else lambda: f"{opening.whole()}\n{now.text()}"

    def text(self) -> str:
        """What was said so far."""
        return self.kept()()


class _Pieces:
    """Who, the octets (none: it was the message), how many they were."""

    __slots__ = ("_whole", "pieces")

    def __init__(self) -> None:
        self.pieces: list[tuple[str, bytes, int]] = []
        self._whole: str | None = None

    def text(self) -> str:
        return _text(self.pieces)

    def whole(self) -> str:
        """The text of what gets no more pieces; made once, for all the transactions of a connection."""
        if self._whole is None:
            self._whole = _text(self.pieces)
        return self._whole


def _text(pieces: Sequence[tuple[str, bytes, int]]) -> str:
    """`C: …` and `S: …`, a line each, first how the connection was opened."""
    lines: list[str] = []
    for who, octets, size in pieces:
        if not octets:
            lines.append(f"{who}: … {size} octets of the message")
            continue
        if who == "C" and octets.startswith(b"BDAT") and (cut := _CHUNK.search(octets)) is not None:
            octets = octets[: cut.end()]
        text = octets.decode("utf-8", "backslashreplace").rstrip("\r\n").replace("\r\n", "\n")
        lines.append(f"{who}: {text.replace(chr(10), chr(10) + who + ': ')}")
        if len(octets) < size:
            lines.append(f"{who}: … {size - len(octets)} octets more")
    return "\n".join(lines)
