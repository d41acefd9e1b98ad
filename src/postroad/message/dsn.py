"""Delivery status notifications, built as bytes: what became of a message, for its sender and for his programs.

RFC 3464 multipart/report in three parts: plain words, the machine's part, and the message (or its headers) that it is
about; for a message that needed SMTPUTF8 the forms of RFC 6533. The words of the remote host are given whole.
Never decides whether a notification is due, nor to whom: deliver/settle.py does, the only user of this module.
Boundary and Message-ID are handed in.
"""

from __future__ import annotations

import binascii
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from postroad.message.dsn_words import sentences, tried
from postroad.message.envelope import BodyType, Envelope, Recipient, Return
from postroad.message.headers import format_date, header_end, header_line, header_section
from postroad.smtp.address import Address
from postroad.smtp.errors import LocalProtocolError
from postroad.smtp.outcome import Phase
from postroad.smtp.reply import Reply

DEFAULT_RETURN_OCTETS = 256 * 1024
"""The largest message given back whole; of a larger one the headers are."""
WIDTH = 72
"""Characters of a line for people."""
MAX_HEADER_OCTETS = 64 * 1024
"""Octets of headers given back."""
_FOLD_CHARACTERS = 200
"""At four octets a character, lines stay below the 998 octets of RFC 5322 §2.1.1."""
_FOLD_ESCAPED_CHARACTERS = 90
"""The same at ten octets: `\\x{10FFFF}`."""

_BOUNDARY = re.compile(r"[A-Za-z0-9'()+_,\-./:=?]{1,70}")
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_LONG_LINE = re.compile(rb"[^\n]{998}")


class Action(StrEnum):
    """What happened to a recipient (RFC 3464 §2.3.3)."""

    FAILED = "failed"
    DELAYED = "delayed"
    DELIVERED = "delivered"
    RELAYED = "relayed"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipientReport:
    """One recipient's fate. Times are wall clock, seconds since 1970."""

    recipient: Recipient
    action: Action
    status: str
    """Enhanced status code of the action's class: `5.1.1`, `4.4.1`, `2.0.0`."""
    phase: Phase | None = None
    """What the reply answered."""
    reply: Reply | None = None
    detail: str = ""
    """Why there is no reply, in words."""
    remote: str = ""
    """Name of the host that replied; empty where it was this one."""
    meaning: str = ""
    """What the reply means, by the names of `meaning.rule.Kind`."""
    attempts: int = 0
    is_expired: bool = False
    """The time that the sender set is over (DELIVERBY)."""
    attempted_at: float | None = None
    will_retry_until: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """All that a notification says. `body` is the message it is about, `to` that message's reverse-path."""

    to: Address
    reporting_mta: str
    reports: tuple[RecipientReport, ...]
    envelope: Envelope
    body: bytes
    arrived_at: float
    now: float
    boundary: str
    message_id: str
    return_octets: int = DEFAULT_RETURN_OCTETS


@dataclass(frozen=True, slots=True)
class Dsn:
    """The notification as a message, and what carrying it takes."""

    body: bytes
    body_type: BodyType
    smtputf8: bool


def build_dsn(notice: Notice) -> Dsn:
    """The notification (C-14). Raises LocalProtocolError for a boundary, host name or id no header may hold."""
    if _BOUNDARY.fullmatch(notice.boundary) is None:
        raise LocalProtocolError("a MIME boundary is 1 to 70 letters, digits or '()+_,-./:=?")
    if not notice.reports:
        raise LocalProtocolError("a delivery status notification reports on one recipient at least")
    # Whose address is ASCII may read mail where SMTPUTF8 is not known: he gets the forms that everybody reads.
    is_global = notice.envelope.smtputf8 and not notice.to.is_ascii
    parts = [_words(notice), _machine_part(notice, is_global), _returned(notice, is_global)]
    delimiter = f"--{notice.boundary}".encode()
    pieces = [_header(notice, is_global), b"\r\nThis is a delivery status notification in MIME format.\r\n"]
    for part in parts:
        pieces += [b"\r\n", delimiter, b"\r\n", part]
    pieces += [b"\r\n", delimiter, b"--\r\n"]
    body = b"".join(pieces)
    return Dsn(body, BodyType.SEVEN_BIT if body.isascii() else BodyType.EIGHT_BIT, is_global)


_SUBJECTS = {
    Action.FAILED: "Your message could not be delivered",
    Action.DELAYED: "Your message is delayed",
    Action.DELIVERED: "Your message was delivered",
    Action.RELAYED: "Your message was passed on",
}


def _header(notice: Notice, is_global: bool) -> bytes:
    to = str(notice.to)
    content_type = f"multipart/report; report-type={'global-' if is_global else ''}delivery-status;"
    return b"".join(
        (
            header_line("From", f"Mail Delivery System <MAILER-DAEMON@{notice.reporting_mta}>"),
            header_line("To", f"<{to}>"),
            header_line("Subject", _SUBJECTS[_gravest(notice.reports)]),
            header_line("Date", format_date(notice.now)),
            header_line("Message-ID", f"<{notice.message_id}>"),
            b"Auto-Submitted: auto-replied\r\n",  # RFC 3834 §5
            b"MIME-Version: 1.0\r\n",
            f'Content-Type: {content_type}\r\n\tboundary="{notice.boundary}"\r\n'.encode(),
        )
    )


def _gravest(reports: Sequence[RecipientReport]) -> Action:
    actions = {report.action for report in reports}
    return next(action for action in Action if action in actions)


# For people ------------------------------------------------------------------------------------------------------

_OPENINGS = {
    Action.FAILED: "Your message could not be delivered to the following, and will not be tried again:",
    Action.DELAYED: "Your message could not be delivered to the following yet. You need not send it again:",
    Action.DELIVERED: "Your message was delivered to the following:",
    Action.RELAYED: "Your message was passed on to the following, through a host that may not report further:",
}
_ANSWERED = {
    Phase.CONNECT: "when we connected",
    Phase.GREETING: "when we connected",
    Phase.EHLO: "when we introduced ourselves",
    Phase.STARTTLS: "when we asked for encryption",
    Phase.AUTH: "when we logged in",
    Phase.MAIL: "to the sender's address",
    Phase.RCPT: "to the recipient's address",
    Phase.DATA: "when we began to send the message",
    Phase.BODY: "to the message itself",
}


def _words(notice: Notice) -> bytes:
    lines = [f"This is the mail system of {notice.reporting_mta}.", ""]
    for action in Action:
        reports = [report for report in notice.reports if report.action is action]
        if not reports:
            continue
        lines += [_OPENINGS[action], ""]
        for report in reports:
            told = (piece for line in _explanation(report) for piece in _wrapped(line))
            lines += [f"  <{report.recipient.address}>", *(f"    {line}" for line in told), ""]
        retry_until = max((report.will_retry_until or 0.0 for report in reports), default=0.0)
        if action is Action.DELAYED and retry_until:
            lines += [f"It will be tried until {format_date(retry_until)}.", ""]
    lines += [f"Your message came to us on {format_date(notice.arrived_at)}.", ""]
    text = "\r\n".join(_shown(line) for line in lines).encode()
    is_ascii = text.isascii()
    charset, encoding = ("us-ascii", "7bit") if is_ascii else ("utf-8", "quoted-printable")
    head = f"Content-Type: text/plain; charset={charset}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n".encode()
    return head + (text if is_ascii else _quoted_printable(text))


def _explanation(report: RecipientReport) -> list[str]:
    if report.action not in (Action.FAILED, Action.DELAYED):
        return _own_words(report)
    is_final = report.action is Action.FAILED
    told = sentences(
        report.meaning,
        host=report.remote,
        address=str(report.recipient.address),
        is_final=is_final,
        is_expired=report.is_expired,
    )
    count = tried(report.attempts, is_final=is_final)
    return [*told, *([count] if count else []), *_own_words(report)]


def _wrapped(line: str) -> list[str]:
    """A sentence on lines of a width that people read; the words of a host stay as they are."""
    return textwrap.wrap(line, WIDTH) if line.endswith((".", ":")) and len(line) > WIDTH else [line]


def _own_words(report: RecipientReport) -> list[str]:
    if report.reply is None:
        return [f"{report.detail or 'No more is known.'}" + (f" (host {report.remote})" if report.remote else "")]
    if not report.remote:
        return [line for text in report.reply.lines for line in _cut(text)]
    when = _ANSWERED.get(report.phase, "") if report.phase is not None else ""
    said = [piece for line in _reply_lines(report.reply) for piece in _cut(line)]
    return [f"The host {report.remote} said{f' {when}' if when else ''}:", *said]


def _shown(line: str) -> str:
    return _UNPRINTABLE.sub("?", line)


# For programs ----------------------------------------------------------------------------------------------------


def _machine_part(notice: Notice, is_global: bool) -> bytes:
    kind = "global-delivery-status" if is_global else "delivery-status"
    fields = []
    if notice.envelope.envid is not None:
        fields.append(f"Original-Envelope-Id: {_field(notice.envelope.envid, is_global)}")
    fields += [
        f"Reporting-MTA: dns; {_field(notice.reporting_mta, is_global)}",
        f"Arrival-Date: {format_date(notice.arrived_at)}",
        "",
    ]
    for report in notice.reports:
        fields += [*_recipient_fields(report, is_global), ""]
    text = "\r\n".join(fields).encode()
    encoding = "7bit" if text.isascii() else "8bit"
    return f"Content-Type: message/{kind}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n".encode() + text


def _recipient_fields(report: RecipientReport, is_global: bool) -> list[str]:
    recipient = report.recipient
    fields = []
    if recipient.original is not None:
        kind, _, address = recipient.original.partition(";")
        if kind.lower() == "utf-8":
            fields.append(f"Original-Recipient: utf-8;{_field(address, is_global)}")
        else:
            fields.append(f"Original-Recipient: {_field(kind, is_global)};{_field(address, is_global)}")
    kind = "rfc822" if recipient.address.is_ascii else "utf-8"
    fields += [
        f"Final-Recipient: {kind};{_field(str(recipient.address), is_global)}",
        f"Action: {report.action}",
        f"Status: {_field(report.status, is_global)}",
    ]
    if report.remote:
        fields.append(f"Remote-MTA: dns; {_field(report.remote, is_global)}")
    diagnostic = _diagnostic(report)
    if diagnostic:
        width = _FOLD_CHARACTERS if is_global or all(map(str.isascii, diagnostic)) else _FOLD_ESCAPED_CHARACTERS
        folded = "\r\n  ".join(_field(piece, is_global) for line in diagnostic for piece in _cut(line, width))
        fields.append(f"Diagnostic-Code: {folded}")
    if report.attempted_at is not None:
        fields.append(f"Last-Attempt-Date: {format_date(report.attempted_at)}")
    if report.will_retry_until is not None and report.action is Action.DELAYED:
        fields.append(f"Will-Retry-Until: {format_date(report.will_retry_until)}")
    return fields


def _diagnostic(report: RecipientReport) -> list[str]:
    """`smtp` names the words of a remote host only (RFC 3464 §2.3.6); ours have a type of their own."""
    if report.reply is None:
        return [f"X-Postroad; {report.detail}"] if report.detail else []
    first, *more = _reply_lines(report.reply)
    return [f"{'smtp' if report.remote else 'X-Postroad'}; {first}", *more]


def _reply_lines(said: Reply) -> list[str]:
    status = f"{said.enhanced} " if said.enhanced else ""
    last = len(said.lines) - 1
    return [f"{said.code}{' ' if at >= last else '-'}{status}{line}" for at, line in enumerate(said.lines or ("",))]


def _cut(line: str, width: int = _FOLD_CHARACTERS) -> list[str]:
    """The line in pieces that fold: at spaces where there are any."""
    pieces = []
    while len(line) > width:
        cut = line.rfind(" ", 1, width)
        cut = cut if cut > 0 else width
        pieces.append(line[:cut])
        line = line[cut:].lstrip(" ")
    return [*pieces, line]


def _field(text: str, is_global: bool) -> str:
    """Text as a field may hold it: nothing that ends a line, and ASCII unless the part is a global one.

    Characters outside ASCII are written as RFC 6533 §3 embeds them, so that nothing is lost."""
    text = _UNPRINTABLE.sub(_escaped, text)
    if is_global or text.isascii():
        return text
    return "".join(character if character.isascii() else f"\\x{{{ord(character):02X}}}" for character in text)


def _escaped(found: re.Match[str]) -> str:
    number = ord(found[0])
    if 0xDC80 <= number <= 0xDCFF:  # an octet that was no UTF-8
        number -= 0xDC00
    return f"\\x{{{number:02X}}}"


# The message given back ------------------------------------------------------------------------------------------


def _returned(notice: Notice, is_global: bool) -> bytes:
    """The whole message only where RET=FULL asked for it on failure, and it is small enough (RFC 3461 §4.3)."""
    is_whole = (
        notice.envelope.ret is Return.FULL
        and _gravest(notice.reports) is Action.FAILED
        and len(notice.body) <= notice.return_octets
        and notice.envelope.body_type is not BodyType.BINARY
        and header_end(notice.body) < len(notice.body)
        and (is_global or not notice.envelope.smtputf8)
    )
    if is_whole:
        encoding = "7bit" if notice.body.isascii() else "8bit"
        head = f"Content-Type: message/{'global' if is_global else 'rfc822'}\r\n"
        return f"{head}Content-Transfer-Encoding: {encoding}\r\n\r\n".encode() + notice.body
    section = _clean_headers(header_section(notice.body))
    head = f"Content-Type: {'message/global-headers' if is_global else 'text/rfc822-headers'}\r\n"
    if section.isascii() and _LONG_LINE.search(section) is None:
        return f"{head}Content-Transfer-Encoding: 7bit\r\n\r\n".encode() + section
    if is_global and _LONG_LINE.search(section) is None:
        return f"{head}Content-Transfer-Encoding: 8bit\r\n\r\n".encode() + section
    return f"{head}Content-Transfer-Encoding: quoted-printable\r\n\r\n".encode() + _quoted_printable(section)


def _clean_headers(section: bytes) -> bytes:
    """Bounded at the end of a line, without bare CR, bare LF or NUL, which a binary message may hold."""
    if len(section) > MAX_HEADER_OCTETS:
        cut = section.rfind(b"\r\n", 0, MAX_HEADER_OCTETS)
        section = section[: cut + 2] if cut >= 0 else section[:MAX_HEADER_OCTETS]
    lines = section.split(b"\r\n")
    return b"\r\n".join(line.translate(_BARE_TO_SPACE) for line in lines)


_BARE_TO_SPACE = bytes(32 if octet in (0, 10, 13) else octet for octet in range(256))


def _quoted_printable(text: bytes) -> bytes:
    encoded = binascii.b2a_qp(text.replace(b"\r\n", b"\n"), istext=True)
    return encoded.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
