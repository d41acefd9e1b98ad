"""Plugins: classes of one's own that hear of sessions and messages, and may answer (`hook/vocabulary.py`).

    class NoInvoices:
        def __init__(self, options):
            self.word = options.get("word", "invoice").encode()

        async def message(self, arrived):
            if self.word in arrived.octets:
                return Hold("it speaks of invoices")

A plugin has the methods that it wants, plain or async: connect(client), hello(client), mail(client, sender),
rcpt(client, sender, recipient), message(arrived), settled(what). It is named in the configuration as `module:Class`, or
by an entry point of the group `postroad.plugins`.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
from collections.abc import Mapping
from typing import Any

from postroad.hook.amend import HookFault
from postroad.hook.vocabulary import Amend, Defer, Discard, Hold, Refuse

GROUP = "postroad.plugins"
EARLY = ("connect", "hello", "mail", "rcpt")
METHODS = (*EARLY, "message", "settled")
_ANSWERS = (Refuse, Defer, Hold, Discard, Amend)


class PluginError(Exception):
    """The plugin cannot be loaded; the text says why and how to mend it."""


def load(name: str, options: Mapping[str, str]) -> Any:
    """The plugin of that name, made with its options. Raises PluginError."""
    made = _class(name)
    try:
        plugin = made(dict(options))
    except Exception as error:
        raise PluginError(f"plugin {name}: making it failed: {type(error).__name__}: {error}") from error
    if not any(hasattr(plugin, method) for method in METHODS):
        raise PluginError(f"plugin {name} has none of the methods {', '.join(METHODS)}")
    return plugin


def _class(name: str) -> Any:
    module, colon, attribute = name.partition(":")
    if colon:
        try:
            return getattr(importlib.import_module(module), attribute)
        except ImportError as error:
            raise PluginError(f"plugin {name}: module {module} cannot be imported: {error}") from error
        except AttributeError:
            raise PluginError(f"plugin {name}: module {module} has no {attribute}") from None
    found = list(importlib.metadata.entry_points(group=GROUP, name=name))
    if not found:
        known = sorted({point.name for point in importlib.metadata.entry_points(group=GROUP)})
        there = f"; installed are {', '.join(known)}" if known else ""
        raise PluginError(f"there is no plugin {name!r}: write module:Class, or install one of that name{there}")
    try:
        return found[0].load()
    except Exception as error:
        raise PluginError(f"plugin {name} cannot be loaded: {type(error).__name__}: {error}") from error


def installed() -> list[tuple[str, str]]:
    """Name and place of the plugins that are installed."""
    return sorted((point.name, point.value) for point in importlib.metadata.entry_points(group=GROUP))


async def call(plugin: Any, method: str, *values: object) -> Any:
    """What a method answers, checked. Raises HookFault for what is no answer, and whatever the method raises."""
    answer = getattr(plugin, method)(*values)
    if inspect.isawaitable(answer):
        answer = await answer
    if answer is None or isinstance(answer, _ANSWERS if method == "message" else (Refuse, Defer)):
        if isinstance(answer, Refuse | Defer) and not 400 <= answer.reply.code < 600:
            raise HookFault(f"{method} refuses with {answer.reply.code}, which refuses nothing")
        return answer
    raise HookFault(f"{method} answered {type(answer).__name__}, which is no answer")
