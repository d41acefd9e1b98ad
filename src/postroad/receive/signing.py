"""The last check of a submitted message: it is signed as it will leave, Date and Message-ID included.

A user's mail is signed only in a name that he may use: the reverse-path was judged at MAIL, and here the From field is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from postroad.events import emit
from postroad.message.author import authors
from postroad.message.headers import fix_submission
from postroad.receive.caller import Caller
from postroad.receive.checks import Amended, MessageDecision
from postroad.smtp.reply import Reply, reply
from postroad.smtp.server_events import MessageReceived
from postroad.store.accounts import may_send_as

NOT_THEIRS = "the From field names an address that its user may not send as"
_LATER = reply(451, "The message cannot be signed now: try again later", "4.7.5")


class CannotSign(Exception):
    """There are keys for the domain, and none can be used; the message says why."""


class Signs(Protocol):
    """Who signs (compose/signing.py)."""

    @property
    def has_keys(self) -> bool:
        """Whether any domain has."""
        ...

    def domain_for(self, domain: str) -> str | None:
        """The domain whose keys sign for that one; None without any."""
        ...

    async def sign(self, message: bytes, *, from_domain: str) -> bytes:
        """The message with its signatures. Raises CannotSign."""
        ...


@dataclass(frozen=True, slots=True)
class SubmissionSigning:
    """`token` is unguessable text for a Message-ID; `is_required`: what cannot be signed is deferred."""

    signer: Signs
    hostname: str = field(kw_only=True)
    now: Callable[[], float] = field(kw_only=True)
    token: Callable[[], str] = field(kw_only=True)
    is_required: bool = field(kw_only=True)

    def message(self, caller: Caller, event: MessageReceived) -> MessageDecision:
        """Sign it, where its domain has keys."""
        if not self.signer.has_keys:
            return None
        written_by, count = authors(event.body)
        domain = self.signer.domain_for(written_by[0].domain) if written_by else None
        if domain is None:
            return None
        account = caller.account
        if count != 1 or account is None or not all(may_send_as(account, one) for one in written_by):
            reason = NOT_THEIRS if count == 1 else "there are several From fields"
            emit("dkim.unsigned", domain=domain, user=caller.user, reason=reason)
            return None
        return self._signed(caller, event, domain)

    async def _signed(self, caller: Caller, event: MessageReceived, domain: str) -> Reply | Amended | None:
        body = fix_submission(event.body, now=self.now(), message_id=f"{self.token()}@{self.hostname}")
        try:
            body = await self.signer.sign(body, from_domain=domain)
        except CannotSign as error:
            emit("dkim.unsigned", domain=domain, user=caller.user, reason=str(error))
            return _LATER if self.is_required else None
        return Amended(event=replace(event, body=body))
