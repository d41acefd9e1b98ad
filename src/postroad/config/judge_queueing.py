"""What the settings of the queue show together."""

from __future__ import annotations

from collections.abc import Callable

from postroad.config.values import Config

Say = Callable[[tuple[str, ...], str], None]


def judge_queueing(config: Config, complain: Say) -> None:
    """Report senders without a name, and those listed twice."""
    seen: set[str] = set()
    for index, one in enumerate(config.sender):
        table = ("sender", f"#{index}")
        name = one.name.strip().lower()
        if not name:
            complain(table, "[[sender]] needs a name: an account, or a domain")
        elif name in seen:
            complain((*table, "name"), f'[[sender]] name: "{one.name}" is listed twice')
        seen.add(name)
        if one.priority > one.highest_priority and one.highest_priority:
            complain((*table, "highest_priority"), "[[sender]] highest_priority is less than priority")
