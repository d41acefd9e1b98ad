"""Hosts that refuse the client or its sender: what they say tells nothing of the mailbox."""

from __future__ import annotations

from postroad.lab.personality import Action, Personality, Talk, Then, answer
from postroad.smtp.address import Address


class BlocksGreeting(Personality):
    """Refuses with its first word; closes after it where `closes` is 1, else refuses all that follows."""

    defaults = {"closes": 1}

    def greet(self, talk: Talk, now: float) -> Action:
        said = self.manner.say("blocked_greeting", peer=talk.peer)
        return answer(said, Then.CLOSE if self.options["closes"] else Then.GO_ON)

    def ehlo(self, talk: Talk, now: float, name: str, *, is_extended: bool) -> Action:
        return self.say("order", talk)

    def mail(self, talk: Talk, now: float, sender: str) -> Action:
        return self.say("order", talk)


class BlocksMail(Personality):
    """Refuses the client at MAIL."""

    def mail(self, talk: Talk, now: float, sender: str) -> Action:
        return self.say("blocked_mail", talk)


class BlocksRecipient(Personality):
    """Refuses the client at each RCPT, in words that may look as if they spoke of the mailbox."""

    def rcpt(self, talk: Talk, now: float, address: Address) -> Action:
        return self.say("blocked_recipient", talk, address=str(address))


class RejectsNull(Personality):
    """Takes no null sender: at MAIL, or where `late` is 1 at each RCPT."""

    defaults = {"late": 0}

    def mail(self, talk: Talk, now: float, sender: str) -> Action:
        if not sender and not self.options["late"]:
            return self.say("null_refused", talk)
        return super().mail(talk, now, sender)

    def rcpt(self, talk: Talk, now: float, address: Address) -> Action:
        if not talk.sender and self.options["late"]:
            return self.say("null_refused", talk)
        return super().rcpt(talk, now, address)


class WantsName(Personality):
    """Wants a client whose address has a name in DNS, and where `matching` is 1 an EHLO that says it."""

    defaults = {"matching": 1}

    def rcpt(self, talk: Talk, now: float, address: Address) -> Action:
        if not talk.peer_name:
            return self.say("no_name", talk)
        if self.options["matching"] and talk.hello.lower().rstrip(".") != talk.peer_name:
            return self.say("wrong_hello", talk)
        return super().rcpt(talk, now, address)


class WantsTls(Personality):
    """Takes no sender before STARTTLS."""

    defaults = {"tls": 1}

    def mail(self, talk: Talk, now: float, sender: str) -> Action:
        return super().mail(talk, now, sender) if talk.is_tls else self.say("tls_first", talk)
