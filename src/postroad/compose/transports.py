"""How mail of local addresses is delivered: the transports of the configuration, and which address has which."""

from __future__ import annotations

import unicodedata
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from postroad.clock import Clock
from postroad.compose.mailboxes import delivered_here, maildirs, named_domains
from postroad.config import Config
from postroad.config.mailboxes import CommandSettings as CommandTable
from postroad.config.mailboxes import LmtpSettings as LmtpTable
from postroad.config.mailboxes import WebhookSettings as WebhookTable
from postroad.deliver.command import CommandDelivery, CommandSettings
from postroad.deliver.destinations import Destinations, Discard, Transport
from postroad.deliver.lmtp import LmtpDelivery, LmtpSettings
from postroad.deliver.local import LocalMaildirs
from postroad.deliver.webhook import WebhookDelivery, WebhookSettings
from postroad.net.endpoint import Endpoint, PhaseTimeouts
from postroad.net.web_post import WebPoster
from postroad.road.policy import is_public
from postroad.smtp.address import Address

CONNECT_S = 10.0
InThread = Callable[..., Awaitable[Any]]


def destinations(config: Config, clock: Clock, in_thread: InThread) -> Destinations:
    """Local delivery. Raises OSError where a secret cannot be read."""
    here = delivered_here(config)
    separators = {name: separator(config, name) for name in here}
    transports: dict[str, Transport] = {
        "maildir": LocalMaildirs(maildirs(config), here.__contains__, in_thread),
        "discard": Discard(),
        **{one.name: _lmtp(one, config.server.hostname) for one in config.lmtp},
        **{one.name: _webhook(one, clock) for one in config.webhook},
        **{one.name: _command(one, separators) for one in config.command},
    }
    return Destinations(transports, chosen(config), here.__contains__)


def separator(config: Config, domain: str) -> str:
    """Between user and detail at a local domain."""
    rules = named_domains(config).get(domain)
    return config.domains.separator if rules is None or rules.separator == "inherit" else rules.separator


def chosen(config: Config) -> Callable[[Address], str]:
    """The name of the transport of a local address. Postmaster is never left to a store that may not know him."""
    by_domain = {name: rules.transport for name, rules in named_domains(config).items()}
    by_mailbox = {
        (_user(address.local, ""), address.domain): one.transport
        for one in config.mailbox
        if one.transport
        for address in (Address.parse(one.address, smtputf8=True),)
    }

    def choose(address: Address) -> str:
        user = _user(address.local, separator(config, address.domain))
        own = by_mailbox.get((user, address.domain)) or by_mailbox.get((_user(address.local, ""), address.domain))
        if own is not None:
            return own
        return "maildir" if user == "postmaster" else by_domain.get(address.domain, "maildir")

    return choose


def _user(local: str, between: str) -> str:
    whole = unicodedata.normalize("NFC", local).casefold()
    return (whole.partition(between)[0] or whole) if between else whole


def _lmtp(table: LmtpTable, hello: str) -> LmtpDelivery:
    if table.address.startswith("unix:"):
        path = table.address.removeprefix("unix:")
        endpoint = Endpoint(host=path, address="", port=0, is_trusted=True, socket_path=path)
    else:
        host, _, port = table.address.rpartition(":")
        host = host.strip("[]")
        endpoint = Endpoint(host=host, address=host, port=int(port), is_trusted=True)
    timeouts = PhaseTimeouts.all(table.timeout_s, connect_s=min(CONNECT_S, table.timeout_s))
    return LmtpDelivery(LmtpSettings(endpoint=endpoint, hello=hello, timeouts=timeouts, at_once=table.at_once))


def _webhook(table: WebhookTable, clock: Clock) -> WebhookDelivery:
    secret = Path(table.secret_file).read_bytes().split(b"\n", 1)[0].strip() if table.secret_file else b""
    settings = WebhookSettings(
        form=table.format,
        secret=secret,
        bounces_refused=table.on_refusal == "bounce",
        message_octets=table.message_octets,
        at_once=table.at_once,
    )
    is_allowed = (lambda address: True) if table.allow_private else is_public
    return WebhookDelivery(settings, WebPoster(table.url, is_allowed=is_allowed, timeout_s=table.timeout_s), clock.wall)


def _command(table: CommandTable, separators: dict[str, str]) -> CommandDelivery:
    settings = CommandSettings(
        argv=table.argv, timeout_s=table.timeout_s, output_octets=table.output_octets, at_once=table.at_once
    )
    return CommandDelivery(settings, separators)
