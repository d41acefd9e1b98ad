"""What is wrong with hooks as they are configured."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from postroad.config.complain import Complain
from postroad.config.values import Config

ROLES = ("mx", "submission", "submissions")


def judge_hooks(config: Config, complain: Complain) -> None:
    """Report hooks that name nothing, or listeners that there are none of."""
    for index, plugin in enumerate(config.plugin):
        path = ("plugin", f"#{index}")
        if not plugin.name:
            complain(path, "[[plugin]] name: write module:Class, or the name of an installed plugin")
        _judge_listeners("plugin", plugin.listeners, path, complain)
        for option in plugin.options:
            if "=" not in option:
                complain((*path, "options"), f'[[plugin]] options: "{option}" is not key=value')
    for index, milter in enumerate(config.milter):
        path = ("milter", f"#{index}")
        fault = _place_fault(milter.address)
        if fault:
            complain((*path, "address"), f"[[milter]] address: {fault}")
        _judge_listeners("milter", milter.listeners, path, complain)
    for index, rspamd in enumerate(config.rspamd):
        path = ("rspamd", f"#{index}")
        split = urlsplit(rspamd.url)
        if split.scheme not in ("http", "https") or not split.hostname:
            complain((*path, "url"), "[[rspamd]] url: write http://HOST:PORT")
        _judge_listeners("rspamd", rspamd.listeners, path, complain)


def _judge_listeners(section: str, named: Iterable[str], path: tuple[str, ...], complain: Complain) -> None:
    for role in named:
        if role not in ROLES:
            complain((*path, "listeners"), f'[[{section}]] listeners: "{role}" is not one of {", ".join(ROLES)}')


def _place_fault(place: str) -> str | None:
    if place.startswith("unix:/"):
        return None
    host, colon, port = place.rpartition(":")
    is_port = port.isascii() and port.isdigit() and 1 <= int(port) <= 65_535
    return None if colon and host and is_port else "write HOST:PORT, or unix:/path/of/socket"
