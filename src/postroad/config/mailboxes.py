"""Settings of local domains: who has a mailbox, where mail goes, and how it is delivered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from postroad.config.setting import setting

BUILT_IN = ("maildir", "discard", "route")
"""Transports that need no table of their own."""
_TIMEOUT = "How long one delivery may take."
_AT_ONCE = "Deliveries at a time, for each worker."


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainSettings:
    """A local domain with rules of its own; those in `[domains] local` have the rules of that section."""

    name: str = setting("", "The domain.")
    mailboxes: Literal["", "any", "accounts", "listed"] = setting(
        "",
        "Which addresses exist: `any`, those of `accounts`, or those `listed` in `users` and `[[mailbox]]`; as"
        " `[domains]` says by default.",
    )
    users: tuple[str, ...] = setting((), "Mailboxes of this domain, by local part.")
    catch_all: tuple[str, ...] = setting(
        (), "Where mail for nobody else goes: addresses, or local parts of this domain."
    )
    same_as: str = setting("", "Another local domain: each address of it exists here too, and is the same.")
    separator: str = setting("inherit", "Between user and detail; empty for none; `inherit`: as `[domains]` says.")
    transport: str = setting(
        "maildir",
        "How mail is delivered: `maildir`, `discard`, `route` (by its `[[route]]`), or the name of an `[[lmtp]]`,"
        " `[[webhook]]` or `[[command]]`.",
    )
    quota_octets: int = setting(0, "How much a Maildir may hold; 0 for no limit.", low=0, high=1 << 50)
    quota_messages: int = setting(0, "How many messages a Maildir may hold; 0 for no limit.", low=0, high=1 << 40)


@dataclass(frozen=True, slots=True, kw_only=True)
class MailboxSettings:
    """One mailbox with rules of its own."""

    address: str = setting("", "Its address, at a local domain.")
    transport: str = setting("", "How its mail is delivered; as its domain's by default.")
    quota_octets: int = setting(-1, "How much it may hold; 0 for no limit, -1 for its domain's.", low=-1, high=1 << 50)
    quota_messages: int = setting(
        -1, "How many messages it may hold; 0 for no limit, -1 for its domain's.", low=-1, high=1 << 40
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AliasSettings:
    """An address that stands for others. `postroad alias` adds more while the server runs; these come first."""

    address: str = setting("", "The address that mail comes to.")
    to: tuple[str, ...] = setting(
        (), "Where it goes: addresses anywhere, or local parts of the same domain; itself, to keep a copy."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SrsSection:
    """Rewriting of the sender of forwarded mail, so that it passes SPF and bounces come back."""

    enabled: bool = setting(True, "Whether mail from elsewhere that goes elsewhere leaves with a sender of our own.")
    domain: str = setting("", "The local domain of these senders; the first local domain by default.")
    max_age_days: int = setting(21, "How long bounces are taken.", low=1, high=365)


@dataclass(frozen=True, slots=True, kw_only=True)
class LmtpSettings:
    """A mail store that takes mail by LMTP, such as Dovecot."""

    name: str = setting("lmtp", "What `transport` calls it.")
    address: str = setting("", "`HOST:PORT`, or `unix:/path/of/socket`.")
    timeout_s: float = setting(60.0, "How long each of its answers may take.", low=0.1, high=3600)
    at_once: int = setting(10, "Connections at a time, for each worker.", low=1, high=1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookSettings:
    """A web service that takes mail."""

    name: str = setting("webhook", "What `transport` calls it.")
    url: str = setting("", "Where messages are sent by POST: `https://…` or `http://…`.")
    format: Literal["raw", "json", "json_raw"] = setting(
        "raw",
        "`raw`: the message itself (message/rfc822); `json`: envelope, headers, text, HTML and attachments;"
        " `json_raw`: envelope and the whole message in base64.",
    )
    secret_file: str = setting("", "File whose first line signs each request; unsigned without it.")
    on_refusal: Literal["retry", "bounce"] = setting(
        "retry", "What follows 4xx (but 408, 410, 425, 429): try again later, or bounce. 410 always bounces."
    )
    allow_private: bool = setting(False, "Whether it may have a loopback, private or link-local address.")
    timeout_s: float = setting(30.0, _TIMEOUT, low=0.1, high=600)
    message_octets: int = setting(36_700_160, "The largest message sent; a larger one bounces.", low=1024, high=1 << 30)
    at_once: int = setting(10, _AT_ONCE, low=1, high=1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandSettings:
    """A program that takes a message on its standard input."""

    name: str = setting("command", "What `transport` calls it.")
    argv: tuple[str, ...] = setting((), "The program, by its whole path, and its arguments; no shell reads them.")
    timeout_s: float = setting(
        30.0, "How long it may run before it is killed, with all that it started.", low=0.1, high=3600
    )
    output_octets: int = setting(65_536, "How much it may write before it is killed.", low=0, high=1 << 24)
    at_once: int = setting(4, "How many run at a time, for each worker.", low=1, high=1000)
