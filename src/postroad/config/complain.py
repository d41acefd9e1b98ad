"""Where mistakes of the configuration go."""

from __future__ import annotations

from typing import Protocol


class Complain(Protocol):
    """Takes a mistake: the path of its setting, a sentence, and the other settings of the table that it rests on."""

    def __call__(self, path: tuple[str, ...], sentence: str, *, also: tuple[str, ...] = ()) -> None: ...
