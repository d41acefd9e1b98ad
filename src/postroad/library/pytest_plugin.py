"""The `postroad_server` fixture: a real SMTP server on a free port of loopback, holding what it received.

    def test_it_sends_mail(postroad_server):
        send_with_my_code(postroad_server.host, postroad_server.port)
        assert postroad_server.messages[0].subject == "Hello"

The server runs in a thread with an event loop of its own, so the code under test may be of any kind.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from postroad.library.sink import Sink


@pytest.fixture
def postroad_server() -> Iterator[Sink]:
    """A server that takes every message; `refuse(address, reply)` makes it refuse a recipient."""
    from postroad.library.sink import Sink

    with Sink() as sink:
        yield sink
