"""One SMTP session of a lab host over bytes: commands in, actions of its personality out. No sockets, no clock.

Keeps the order of commands as any server does (RFC 5321 §4.1.4), so that personalities need not; what they decide is
carried out by host. Of a message it hands on its length and header. Used by host.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from postroad.lab.letter import Letter, header_of
from postroad.lab.personality import Action, Personality, Talk, Then, answer
from postroad.smtp.address import NullPath
from postroad.smtp.command import (
    Command,
    CommandError,
    Data,
    Ehlo,
    Helo,
    Help,
    Mail,
    Noop,
    Quit,
    Rcpt,
    Rset,
    StartTls,
    Vrfy,
    parse_command,
)
from postroad.smtp.framing import BodyFault, BodyLimits, CommandReader, DataReader, LineFault

MAX_LINE_OCTETS = 2048
MAX_MESSAGE_OCTETS = 10_485_760
MAX_ARGUMENT = 200
"""Characters of a command's argument that are logged."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One command, or the end of a message (`verb` is then "."), and what is done about it."""

    verb: str
    argument: str
    action: Action
    letter: Letter | None = None
    """The message that has come."""


class Conversation:
    """From the greeting on. `buffer` is host's to fill, and this object's to take from."""

    def __init__(self, personality: Personality, talk: Talk) -> None:
        self.personality = personality
        self.talk = talk
        self.buffer = bytearray()
        self._lines = CommandReader(self.buffer, MAX_LINE_OCTETS)
        self._body: DataReader | None = None

    @property
    def is_in_body(self) -> bool:
        """Whether a message is awaited, not a command."""
        return self._body is not None

    def greet(self, now: float) -> Action:
        """The first word."""
        return self.personality.greet(self.talk, now)

    def next_turn(self, now: float, *, is_ahead: bool) -> Turn | None:
        """What has come whole, answered; None where more bytes are needed."""
        if self._body is not None:
            return self._end_of_body(now)
        line = self._lines.next_line()
        if line is None:
            return None
        self.talk.is_ahead = is_ahead
        if isinstance(line, LineFault):
            return Turn("?", line.value, self._say("syntax"))
        try:
            command = parse_command(line, smtputf8=True)
        except CommandError as error:
            action = self._say("unknown_command") if error.reply.code in (500, 502) else self._say("syntax")
            return Turn("?", _shown(line), action)
        verb, _, argument = _shown(line).partition(" ")
        return Turn(verb.upper(), argument, self._decide(command, now))

    def tls_started(self) -> None:
        """The handshake is done: what was said before it is forgotten (RFC 3207 §4.2)."""
        self.talk.is_tls = True
        self.talk.hello = ""
        self._reset()

    def idle(self) -> Action:
        """The client has said nothing for too long."""
        return answer(self.personality.manner.say("idle"), Then.CLOSE)

    def end(self) -> None:
        """The connection is gone."""
        self.personality.end(self.talk)

    def _decide(self, command: Command, now: float) -> Action:
        talk, personality = self.talk, self.personality
        match command:
            case Ehlo(name) | Helo(name):
                self._reset()
                talk.hello = name
                return personality.ehlo(talk, now, name, is_extended=isinstance(command, Ehlo))
            case StartTls():
                if talk.is_tls or not personality.options["tls"]:
                    return self._say("unknown_command")
                return personality.starttls(talk, now)
            case Mail() | Rcpt() | Data():
                return self._transact(command, now)
            case Rset():
                self._reset()
                return self._say("reset")
            case Noop() | Vrfy() | Help():
                return replace(self._say("noop"), code=250)
            case Quit():
                return answer(personality.manner.say("bye"), Then.CLOSE)
            case _:
                return self._say("unknown_command")

    def _transact(self, command: Mail | Rcpt | Data, now: float) -> Action:
        talk, personality = self.talk, self.personality
        match command:
            case Mail(reverse_path):
                if not talk.hello or talk.sender is not None:
                    return self._say("order")
                sender = "" if isinstance(reverse_path, NullPath) else str(reverse_path)
                action = personality.mail(talk, now, sender)
                if action.code == 250:
                    talk.sender = sender
            case Rcpt(forward_path):
                if talk.sender is None:
                    return self._say("order")
                talk.asked += 1
                action = personality.rcpt(talk, now, forward_path)
                if action.code == 250:
                    talk.recipients += 1
                    talk.taking.append(str(forward_path))
            case Data():
                if not talk.recipients:
                    return self._say("order")
                action = personality.data(talk, now)
                if action.then is Then.TAKE_BODY:
                    self._body = DataReader(self.buffer, BodyLimits(MAX_MESSAGE_OCTETS, MAX_MESSAGE_OCTETS))
        return action

    def _end_of_body(self, now: float) -> Turn | None:
        assert self._body is not None
        body = self._body.next_body()
        if body is None:
            return None
        self._body = None
        if isinstance(body, BodyFault):
            self._reset()
            return Turn(".", "0 octets", self._say("temporary"))
        talk = self.talk
        action = self.personality.body(talk, now, len(body))
        letter = Letter(
            sender=talk.sender or "",
            recipients=tuple(talk.taking),
            bouncing=tuple(talk.bouncing),
            header=header_of(bytes(body)),
            code=action.code,
            is_kept=action.is_kept or action.code == 250,
        )
        self._reset()
        return Turn(".", f"{len(body)} octets", action, letter)

    def _reset(self) -> None:
        talk = self.talk
        talk.sender, talk.recipients = None, 0
        talk.taking.clear()
        talk.bouncing.clear()

    def _say(self, meaning: str) -> Action:
        return self.personality.say(meaning, self.talk)


def _shown(line: bytes) -> str:
    return line[:MAX_ARGUMENT].decode("ascii", "backslashreplace")
