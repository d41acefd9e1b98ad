"""Greylisting decided (RFC 6647): a first message from a stranger is put off, and taken when it comes again. Pure.

What is remembered is a triplet: the network of the client, the sender without what changes from message to message,
and the recipient. `store/guard_book.py` keeps them, `receive/guard/guard.py` asks.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from postroad.receive.guard.networks import customer_of, neighbours_of
from postroad.smtp.address import Address, NullPath
from postroad.store.guard_book import Known, Step, Triplet

MAX_PART = 320
"""Characters of an address that are kept; two that differ only beyond it are one."""
_BATV = re.compile(r"(?:prvs=[0-9a-z]{10}=|btv1==[0-9a-z]+==|msprvs1=[0-9a-z]+=)(.+)", re.IGNORECASE)
_SRS = re.compile(r"(srs[01])[=+-].*?([^=]*=[^=]+)", re.IGNORECASE)
_ENCODED = re.compile(r"[^+=_.-]+=[^=]+$")
_CHANGING = re.compile(r"[0-9a-f]{16,}|[a-z0-9]*[0-9][a-z0-9]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class GreylistPolicy:
    """Seconds and counts."""

    delay_s: float = 300.0
    """How long a stranger is put off."""
    retry_s: float = 172_800.0
    """How long he may take to come again, before he is a stranger once more."""
    keep_s: float = 3_110_400.0
    """How long a triplet that came again is known, since it was last seen (RFC 6647 §5: a month or more)."""
    network_passes: int = 5
    """Triplets of a network that came again, before the network is no stranger at all; 0 for never."""


def triplet(peer: str, sender: Address | NullPath | None, recipient: Address) -> Triplet:
    """What is remembered of a recipient asked for."""
    return Triplet(network_of(peer), steady(sender), str(recipient).lower()[:MAX_PART])


def network_of(peer: str) -> str:
    """What stands for a client: its /24 (IPv6: /64), since farms of mail hosts try again from another one."""
    return customer_of(peer) if ":" in peer else neighbours_of(peer)


def steady(sender: Address | NullPath | None) -> str:
    """A reverse-path without what changes from message to message: the tags of BATV and SRS, what VERP put in."""
    if not isinstance(sender, Address):
        return "<>"
    local = sender.local[:MAX_PART].lower()
    if found := _BATV.fullmatch(local):
        local = found[1]
    if found := _SRS.fullmatch(local):
        return f"{found[1]}={found[2]}@{sender.domain}"[:MAX_PART]
    local = _ENCODED.sub("#", local)
    return f"{_CHANGING.sub('#', local)}@{sender.domain}"[:MAX_PART]


def judge(known: Known | None, passes: int, now: float, policy: GreylistPolicy) -> tuple[float, Step]:
    """Seconds to put the recipient off (0: take it now), and what to write. `passes`: those of its network."""
    if policy.network_passes and passes >= policy.network_passes:
        return 0.0, Step.NOTHING if known is None else Step.SEEN
    if known is None:
        return policy.delay_s, Step.BEGIN
    if known.passed:
        return (0.0, Step.SEEN) if now - known.last_at <= policy.keep_s else (policy.delay_s, Step.BEGIN)
    waited = now - known.first_at
    if waited < 0 or waited > policy.delay_s + policy.retry_s:
        return policy.delay_s, Step.BEGIN
    if waited < policy.delay_s:
        return policy.delay_s - waited, Step.NOTHING
    return 0.0, Step.PASS
