"""What is looked at in a client of the MX port: its address in DNS, the name it says, whether it waits, how it goes on.

Users and exempt networks are left alone. What is found refuses at once, or at RCPT where a person will read the reason
(postmaster hears everybody, RFC 5321 §4.5.1), or is only marked in a header field for filters to weigh.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal

from postroad.message.headers import header_line
from postroad.net.resolver import ReverseResolver
from postroad.receive.caller import Caller
from postroad.receive.checks import Amended
from postroad.receive.guard.block_lists import DnsLists
from postroad.receive.guard.networks import Networks
from postroad.receive.guard.reverse_dns import (
    OUR_NAME,
    Confirmation,
    Found,
    confirm,
    hello_refusal,
    hello_resolves,
    reverse_refusal,
)
from postroad.smtp.reply import Reply, reply
from postroad.smtp.server_events import HelloReceived, MessageReceived, RcptReceived

MARKS = "X-Postroad-Marks"
"""The header field that names what was found odd."""
LONGEST_TARPIT_S = 60.0
_AHEAD = reply(503, "You sent commands ahead of the answer to EHLO", "5.5.0")

Severity = Literal["off", "mark", "require"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StrangerSettings:
    """What is looked at; seconds and counts."""

    exempt: Networks = field(default_factory=Networks)
    refuse_at: Literal["connect", "rcpt"] = "rcpt"
    reverse_dns: Severity = "off"
    hello_name: Severity = "off"
    own_names: frozenset[str] = frozenset()
    """Names and address literals of ours, in small letters, which no stranger may say in EHLO."""
    dns_timeout_s: float = 5.0
    early_talk: Literal["ignore", "mark", "refuse"] = "ignore"
    pipelining: Literal["ignore", "mark", "refuse"] = "ignore"
    greeting_delay_s: float = 0.0
    tarpit_after: int = 0
    """Recipients of a message that are answered at once; 0: all of them."""
    tarpit_s: float = 1.0
    known_hosts: tuple[str, ...] = ()
    """Domains whose hosts, by their confirmed names, are not greylisted."""

    @property
    def looks_up_names(self) -> bool:
        """Whether the reverse DNS of a client is asked."""
        return self.reverse_dns != "off" or bool(self.known_hosts)


class Strangers:
    """Checks of the MX port. `resolver` gives the one in use now."""

    def __init__(self, settings: StrangerSettings, lists: DnsLists, resolver: Callable[[], ReverseResolver]) -> None:
        self.settings = settings
        self._lists = lists
        self._resolver = resolver

    def use(self, settings: StrangerSettings) -> None:
        """From now on these."""
        self.settings = settings

    def greeting_delay(self, caller: Caller) -> float:
        """Seconds that a client waits for its greeting."""
        delay_s = self.settings.greeting_delay_s
        return 0.0 if not delay_s or caller.peer in self.settings.exempt else delay_s

    def connect(self, caller: Caller) -> Awaitable[Reply | None] | None:
        """Ask DNS about the client, all at once; None where nothing is to be asked."""
        settings = self.settings
        if not (settings.looks_up_names or self._lists.settings.lists) or caller.peer in settings.exempt:
            return None
        return self._look_up(caller) if _is_ip(caller.peer) else None

    async def _look_up(self, caller: Caller) -> Reply | None:
        settings = self.settings
        confirmation, standing = await asyncio.gather(self._confirm(caller.peer), self._standing(caller.peer))
        caller.name = confirmation.name
        refusal = standing
        if settings.reverse_dns == "require":
            refusal = refusal or reverse_refusal(confirmation.found)
        elif settings.reverse_dns == "mark" and confirmation.found is Found.ABSENT:
            caller.mark("no-reverse-dns")
        if settings.refuse_at == "connect":
            return refusal
        caller.refusal_due = refusal
        return None

    async def _confirm(self, peer: str) -> Confirmation:
        settings = self.settings
        if not settings.looks_up_names:
            return Confirmation(Found.UNKNOWN)
        return await confirm(self._resolver(), peer, settings.dns_timeout_s)

    async def _standing(self, peer: str) -> Reply | None:
        if not self._lists.settings.lists:
            return None
        return self._lists.refusal(peer, await self._lists.ask(peer))

    def hello(self, caller: Caller, event: HelloReceived) -> Reply | Awaitable[Reply | None] | None:
        """Judge the name a client says, and whether it waited before it said more."""
        settings = self.settings
        if caller.peer in settings.exempt:
            return None
        if caller.talked_early and settings.early_talk == "mark":
            caller.mark("talked-early")
        if caller.talked_ahead and settings.pipelining != "ignore":
            if settings.pipelining == "refuse":
                return _AHEAD
            caller.mark("talked-ahead")
        if settings.own_names and event.name.lower().rstrip(".") in settings.own_names:
            return OUR_NAME
        return None if settings.hello_name == "off" else self._judge_hello(caller, event.name)

    async def _judge_hello(self, caller: Caller, name: str) -> Reply | None:
        found = await hello_resolves(self._resolver(), name, self.settings.dns_timeout_s)
        if self.settings.hello_name == "require":
            return hello_refusal(found)
        if found is Found.ABSENT:
            caller.mark("hello-unresolved")
        return None

    def rcpt(self, caller: Caller, event: RcptReceived) -> Reply | Awaitable[Reply | None] | None:
        """Say the refusal that waited for a recipient, but not to postmaster; slow down long lists of recipients."""
        if caller.refusal_due is not None and event.forward_path.local.lower() != "postmaster":
            return caller.refusal_due
        settings = self.settings
        if not settings.tarpit_after or caller.recipients <= settings.tarpit_after or caller.peer in settings.exempt:
            return None
        return asyncio.sleep(min(settings.tarpit_s, LONGEST_TARPIT_S), None)

    def is_known_host(self, caller: Caller) -> bool:
        """Whether its confirmed name is that of a host of the domains listed."""
        return bool(caller.name) and any(
            caller.name == domain or caller.name.endswith(f".{domain}") for domain in self.settings.known_hosts
        )


def mark(caller: Caller, event: MessageReceived) -> Amended | None:
    """Write the marks of a client above its message."""
    if not caller.marks:
        return None
    return Amended(event=event, above=header_line(MARKS, ", ".join(caller.marks)))


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
