"""Real mail clients, asked to submit one message: swaks, msmtp, curl, nodemailer, smtplib, aiosmtplib."""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import platform
import re
import smtplib
import ssl
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import aiosmtplib

from peers.need import absent, need_program, need_swaks_with_tls
from peers.unpacked import ROOT

NODEMAILER = ROOT / "usr/share/nodejs/nodemailer"
SCRAM = "SCRAM-SHA-256"
Outcome = tuple[bool, str]
"""Whether the client says that the message was taken, and its words."""


@dataclass(frozen=True)
class Order:
    """What a client is asked to do; `text` has CRLF."""

    port: int
    implicit_tls: bool
    mechanism: str
    user: str
    password: str
    sender: str
    recipient: str
    text: bytes
    directory: Path


def _run(command: list[str], stdin: bytes = b"") -> Outcome:
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=60, check=False)
    return done.returncode == 0, (done.stdout + done.stderr).decode(errors="replace")


def swaks(order: Order) -> Outcome:
    tls = "--tls-on-connect" if order.implicit_tls else "--tls"
    return _run(
        [
            *(need_swaks_with_tls(), "--server", "127.0.0.1", "--port", str(order.port), tls),
            *("--auth", order.mechanism, "--auth-user", order.user, "--auth-password", order.password),
            *("--from", order.sender, "--to", order.recipient, "--data", "-"),
        ],
        # It ends the text with a newline of its own.
        order.text.replace(b"\r\n", b"\n").removesuffix(b"\n"),
    )


def msmtp(order: Order) -> Outcome:
    config = order.directory / "msmtprc"
    config.touch(mode=0o600)
    config.write_text(
        f"account default\nhost 127.0.0.1\nport {order.port}\nfrom {order.sender}\nauth {order.mechanism.lower()}\n"
        f"user {order.user}\npassword {order.password}\ntls on\ntls_certcheck off\n"
        f"tls_starttls {'off' if order.implicit_tls else 'on'}\n"
    )
    return _run([need_program("msmtp"), "-C", str(config), "--", order.recipient], order.text.replace(b"\r\n", b"\n"))


def curl(order: Order) -> Outcome:
    scheme = "smtps" if order.implicit_tls else "smtp"
    return _run(
        [
            *(need_program("curl"), "--silent", "--show-error", "--insecure", "--ssl-reqd", "--max-time", "30"),
            *("--url", f"{scheme}://127.0.0.1:{order.port}", "--user", f"{order.user}:{order.password}"),
            *("--login-options", f"AUTH={order.mechanism}", "--mail-from", order.sender),
            *("--mail-rcpt", order.recipient, "--upload-file", "-"),
        ],
        order.text,
    )


def nodemailer(order: Order) -> Outcome:
    if not NODEMAILER.exists():
        absent("nodemailer", "nodemailer is not unpacked in .peers/ (tests/peers/fetch does it)")
    asked = {
        "transport": {
            "host": "127.0.0.1",
            "port": order.port,
            "secure": order.implicit_tls,
            "requireTLS": not order.implicit_tls,
            "tls": {"rejectUnauthorized": False},
            "auth": {"user": order.user, "pass": order.password},
            "authMethod": order.mechanism,
        },
        "message": {
            "envelope": {"from": order.sender, "to": [order.recipient]},
            "raw": order.text.decode(),
        },
    }
    script = Path(__file__).parent / "nodemailer.js"
    return _run([need_program("node"), str(script), str(NODEMAILER), json.dumps(asked)])


def by_smtplib(order: Order) -> Outcome:
    context = _unverified()
    try:
        with (
            smtplib.SMTP_SSL("127.0.0.1", order.port, context=context)
            if order.implicit_tls
            else smtplib.SMTP("127.0.0.1", order.port)
        ) as client:
            if not order.implicit_tls:
                client.starttls(context=context)
            client.ehlo()
            client.user, client.password = order.user, order.password
            name = "auth_" + order.mechanism.lower().replace("-", "_")
            client.auth(order.mechanism, getattr(client, name))
            options = [] if (order.sender + order.recipient).isascii() else ["SMTPUTF8", "BODY=8BITMIME"]
            client.sendmail(order.sender, [order.recipient], order.text, options)
    except (OSError, AttributeError) as error:
        return False, str(error)
    return True, ""


def by_aiosmtplib(order: Order) -> Outcome:
    async def send() -> None:
        client = aiosmtplib.SMTP(
            hostname="127.0.0.1",
            port=order.port,
            use_tls=order.implicit_tls,
            start_tls=not order.implicit_tls,
            tls_context=_unverified(),
        )
        await client.connect()
        transport = client.transport
        try:
            await client.ehlo()
            login = getattr(client, "auth_" + order.mechanism.lower().replace("-", "_"))
            await login(order.user, order.password)
            options = [] if (order.sender + order.recipient).isascii() else ["SMTPUTF8", "BODY=8BITMIME"]
            encoding = "ascii" if not options else "utf-8"
            await client.mail(order.sender, options=options, encoding=encoding)
            await client.rcpt(order.recipient, encoding=encoding)
            await client.data(order.text)
            await client.quit()
        finally:
            client.close()
            if isinstance(transport, asyncio.WriteTransport):
                # The loop ends before TLS has said goodbye, and would leave the socket open.
                transport.abort()
                await asyncio.sleep(0.05)

    try:
        asyncio.run(send())
    except (OSError, AttributeError, aiosmtplib.SMTPException) as error:
        return False, str(error)
    return True, ""


CLIENTS: dict[str, Callable[[Order], Outcome]] = {
    "swaks": swaks,
    "msmtp": msmtp,
    "curl": curl,
    "nodemailer": nodemailer,
    "smtplib": by_smtplib,
    "aiosmtplib": by_aiosmtplib,
}


def version(name: str) -> str:
    """As the client itself tells it."""
    if name == "smtplib":
        return f"of Python {platform.python_version()}"
    if name == "aiosmtplib":
        return importlib.metadata.version(name)
    if name == "nodemailer":
        if not NODEMAILER.exists():
            absent("nodemailer", "nodemailer is not unpacked in .peers/ (tests/peers/fetch does it)")
        return str(json.loads((NODEMAILER / "package.json").read_text())["version"])
    found = re.search(r"\d[\w.]+", _run([need_program(name), "--version"])[1])
    assert found is not None
    return found[0]


def _unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
