"""Whether a message fits through a host: which parameters to say, and who must be refused for what the host lacks.

Pure. An extension is used only where it is offered (C-11). What can be carried without is carried without: a body
declared 8BITMIME that is ASCII in fact, a message declared SMTPUTF8 that needs none of it. What cannot is refused in
our own words (5.6.3, 5.6.7, 5.6.9, 5.3.4, 5.7.30): nothing is rewritten. Used by deliver/attempt.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from postroad.message.envelope import BodyType, ByMode, DeliverBy, Envelope, Recipient
from postroad.message.headers import header_section
from postroad.smtp.address import Address
from postroad.smtp.command import Mail, Parameters, Rcpt
from postroad.smtp.extension import Capabilities, MailParameters, RcptParameters, to_parameters
from postroad.smtp.reply import Reply, reply
from postroad.smtp.timing import MAX_INTERVAL_S, By

MAX_TEXT_LINE = 998  # RFC 5322 §2.1.1, without CRLF

_EIGHT_BIT = reply(554, "The message holds 8-bit text, and the next host does not offer 8BITMIME", "5.6.3")
_BINARY = reply(554, "The message is binary, and the next host does not offer BINARYMIME", "5.6.3")
_SENDER_UTF8 = reply(553, "The sender's address needs SMTPUTF8, which the next host does not offer", "5.6.7")
_RECIPIENT_UTF8 = reply(553, "This address needs SMTPUTF8, which the next host does not offer", "5.6.7")
_HEADER_UTF8 = reply(554, "The headers need SMTPUTF8, which the next host does not offer", "5.6.9")
_REQUIRETLS = reply(550, "The message asks for TLS all the way, and the next host does not offer REQUIRETLS", "5.7.30")

_TOO_SOON = "The message is to arrive within {left} seconds, and the next host promises nothing below {least}"

_NOTHING: Parameters = {}


@dataclass(frozen=True, slots=True)
class Fitting:
    """`mail` for the recipients whose place in `refused` is None; None where all are refused."""

    mail: Mail | None
    refused: tuple[Reply | None, ...] = ()
    """Empty: nobody is."""


def fit(
    envelope: Envelope, body: bytes, recipients: Sequence[Recipient], offered: Capabilities, now: float = 0.0
) -> Fitting:
    """How to send the message to those recipients through a host that offers that. `now`: wall clock."""
    if offered.size_limit is not None and len(body) > offered.size_limit:
        limit = f"The message has {len(body)} octets, and the next host takes {offered.size_limit}"
        return _nobody(reply(552, limit, "5.3.4"), recipients)
    body_parameter: str | None = None
    if envelope.body_type is not BodyType.SEVEN_BIT:
        chosen = _body_parameter(envelope.body_type, body, offered)
        if isinstance(chosen, Reply):
            return _nobody(chosen, recipients)
        body_parameter = chosen
    refused: tuple[Reply | None, ...] = ()
    is_smtputf8 = False
    if envelope.smtputf8:
        if offered.has("SMTPUTF8"):
            is_smtputf8 = _needs_smtputf8(envelope, body, recipients)
        else:
            refusal = _utf8_refusal(envelope, body)
            if refusal is not None:
                return _nobody(refusal, recipients)
            refused = tuple(None if one.address.is_ascii else _RECIPIENT_UTF8 for one in recipients)
            if None not in refused:
                return Fitting(None, refused)
    if envelope.require_tls and not offered.has("REQUIRETLS"):
        return _nobody(_REQUIRETLS, recipients)
    by = None if envelope.deliver_by is None else _time_left(envelope.deliver_by, offered, now)
    if by is not None and by.mode == ByMode.RETURN and by.seconds < offered.shortest_by_s:
        return _nobody(reply(554, _TOO_SOON.format(left=by.seconds, least=offered.shortest_by_s), "5.4.7"), recipients)
    is_dsn = (envelope.ret is not None or envelope.envid is not None) and offered.has("DSN")
    parameters = MailParameters(
        size=len(body) if "SIZE" in offered.keywords else None,
        body=body_parameter,
        smtputf8=is_smtputf8,
        ret=envelope.ret if is_dsn else None,
        envid=envelope.envid if is_dsn else None,
        by=by,
        mt_priority=envelope.priority if envelope.priority and offered.has("MT-PRIORITY") else None,
        require_tls=envelope.require_tls,
    )
    return Fitting(Mail(envelope.reverse_path, to_parameters(parameters)), refused)


def rcpt_for(recipient: Recipient, offered: Capabilities) -> Rcpt:
    """RCPT with what was asked about notifications, where the host will see to it (RFC 3461 §5.2.1)."""
    if (recipient.notify is None and recipient.original is None) or not offered.has("DSN"):
        return Rcpt(recipient.address, _NOTHING)
    notify = frozenset(str(wish) for wish in recipient.notify) if recipient.notify is not None else None
    return Rcpt(recipient.address, to_parameters(RcptParameters(notify, recipient.original)))


def _nobody(refusal: Reply, recipients: Sequence[Recipient]) -> Fitting:
    return Fitting(None, (refusal,) * len(recipients))


def _time_left(wanted: DeliverBy, offered: Capabilities, now: float) -> By | None:
    """BY for the next host: what is left of the time (RFC 2852 §4.1); None where it offers no DELIVERBY."""
    if not offered.has("DELIVERBY"):
        return None
    left = int(max(min(wanted.deadline - now, MAX_INTERVAL_S), -MAX_INTERVAL_S))
    if wanted.mode is ByMode.RETURN:
        left = max(left, 1)  # it was begun in time; deliver/settle.py returns it once the time is up
    return By(left, wanted.mode.value, wanted.is_traced)


def _body_parameter(body_type: BodyType, body: bytes, offered: Capabilities) -> str | Reply | None:
    if body_type is BodyType.BINARY:
        if offered.has("BINARYMIME") and offered.has("CHUNKING"):
            return "BINARYMIME"
        if not _is_text(body):
            return _BINARY
    if body.isascii():
        return None
    return "8BITMIME" if offered.has("8BITMIME") else _EIGHT_BIT


def _is_text(body: bytes) -> bool:
    """Whether a body declared binary could travel by DATA: whole CRLF lines of bounded length."""
    lines = body.count(b"\r\n")
    if b"\0" in body or body.count(b"\r") != lines or body.count(b"\n") != lines or not body.endswith(b"\r\n"):
        return False
    return all(len(line) <= MAX_TEXT_LINE for line in body.split(b"\r\n"))


def _needs_smtputf8(envelope: Envelope, body: bytes, recipients: Sequence[Recipient]) -> bool:
    return _utf8_refusal(envelope, body) is not None or any(not one.address.is_ascii for one in recipients)


def _utf8_refusal(envelope: Envelope, body: bytes) -> Reply | None:
    """What of the message itself cannot do without SMTPUTF8."""
    sender = envelope.reverse_path
    if isinstance(sender, Address) and not sender.is_ascii:
        return _SENDER_UTF8
    return None if header_section(body).isascii() else _HEADER_UTF8
