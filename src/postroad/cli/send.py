"""`postroad send`: submit one message, and see each recipient's fate; with --show-dialogue, every line that passed."""

from __future__ import annotations

import asyncio
import email.utils
import getpass
import secrets
import ssl
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from postroad.cli.letter import Attachment, Letter, LetterError, build, header_value, parse_header
from postroad.cli.settings import fail, read_password
from postroad.clock import SystemClock
from postroad.config.judge import is_domain
from postroad.events import escaped
from postroad.library.client import (
    DEFAULT_PORT,
    Client,
    DsnRequest,
    SendResult,
    default_tls,
    header_recipients,
    header_sender,
    to_bytes,
)
from postroad.net.endpoint import DialogueError, TlsMode
from postroad.net.fault import explain_fault
from postroad.net.hostname import machine_name
from postroad.net.tls import client_context
from postroad.smtp.address import NULL, Address, AddressError, NullPath
from postroad.smtp.command import Ehlo, to_line
from postroad.smtp.errors import LocalProtocolError
from postroad.smtp.extension import MAX_ENVID_CHARACTERS, xtext_encode
from postroad.smtp.outcome import RecipientResult

MAX_FILE_OCTETS = 1 << 28
_TLS = ("none", "opportunistic", "required", "starttls", "verified", "implicit")
_UNCHECKED = {TlsMode.VERIFIED: TlsMode.REQUIRED, TlsMode.IMPLICIT: TlsMode.IMPLICIT_UNVERIFIED}
_NOTIFIES = ("never", "success", "failure", "delay")

Command = TypeVar("Command", bound=Callable[..., Any])


def _options(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    def apply(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return apply


_file = click.Path(exists=True, dir_okay=False, path_type=Path, allow_dash=True)
_named_file = click.Path(exists=True, dir_okay=False, path_type=Path)

_server_options = _options(
    click.option("--server", metavar="HOST[:PORT]", default="", help=f"The server; localhost:{DEFAULT_PORT} if none."),
    click.option("--port", type=click.IntRange(1, 65535), help="Its port; 587, or 465 with --tls implicit, if none."),
    click.option(
        "--tls",
        type=click.Choice(_TLS),
        help="How the connection is secured. starttls: the same as verified. By default implicit on port 465 or 2465, "
        "else verified where there is a --user or --ca-file, else opportunistic.",
    ),
    click.option("--insecure", is_flag=True, help="Take any certificate."),
    click.option("--ca-file", type=_named_file, help="PEM file with the certificates to trust, not the system's."),
    click.option("--user", help="Authenticate as this user."),
    click.option("--password-file", type=_file, help="File whose first line is the password."),
    click.option("--password-stdin", is_flag=True, help="Read the password from standard input, instead of asking."),
    click.option("--hello", help="The name to give in EHLO; this machine's by default."),
    click.option(
        "--timeout", type=click.FloatRange(0.1, 3600), help="Seconds for each step; by default as RFC 5321 advises."
    ),
)
_message_options = _options(
    click.option("--from", "sender", metavar="ADDRESS", help="The sender; <> for the null one; the --user by default."),
    click.option("--to", multiple=True, metavar="ADDRESS", help="A recipient; may be repeated."),
    click.option("--cc", multiple=True, metavar="ADDRESS", help="A recipient named in Cc."),
    click.option("--bcc", multiple=True, metavar="ADDRESS", help="A recipient whom the message does not name."),
    click.option("--subject", help="The subject."),
    click.option(
        "--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="Another header, or another value."
    ),
    click.option("--body", metavar="TEXT", help="The text."),
    click.option("--body-file", type=_file, help="File with the text; - for standard input."),
    click.option("--attach", "attachments", multiple=True, type=_file, help="A file to attach; may be repeated."),
    click.option("--file", "raw", type=_file, help="A whole message to send as it is; - for standard input."),
    click.option("--dsn-notify", type=click.Choice(_NOTIFIES), multiple=True, help="When to be told (RFC 3461)."),
    click.option("--dsn-return", type=click.Choice(["full", "hdrs"]), help="How much of the message comes back."),
    click.option("--dsn-id", help="The ENVID that the reports name."),
)


@click.command("send")
@_server_options
@_message_options
@click.option("--show-dialogue", is_flag=True, help="Print every line of the dialogue; secrets are masked.")
def command(show_dialogue: bool, **options: Any) -> None:
    """Submit a message.

    Status 0 when every recipient was accepted, else 1; a line for each says which, with the server's words.
    """
    dialogue = Dialogue(click.echo) if show_dialogue else None
    try:
        _check_standard_input(options)
        order = _order(options)
        client = _client(options, dialogue)
    except ValueError as error:  # AddressError and LetterError among them
        fail(str(error))
    try:
        result = asyncio.run(_submit(client, order))
    except DialogueError as error:
        fail(_failure(error, client))
    except ValueError as error:
        fail(str(error))
    finally:
        if dialogue is not None:
            dialogue.finish()
    width = max(len(escaped(address)) for address in result.recipients)
    for address, found in result.recipients.items():
        click.echo(f"{'accepted' if found.is_accepted else 'refused '}  {escaped(address):<{width}}  {_said(found)}")
    sys.exit(0 if result.is_accepted else 1)


async def _submit(client: Client, order: Order) -> SendResult:
    async with client:
        return await client.send(order.body, sender=order.sender, recipients=order.recipients, dsn=order.dsn)


class Dialogue:
    """Prints what passes, line by line: `C: ` is what we said, `S: ` what the server said."""

    def __init__(self, echo: Callable[[str], object]) -> None:
        self._echo = echo
        self._rest = {"C": b"", "S": b""}

    def observe(self, who: str, data: bytes) -> None:
        """Takes a piece of the dialogue, which may end within a line."""
        *lines, self._rest[who] = (self._rest[who] + data).split(b"\n")
        for line in lines:
            self._show(who, line.removesuffix(b"\r"))

    def finish(self) -> None:
        """Show what had no line end."""
        for who, rest in self._rest.items():
            if rest:
                self._show(who, rest)

    def _show(self, who: str, line: bytes) -> None:
        self._echo(f"{who}: {escaped(line.decode('utf-8', 'backslashreplace'))}")


def _failure(error: DialogueError, client: Client) -> str:
    what = str(error.reply) if error.reply is not None else error.detail
    sentence = f"{client.host}:{client.port}: {error.phase}: {what}"
    if error.detail.startswith("certificate not trusted"):
        sentence += "; trust it with --ca-file FILE, or take any with --insecure"
    return sentence


def _said(found: RecipientResult) -> str:
    return escaped(f"{found.phase}: {found.reply if found.reply is not None else found.detail}")


# From the options to the values --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to send, and to whom; `sender` empty: the null reverse-path."""

    sender: str
    recipients: tuple[str, ...]
    body: bytes
    dsn: DsnRequest


def _client(options: dict[str, Any], dialogue: Dialogue | None) -> Client:
    host, port = _host_port(header_value("--server", options["server"]))
    if options["port"] is not None:
        port = options["port"]
    elif port is None:
        port = DEFAULT_PORT if not options["server"] else 465 if options["tls"] == "implicit" else 587
    mode = options["tls"]
    is_checked = options["user"] is not None or options["ca_file"] is not None
    tls = default_tls(port, has_credentials=is_checked)
    if mode is not None:
        tls = TlsMode.VERIFIED if mode == "starttls" else TlsMode(mode)
    if options["ca_file"] is not None and (options["insecure"] or tls not in _UNCHECKED):
        raise LetterError("--ca-file needs certificates to be checked: give --tls verified or implicit, no --insecure")
    if options["insecure"]:
        tls = _UNCHECKED.get(tls, tls)
    username, password = _credentials(options)
    return Client(
        host,
        port,
        username=username,
        password=password,
        tls=tls,
        ssl_context=None if options["ca_file"] is None else _trusting(tls, options["ca_file"]),
        hello=_hello(options["hello"]),
        timeout_s=options["timeout"],
        observer=dialogue.observe if dialogue else None,
    )


def _hello(name: str | None) -> str | None:
    if name is not None:
        try:
            to_line(Ehlo(name))
        except LocalProtocolError:
            raise LetterError(f"--hello {name[:80]!r}: write one word, such as mail.example.org") from None
    return name


def _trusting(tls: TlsMode, file: Path) -> ssl.SSLContext:
    try:
        return client_context(tls, trusted=file)
    except OSError as error:
        raise LetterError(f"{file}: there are no certificates in it ({explain_fault(error)})") from None


def _host_port(text: str) -> tuple[str, int | None]:
    host, colon, port = text.rpartition(":")
    if text.startswith("[") and text.endswith("]"):
        return text[1:-1], None
    if not colon or (":" in host and not host.startswith("[")):
        return text or "localhost", None
    if not (port.isascii() and port.isdecimal() and len(port) <= 5 and 0 < int(port) < 65_536) or not host:
        raise LetterError(f"--server: write HOST or HOST:PORT, not {text!r}")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _credentials(options: dict[str, Any]) -> tuple[str | None, str | None]:
    user, file, is_stdin = options["user"], options["password_file"], options["password_stdin"]
    if user is None:
        if file is not None or is_stdin:
            raise LetterError("a password needs a --user")
        return None, None
    if file is not None and is_stdin:
        raise LetterError("give --password-file or --password-stdin, not both")
    header_value("--user", user)
    if file is None:
        return user, read_password(from_stdin=is_stdin, is_new=False)
    lines = _read(file).decode("utf-8", "replace").splitlines()
    if not lines or not lines[0]:
        raise LetterError(f"{file}: its first line should be the password, but is empty")
    return user, lines[0]


def _check_standard_input(options: dict[str, Any]) -> None:
    readers = [options["password_file"], options["body_file"], options["raw"], *options["attachments"]]
    if readers.count(Path("-")) + options["password_stdin"] > 1:
        raise LetterError("standard input can be one thing only: the password, the text, an attachment or the message")


def _order(options: dict[str, Any]) -> Order:
    sender = options["sender"] if options["sender"] is not None else _default_sender(options)
    wanted = [(f"--{kind}", text) for kind in ("to", "cc", "bcc") for text in options[kind]]
    if options["raw"] is not None:
        if any(options[name] not in (None, ()) for name in ("subject", "headers", "body", "body_file", "attachments")):
            raise LetterError("--file is a whole message: it goes with no option that would make one")
        message = _read(options["raw"])
        wanted = wanted or [("recipient in the message's header", text) for text in header_recipients(message)]
        sender = sender if sender is not None else header_sender(message)
    if not wanted:
        raise LetterError("there is nobody to send to: give --to ADDRESS")
    paths = tuple(dict.fromkeys(_address(option, text) for option, text in wanted))
    if sender is None:
        sender = _own_address()
    reverse_path: Address | NullPath = NULL if sender in ("", "<>") else _address("--from", sender)
    is_utf8 = not all(path.is_ascii for path in (reverse_path, *paths) if isinstance(path, Address))
    if options["raw"] is None:
        body = to_bytes(build(_letter(options, sender)), smtputf8=is_utf8)
    else:
        body = to_bytes(message)
    return Order(
        sender=str(reverse_path), recipients=tuple(str(path) for path in paths), body=body, dsn=_dsn_request(options)
    )


def _letter(options: dict[str, Any], sender: str) -> Letter:
    if options["body"] is not None and options["body_file"] is not None:
        raise LetterError("give --body or --body-file, not both")
    text = options["body"] if options["body"] is not None else "Sent by postroad send.\n"
    if options["body_file"] is not None:
        text = _read(options["body_file"]).decode("utf-8", "replace")
    domain = sender.rpartition("@")[2]
    return Letter(
        sender=sender if sender not in ("", "<>") else f"MAILER-DAEMON@{machine_name()}",
        to=options["to"],
        cc=options["cc"],
        subject=options["subject"],
        headers=[parse_header(text) for text in options["headers"]],
        text=text,
        attachments=[Attachment(path.name, _read(path)) for path in options["attachments"]],
        date=email.utils.formatdate(SystemClock().wall(), localtime=True),
        message_id=f"<{secrets.token_hex(12)}@{domain if domain.isascii() and is_domain(domain) else 'localhost'}>",
    )


def _default_sender(options: dict[str, Any]) -> str | None:
    return options["user"] if options["user"] and "@" in options["user"] else None


def _own_address() -> str:
    try:
        return f"{getpass.getuser()}@{machine_name()}"
    except (KeyError, OSError):  # a uid that has no name
        raise LetterError("this user has no name to send as: give --from ADDRESS") from None


def _address(option: str, text: str) -> Address:
    try:
        return Address.parse(text, smtputf8=True)
    except AddressError as error:
        raise LetterError(f"{option} {text[:80]!r}: {error}; write it as ann@example.org") from None


def _dsn_request(options: dict[str, Any]) -> DsnRequest:
    notify = frozenset(word.upper() for word in options["dsn_notify"])
    if "NEVER" in notify and len(notify) > 1:
        raise LetterError("--dsn-notify never goes with no other")
    envid = options["dsn_id"]
    if envid is not None:
        header_value("--dsn-id", envid)
        if not envid.isascii() or not 0 < len(xtext_encode(envid)) <= MAX_ENVID_CHARACTERS:
            raise LetterError(f"--dsn-id: write 1 to {MAX_ENVID_CHARACTERS} ASCII characters")
    return DsnRequest(notify=notify or None, ret=options["dsn_return"] and options["dsn_return"].upper(), envid=envid)


def _read(path: Path) -> bytes:
    """A file, or standard input for `-`. Raises LetterError."""
    try:
        if str(path) == "-":
            content = sys.stdin.buffer.read(MAX_FILE_OCTETS + 1)
        else:
            with path.open("rb") as file:
                content = file.read(MAX_FILE_OCTETS + 1)
    except OSError as error:
        raise LetterError(f"{path}: {explain_fault(error)}") from None
    if len(content) > MAX_FILE_OCTETS:
        raise LetterError(f"{path} is larger than {MAX_FILE_OCTETS:,} octets")
    return content
