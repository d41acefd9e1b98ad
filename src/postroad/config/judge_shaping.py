"""What several settings of shaping show together: sites listed twice, or without a name."""

from __future__ import annotations

from collections.abc import Callable

from postroad.config.values import Config


def judge_shaping(config: Config, complain: Callable[..., None]) -> None:
    """Report what cannot be meant."""
    seen: set[str] = set()
    for index, site in enumerate(config.site):
        table = ("site", f"#{index}")
        key = site.key.lower().rstrip(".")
        if not key:
            complain(table, '[[site]] needs a key, such as "gmail" or "example.org"; `postroad site` lists them')
        elif key in seen:
            complain((*table, "key"), f'[[site]] key: "{site.key}" is listed twice')
        seen.add(key)
