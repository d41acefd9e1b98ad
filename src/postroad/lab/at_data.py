"""Hosts that take the envelope and have their trouble with the message: refusals, cuts, and hosts too busy just now.

What they do does not concern who asks about mailboxes alone; they are for delivery.
"""

from __future__ import annotations

from collections import OrderedDict

from postroad.lab.personality import Action, Directory, Options, Personality, Talk, Then, answer
from postroad.lab.wording import Manner

MAX_REMEMBERED = 100_000
"""Messages of a host."""


class _Times(Personality):
    """Counts how often each message has come: one of the same sender to the same recipients."""

    def __init__(self, manner: Manner, directory: Directory, options: Options) -> None:
        super().__init__(manner, directory, options)
        self._seen: OrderedDict[tuple[str, ...], int] = OrderedDict()

    def times(self, talk: Talk) -> int:
        """How often this message was here before; counts this time."""
        key = (talk.sender or "", *talk.taking)
        before = self._seen.pop(key, 0)
        self._seen[key] = before + 1
        if len(self._seen) > MAX_REMEMBERED:
            self._seen.popitem(last=False)
        return before


class RefusesData(_Times):
    """Takes recipients and refuses the message. `how`: 0 its content, after the dot; 1 at DATA; 2 with 4yz after the
    dot, `times` times, and takes it then; 3 for a full mailbox, after the dot."""

    defaults = {"how": 0, "times": 1}

    def data(self, talk: Talk, now: float) -> Action:
        return self.say("data_refused", talk) if self.options["how"] == 1 else super().data(talk, now)

    def body(self, talk: Talk, now: float, octets: int) -> Action:
        match int(self.options["how"]):
            case 2:
                is_early = self.times(talk) < self.options["times"]
                return self.say("temporary", talk) if is_early else super().body(talk, now, octets)
            case 3:
                return self.say("full_at_end", talk)
            case _:
                return self.say("content_refused", talk)


class CutsData(_Times):
    """Breaks off within the message's dialogue, `times` times for each, and takes it then. `how`: 0 after its go-ahead;
    1 after the dot, the message taken (RFC 1047); 2 after the dot, the message lost."""

    defaults = {"how": 0, "times": 1}

    def data(self, talk: Talk, now: float) -> Action:
        if self.options["how"] == 0 and self.times(talk) < self.options["times"]:
            return answer(self.manner.say("data_go"), Then.CLOSE)
        return super().data(talk, now)

    def body(self, talk: Talk, now: float, octets: int) -> Action:
        how = self.options["how"]
        if how and self.times(talk) < self.options["times"]:
            return Action(then=Then.RESET if how == 1 else Then.CLOSE, is_kept=how == 1)
        return super().body(talk, now, octets)


class Busy(Personality):
    """Says 421 in each session that is the first of `every`. `at`: 0 as its greeting, 1 at MAIL, 2 after the dot."""

    defaults = {"at": 0, "every": 3}

    def __init__(self, manner: Manner, directory: Directory, options: Options) -> None:
        super().__init__(manner, directory, options)
        self._sessions = 0

    def greet(self, talk: Talk, now: float) -> Action:
        talk.is_unlucky = self._sessions % max(1, int(self.options["every"])) == 0
        self._sessions += 1
        return self._closes(talk, 0) or super().greet(talk, now)

    def mail(self, talk: Talk, now: float, sender: str) -> Action:
        return self._closes(talk, 1) or super().mail(talk, now, sender)

    def body(self, talk: Talk, now: float, octets: int) -> Action:
        return self._closes(talk, 2) or super().body(talk, now, octets)

    def _closes(self, talk: Talk, at: int) -> Action | None:
        return self.say("busy", talk) if talk.is_unlucky and self.options["at"] == at else None
