"""What a message asks of the security of its way: REQUIRETLS, or `TLS-Required: No` in its headers (RFC 8689).

Pure. Used by deliver/attempt.py.
"""

from __future__ import annotations

from postroad.message.headers import has_header, headers, unfold
from postroad.road.opening import ConnectFailure
from postroad.road.route import Route
from postroad.smtp.reply import Reply, reply
from postroad.store.spool import SpooledMessage


def as_wished(message: SpooledMessage, route: Route) -> Route:
    """The way for that message: with REQUIRETLS every host is verified, with `TLS-Required: No` policies of the
    recipient are passed over (§4.2.1, §4.2.2). The operator's own routes ask what the operator says."""
    if message.envelope.require_tls:
        return route.strictly()
    if route.has_policy and is_unimportant(message.body):
        return route.leniently()
    return route


def is_unimportant(body: bytes) -> bool:
    """Whether the author would rather have it arrive in the clear than not (RFC 8689 §5)."""
    if not has_header(body, b"tls-required"):
        return False
    values = [unfold(value).strip().lower() for name, value in headers(body) if name == "tls-required"]
    return values == ["no"]


def is_final(failure: ConnectFailure) -> bool:
    """Whether a message with REQUIRETLS comes back: its hosts were there, and none is secured as it asks."""
    return failure.is_by_policy and not any(attempt.may_pass for attempt in failure.attempts)


def not_carried(why: str) -> Reply:
    """The refusal of a message that asks for more than the hosts of its domain do (RFC 8689 §4.2.1)."""
    return reply(550, f"The message asks for TLS all the way (REQUIRETLS), and {why}", "5.7.30")
