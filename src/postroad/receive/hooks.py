"""Hooks among the checks: what they answer becomes replies and amended messages.

Those before the 250 are asked here, in order, each seeing what the one before it changed. Used by compose/hooks.py.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, replace

from postroad.hook.examine import examine
from postroad.hook.scanner import Scanner
from postroad.hook.vocabulary import Arrived, Client, Defer, Discard, Refuse
from postroad.receive.caller import Caller
from postroad.receive.checks import Amended, Checks
from postroad.smtp.address import Address, NullPath
from postroad.smtp.extension import NO_RCPT_PARAMETERS
from postroad.smtp.reply import Reply
from postroad.smtp.server_events import HelloReceived, MailReceived, MessageReceived, RcptReceived


def client_of(caller: Caller) -> Client:
    """What hooks may know of a caller."""
    return Client(
        address=caller.peer,
        port=caller.peer_port,
        listener=str(caller.role),
        hello=caller.hello,
        user=caller.user,
        is_tls=caller.is_tls,
    )


class HookChecks:
    """The checks that ask hooks."""

    def __init__(self, scanners: Sequence[Scanner], hostname: str) -> None:
        self._scanners = scanners
        self._hostname = hostname

    def checks(self) -> Checks:
        """Those of the stages that some hook hears of; none otherwise."""

        def heard(stage: str) -> bool:
            return any(scanner.hears(stage) for scanner in self._scanners)

        before = [scanner for scanner in self._scanners if scanner.hears("message") and not scanner.settings.is_after]
        return Checks(
            connect=(self.connect,) if heard("connect") else (),
            hello=(self.hello,) if heard("hello") else (),
            mail=(self.mail,) if heard("mail") else (),
            rcpt=(self.rcpt,) if heard("rcpt") else (),
            message=(_Examination(before, self._hostname).message,) if before else (),
        )

    def connect(self, caller: Caller) -> Awaitable[Reply | None]:
        """Ask about a connection."""
        return self._early("connect", caller)

    def hello(self, caller: Caller, event: HelloReceived) -> Awaitable[Reply | None]:
        """Ask about a greeting."""
        return self._early("hello", caller)

    def mail(self, caller: Caller, event: MailReceived) -> Awaitable[Reply | None]:
        """Ask about a sender."""
        return self._early("mail", caller, event.reverse_path)

    def rcpt(self, caller: Caller, event: RcptReceived) -> Awaitable[Reply | None]:
        """Ask about a recipient."""
        assert caller.reverse_path is not None
        return self._early("rcpt", caller, caller.reverse_path, event.forward_path)

    async def _early(self, stage: str, caller: Caller, *values: Address | NullPath) -> Reply | None:
        for scanner in self._scanners:
            if scanner.hears(stage):
                answer = await scanner.early(stage, client_of(caller), *values)
                if answer is not None:
                    return answer.reply
        return None


@dataclass(frozen=True, slots=True)
class _Examination:
    scanners: Sequence[Scanner]
    hostname: str

    async def message(self, caller: Caller, event: MessageReceived) -> Reply | Amended | None:
        """Ask about a message."""
        arrived = Arrived(
            client=client_of(caller),
            sender=event.mail.reverse_path,
            recipients=tuple(one.forward_path for one in event.recipients),
            octets=event.body,
            hostname=self.hostname,
        )
        found = await examine(self.scanners, arrived)
        if isinstance(found.ending, Refuse | Defer):
            return found.ending.reply
        if isinstance(found.ending, Discard):
            return Amended(event=event, is_discarded=True)
        if not found.is_changed and not found.hold:
            return None
        return Amended(event=_changed(event, found.arrived), hold=found.hold)


def _changed(event: MessageReceived, arrived: Arrived) -> MessageReceived:
    """The event with what hooks made of its message; recipients that stay keep what was asked for them."""
    known = {one.forward_path: one for one in event.recipients}
    recipients = tuple(known.get(one) or RcptReceived(one, NO_RCPT_PARAMETERS) for one in arrived.recipients)
    mail = event.mail
    if mail.reverse_path != arrived.sender:
        mail = replace(mail, reverse_path=arrived.sender)
    return replace(event, mail=mail, recipients=recipients or event.recipients, body=arrived.octets)
