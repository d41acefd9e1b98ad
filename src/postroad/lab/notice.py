"""The bounce that a lab host sends for a message it took and could not deliver (RFC 3464). Pure; used by returning."""

from __future__ import annotations

from collections.abc import Iterator

from postroad.lab.letter import Letter

BOUNDARY = "=_what_comes_back"
WORDS = "550 5.1.1 there is no such mailbox behind this host"


def notice(host: str, letter: Letter, number: int) -> bytes:
    """The notification about the bouncing recipients of a letter, from that host; `number` makes its Message-ID."""
    head = (
        f"From: Mail Delivery <mailer-daemon@{host}>",
        f"To: <{letter.sender}>",
        "Subject: Your message came back",
        f"Message-ID: <bounce.{number}@{host}>",
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type=delivery-status; boundary="{BOUNDARY}"',
        "",
        f"--{BOUNDARY}",
        "Content-Type: text/plain; charset=us-ascii",
        "",
        "This host took your message and found no mailbox for:",
        "",
        *(f"  <{address}>: {WORDS}" for address in letter.bouncing),
        "",
        f"--{BOUNDARY}",
        "Content-Type: message/delivery-status",
        "",
        f"Reporting-MTA: dns; {host}",
        *_blocks(letter),
        "",
        f"--{BOUNDARY}",
        "Content-Type: text/rfc822-headers",
        "",
        "",
    )
    end = f"\r\n--{BOUNDARY}--\r\n"
    return "\r\n".join(head).encode("utf-8") + letter.header + end.encode("ascii")


def _blocks(letter: Letter) -> Iterator[str]:
    for address in letter.bouncing:
        yield ""
        yield f"Final-Recipient: rfc822; {address}"
        yield "Action: failed"
        yield "Status: 5.1.1"
        yield f"Diagnostic-Code: smtp; {WORDS}"
