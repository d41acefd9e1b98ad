"""The message that `postroad send` makes from its options.

Pure: files were read, date and message-id are handed in. What goes into a header is refused in one place where it
has a line break or another control character in it (H-06).
"""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP

_NAME = re.compile(r"[!-9;-~]{1,76}")


class LetterError(ValueError):
    """The message cannot be made of this; one sentence says why."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file to go along."""

    name: str
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """The options. `headers` replace those that would be made from the others."""

    sender: str
    to: Sequence[str]
    cc: Sequence[str] = ()
    subject: str | None = None
    headers: Sequence[tuple[str, str]] = ()
    text: str = ""
    attachments: Sequence[Attachment] = ()
    date: str
    message_id: str


def parse_header(text: str) -> tuple[str, str]:
    """`Name: value` in its parts. Raises LetterError."""
    name, colon, value = text.partition(":")
    if not colon or _NAME.fullmatch(name) is None:
        raise LetterError(f"write a header as 'Name: value', not {text[:80]!r}")
    return name, header_value(name, value.strip())


def header_value(name: str, value: str) -> str:
    """The value, which must be one line without control characters. Raises LetterError."""
    if not value.isprintable():
        raise LetterError(f"{name}: there is a line break or another control character in {value[:80]!r}")
    return value


def build(letter: Letter) -> EmailMessage:
    """The message. Raises LetterError."""
    message = EmailMessage(policy=SMTP)
    made = [("From", letter.sender), ("To", ", ".join(letter.to)), ("Cc", ", ".join(letter.cc))]
    made += [("Subject", letter.subject or ""), ("Date", letter.date), ("Message-ID", letter.message_id)]
    given = {name.lower() for name, _ in letter.headers}
    fields = [(name, value) for name, value in made if value and name.lower() not in given]
    try:
        for name, value in (*fields, *letter.headers):
            message[name] = header_value(name, value)
        if not {"content-type", "content-transfer-encoding"} & given:
            message.set_content(letter.text)
        else:
            message.set_payload(letter.text.encode())
        for attachment in letter.attachments:
            _attach(message, attachment)
    except LetterError:
        raise
    except (ValueError, TypeError) as error:  # a header that may stand only once, attachments to what has no parts
        raise LetterError(f"the message cannot be made: {error}") from None
    return message


def _attach(message: EmailMessage, attachment: Attachment) -> None:
    guessed, encoding = mimetypes.guess_type(attachment.name)
    kind = guessed if guessed and not encoding and not guessed.startswith("message/") else "application/octet-stream"
    main, _, sub = kind.partition("/")
    message.add_attachment(
        attachment.content, maintype=main, subtype=sub, filename=header_value("attachment", attachment.name)
    )
