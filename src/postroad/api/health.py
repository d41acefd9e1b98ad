"""Whether the server is well: one finding for each thing that can fail, and what is told to whom. Pure but for asking.

`Health` asks each probe at most once in `fresh_s`, however often it is asked itself. Used by the web listener and by
`postroad health`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """What a probe found. `detail`: a sentence for the operator."""

    name: str
    is_well: bool
    detail: str


Probe = Callable[[], Awaitable[Finding]]


class Health:
    """The probes of one server. `now`: monotonic."""

    def __init__(self, probes: Sequence[Probe], now: Callable[[], float], *, fresh_s: float = 5.0) -> None:
        self._probes = probes
        self._now = now
        self._fresh_s = fresh_s
        self._found: Sequence[Finding] = ()
        self._found_at: float | None = None
        self._asking: asyncio.Task[Sequence[Finding]] | None = None

    async def findings(self) -> Sequence[Finding]:
        """What was found, not longer ago than `fresh_s`."""
        if self._found_at is not None and self._now() - self._found_at < self._fresh_s:
            return self._found
        if self._asking is None:
            self._asking = asyncio.get_running_loop().create_task(self._ask())
            self._asking.add_done_callback(self._asked)
        return await asyncio.shield(self._asking)

    async def _ask(self) -> Sequence[Finding]:
        self._found = await asyncio.gather(*(probe() for probe in self._probes))
        self._found_at = self._now()
        return self._found

    def _asked(self, _: object) -> None:
        self._asking = None


def told(findings: Sequence[Finding], *, is_operator: bool) -> tuple[int, Mapping[str, object]]:
    """HTTP status and JSON: reasons are for operators."""
    is_well = all(one.is_well for one in findings)
    answer: dict[str, object] = {"status": "ready" if is_well else "not ready"}
    if is_operator:
        answer["checks"] = {one.name: {"ok": one.is_well, "detail": one.detail} for one in findings}
    return (200 if is_well else 503), answer
