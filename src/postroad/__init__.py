"""Postroad: a complete SMTP system. It carries mail and verifies addresses, by one road.

from postroad import Client, Server, verify, classify
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from postroad.library.client import Client, SendResult
    from postroad.library.server import Server
    from postroad.library.sink import Sink
    from postroad.library.verification import verify
    from postroad.meaning.classify import classify

__all__ = ["Client", "SendResult", "Server", "Sink", "__version__", "classify", "verify"]

_HOMES = {
    "Client": "postroad.library.client",
    "SendResult": "postroad.library.client",
    "Server": "postroad.library.server",
    "Sink": "postroad.library.sink",
    "verify": "postroad.library.verification",
    "classify": "postroad.meaning.classify",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for: `postroad --version` loads none of it."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'postroad' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(home), name)


class _Package(ModuleType):
    """Keeps `postroad.verify` the function: importing from the room of that name would put the room in its place."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "verify" or not isinstance(value, ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
