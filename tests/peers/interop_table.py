"""The table of docs/reference/interop.md: what tests observe of real peers, written down and compared.

    table.show(Section.IN, "Exim", "4.96", "STARTTLS", "yes")

With `make interop` the page is written anew from what the run showed; in every other run a cell must be what the
page says of that version.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs/reference/interop.md"
IS_WRITTEN = bool(os.environ.get("POSTROAD_WRITE_INTEROP"))

INTRODUCTION = """\
# Interoperation with real programs

Made by `make interop` from what the tests in `tests/peers/test_interop_*.py` observe; never edited by hand. Between
Postroad and the peer stands a listener that writes down what both say, within TLS too, and the messages that arrive are
compared with those sent.

- **yes**: it was used in the dialogue, and what was sent arrived whole
- **not offered**: the receiving side did not offer it
- **not used**: the receiving side offered it, and the sending side made no use of it
- **not in the program**: asked for it, the client says that it has no such thing
- **no**: it failed, as the cell says
"""


class Section(StrEnum):
    """Headings of the page."""

    IN = "They send to us"
    OUT = "We send to them"
    CLIENTS = "Clients of our submission"
    AROUND = "Mail stores and filters"


SERVERS = ("Postfix", "Exim", "OpenSMTPD")
CLIENTS = ("swaks", "msmtp", "curl", "nodemailer", "smtplib", "aiosmtplib")
AROUND = ("Dovecot", "OpenDKIM", "rspamd")
EXTENSIONS = ("STARTTLS", "PIPELINING", "SIZE", "8BITMIME", "CHUNKING", "DSN")
BETWEEN_SERVERS = (
    "clean dialogue",
    *EXTENSIONS,
    "SMTPUTF8",
    "AUTH",
    "dot lines",
    "large message",
    "refused recipient",
    "success report",
)
COVERED: dict[Section, tuple[tuple[str, ...], tuple[str, ...]]] = {
    Section.IN: (SERVERS, BETWEEN_SERVERS),
    Section.OUT: (SERVERS, BETWEEN_SERVERS),
    Section.CLIENTS: (
        CLIENTS,
        (
            "clean dialogue",
            "STARTTLS",
            "implicit TLS",
            "AUTH PLAIN",
            "AUTH LOGIN",
            "AUTH SCRAM-SHA-256",
            "SMTPUTF8",
            "dot lines",
            "wrong password",
        ),
    ),
    Section.AROUND: (AROUND, ("spoken", "arrives whole", "what it does")),
}
"""Section → the peers, which are columns, and what is shown of each, which are rows."""


@dataclass
class Table:
    cells: dict[tuple[Section, str, str], str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    def show(self, section: Section, peer: str, version: str, row: str, cell: str) -> None:
        """Write it down, and where the page knows that version of the peer, insist that it says the same."""
        peers, rows = COVERED[section]
        assert peer in peers and row in rows, f"COVERED lacks {section}: {peer}: {row}"
        self.versions[peer] = version
        self.cells[section, peer, row] = cell
        known = read(PAGE.read_text()) if PAGE.exists() and not IS_WRITTEN else Table()
        if known.versions.get(peer) == version:
            written = known.cells.get((section, peer, row))
            assert cell == written, f"interop.md says {written!r} of {section}: {peer}: {row}, but it is {cell!r}"

    def missing(self) -> list[str]:
        """What is covered and was not shown."""
        return [
            f"{section}: {peer}: {row}"
            for section, (peers, rows) in COVERED.items()
            for peer in peers
            for row in rows
            if (section, peer, row) not in self.cells
        ]

    def page(self) -> str:
        parts = [INTRODUCTION]
        for section, (peers, rows) in COVERED.items():
            lines = [["", *(f"{peer} {self.versions[peer]}" for peer in peers)], ["---"] * (len(peers) + 1)]
            lines += [[row, *(self.cells[section, peer, row] for peer in peers)] for row in rows]
            parts.append(f"\n## {section}\n\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines))
        return "".join(parts)


def read(page: str) -> Table:
    """The table that the page shows."""
    table = Table()
    section: Section | None = None
    peers: list[str] = []
    for line in page.splitlines():
        if line.startswith("## "):
            section, peers = Section(line.removeprefix("## ")), []
        elif section is not None and line.startswith("| ") and not line.startswith("| ---"):
            first, *cells = [cell.strip() for cell in line.strip("|").split("|")]
            if peers:
                table.cells |= {(section, peer, first): cell for peer, cell in zip(peers, cells, strict=True)}
            else:
                table.versions |= {peer: version for peer, _, version in (cell.partition(" ") for cell in cells)}
                peers = [cell.partition(" ")[0] for cell in cells]
    return table
