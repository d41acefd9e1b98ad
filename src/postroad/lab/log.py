"""What the lab saw: every connection and command as an event, and what they prove of the client's politeness.

Events are kept, the newest `keep` of them, and written as JSON lines where a file is given; the figures are counted as
the events come, so their memory is bounded by the events of one minute. The same figures come from a file written
earlier: `politeness_of(read_events(file))`. Times are seconds of the event loop.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import TextIO

MINUTE_S = 60.0
MAX_EVENT_CHARS = 10_000
"""Of a line of a log that is read back."""


class What(StrEnum):
    """What happened."""

    OPEN = "open"
    GREETED = "greeted"
    """The host said 220."""
    COMMAND = "command"
    FAREWELL = "farewell"
    """QUIT has been answered: the connection no longer counts, however long its end takes."""
    CLOSE = "close"
    BOUNCE = "bounce"
    """A message that was taken comes back: `argument` is the recipient."""
    TOOK = "took"
    """A message is kept for the recipient `argument`; `code` is what was said to its end, 0 for nothing."""


class Ending(StrEnum):
    """How a session ended."""

    QUIT = "quit"
    """The client said QUIT, or was about to hear its answer."""
    LEFT = "left"
    """The client closed without QUIT, or broke off."""
    HOST = "host"
    """The host closed, reset, or was to blame for the client's leaving: silence, endless words, a broken reply."""
    LAB = "lab"
    """The lab was shut down meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line of the log. `code`: of the host's reply to a command, 0 where there was none."""

    at: float
    session: int
    what: What
    host: str
    site: str
    peer: str = ""
    verb: str = ""
    argument: str = ""
    code: int = 0
    ending: str = ""
    message_id: str = ""
    """Of the message that was taken, or comes back."""

    def to_json(self) -> str:
        """The event as one line, what is empty left out."""
        return json.dumps({key: value for key, value in asdict(self).items() if value or key not in _OPTIONAL})


_OPTIONAL = ("peer", "verb", "argument", "code", "ending", "message_id")


def read_events(lines: Iterable[str]) -> Iterator[Event]:
    """Events written earlier. Raises ValueError for a line that is none."""
    for number, line in enumerate(lines, start=1):
        try:
            if len(line) > MAX_EVENT_CHARS:
                raise ValueError("too long")
            data = json.loads(line)
            event = Event(**{**data, "what": What(data["what"])})
            if not isinstance(event.at, int | float) or not isinstance(event.session, int):
                raise TypeError("at and session are numbers")
            yield event
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"line {number} is no event of the lab: {error}") from None


@dataclass(slots=True)
class SiteFigures:
    """What one site bore."""

    sessions: int = 0
    most_connections: int = 0
    """At a time."""
    most_connections_a_minute: int = 0
    recipients: int = 0
    most_recipients_a_minute: int = 0
    """RCPT commands in any 60 seconds."""
    most_recipients_a_session: int = 0
    most_recipients_a_transaction: int = 0
    without_quit: int = 0
    """Sessions that the host had greeted and kept up, and that the client left without QUIT."""
    data: int = 0
    """DATA and BDAT commands."""


@dataclass(slots=True)
class _Session:
    is_greeted: bool = False
    is_over: bool = False
    asked: int = 0
    in_transaction: int = 0


@dataclass(slots=True)
class _SiteWindow:
    open: int = 0
    connections: deque[float] = field(default_factory=deque)
    recipients: deque[float] = field(default_factory=deque)


class Politeness:
    """The figures of each site, from events in the order of time."""

    def __init__(self) -> None:
        self.sites: dict[str, SiteFigures] = {}
        self._windows: dict[str, _SiteWindow] = {}
        self._open: dict[int, _Session] = {}

    def add(self, event: Event) -> None:
        """Count one event."""
        figures = self.sites.setdefault(event.site, SiteFigures())
        window = self._windows.setdefault(event.site, _SiteWindow())
        if event.what is What.OPEN:
            self._open[event.session] = _Session()
            figures.sessions += 1
            window.open += 1
            figures.most_connections = max(figures.most_connections, window.open)
            figures.most_connections_a_minute = max(
                figures.most_connections_a_minute, _in_a_minute(window.connections, event.at)
            )
            return
        session = self._open.get(event.session)
        if session is None:
            return
        if event.what is What.GREETED:
            session.is_greeted = True
        elif event.what is What.COMMAND:
            self._add_command(event, session, figures, window)
        elif event.what is What.FAREWELL:
            window.open -= not session.is_over
            session.is_over = True
        elif event.what is What.CLOSE:
            del self._open[event.session]
            window.open -= not session.is_over
            figures.without_quit += session.is_greeted and event.ending == Ending.LEFT

    @staticmethod
    def _add_command(event: Event, session: _Session, figures: SiteFigures, window: _SiteWindow) -> None:
        if event.verb == "MAIL":
            session.in_transaction = 0
        elif event.verb == "RCPT":
            session.asked += 1
            session.in_transaction += 1
            figures.recipients += 1
            figures.most_recipients_a_session = max(figures.most_recipients_a_session, session.asked)
            figures.most_recipients_a_transaction = max(figures.most_recipients_a_transaction, session.in_transaction)
            figures.most_recipients_a_minute = max(
                figures.most_recipients_a_minute, _in_a_minute(window.recipients, event.at)
            )
        elif event.verb in ("DATA", "BDAT"):
            figures.data += 1

    @property
    def whole(self) -> SiteFigures:
        """Sums over all sites, and the largest of each maximum."""
        whole = SiteFigures()
        for name in SiteFigures.__slots__:
            values = [getattr(figures, name) for figures in self.sites.values()]
            setattr(whole, name, max(values, default=0) if name.startswith("most_") else sum(values))
        return whole


def _in_a_minute(times: deque[float], now: float) -> int:
    times.append(now)
    while times[0] <= now - MINUTE_S:
        times.popleft()
    return len(times)


def politeness_of(events: Iterable[Event]) -> Politeness:
    """The figures of a whole log."""
    found = Politeness()
    for event in events:
        found.add(event)
    return found


class LabLog:
    """`keep`: events held in memory; `file`: gets every one as a JSON line."""

    def __init__(self, *, keep: int = 200_000, file: TextIO | None = None) -> None:
        self.events: deque[Event] = deque(maxlen=keep)
        self._file = file
        self._politeness = Politeness()
        self._sessions = 0

    def new_session(self) -> int:
        """The number of the next session, from 1."""
        self._sessions += 1
        return self._sessions

    def add(self, event: Event) -> None:
        """Note an event. Raises OSError where the file cannot be written."""
        self.events.append(event)
        self._politeness.add(event)
        if self._file is not None:
            self._file.write(event.to_json() + "\n")

    def politeness(self) -> Politeness:
        """The figures so far."""
        return self._politeness

    def commands(self, host: str = "") -> list[str]:
        """The commands kept, as they came; of one host where it is named."""
        return [
            f"{event.verb} {event.argument}".rstrip()
            for event in self.events
            if event.what is What.COMMAND and host in ("", event.host)
        ]
