"""A server session driven by hand: what a client sends, and what it is answered."""

from __future__ import annotations

from collections.abc import Callable

from postroad.smtp.reply import Reply
from postroad.smtp.server import ServerSession
from postroad.smtp.server_events import (
    Authenticated,
    AuthFailed,
    Event,
    MessageReceived,
    ScramKeysWanted,
    ServerSettings,
)

Decide = Callable[[Event], "Reply | None"]


def accept_all(event: Event) -> Reply | None:
    """No objection to anything."""
    return None


class Talk:
    """One session; `events` is all it asked for, `messages` what it took."""

    def __init__(
        self, settings: ServerSettings | None = None, decide: Decide = accept_all, *, is_tls: bool = False
    ) -> None:
        self.settings = settings or ServerSettings(hostname="mx.example.test")
        self.session = ServerSession(self.settings, nonce=lambda: "nonce", is_tls=is_tls)
        self.decide = decide
        self.events: list[Event] = []
        self.session.greet()
        self.greeting = self.session.take_output()

    def send(self, data: bytes) -> bytes:
        """The replies that these bytes bring."""
        self.session.receive(data)
        while (event := self.session.next_event()) is not None:
            self.events.append(event)
            if not isinstance(event, Authenticated | AuthFailed | ScramKeysWanted):
                self.session.answer(self.decide(event))
        return self.session.take_output()

    def codes(self, data: bytes) -> list[int]:
        """The codes of the replies, one for each reply."""
        return codes(self.send(data))

    @property
    def messages(self) -> list[MessageReceived]:
        return [event for event in self.events if isinstance(event, MessageReceived)]


def codes(output: bytes) -> list[int]:
    """The codes of whole replies in these bytes."""
    return [int(line[:3]) for line in output.split(b"\r\n") if line and line[3:4] != b"-"]


def greeted(settings: ServerSettings | None = None, decide: Decide = accept_all, *, is_tls: bool = False) -> Talk:
    """A session after EHLO, its events forgotten."""
    talk = Talk(settings, decide, is_tls=is_tls)
    talk.send(b"EHLO client.example.test\r\n")
    talk.events.clear()
    return talk


def in_transaction(settings: ServerSettings | None = None, decide: Decide = accept_all) -> Talk:
    """A session after MAIL and one RCPT."""
    talk = greeted(settings, decide)
    talk.send(b"MAIL FROM:<a@example.test>\r\nRCPT TO:<b@example.test>\r\n")
    return talk
