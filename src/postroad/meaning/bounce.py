"""A message that came back, read: whether it is a bounce, for whom, with what words, and what they mean.

`read_bounce` takes the octets of any message and never raises. It reads delivery status notifications (RFC 3464,
6522, 6533), the notices in plain words that mail systems wrote before and beside them, feedback reports (RFC 5965),
dispositions (RFC 8098) and automatic replies (RFC 3834). Pure: used by the `bounce` command.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from postroad.meaning import bounce_report, phrase
from postroad.meaning.bounce_mime import Letter, take_apart
from postroad.meaning.bounce_reply import EXPIRED, NOTHING, Said, best, find, is_decisive, meaning_of, preferred_status
from postroad.meaning.bounce_text import cut, formats
from postroad.meaning.bounce_told import Told, addressees_of, first_address, is_same
from postroad.meaning.classify import Bounce, Kind, Meaning
from postroad.meaning.rule import passing_words
from postroad.smtp.outcome import Phase


class ReportKind(StrEnum):
    """What sort of message it is."""

    BOUNCE = "bounce"
    DELAY = "delay"
    DELIVERED = "delivered"
    FEEDBACK = "feedback"
    AUTO_REPLY = "auto_reply"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedRecipient:
    """What a report says of one recipient."""

    address: str | None
    """As the message names it; None where it names none."""
    action: str | None = None
    """`failed`, `delayed`, `delivered`, `relayed` or `expanded` (RFC 3464 §2.3.3)."""
    status: str | None = None
    """The enhanced status (RFC 3463) that says most."""
    code: int | None = None
    """The SMTP reply code."""
    diagnostic: str = ""
    """The remote host's words on one line."""
    meaning: Kind = Kind.UNCLEAR
    bounce: Bounce = "none"
    """`hard`: trying again will not help; `soft`: it may."""
    suppress: bool = False
    """Whether this address should not be mailed again: there is no such mailbox, or no such domain."""

    def to_dict(self) -> dict[str, Any]:
        """The recipient as JSON has it."""
        return {
            "address": self.address,
            "action": self.action,
            "status": self.status,
            "code": self.code,
            "diagnostic": self.diagnostic,
            "meaning": str(self.meaning),
            "bounce": self.bounce,
            "suppress": self.suppress,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class BounceReport:
    """What a message that came back says."""

    kind: ReportKind
    recipients: tuple[ReportedRecipient, ...] = ()
    original_message_id: str | None = None
    """The Message-ID of the message it is about, with its angle brackets."""

    @property
    def is_bounce(self) -> bool:
        """Whether it tells of a message that was not delivered: not at all, or not yet."""
        return self.kind in (ReportKind.BOUNCE, ReportKind.DELAY)

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON has it."""
        return {
            "is_bounce": self.is_bounce,
            "kind": str(self.kind),
            "recipients": [one.to_dict() for one in self.recipients],
            "original_message_id": self.original_message_id,
        }


_DELIVERED = frozenset({"delivered", "relayed", "expanded"})
_ACTIONS = _DELIVERED | {"failed", "delayed"}
_GONE = frozenset({Kind.MAILBOX_UNKNOWN, Kind.MAILBOX_DISABLED, Kind.DOMAIN_UNKNOWN})
_AT_THE_DOOR = frozenset({Phase.CONNECT, Phase.GREETING, Phase.EHLO})
_TEMPORARY = frozenset({Kind.SYSTEM_TEMPORARY, Kind.GREYLISTED, Kind.RATE_LIMITED})
_MESSAGE_ID = re.compile(
    r"^[> \t]{0,8}(?:original-)?message-id:[ \t]*(?:\n[ \t]+)?(<[^<>\s]{1,300}>|[^<>\s]{3,300}@[^<>\s]{1,200})",
    re.I | re.M,
)
_STATUS_FIELD = re.compile(r"\s*([245])[. ](\d{1,3})[. ](\d{1,3})")
_SYSTEM = re.compile(r"mailer-daemon|post[_-]?master|mail[._ -]?(?:delivery|system)|\w-admin@", re.IGNORECASE)
"""Who sends notices: mail systems, and those who manage mailing lists."""
_TITLE = re.compile(r"^[-= ]{0,8}non-delivery report\b", re.IGNORECASE | re.MULTILINE)
_OF_PEOPLE = frozenset({"list-id", "list-unsubscribe", "list-post", "in-reply-to", "references"})
"""Headers of mailing lists, newsletters and answers, which no mail system writes into its notices."""
_REPLY_WITHIN = re.compile(r"(?:^|[\s:'])[45]\d\d[ -]#?[45]\.\d{1,3}\.\d{1,3}\b")
_QUOTED = re.compile(r"^> ?", re.MULTILINE)
MAX_JSON = 200_000
MAX_NOTICE = 100_000
"""Characters of a notice that are read; the returned message stands behind it."""


def read_bounce(octets: bytes) -> BounceReport:
    """What the message says. Never raises; looks at the first megabyte."""
    letter = take_apart(octets)
    notice, returned = _notice(letter)
    report = _read(letter, notice, returned, 0)
    return (
        replace(report, original_message_id=_message_id(letter, notice, returned))
        if report
        else BounceReport(kind=ReportKind.NONE)
    )


def _read(letter: Letter, notice: str, returned: str, depth: int) -> BounceReport | None:
    for read in (_feedback, _notification_service, _disposition, _status_report):
        report = read(letter, notice, returned)
        if report is not None:
            return report
    report = _quoted(notice, returned, depth) or _in_words(letter, notice, returned, depth)
    if report is not None:
        return report
    if not _is_automatic(letter):
        report = _attached(returned, depth)
        if report is not None:
            return report
    if _is_automatic(letter):
        sender = first_address(letter.header("from"))
        found = ReportedRecipient(address=sender, meaning=Kind.ACCEPTED)
        return BounceReport(kind=ReportKind.AUTO_REPLY, recipients=(found,) if sender else ())
    return None


def _notice(letter: Letter) -> tuple[str, str]:
    """The words to the sender, and the returned message (or its headers)."""
    texts = list(letter.texts("text/plain"))
    if not any("@" in text for text in texts):
        texts += letter.texts("text/html")
    notice, quoted = cut("\n\n".join(texts))
    notice = notice[:MAX_NOTICE]
    returned = (
        "\n\n".join([*letter.texts("message/rfc822"), quoted])
        if quoted
        else "\n\n".join(letter.texts("message/rfc822"))
    )
    return notice, returned


# Kinds of reports, each read from what is sure to be one ----------------------------------------------------------


def _feedback(letter: Letter, notice: str, returned: str) -> BounceReport | None:
    """A complaint: ARF (RFC 5965), or the older forms of providers' feedback loops."""
    fields: bounce_report.Fields = {}
    for text in letter.texts("message/feedback-report"):
        fields = bounce_report.fields(text)
        break
    is_one = bool(fields) or letter.report_type == "feedback-report"
    subject = letter.header("subject").lower()
    jmrp = re.search(r"^x-hmxmroriginalrecipient:\s*(\S{1,320})", returned, re.IGNORECASE | re.MULTILINE)
    is_one = is_one or jmrp is not None
    is_one = is_one or (subject.startswith("complaint about message from") and bool(returned))
    is_one = is_one or (
        subject == "unsubscribe" and letter.header("auto-submitted").startswith("auto-") and "unsubscribe" in notice
    )
    if not is_one:
        return None
    named = [fields.get("original-rcpt-to", ""), fields.get("final-recipient", ""), jmrp[1] if jmrp else ""]
    named += [fields.get("removal-recipient", "")]
    addresses = [one for one in (first_address(bounce_report.typed(text)[1]) for text in named) if one]
    if not addresses:
        sender = first_address(letter.header("from"))
        addresses = addressees_of(returned)[:1] or ([sender] if sender and not returned else [])
    found = tuple(ReportedRecipient(address=address) for address in addresses[:1])
    return BounceReport(kind=ReportKind.FEEDBACK, recipients=found)


def _notification_service(letter: Letter, notice: str, returned: str) -> BounceReport | None:
    """Amazon SES by way of SNS: the report is JSON in the text."""
    if "notificationType" not in notice or "{" not in notice:
        return None
    start = notice.find("{")
    text = re.sub(r"\n ?", "", notice[start : start + MAX_JSON])
    try:
        data, _ = json.JSONDecoder(strict=False).raw_decode(text)
        if isinstance(data, dict) and isinstance(data.get("Message"), str):
            data, _ = json.JSONDecoder(strict=False).raw_decode(data["Message"])
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict):
        return None
    for name, kind, listed in (
        ("bounce", ReportKind.BOUNCE, "bouncedRecipients"),
        ("complaint", ReportKind.FEEDBACK, "complainedRecipients"),
        ("delivery", ReportKind.DELIVERED, "recipients"),
    ):
        event = data.get(name)
        rows = event.get(listed) if isinstance(event, dict) else None
        if isinstance(rows, list):
            found = [_of_service(row, kind) for row in rows[: bounce_report.MAX_RECIPIENTS]]
            return BounceReport(kind=kind, recipients=tuple(found))
    return None


def _of_service(row: object, kind: ReportKind) -> ReportedRecipient:
    values = {key: str(value) for key, value in row.items()} if isinstance(row, dict) else {"emailAddress": str(row)}
    address = first_address(values.get("emailAddress", ""))
    if kind is not ReportKind.BOUNCE:
        accepted = Kind.ACCEPTED if kind is ReportKind.DELIVERED else Kind.UNCLEAR
        return ReportedRecipient(address=address, meaning=accepted)
    said = find(bounce_report.typed(values.get("diagnosticCode", ""))[1])
    return _judged(address, values.get("action", "failed"), _status(values.get("status", "")), [said], None)


def _disposition(letter: Letter, notice: str, returned: str) -> BounceReport | None:
    """A message disposition notification (RFC 8098): it was delivered, and something was done with it."""
    for text in letter.texts("message/disposition-notification", "message/global-disposition-notification"):
        fields = bounce_report.fields(text)
        named = fields.get("original-recipient") or fields.get("final-recipient") or ""
        address = bounce_report.address_of(named) or first_address(letter.header("from"))
        found = ReportedRecipient(address=address, action="delivered", meaning=Kind.ACCEPTED)
        return BounceReport(kind=ReportKind.DELIVERED, recipients=(found,))
    return None


def _status_report(letter: Letter, notice: str, returned: str) -> BounceReport | None:
    """A delivery status notification (RFC 3464), also one whose MIME is broken so that it stands in the text."""
    groups = [
        group
        for text in letter.texts("message/delivery-status", "message/global-delivery-status")
        for group in bounce_report.groups(text)
    ]
    if not groups and re.search(
        r"^[ \t]{0,2}(?:final|original)-recipient[ \t]*:", notice, re.IGNORECASE | re.MULTILINE
    ):
        groups = [group for group in bounce_report.groups(notice) if {"action", "status"} & group.keys()]
    if not groups:
        return None
    told = Told.of(letter, notice, returned)
    found: list[ReportedRecipient] = []
    for group in groups[: bounce_report.MAX_RECIPIENTS]:
        one = _of_group(group, told, len(groups))
        if one not in found[-1:]:
            found.append(one)
    actions = {one.action for one in found}
    kind = ReportKind.BOUNCE
    if "failed" not in actions:
        kind = ReportKind.DELAY if "delayed" in actions else ReportKind.DELIVERED
    return BounceReport(kind=kind, recipients=tuple(found))


def _of_group(group: bounce_report.Fields, told: Told, count: int) -> ReportedRecipient:
    final = bounce_report.address_of(group.get("final-recipient", ""))
    original = bounce_report.address_of(group.get("original-recipient", ""))
    actual = bounce_report.address_of(group.get("x-actual-recipient", ""))
    address = original or final or actual
    if address is None:
        address = told.failed[0] if len(told.failed) == 1 else None
        address = address or (told.addressees[0] if count == 1 and len(told.addressees) == 1 else None)
    status = _status(group.get("status", ""))
    action = group.get("action", "").partition("(")[0].strip().lower().partition(" ")[0]
    action = "delivered" if action == "deliverable" else action
    if action not in _ACTIONS:
        action = {"2": "delivered", "4": "delayed"}.get(status[0] if status else "", "failed")
    candidates = []
    diagnostic = find(bounce_report.typed(group.get("diagnostic-code", ""))[1])
    is_expired = diagnostic.status == EXPIRED
    if diagnostic and not is_expired:
        candidates.append(diagnostic)
    is_only = count == 1
    for name in (address, final):
        candidates += told.said_of(name, is_only=is_only)
        if name == final:
            break
    if is_expired:
        caused = [said for said in candidates if said.code is not None and said.status != EXPIRED]
        candidates = caused or [diagnostic, *candidates]
    comment = group.get("status", "").partition("(")[2].rstrip(") ")
    if comment:
        candidates.append(find(comment))
    phase = told.phase_of(final, is_only=is_only) or told.phase_of(address, is_only=is_only)
    return _judged(address, action, status, candidates, phase, has_words=bool(diagnostic))


def _status(value: str) -> str | None:
    found = _STATUS_FIELD.match(value)
    return f"{found[1]}.{int(found[2])}.{int(found[3])}" if found else None


def _in_words(letter: Letter, notice: str, returned: str, depth: int) -> BounceReport | None:
    """A notice in plain words: by its headers and its wording a bounce, or a delay."""
    if not _is_notice(letter, notice, returned):
        return None
    told = Told.of(letter, notice, returned)
    addresses = list(dict.fromkeys(one.address for one in told.passages))
    back_to = first_address(letter.header("to"))
    if len(addresses) > 1 and back_to is not None:
        addresses = [one for one in addresses if not is_same(one, back_to)] or addresses
    if told.failed:
        known = {one.lower() for one in told.failed}
        addresses = [one for one in addresses if one.lower() in known] or list(told.failed)
        addresses += [one for one in told.failed if one.lower() not in {name.lower() for name in addresses}]
    if not addresses:
        within = _attached(returned, depth)
        if within is not None:
            return within
    if not addresses and len(told.addressees) >= 1:
        addresses = list(told.addressees[:1])
    is_delay = _is_delay(letter, notice)
    action = "delayed" if is_delay else "failed"
    named: Sequence[str | None] = addresses or [None]
    found = []
    for address in named:
        is_only = len(named) == 1
        candidates = list(told.said_of(address, is_only=is_only))
        if not candidates and len(told.passages) == 1:
            candidates = [find(told.passages[0].paragraph)]
        found.append(_judged(address, action, None, candidates, told.phase_of(address, is_only=is_only)))
    return BounceReport(kind=ReportKind.DELAY if is_delay else ReportKind.BOUNCE, recipients=tuple(found))


def _is_notice(letter: Letter, notice: str, returned: str) -> bool:
    """Two of three agree: who sends it, what its subject is, what it says. An automatic reply says none of them."""
    if "x-failed-recipients" in letter.headers:
        return True
    words = formats().notice
    sender = letter.header("from") + " " + letter.header("sender")
    subject = letter.header("subject")
    path = letter.header("return-path").strip().lower()
    by_name = words["senders"].search(sender) is not None or not sender.strip()
    by_subject = words["subjects"].search(subject) is not None
    if not by_name and (formats().automatic["subjects"].search(subject) or (_is_automatic(letter) and not by_subject)):
        return False
    by_sender = by_name or path == "<>" or "mailer-daemon" in path
    is_from_system = _SYSTEM.search(letter.header("from")) is not None or path == "<>"
    if not is_from_system and _OF_PEOPLE & letter.headers.keys() and _TITLE.search(notice) is None:
        return False
    by_words = words["failures"].search(notice) is not None or words["delays"].search(notice) is not None
    if by_sender and (by_subject or by_words):
        return True
    is_detailed = is_from_system or bool(returned) or _REPLY_WITHIN.search(notice) is not None
    if by_words and by_subject:
        return is_detailed
    return bool(returned) and _REPLY_WITHIN.search(notice) is not None


def _is_delay(letter: Letter, notice: str) -> bool:
    words = formats().notice
    if (
        words["given_up"].search(notice) is not None
        and words["delay_subjects"].search(letter.header("subject")) is None
    ):
        return False
    by_subject = words["delay_subjects"].search(letter.header("subject")) is not None
    return by_subject or words["delays"].search(notice) is not None


def _is_automatic(letter: Letter) -> bool:
    """An automatic reply (RFC 3834), by its headers or its subject."""
    submitted = letter.header("auto-submitted").lower()
    if submitted.startswith("auto-replied") or any(name in letter.headers for name in formats().automatic_headers):
        return True
    if letter.header("precedence").lower().replace("-", "_") in ("auto_reply", "autoreply"):
        return True
    return formats().automatic["subjects"].search(letter.header("subject")) is not None


_FORWARDED = re.compile(r"^> ?from:.{0,200}(?:mailer-daemon|postmaster|mail delivery)", re.IGNORECASE | re.MULTILINE)
_HEADER_LINE = re.compile(r"^(?:from|return-path|received|date|subject|to):", re.IGNORECASE | re.MULTILINE)
MAX_WITHIN = 2
"""Messages within one another in which a bounce is looked for."""


def _quoted(notice: str, returned: str, depth: int) -> BounceReport | None:
    """A bounce that somebody forwarded, quoted with `>`."""
    whole = notice + "\n" + returned
    if _FORWARDED.search(whole) is None:
        return None
    return _within(_QUOTED.sub("", whole), depth)


def _attached(returned: str, depth: int) -> BounceReport | None:
    """A bounce that came back itself, or was attached."""
    return _within(returned, depth) if returned else None


def _within(text: str, depth: int) -> BounceReport | None:
    start = _HEADER_LINE.search(text)
    if start is None or depth >= MAX_WITHIN:
        return None
    letter = take_apart(text[start.start() :].encode("utf-8", "surrogatepass"))
    if formats().notice["senders"].search(letter.header("from")) is None:
        return None
    notice, returned = _notice(letter)
    report = _read(letter, notice, returned, depth + 1)
    return report if report is not None and report.is_bounce else None


# What is common to them -------------------------------------------------------------------------------------------


def _judged(
    address: str | None,
    action: str,
    status: str | None,
    candidates: Sequence[Said],
    phase: Phase | None,
    *,
    has_words: bool = True,
) -> ReportedRecipient:
    """The recipient with the candidate that says most, and what it means.

    `has_words`: the report itself has the remote's words. Where it has only a status, that counts for more than
    what the notice says to its reader."""
    if action in _DELIVERED:
        said = next(iter(candidates), NOTHING) if candidates and candidates[0].code is None else NOTHING
        return ReportedRecipient(
            address=address, action=action, status=status, diagnostic=said.words, meaning=Kind.ACCEPTED
        )
    is_final = action != "delayed"
    heard = [(said, meaning_of(said, status, phase)) for said in candidates if said]
    chosen = best(heard)
    if chosen is None:
        chosen = NOTHING, meaning_of(NOTHING, status, phase)
    said, meaning = chosen
    if not has_words and said.code is None and status is not None:
        alone = meaning_of(NOTHING, status, phase)
        meaning = alone if is_decisive(alone) else meaning
    if is_final and said.code is not None and phase in _AT_THE_DOOR and not is_decisive(meaning):
        # A host that turned us away at its door for as long as anyone tried has something against us.
        meaning = replace(meaning, kind=Kind.BLOCKED_REPUTATION)
    code = said.code if said.code is not None else next((one.code for one in candidates if one.code), None)
    told = preferred_status(status, said)
    bounce = _bounce(said, meaning, code, told, is_final=is_final)
    return ReportedRecipient(
        address=address,
        action=action,
        status=told,
        code=code,
        diagnostic=said.words,
        meaning=meaning.kind,
        bounce=bounce,
        suppress=is_final and _is_gone(said, meaning, bounce),
    )


def _is_gone(said: Said, meaning: Meaning, bounce: Bounce) -> bool:
    """Whether mailbox or domain are gone. Who said «user unknown» with a 4yz for as long as anyone tried, and nothing
    of «for now», has said it often enough; of a domain, only a 5yz is believed, for name servers fail for days."""
    if bounce == "hard":
        return meaning.kind in _GONE
    is_named = meaning.kind is Kind.MAILBOX_UNKNOWN and meaning.rule == "mailbox-unknown-text"
    return is_named and not passing_words().found_in(phrase.words(said.words))


def _bounce(said: Said, meaning: Meaning, code: int | None, status: str | None, *, is_final: bool) -> Bounce:
    """A notice that gave up is itself a 5yz where it names no code. Soft also where a 5yz says that it waited long."""
    first = code // 100 if code is not None else int(status[0]) if status else 5
    if not is_final or first != 5 or meaning.kind in _TEMPORARY or passing_words().found_in(phrase.words(said.words)):
        return "soft"
    return "hard"


def _message_id(letter: Letter, notice: str, returned: str) -> str | None:
    fields = letter.texts("message/disposition-notification", "message/feedback-report")
    for text in (returned[:200_000], *fields, notice):
        found = _MESSAGE_ID.search(text)
        if found is not None:
            return found[1] if found[1].startswith("<") else f"<{found[1]}>"
    found = re.search(r'"message-?id"\s*(?:,\s*"value")?\s*:\s*"(<[^"<>\s]{1,300}>)"', notice, re.IGNORECASE)
    return found[1] if found else None
