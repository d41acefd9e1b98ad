"""Postfix, Exim and OpenSMTPD, both ways: what each extension does, seen in the dialogue and in what arrives."""

from __future__ import annotations

from collections.abc import Iterator
from email.message import EmailMessage

import pytest

from peers.interop_table import SERVERS, Section, Table
from peers.neighbours import DAVE, Neighbours, Wish, cleanliness, extension_cells, neighbours, used
from peers.server import DOMAIN
from peers.tap import Dialogue

pytestmark = pytest.mark.peer

LINES = [".", "..", ".one dot", "...three dots", "café crème", "", "\ttab and trailing space ", ".", "the end"]
LARGE_LINES = 160_000
"""Of 78 octets: 12 MB."""
FULL = Wish(("8BITMIME",), ("BODY=8BITMIME",))
REPORTED = Wish(
    ("8BITMIME", "DSN"),
    ("BODY=8BITMIME", "RET=HDRS", "ENVID=env-1"),
    ("NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;first@away.test"),
)
UTF8 = Wish(("SMTPUTF8", "8BITMIME"), ("BODY=8BITMIME", "SMTPUTF8"))


@pytest.fixture(scope="module", params=SERVERS)
def pair(request: pytest.FixtureRequest) -> Iterator[Neighbours]:
    with neighbours(request.param) as running:
        yield running


def text(subject: str, lines: list[str], sender: str = "someone@away.test") -> bytes:
    header = [f"From: {sender}", "To: you", f"Subject: {subject}", "MIME-Version: 1.0"]
    header += ["Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: 8bit"]
    return "".join(f"{line}\r\n" for line in [*header, "", *lines]).encode()


def lines_of(message: EmailMessage) -> list[str]:
    payload = message.get_payload(decode=True)
    assert isinstance(payload, bytes)
    return [line.removesuffix("\r") for line in payload.decode().rstrip("\n").split("\n")]


def show(table: Table, pair: Neighbours, section: Section, cells: dict[str, str]) -> None:
    for row, cell in cells.items():
        table.show(section, pair.name, pair.version, row, cell)


def with_starttls_tried(about: list[Dialogue], all_of_them: list[Dialogue]) -> list[Dialogue]:
    """Those about the message, and those before it that ended with a failed handshake."""
    return [*(each for each in all_of_them if each.tls in ("server", "client")), *about]


def report_of(message: EmailMessage) -> str:
    """What a machine reads of it, or all of it where it is no report by RFC 3464."""
    types = ("message/delivery-status", "message/global-delivery-status")
    return next((part.as_string() for part in message.walk() if part.get_content_type() in types), message.as_string())


def form_of(message: EmailMessage) -> str:
    """The cell of a report."""
    return "yes" if message.get_content_type() == "multipart/report" else f"yes, as {message.get_content_type()}"


def test_it_brings_us_a_message_whole_with_what_was_asked(pair: Neighbours, table: Table) -> None:
    to_us = [f"dave@{DOMAIN}", f"erin@{DOMAIN}"]
    assert pair.give_to_peer(text("all in", LINES), f"alice@{pair.domain}", to_us, REPORTED)
    for user in ("dave", "erin"):
        assert lines_of(pair.arrived(pair.server, user, "all in")) == LINES
    about = pair.to_mx.about("Subject: all in")
    cells = extension_cells(with_starttls_tried(about, pair.to_mx.dialogues()))
    report = pair.reported(pair.peer, "alice", "all in")
    assert "Action: delivered" in report_of(report) and "env-1" in report_of(report)
    assert f"mx.{DOMAIN}" in report_of(report), "the peer passes it on to us to report"
    show(
        table,
        pair,
        Section.IN,
        {"clean dialogue": cleanliness(about), **cells, "dot lines": "yes", "success report": form_of(report)},
    )


def test_we_bring_it_a_message_whole_with_what_was_asked(pair: Neighbours, table: Table) -> None:
    to_peer = [f"alice@{pair.domain}", f"bob@{pair.domain}"]
    assert pair.give_to_us(text("all out", LINES, DAVE), to_peer, REPORTED)
    for user in ("alice", "bob"):
        assert lines_of(pair.arrived(pair.peer, user, "all out")) == LINES
    about = pair.to_peer.about("Subject: all out")
    cells = extension_cells(with_starttls_tried(about, pair.to_peer.dialogues()))
    report = pair.reported(pair.server, "dave", "all out")
    assert f"alice@{pair.domain}" in report_of(report)
    assert f"mx.{pair.domain}" in report_of(report), "we pass it on to the peer to report"
    show(
        table,
        pair,
        Section.OUT,
        {"clean dialogue": cleanliness(about), **cells, "dot lines": "yes", "success report": form_of(report)},
    )


def test_a_large_message_goes_both_ways(pair: Neighbours, table: Table) -> None:
    lines = [f"{number:076d}" for number in range(LARGE_LINES)]
    assert pair.give_to_peer(text("large in", lines), f"alice@{pair.domain}", [f"erin@{DOMAIN}"], FULL)
    assert pair.give_to_us(text("large out", lines, DAVE), [f"bob@{pair.domain}"], FULL)
    assert lines_of(pair.arrived(pair.server, "erin", "large in")) == lines
    assert lines_of(pair.arrived(pair.peer, "bob", "large out")) == lines
    for section in (Section.IN, Section.OUT):
        show(table, pair, section, {"large message": "yes"})


def test_an_address_in_utf8_goes_both_ways_where_it_is_offered(pair: Neighbours, table: Table) -> None:
    sender = f"jörg@{pair.domain}"
    if pair.give_to_peer(text("Grüße in", LINES, sender), sender, [f"erin@{DOMAIN}"], UTF8):
        message = pair.arrived(pair.server, "erin", "Grüße in")
        assert str(message["Return-Path"]) == f"<{sender}>" and lines_of(message) == LINES
        show(
            table,
            pair,
            Section.IN,
            {"SMTPUTF8": used(pair.to_mx.about("Grüße in"), "MAIL .* SMTPUTF8", keyword="SMTPUTF8")},
        )
    else:
        show(table, pair, Section.IN, {"SMTPUTF8": "not used"})
    assert pair.give_to_us(text("Grüße out", LINES, DAVE), [f"bob@{pair.domain}"], UTF8)
    offered = {keyword for each in pair.to_peer.dialogues() for keyword in each.offered}
    if "SMTPUTF8" in offered:
        assert lines_of(pair.arrived(pair.peer, "bob", "Grüße out")) == LINES
        about = pair.to_peer.about("Grüße out")
        show(table, pair, Section.OUT, {"SMTPUTF8": used(about, "MAIL .* SMTPUTF8", keyword="SMTPUTF8")})
    else:
        assert "Status: 5.6.9" in report_of(pair.reported(pair.server, "dave", "Status: 5.6.9"))
        show(table, pair, Section.OUT, {"SMTPUTF8": "not offered"})


def test_a_recipient_that_is_refused_comes_back_as_a_bounce(pair: Neighbours, table: Table) -> None:
    assert pair.give_to_peer(text("nobody in", LINES), f"alice@{pair.domain}", [f"nobody@{DOMAIN}"], FULL)
    from_peer = pair.reported(pair.peer, "alice", "Subject: nobody in")
    assert "5.1.1" in from_peer.as_string()
    assert pair.give_to_us(text("nobody out", LINES, DAVE), [f"nobody@{pair.domain}"], FULL)
    from_us = pair.reported(pair.server, "dave", "Subject: nobody out")
    assert "Action: failed" in report_of(from_us) and "Status: 5." in report_of(from_us)
    show(table, pair, Section.IN, {"refused recipient": form_of(from_peer)})
    show(table, pair, Section.OUT, {"refused recipient": form_of(from_us)})


def test_each_proves_itself_to_the_other_where_that_is_offered(pair: Neighbours, table: Table) -> None:
    assert pair.give_to_peer(text("proved in", LINES, DAVE), DAVE, [f"erin@{DOMAIN}"], FULL)
    assert lines_of(pair.arrived(pair.server, "erin", "proved in")) == LINES
    about = pair.to_submission.about("Subject: proved in")
    assert all(each.tls == "yes" for each in about)
    show(table, pair, Section.IN, {"AUTH": used(about, "AUTH ", keyword="AUTH")})
    assert pair.give_to_us(text("unproved out", LINES, DAVE), [f"bob@{pair.domain}"], FULL)
    pair.arrived(pair.peer, "bob", "unproved out")
    if not any("AUTH" in each.offered for each in pair.to_peer.dialogues()):
        show(table, pair, Section.OUT, {"AUTH": "not offered"})
        return
    assert pair.give_to_us(text("proved out", LINES, DAVE), [f"alice@auth.{pair.domain}"], FULL)
    assert lines_of(pair.arrived(pair.peer, "alice", "proved out")) == LINES
    show(table, pair, Section.OUT, {"AUTH": used(pair.to_peer.about("proved out"), "AUTH ", keyword="AUTH")})
