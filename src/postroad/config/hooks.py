"""Settings of hooks: plugins, milters, rspamd."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from postroad.config.setting import setting

_WHEN = "Whether the sender waits for it (`before` the 250), or the message waits for it in the queue (`after`)."
_ON_FAILURE = "What follows where it fails or is too slow: the message is taken, deferred (451), or taken and held."
_TIMEOUT = "How long it may take."
_LISTENERS = "The roles of listeners whose messages it sees."
_ALL = ("mx", "submission", "submissions")


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginSettings:
    """A Python plugin."""

    name: str = setting("", "`module:Class`, or the name of an installed plugin (entry points `postroad.plugins`).")
    options: tuple[str, ...] = setting((), "What it is made with, each as `key=value`.")
    when: Literal["before", "after"] = setting("before", _WHEN)
    on_failure: Literal["accept", "defer", "hold"] = setting("accept", _ON_FAILURE)
    timeout_s: float = setting(10.0, _TIMEOUT, low=0.1, high=600)
    listeners: tuple[str, ...] = setting(_ALL, _LISTENERS)


@dataclass(frozen=True, slots=True, kw_only=True)
class MilterSettings:
    """A milter: OpenDKIM, rspamd's proxy, ClamAV…"""

    address: str = setting("", "`HOST:PORT`, or `unix:/path/of/socket`.")
    name: str = setting("", "What it is called in the log; its address by default.")
    when: Literal["before", "after"] = setting("before", _WHEN)
    on_failure: Literal["accept", "defer", "hold"] = setting("defer", _ON_FAILURE)
    timeout_s: float = setting(30.0, _TIMEOUT, low=0.1, high=600)
    listeners: tuple[str, ...] = setting(_ALL, _LISTENERS)


@dataclass(frozen=True, slots=True, kw_only=True)
class RspamdSettings:
    """rspamd over HTTP."""

    url: str = setting("", "Where its worker listens, such as `http://127.0.0.1:11333`.")
    password_file: str = setting("", "File whose first line is its password, where it wants one.")
    when: Literal["before", "after"] = setting("before", _WHEN)
    on_failure: Literal["accept", "defer", "hold"] = setting("accept", _ON_FAILURE)
    timeout_s: float = setting(20.0, _TIMEOUT, low=0.1, high=600)
    listeners: tuple[str, ...] = setting(("mx",), _LISTENERS)
