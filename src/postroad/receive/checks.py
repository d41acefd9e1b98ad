"""The rules of acceptance: small policies, asked in order; the first that refuses decides.

A check answers None (no objection) or the Reply that refuses; or an awaitable of it, when it must wait.
To add a rule, write a check here and list it in `standard_checks`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from postroad.message.headers import count_received
from postroad.receive.caller import Caller
from postroad.smtp.address import Address
from postroad.smtp.reply import Reply, reply
from postroad.smtp.server_events import HelloReceived, MailReceived, MessageReceived, RcptReceived
from postroad.store.accounts import may_send_as

Decision = Reply | None | Awaitable[Reply | None]


@dataclass(frozen=True, slots=True)
class Checks:
    """The checks of one listener, by the step they judge."""

    hello: tuple[Callable[[Caller, HelloReceived], Decision], ...] = ()
    mail: tuple[Callable[[Caller, MailReceived], Decision], ...] = ()
    rcpt: tuple[Callable[[Caller, RcptReceived], Decision], ...] = ()
    message: tuple[Callable[[Caller, MessageReceived], Decision], ...] = ()


_RELAY_DENIED = reply(550, "Relaying denied: this host takes mail for its own domains only", "5.7.1")
_NO_SUCH_MAILBOX = reply(550, "No such mailbox here", "5.1.1")
_NOT_YOURS = reply(553, "Not one of your sender identities", "5.7.1")
_LOOP = reply(554, "Too many hops: this message is in a loop", "5.4.6")


@dataclass(frozen=True, slots=True)
class LocalDomains:
    """Which addresses are ours: by domain, and by mailbox where the mailboxes are known.

    `mailboxes` None takes every local part; else it holds canonical `local@domain` texts, local part in lower case.
    """

    domains: frozenset[str]
    literals: frozenset[str] = frozenset()
    mailboxes: Callable[[str], bool] | None = None
    can_keep: Callable[[Address], bool] = lambda address: True
    """Whether mail for a local address could be stored at all: what cannot is refused here, not bounced later."""
    separator: str = "+"

    def is_local(self, address: Address) -> bool:
        """Whether it is for us to deliver."""
        return not address.domain or address.domain in self.domains or address.domain in self.literals

    def has_mailbox(self, address: Address) -> bool:
        """Whether a local address exists; postmaster always does (RFC 5321 §4.5.1)."""
        local = address.local.lower()
        if local == "postmaster" or self.mailboxes is None:
            return True
        user = local.split(self.separator, 1)[0] if self.separator else local
        return self.mailboxes(f"{local}@{address.domain}") or self.mailboxes(f"{user}@{address.domain}")


@dataclass(frozen=True, slots=True)
class RelayCheck:
    """Never an open relay: strangers reach local mailboxes only (S-32).

    The address is judged as a whole: whatever the local part looks like (`a%b`, `"a@b"`, `a!b`) it is a local part.
    """

    local: LocalDomains

    def rcpt(self, caller: Caller, event: RcptReceived) -> Reply | None:
        """Refuse what is not ours, and mailboxes that are not there."""
        address = event.forward_path
        if self.local.is_local(address):
            is_there = self.local.has_mailbox(address) and self.local.can_keep(address)
            return None if is_there else _NO_SUCH_MAILBOX
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
    local: LocalDomains
    hops: int = 100
    is_submission: bool = field(default=False, kw_only=True)


def standard_checks(settings: CheckSettings) -> Checks:
    """The rules in force on a listener."""
    return Checks(
        mail=(check_identity,) if settings.is_submission else (),
        rcpt=(RelayCheck(settings.local).rcpt,),
        message=(LoopCheck(settings.hops).message,),
    )
