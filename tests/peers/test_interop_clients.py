"""Mail clients at our submission ports: TLS both ways, each mechanism of AUTH, UTF-8 and dots, seen in the dialogue."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from dns_server import DnsServer
from peers.interop_table import Section, Table
from peers.mail_clients import CLIENTS, SCRAM, Order, Outcome, version
from peers.neighbours import cleanliness, wait
from peers.server import DOMAIN, PASSWORD, Server
from peers.tap import Dialogue, Tap

pytestmark = pytest.mark.peer

DAVE = f"dave@{DOMAIN}"
GREEK = f"δέλτα@{DOMAIN}"
LINES = [".", "..", ".one dot", "", "\ttab and trailing space ", ".", "the end"]


@dataclass(frozen=True)
class Desk:
    server: Server
    starttls: Tap
    implicit: Tap


@pytest.fixture(scope="module")
def desk() -> Iterator[Desk]:
    with (
        DnsServer({}) as dns,
        Server({"dns": {"nameserver": dns.address}, "domains": {"mailboxes": "any"}}) as server,
        Tap(server.submission_port) as starttls,
        Tap(server.submissions_port, implicit_tls=True) as implicit,
    ):
        server.add_user(DAVE)
        yield Desk(server, starttls, implicit)


@dataclass(frozen=True)
class Client:
    name: str
    version: str
    desk: Desk
    send: Callable[[Order], Outcome]
    order: Order

    def submit(self, subject: str, user: str, **changes: object) -> tuple[str, list[Dialogue]]:
        """An empty text and the dialogue where it is taken and arrives whole, else what the client says of it."""
        order = replace(self.order, recipient=f"{user}@{DOMAIN}", text=text(subject), **changes)  # type: ignore[arg-type]
        tap = self.desk.implicit if order.implicit_tls else self.desk.starttls
        before = len(tap.dialogues())
        taken, words = self.send(replace(order, port=tap.port))
        if not taken:
            return words.strip() or "refused", tap.dialogues()[before:]
        server = self.desk.server
        wait(lambda: any(each["Subject"] == subject for each in server.messages(user)), subject, server.log)
        (message,) = [each for each in server.messages(user) if each["Subject"] == subject]
        assert message.get_content().splitlines() == LINES
        return "", tap.dialogues()[before:]


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest, desk: Desk, tmp_path: Path) -> Client:
    order = Order(0, False, "PLAIN", DAVE, PASSWORD, DAVE, "", b"", tmp_path)
    return Client(request.param, version(request.param), desk, CLIENTS[request.param], order)


def text(subject: str) -> bytes:
    header = [f"From: {DAVE}", "To: you", f"Subject: {subject}"]
    return "".join(f"{line}\r\n" for line in [*header, "", *LINES]).encode()


def test_a_client_submits_and_each_of_its_ways_is_taken(client: Client, table: Table) -> None:
    def show(row: str, cell: str) -> None:
        table.show(Section.CLIENTS, client.name, client.version, row, cell)

    failed, said = client.submit(f"plain {client.name}", "erin")
    assert not failed
    assert said[0].has("AUTH PLAIN") and said[0].has("STARTTLS") and said[0].tls == "yes"
    show("clean dialogue", cleanliness(said))
    for row in ("STARTTLS", "AUTH PLAIN", "dot lines"):
        show(row, "yes")
    failed, said = client.submit(f"implicit {client.name}", "erin", implicit_tls=True)
    assert not failed
    assert not said[0].has("STARTTLS") and said[0].tls == "yes"
    show("implicit TLS", "yes")
    for mechanism in ("LOGIN", SCRAM):
        failed, said = client.submit(f"{mechanism} {client.name}", "erin", mechanism=mechanism)
        was_asked = any(each.has(f"AUTH {mechanism}") for each in said)
        assert was_asked or failed or client.name == "nodemailer", "taken without the mechanism that was asked for"
        show(f"AUTH {mechanism}", "yes" if was_asked and not failed else "not in the program")
        assert not (was_asked and failed), failed
    failed, said = client.submit(f"utf8 {client.name}", "δέλτα")
    used = any(each.has("MAIL .*SMTPUTF8") for each in said)
    assert used or failed
    assert not (used and failed), failed
    show("SMTPUTF8", "yes" if used else "not used")


def test_a_wrong_password_is_told_to_the_client(client: Client, table: Table) -> None:
    failed, said = client.submit("never", "erin", password="wrong")
    assert failed
    assert any(reply.startswith("535 5.7.8") for each in said for reply in each.replies)
    table.show(Section.CLIENTS, client.name, client.version, "wrong password", "yes")
