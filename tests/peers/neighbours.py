"""Our server and another real one that send to each other, each through a `Tap` that writes down what is said."""

from __future__ import annotations

import re
import smtplib
import ssl
import subprocess
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import trustme

from dns_server import DnsServer
from peers.need import need_program
from peers.postfix import DOMAIN as POSTFIX_DOMAIN
from peers.postfix import Postfix
from peers.processes import free_ports
from peers.server import DOMAIN, PASSWORD, Server
from peers.tap import Dialogue, Tap
from peers.unpacked import SECRET, Exim, OpenSmtpd, Unpacked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from email.message import EmailMessage

DAVE = f"dave@{DOMAIN}"
"""He submits with AUTH, also what the neighbour brings us as a smart host."""
PATIENCE_S = 20.0
_UNPACKED: dict[str, type[Unpacked]] = {"Exim": Exim, "OpenSMTPD": OpenSmtpd}


@dataclass(frozen=True)
class Neighbours:
    """`to_mx`, `to_submission`: what the peer says to us; `to_peer`: what we say to it."""

    name: str
    server: Server
    peer: Postfix | Unpacked
    version: str
    to_mx: Tap
    to_submission: Tap
    to_peer: Tap

    @property
    def domain(self) -> str:
        return f"{self.name.lower()}.test"

    def give_to_peer(self, message: bytes, sender: str, recipients: Sequence[str], wish: Wish) -> bool:
        """Hand the peer a message to bring to us; false where it does not take the wish."""
        return _give(smtplib.SMTP("127.0.0.1", self.peer.port, timeout=30), message, sender, recipients, wish)

    def give_to_us(self, message: bytes, recipients: Sequence[str], wish: Wish) -> bool:
        """Submit a message as dave, for us to bring to the peer."""
        client = smtplib.SMTP("127.0.0.1", self.server.submission_port, timeout=30)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        client.starttls(context=context)
        client.login(DAVE, PASSWORD)
        return _give(client, message, DAVE, recipients, wish)

    def arrived(self, at: Server | Postfix | Unpacked, user: str, subject: str) -> EmailMessage:
        """The message of that subject for that user there."""
        return self._found(at, user, subject, lambda each: each["Subject"] == subject)

    def reported(self, at: Server | Postfix | Unpacked, user: str, text: str) -> EmailMessage:
        """The report for that user there that has this text anywhere."""
        return self._found(
            at, user, text, lambda each: "daemon" in str(each["From"]).lower() and text in each.as_string()
        )

    def _found(
        self, at: Server | Postfix | Unpacked, user: str, what: str, is_it: Callable[[EmailMessage], bool]
    ) -> EmailMessage:
        found: list[EmailMessage] = []

        def look() -> bool:
            found[:] = [each for each in at.messages(user) if is_it(each)]
            return bool(found)

        wait(look, f"{what!r} for {user}", self.server.log, self.peer.log)
        return found[0]


@dataclass(frozen=True)
class Wish:
    """Parameters of MAIL and RCPT, each with the keyword that offers them."""

    keywords: tuple[str, ...] = ()
    mail: tuple[str, ...] = ()
    rcpt: tuple[str, ...] = ()


def wait(done: Callable[[], bool], what: str, *logs: Callable[[], str]) -> None:
    """Return once `done`; fail with the logs when it does not come in time."""
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        if time.monotonic() > deadline:
            raise AssertionError(f"no {what} in {PATIENCE_S:.0f} s:\n" + "\n".join(log()[-4000:] for log in logs))
        time.sleep(0.05)


def _give(client: smtplib.SMTP, message: bytes, sender: str, recipients: Sequence[str], wish: Wish) -> bool:
    with client:
        client.ehlo("client.test")
        if not all(client.has_extn(keyword) for keyword in wish.keywords):
            return False
        client.command_encoding = "utf-8"
        # It would add parameters by itself for what it knows; here the wish says it all.
        code, said = client.docmd("MAIL", " ".join((f"FROM:<{sender}>", *wish.mail)))
        assert code == 250, said
        for recipient in recipients:
            code, said = client.docmd("RCPT", " ".join((f"TO:<{recipient}>", *wish.rcpt)))
            assert code in (250, 251), said
        code, said = client.data(message)
        assert code == 250, said
        return True


@contextmanager
def neighbours(name: str) -> Iterator[Neighbours]:
    """Our server and that peer, running."""
    domain = f"{name.lower()}.test"
    with TemporaryDirectory() as directory, ExitStack() as stack:
        dns = stack.enter_context(DnsServer({}))
        to_mx, to_submission, to_peer = (stack.enter_context(Tap()) for _ in range(3))
        secret = Path(directory) / "secret"
        secret.write_text(SECRET + "\n")
        route = {"domain": domain, "host": "127.0.0.1", "port": to_peer.port}
        proved = {"domain": f"auth.{domain}", "tls": "required", "username": "relay", "password_file": str(secret)}
        server = stack.enter_context(
            Server({"dns": {"nameserver": dns.address}, "route": [route, route | proved]}, base=Path(directory))
        )
        for user in (DAVE, f"erin@{DOMAIN}"):
            server.add_user(user)
        to_mx.leads_to, to_submission.leads_to = server.mx_port, server.submission_port
        peer: Postfix | Unpacked
        if name == "Postfix":
            peer = stack.enter_context(_postfix(Path(directory), to_mx.port, to_submission.port))
            version = _postfix_version()
        else:
            unpacked = _UNPACKED[name](to_mx.port, to_submission.port, DAVE, PASSWORD)
            peer = stack.enter_context(unpacked)
            version = unpacked.version
        to_peer.leads_to = peer.port
        yield Neighbours(name, server, peer, version, to_mx, to_submission, to_peer)


def _postfix(directory: Path, mx_port: int, submission_port: int) -> Postfix:
    issued = trustme.CA().issue_cert(f"mx.{POSTFIX_DOMAIN}")
    chain, key = directory / "chain.pem", directory / "key.pem"
    chain.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    submission = f"[127.0.0.1]:{submission_port}"
    return Postfix(
        port=free_ports(1)[0],
        relay_host=f"[127.0.0.1]:{mx_port}",
        certificate=(chain, key),
        settings={
            "smtp_tls_security_level": "may",
            "smtputf8_enable": "yes",
            "message_size_limit": "52428800",
            "virtual_mailbox_limit": "0",
            "sender_dependent_relayhost_maps": f"inline:{{ {{ {DAVE} = {submission} }} }}",
            "smtp_sasl_auth_enable": "yes",
            "smtp_sasl_password_maps": f"inline:{{ {{ {submission} = {DAVE}:{PASSWORD} }} }}",
            "smtp_sasl_security_options": "noanonymous",
        },
    )


def _postfix_version() -> str:
    done = subprocess.run(
        [need_program("postconf"), "-d", "-h", "mail_version"], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def used(dialogues: Sequence[Dialogue], *patterns: str, keyword: str) -> str:
    """The cell of an extension: commands of these forms in one of the dialogues, else whether it was offered."""
    if any(all(each.has(pattern) for pattern in patterns) for each in dialogues):
        return "yes"
    return "not used" if any(keyword in each.offered for each in dialogues) else "not offered"


def extension_cells(dialogues: Sequence[Dialogue]) -> dict[str, str]:
    """What the dialogues about one message with DSN parameters and an 8-bit body show of each extension."""
    pipelined = any(
        any(len(batch) > 1 and re.match("MAIL|RCPT", batch[0], re.IGNORECASE) for batch in each.batches)
        for each in dialogues
    )
    tls = used(dialogues, "STARTTLS", keyword="STARTTLS")
    if tls == "yes" and not any(each.tls == "yes" for each in dialogues):
        tls = "no: the handshake fails at the peer, and mail goes in the clear"
    return {
        "STARTTLS": tls,
        "PIPELINING": "yes" if pipelined else used(dialogues, "(?!)", keyword="PIPELINING"),
        "SIZE": used(dialogues, "MAIL .* SIZE=", keyword="SIZE"),
        "8BITMIME": used(dialogues, "MAIL .* BODY=8BITMIME", keyword="8BITMIME"),
        "CHUNKING": used(dialogues, "BDAT ", keyword="CHUNKING"),
        "DSN": used(
            dialogues, "MAIL .* RET=HDRS", "MAIL .* ENVID=", "RCPT .* NOTIFY=", "RCPT .* ORCPT=", keyword="DSN"
        ),
    }


def cleanliness(dialogues: Sequence[Dialogue]) -> str:
    """`yes`, or what was refused."""
    refused = [reply for each in dialogues for reply in each.replies if reply[0] in "45"]
    return f"no: {refused[0]}" if refused else "yes"
