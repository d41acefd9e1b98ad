"""What the results of one transaction say beyond each recipient: was the connection stale, are we welcome, was it full.

One reading for deliveries and probes alike; `classify` reads the single reply. Pure. Used by deliver/attempt.py and
verify/probe.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Protocol

from postroad.meaning.classify import MAX_TEXT, Kind, classify
from postroad.smtp.outcome import Phase
from postroad.smtp.reply import Reply

MAX_FRESH_STARTS = 2
"""How often what a reused connection lost before anything was decided begins again at once on another."""

_TO_RSET = (421, 500, 501, 502, 503, 504)
"""Refusals that a host may mean for RSET itself."""
_ADDRESS = re.compile(r"[^\s<>()\[\]\",;:@]{1,64}@[A-Za-z0-9_.-]{1,255}[A-Za-z0-9]")
_NAMING_ANOTHER = (251, 551)
"""Replies that name where mail for the recipient goes (RFC 5321 §3.4)."""
_BEFORE_BODY = (Phase.MAIL, Phase.RCPT, Phase.DATA)


class Heard(Protocol):
    """One recipient's result: the phase that decided, and the reply, or why there is none."""

    @property
    def phase(self) -> Phase: ...

    @property
    def reply(self) -> Reply | None: ...

    @property
    def detail(self) -> str: ...


def is_stale(results: Iterable[Heard]) -> bool:
    """Whether the connection ended before anything was decided of anyone: the host had closed it while it was idle."""
    return all(
        heard.phase in _BEFORE_BODY
        and heard.detail != "timed out"
        and (heard.reply is None or (heard.phase is Phase.MAIL and _is_farewell(heard.reply)))
        for heard in results
    )


def _is_farewell(said: Reply) -> bool:
    """A 421 that closes an idle connection, and does not speak of us (4.7.x, or the words of a limit or a block)."""
    if said.code != 421 or (said.enhanced is not None and said.enhanced.subject == 7):
        return False
    return classify(Phase.MAIL, said).kind not in (Kind.RATE_LIMITED, Kind.BLOCKED_REPUTATION)


def is_shifted(asked: Sequence[str], results: Sequence[Heard], reset: Reply | None) -> bool:
    """Whether the replies seem to belong to other commands than those they came for (C-07): one that names another
    of the recipients than its own, one to RSET that speaks as of a recipient, or one too few: everybody has a reply,
    and RSET has none."""
    if reset is not None and not reset.is_positive and reset.code not in _TO_RSET:
        return True
    if reset is None and all(
        heard.reply is not None and heard.phase is Phase.RCPT and heard.reply.code != 421 for heard in results
    ):
        return True
    if len(asked) < 2:
        return False
    others = {address.lower() for address in asked}
    for own, heard in zip(asked, results, strict=True):
        if heard.reply is None or heard.phase is not Phase.RCPT or heard.reply.code in _NAMING_ANOTHER:
            continue
        named = {found.lower() for found in _ADDRESS.findall(heard.reply.text[:MAX_TEXT])} & others
        if named and own.lower() not in named:
            return True
    return False


def is_unwelcome(heard: Heard, provider: str | None = None) -> bool:
    """Whether the site wants less of us, or nothing, and not only for this recipient: 421, 4.7.x, a block (V-09).
    `provider`: whose words they are, where it is known."""
    said = heard.reply
    if said is None or said.is_positive:
        return False
    if said.code == 421:
        return True
    meaning = classify(heard.phase, said, provider)
    if meaning.kind is Kind.BLOCKED_REPUTATION or meaning.rule == "rate-text":
        return True
    is_about_us = said.enhanced is not None and said.enhanced.subject == 7
    return said.is_transient and is_about_us and meaning.kind is not Kind.GREYLISTED


def is_crowded_out(heard: Heard) -> bool:
    """Turned away because others had filled the transaction (RFC 5321 §4.5.3.1.10); counts only where some had a
    hearing."""
    said = heard.reply
    if said is None or heard.phase is not Phase.RCPT or said.code not in (452, 552):
        return False
    status = said.enhanced
    is_of_count = status is not None and (status.subject, status.detail) == (5, 3)
    return (
        is_of_count
        or (said.code == 452 and status is None)
        or classify(heard.phase, said).rule == "too-many-recipients"
    )
