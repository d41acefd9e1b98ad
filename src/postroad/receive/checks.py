"""The rules of acceptance: small policies, asked in order; the first that refuses decides.

A check answers None (no objection) or the Reply that refuses; or an awaitable of it, when it must wait. A check of a
whole message may also answer `Amended`: go on with that one instead. To add a rule, write a check here and list it in
`standard_checks`.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from postroad.message.headers import count_received
from postroad.receive.caller import Caller
from postroad.receive.directory import Directory
from postroad.smtp.address import Address
from postroad.smtp.reply import Reply, reply
from postroad.smtp.server_events import HelloReceived, MailReceived, MessageReceived, RcptReceived
from postroad.store.accounts import may_send_as

Decision = Reply | None | Awaitable[Reply | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Amended:
    """No objection, and the checks that follow (and the queue) get this message."""

    event: MessageReceived
    above: bytes = b""
    """Whole header fields that go above our Received."""
    hold: str = ""
    """Why it is kept without being delivered until an operator releases it; empty: it is delivered."""
    is_discarded: bool = False
    """It is answered 250 and not kept."""

    def after(self, earlier: Amended | None) -> Amended:
        """What both say, this one on top of an earlier check's."""
        if earlier is None:
            return self
        return Amended(
            event=self.event,
            above=self.above + earlier.above,
            hold="; ".join(filter(None, (earlier.hold, self.hold))),
            is_discarded=self.is_discarded or earlier.is_discarded,
        )


MessageDecision = Reply | Amended | None | Awaitable[Reply | Amended | None]


async def ask_on(
    checks: Sequence[Callable[[Any], Any]],
    first: Awaitable[Reply | Amended | None],
    event: Any,
    amended: Amended | None = None,
) -> tuple[Reply | None, Amended | None]:
    """Wait for the answer of a check, then ask those that follow: the refusal, and what was amended."""
    decision = await first
    waiting = iter(checks)
    while not isinstance(decision, Reply):
        if decision is not None:
            amended = decision.after(amended)
            event = amended.event
        check = next(waiting, None)
        if check is None:
            return None, amended
        asked = check(event)
        decision = await asked if inspect.isawaitable(asked) else asked
    return decision, amended


@dataclass(frozen=True, slots=True)
class Checks:
    """The checks of one listener, by the step they judge."""

    connect: tuple[Callable[[Caller], Decision], ...] = ()
    """Before the greeting; a refusal is said instead of it, and the connection ends."""
    hello: tuple[Callable[[Caller, HelloReceived], Decision], ...] = ()
    mail: tuple[Callable[[Caller, MailReceived], Decision], ...] = ()
    rcpt: tuple[Callable[[Caller, RcptReceived], Decision], ...] = ()
    message: tuple[Callable[[Caller, MessageReceived], MessageDecision], ...] = ()

    def __add__(self, others: Checks) -> Checks:
        """These, then the others."""
        return Checks(
            connect=self.connect + others.connect,
            hello=self.hello + others.hello,
            mail=self.mail + others.mail,
            rcpt=self.rcpt + others.rcpt,
            message=self.message + others.message,
        )


_RELAY_DENIED = reply(550, "Relaying denied: this host takes mail for its own domains only", "5.7.1")
_NOT_YOURS = reply(553, "Not one of your sender identities", "5.7.1")
_LOOP = reply(554, "Too many hops: this message is in a loop", "5.4.6")


@dataclass(frozen=True, slots=True)
class RelayCheck:
    """Never an open relay: strangers reach local addresses only, and what these stand for (S-32).

    The address is judged as a whole: whatever the local part looks like (`a%b`, `"a@b"`, `a!b`) it is a local part.
    """

    local: Directory

    def rcpt(self, caller: Caller, event: RcptReceived) -> Reply | None:
        """Refuse what is not ours, and what leads nowhere here."""
        address = event.forward_path
        if self.local.is_local(address):
            return self.local.refusal(address, caller.reverse_path)
        return None if caller.role.is_submission and caller.account is not None else _RELAY_DENIED


def check_identity(caller: Caller, event: MailReceived) -> Reply | None:
    """A user sends in no one else's name (RFC 6409 §6.1); the null reverse-path is nobody's (S-28)."""
    path = event.reverse_path
    if caller.account is not None and isinstance(path, Address) and may_send_as(caller.account, path):
        return None
    return _NOT_YOURS


@dataclass(frozen=True, slots=True)
class LoopCheck:
    """A message that has come through too many hosts is going in circles (RFC 5321 §6.3)."""

    hops: int

    def message(self, caller: Caller, event: MessageReceived) -> Reply | None:
        """Count its Received headers."""
        return _LOOP if count_received(event.body) > self.hops else None


@dataclass(frozen=True, slots=True)
class CheckSettings:
    local: Directory
    hops: int = 100
    is_submission: bool = field(default=False, kw_only=True)


def standard_checks(settings: CheckSettings) -> Checks:
    """The rules in force on a listener."""
    return Checks(
        mail=(check_identity,) if settings.is_submission else (),
        rcpt=(RelayCheck(settings.local).rcpt,),
        message=(LoopCheck(settings.hops).message,),
    )
