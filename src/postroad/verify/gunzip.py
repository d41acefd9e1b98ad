"""A gzip file read as what it holds, in pieces, and never more than the limits: a small one can hold terabytes.

Used by lists.
"""

from __future__ import annotations

import zlib

from postroad.verify.lines import PIECE_OCTETS, ListError, Readable

GZIP = b"\x1f\x8b"
MAX_UNPACKED_OCTETS = 8 << 30
FREE_OCTETS = 64 << 20
MAX_RATIO = 200
"""How many times larger than the file its content may be, beyond `FREE_OCTETS`; lists of text come to about ten."""


class Unpacked:
    """The content of a gzip file, members one after the other. `read` raises ListError for a damaged or hostile one."""

    def __init__(self, file: Readable) -> None:
        self._file = file
        self._unpacker = zlib.decompressobj(31)
        self._packed = b""
        self._taken = 0
        self._given = 0
        self._is_over = False

    def read(self, size: int, /) -> bytes:
        while not self._is_over:
            piece = self._step(min(size, PIECE_OCTETS))
            if piece:
                return piece
        return b""

    def _step(self, size: int) -> bytes:
        if self._unpacker.eof:
            if not self._packed.lstrip(b"\0"):  # some writers fill up the last block
                self._packed = self._file.read(PIECE_OCTETS).lstrip(b"\0")
                self._taken += len(self._packed)
                self._is_over = not self._packed
            if not self._is_over:
                self._unpacker = zlib.decompressobj(31)
            return b""
        if not self._packed:
            self._packed = self._file.read(PIECE_OCTETS)
            self._taken += len(self._packed)
        is_at_end = not self._packed
        try:
            piece = self._unpacker.decompress(self._packed, size)
        except zlib.error as error:
            raise ListError(f"the gzip file is damaged ({error}): fetch or pack it again") from None
        if is_at_end and not piece and not self._unpacker.eof:
            raise ListError("the gzip file is cut off: fetch or pack it again")
        self._packed = self._unpacker.unused_data if self._unpacker.eof else self._unpacker.unconsumed_tail
        self._given += len(piece)
        if self._given > max(FREE_OCTETS, MAX_RATIO * self._taken) or self._given > MAX_UNPACKED_OCTETS:
            raise ListError("the gzip file holds far more than a list of its size would: unpack it, and look at it")
        return piece
