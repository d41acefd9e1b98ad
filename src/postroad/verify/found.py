"""The verdicts of a run on their way to where they are kept.

They are written down some at a time, soon after they are found. Those that say that a host could not be reached are
held back while nobody at all was reached: if it turns out that this network closes the port, they were never about the
host, and a run that can be gone on with leaves their addresses open. Used by job.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from postroad.verify.memory import Memory
from postroad.verify.source import Source
from postroad.verify.verdict import Verdict

HELD_BACK = 10_000
"""Verdicts held back at most; beyond it they are kept as they are."""
_UNREACHED = ("connect_failed", "timed_out")


class Found:
    """`on_progress` gets the number of verdicts at each writing."""

    def __init__(self, source: Source, memory: Memory, on_progress: Callable[[int], None]) -> None:
        self.counts: Counter[str] = Counter()
        """Verdicts by `Verdict.state`."""
        self._source = source
        self._memory = memory
        self._on_progress = on_progress
        self._found: list[tuple[int, Verdict]] = []
        self._new: list[Verdict] = []
        """Those among them that were found by asking."""
        self._held: list[tuple[int, Verdict]] = []

    def __len__(self) -> int:
        """Those that are not written down yet."""
        return len(self._found)

    def keep(self, number: int, verdict: Verdict, *, is_new: bool = True, is_reached: bool = True) -> None:
        """Take a verdict. `is_new`: it was found by asking; `is_reached`: somebody was reached in this run."""
        if not is_reached and self._source.is_resumable and len(self._held) < HELD_BACK and _is_unreached(verdict):
            self._held.append((number, verdict))
            return
        self.counts[verdict.state] += 1
        self._found.append((number, verdict))
        if is_new:
            self._new.append(verdict)

    def release(self) -> None:
        """What was held back counts: somebody was reached, or everybody was tried. Never called, it is left open."""
        held, self._held = self._held, []
        for number, verdict in held:
            self.keep(number, verdict)

    async def flush(self) -> None:
        """Write down what was found."""
        found, self._found = self._found, []
        new, self._new = self._new, []
        if found:
            await self._source.record(found)
            await self._memory.keep(new)
            self._on_progress(len(found))


def _is_unreached(verdict: Verdict) -> bool:
    return verdict.reason in _UNREACHED and verdict.proof.phase == "connect"
