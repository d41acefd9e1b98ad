"""Hosts that break the protocol: TLS that is none, replies out of step or without an end, silence, resets."""

from __future__ import annotations

from postroad.lab.personality import Action, Personality, Talk, Then, answer
from postroad.smtp.address import Address


class BreaksTls(Personality):
    """Offers STARTTLS in vain. `how`: 0 refuses it, 1 answers the handshake with no TLS, 2 resets the connection."""

    defaults = {"tls": 1, "how": 0}

    def starttls(self, talk: Talk, now: float) -> Action:
        match int(self.options["how"]):
            case 0:
                return self.say("tls_unavailable", talk)
            case 1:
                return answer(self.manner.say("tls_ready"), Then.BREAK_TLS)
            case _:
                return Action(then=Then.RESET)


class NoPipelining(Personality):
    """Does not offer PIPELINING. `how`: 0 bears commands sent ahead, 1 refuses them, 2 ends the session."""

    defaults = {"pipelining": 0, "how": 1}

    def mail(self, talk: Talk, now: float, sender: str) -> Action:
        return self._too_early(talk) or super().mail(talk, now, sender)

    def rcpt(self, talk: Talk, now: float, address: Address) -> Action:
        return self._too_early(talk) or super().rcpt(talk, now, address)

    def _too_early(self, talk: Talk) -> Action | None:
        if not talk.is_ahead or not self.options["how"]:
            return None
        said = self.manner.say("pipelining", peer=talk.peer)
        return answer(said, Then.GO_ON if self.options["how"] == 1 else Then.CLOSE)


class OutOfStep(Personality):
    """Gives one reply more or less than it was asked for. `how`: 0 doubles the one to EHLO, 1 the one to MAIL,
    2 leaves out the one to the second RCPT of a session."""

    defaults = {"how": 0}

    def ehlo(self, talk: Talk, now: float, name: str, *, is_extended: bool) -> Action:
        said = super().ehlo(talk, now, name, is_extended=is_extended)
        return self._twice(said, talk) if self.options["how"] == 0 else said

    def mail(self, talk: Talk, now: float, sender: str) -> Action:
        said = super().mail(talk, now, sender)
        return self._twice(said, talk) if self.options["how"] == 1 else said

    def rcpt(self, talk: Talk, now: float, address: Address) -> Action:
        said = super().rcpt(talk, now, address)
        return Action(code=said.code) if self.options["how"] == 2 and talk.asked == 2 else said

    def _twice(self, said: Action, talk: Talk) -> Action:
        return Action(said.said + self.say("noop", talk).said, said.delay_s, said.then, said.code)


class Endless(Personality):
    """Begins a reply and never ends it. `at`: 0 the greeting, 1 EHLO, 2 RCPT."""

    defaults = {"at": 0}

    def greet(self, talk: Talk, now: float) -> Action:
        return Action(then=Then.ENDLESS, code=220) if self.options["at"] == 0 else super().greet(talk, now)

    def ehlo(self, talk: Talk, now: float, name: str, *, is_extended: bool) -> Action:
        if self.options["at"] == 1:
            return Action(then=Then.ENDLESS, code=250)
        return super().ehlo(talk, now, name, is_extended=is_extended)

    def rcpt(self, talk: Talk, now: float, address: Address) -> Action:
        return Action(then=Then.ENDLESS, code=250) if self.options["at"] == 2 else super().rcpt(talk, now, address)


class Resets(Personality):
    """Breaks off. `at`: 0 instead of a greeting, 1 at MAIL, 2 at RCPT; `resets`: 1 by a reset, 0 by closing."""

    defaults = {"at": 0, "resets": 1}

    def greet(self, talk: Talk, now: float) -> Action:
        return self._break() if self.options["at"] == 0 else super().greet(talk, now)

    def mail(self, talk: Talk, now: float, sender: str) -> Action:
        return self._break() if self.options["at"] == 1 else super().mail(talk, now, sender)

    def rcpt(self, talk: Talk, now: float, address: Address) -> Action:
        return self._break() if self.options["at"] == 2 else super().rcpt(talk, now, address)

    def _break(self) -> Action:
        return Action(then=Then.RESET if self.options["resets"] else Then.CLOSE)


class Mute(Personality):
    """Takes the connection and falls silent. `at`: 0 before the greeting, 1 at EHLO, 2 at RCPT."""

    defaults = {"at": 0}

    def greet(self, talk: Talk, now: float) -> Action:
        return Action(then=Then.STAY_SILENT) if self.options["at"] == 0 else super().greet(talk, now)

    def ehlo(self, talk: Talk, now: float, name: str, *, is_extended: bool) -> Action:
        if self.options["at"] == 1:
            return Action(then=Then.STAY_SILENT)
        return super().ehlo(talk, now, name, is_extended=is_extended)

    def rcpt(self, talk: Talk, now: float, address: Address) -> Action:
        return Action(then=Then.STAY_SILENT) if self.options["at"] == 2 else super().rcpt(talk, now, address)
