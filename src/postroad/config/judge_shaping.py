"""What several settings of shaping show together: sites listed twice, or without a name."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

from postroad.config.places import is_ip
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
    _judge_sources(config, complain)


def _judge_sources(config: Config, complain: Callable[..., None]) -> None:
    named: set[str] = set()
    for index, source in enumerate(config.source):
        table = ("source", f"#{index}")
        if not source.name:
            complain(table, "[[source]] needs a name")
        elif source.name in named:
            complain((*table, "name"), f'[[source]] name: "{source.name}" is listed twice')
        named.add(source.name)
        if not source.address and not source.address6:
            complain(table, "[[source]] needs an address, an address6, or both")
        if source.address and (not is_ip(source.address) or ":" in source.address):
            complain((*table, "address"), f'[[source]] address: "{source.address}" is no IPv4 address')
        if source.address6 and (not is_ip(source.address6) or ":" not in source.address6):
            complain((*table, "address6"), f'[[source]] address6: "{source.address6}" is no IPv6 address')
        if source.warm_up_start and not _is_day(source.warm_up_start):
            complain((*table, "warm_up_start"), "[[source]] warm_up_start: write a day such as 2030-01-31")
    for index, pool in enumerate(config.pool):
        table = ("pool", f"#{index}")
        if not pool.name or not pool.sources:
            complain(table, "[[pool]] needs a name and sources")
        for name in pool.sources:
            if name not in named:
                complain((*table, "sources"), f'[[pool]] sources: there is no [[source]] named "{name}"')
        if pool.lowest_priority > pool.highest_priority:
            complain((*table, "lowest_priority"), "[[pool]] lowest_priority is more than highest_priority")


def _is_day(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return len(text) == 10
