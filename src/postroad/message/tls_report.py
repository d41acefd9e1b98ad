"""Reports on TLS: what is counted, the report that a domain gets, the mail that carries it (RFC 8460), and reading one.

Pure. A `TlsSession` is one session with a mail host as far as TLS goes; equal ones are counted together. Used by road/,
which tells sessions, store/tls_book.py, which counts them, and deliver/tls_reports.py, which sends the reports.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from postroad.message.headers import format_date

MAX_READ_OCTETS = 16 * 1024 * 1024
"""Octets of a report that are read, once unpacked."""
MAX_DETAILS = 5000
"""Failure details of one policy in a report that we make; the rarest are left out."""
MAX_RUA = 5
"""Addresses for reports that are heeded of one record."""
MEDIA_TYPE = "application/tlsrpt+gzip"
_RECORD = re.compile(rb"v=TLSRPTv1[ \t]*;", re.ASCII)


class PolicyKind(StrEnum):
    """As reports name it (RFC 8460 §4.4)."""

    STS = "sts"
    TLSA = "tlsa"
    NONE = "no-policy-found"


@dataclass(frozen=True, slots=True)
class AppliedPolicy:
    """A policy as a report shows it: the lines of MTA-STS, or TLSA records; `mx` its patterns, or the host."""

    kind: PolicyKind
    domain: str
    lines: tuple[str, ...] = ()
    mx: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsSession:
    """One session with a mail host, as far as TLS goes. `result`: what failed (RFC 8460 §4.3); empty: nothing."""

    domain: str
    policy: AppliedPolicy | None
    host: str
    address: str
    source_address: str
    result: str = ""
    reason: str = ""
    is_enforced: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportHead:
    """Who reports to whom about when. `start`, `end`: wall clock, seconds since 1970, the last second included."""

    organization: str
    contact: str
    submitter: str
    report_id: str
    domain: str
    start: int
    end: int

    @property
    def file_name(self) -> str:
        """As RFC 8460 §5.1 has it."""
        return f"{self.submitter}!{self.domain}!{self.start}!{self.end}.json.gz"


def build(head: ReportHead, sessions: Iterable[tuple[TlsSession, int]]) -> dict[str, Any]:
    """The report as JSON has it (RFC 8460 §4.4), of sessions each with how often it was."""
    by_policy: dict[AppliedPolicy, list[tuple[TlsSession, int]]] = {}
    for session, count in sessions:
        policy = session.policy or AppliedPolicy(PolicyKind.NONE, session.domain)
        by_policy.setdefault(policy, []).append((session, count))
    return {
        "organization-name": head.organization,
        "date-range": {"start-datetime": _stamp(head.start), "end-datetime": _stamp(head.end)},
        "contact-info": head.contact,
        "report-id": head.report_id,
        "policies": [_policy(policy, counted) for policy, counted in by_policy.items()],
    }


def _policy(policy: AppliedPolicy, counted: Sequence[tuple[TlsSession, int]]) -> dict[str, Any]:
    shown: dict[str, Any] = {"policy-type": policy.kind.value, "policy-domain": policy.domain}
    if policy.lines:
        shown["policy-string"] = list(policy.lines)
    if policy.mx:
        shown["mx-host"] = list(policy.mx)
    failed = [(session, count) for session, count in counted if session.result]
    told: dict[str, Any] = {
        "policy": shown,
        "summary": {
            "total-successful-session-count": sum(count for session, count in counted if not session.result),
            "total-failure-session-count": sum(count for _, count in failed),
        },
    }
    if failed:
        most = sorted(failed, key=lambda one: -one[1])[:MAX_DETAILS]
        told["failure-details"] = [_detail(session, count) for session, count in most]
    return told


def _detail(session: TlsSession, count: int) -> dict[str, Any]:
    told = {
        "result-type": session.result,
        "sending-mta-ip": session.source_address,
        "receiving-mx-hostname": session.host,
        "receiving-ip": session.address,
        "failed-session-count": count,
        "failure-reason-code": session.reason,
    }
    return {key: value for key, value in told.items() if value}


def _stamp(second: int) -> str:
    days, rest = divmod(second, 86_400)
    date = format_date(float(days * 86_400)).split()  # Mon, 02 Jan 2006 …
    month = "JanFebMarAprMayJunJulAugSepOctNovDec".index(date[2]) // 3 + 1
    return f"{date[3]}-{month:02d}-{date[1]}T{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}Z"


def packed(report: Mapping[str, Any]) -> bytes:
    """The report as it is sent: JSON in gzip."""
    return gzip.compress(json.dumps(report, ensure_ascii=True).encode("ascii"), mtime=0)


def mail(head: ReportHead, content: bytes, *, sender: str, recipient: str, boundary: str, now: float) -> bytes:
    """The message that carries a packed report (RFC 8460 §5.3); it asks to come whatever its policies say (§3)."""
    encoded = base64.encodebytes(content).decode("ascii").replace("\n", "\r\n")
    lines = (
        f"Date: {format_date(now)}",
        f"From: {sender}",
        f"To: {recipient}",
        f"Subject: Report Domain: {head.domain}",
        f" Submitter: {head.submitter}",
        f" Report-ID: <{head.report_id}>",
        f"Message-ID: <{head.report_id}>",
        f"TLS-Report-Domain: {head.domain}",
        f"TLS-Report-Submitter: {head.submitter}",
        "TLS-Required: No",
        "Auto-Submitted: auto-generated",
        "MIME-Version: 1.0",
        'Content-Type: multipart/report; report-type="tlsrpt";',
        f' boundary="{boundary}"',
        "",
        f"--{boundary}",
        "Content-Type: text/plain; charset=us-ascii",
        "",
        "This is a report on the TLS of sessions with mail hosts.",
        f"Of: {head.submitter}",
        f"With the hosts of: {head.domain}",
        f"From {_stamp(head.start)} to {_stamp(head.end)}",
        "The file with the figures is JSON in gzip (RFC 8460).",
        "",
        f"--{boundary}",
        f"Content-Type: {MEDIA_TYPE}",
        "Content-Transfer-Encoding: base64",
        "Content-Disposition: attachment;",
        f' filename="{head.file_name}"',
        "",
        f"{encoded}--{boundary}--",
        "",
    )
    return "\r\n".join(lines).encode("ascii")


def report_addresses(texts: Iterable[bytes]) -> tuple[str, ...]:
    """Where a domain wants its reports, by its `_smtp._tls` TXT records: `mailto:` and `https:` addresses, in order.

    None where there is no record, several, or one that is not to be read (RFC 8460 §3)."""
    found = [text for text in texts if _RECORD.match(text)]
    if len(found) != 1:
        return ()
    for part in found[0].split(b";")[1:]:
        key, equals, value = part.strip(b" \t").partition(b"=")
        if key == b"rua" and equals:
            named = [one.strip(b" \t") for one in value.split(b",")]
            return tuple(
                one.decode("ascii")
                for one in named
                if one.isascii() and one.lower().startswith((b"mailto:", b"https://")) and len(one) <= 2000
            )[:MAX_RUA]
    return ()


# Reading ---------------------------------------------------------------------------------------------------------


class TlsReportInvalid(ValueError):
    """What is no report of TLS; the message says why."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Sessions that failed alike."""

    result: str
    host: str
    count: int
    reason: str


@dataclass(frozen=True, slots=True)
class PolicySummary:
    """What was counted under one policy."""

    kind: str
    domain: str
    succeeded: int
    failed: int
    failures: tuple[Failure, ...]


@dataclass(frozen=True, slots=True)
class TlsReport:
    """What somebody else counted of sessions with our hosts. Times as the report writes them."""

    organization: str
    start: str
    end: str
    report_id: str
    policies: tuple[PolicySummary, ...]


def read(content: bytes) -> TlsReport:
    """A report that somebody sent, JSON as it is or in gzip. Raises TlsReportInvalid.

    What a report lacks is empty or 0, and what it has more is passed over: reporters differ."""
    if content[:2] == b"\x1f\x8b":
        content = _unpacked(content)
    if len(content) > MAX_READ_OCTETS:
        raise TlsReportInvalid(f"the report has more than {MAX_READ_OCTETS} octets")
    try:
        told = json.loads(content)
    except (ValueError, RecursionError):
        raise TlsReportInvalid("the report is not JSON") from None
    if not isinstance(told, dict) or not isinstance(told.get("policies"), list):
        raise TlsReportInvalid("the report has no list of policies")
    span = _table(told.get("date-range"))
    return TlsReport(
        _text(told.get("organization-name")),
        _text(span.get("start-datetime")),
        _text(span.get("end-datetime")),
        _text(told.get("report-id")),
        tuple(_read_policy(_table(one)) for one in told["policies"]),
    )


def _unpacked(content: bytes) -> bytes:
    unpacking = zlib.decompressobj(wbits=31)
    try:
        unpacked = unpacking.decompress(content, MAX_READ_OCTETS + 1)
    except zlib.error:
        raise TlsReportInvalid("the report is not whole: its gzip is damaged") from None
    return unpacked


def _read_policy(one: Mapping[str, Any]) -> PolicySummary:
    policy, summary = _table(one.get("policy")), _table(one.get("summary"))
    details = one.get("failure-details")
    failures = [_table(detail) for detail in details] if isinstance(details, list) else []
    return PolicySummary(
        _text(policy.get("policy-type")),
        _text(policy.get("policy-domain")),
        _number(summary.get("total-successful-session-count")),
        _number(summary.get("total-failure-session-count")),
        tuple(
            Failure(
                _text(detail.get("result-type")),
                _text(detail.get("receiving-mx-hostname")),
                _number(detail.get("failed-session-count")),
                _text(detail.get("failure-reason-code")),
            )
            for detail in failures
        ),
    )


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value[:500] if isinstance(value, str) else ""


def _number(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53 else 0
