"""A message before all hooks, one after the other: each sees what the one before it changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from postroad.events import emit
from postroad.hook.amend import HookFault, amended
from postroad.hook.scanner import Scanner
from postroad.hook.vocabulary import Amend, Answer, Arrived, Defer, Discard, Hold, Refuse


@dataclass(frozen=True, slots=True)
class Verdicted:
    """What all hooks together say of a message: `ending` where one ended the matter."""

    arrived: Arrived
    ending: Refuse | Defer | Discard | None
    hold: str
    is_changed: bool


async def examine(scanners: Sequence[Scanner], arrived: Arrived) -> Verdicted:
    """Ask them in order, until one refuses or discards. Never raises."""
    holds: list[str] = []
    is_changed = False
    for scanner in scanners:
        answer: Answer = await scanner.scan(arrived)
        match answer:
            case Refuse() | Defer() | Discard():
                return Verdicted(arrived, answer, "; ".join(holds), is_changed)
            case Hold(reason):
                holds.append(f"{scanner.settings.name}: {reason}")
            case Amend(changes, hold):
                try:
                    arrived = amended(arrived, changes)
                    is_changed = True
                except HookFault as fault:
                    emit("hook.failed", hook=scanner.settings.name, reason=str(fault), answer="accept", queue_id="")
                if hold:
                    holds.append(f"{scanner.settings.name}: {hold}")
    return Verdicted(arrived, None, "; ".join(holds), is_changed)
