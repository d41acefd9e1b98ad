"""Settings of what other domains ask of connections to their mail hosts: MTA-STS, DANE, reports on TLS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from postroad.config.setting import setting


@dataclass(frozen=True, slots=True, kw_only=True)
class MtaStsSection:
    """Policies that domains publish on their web servers (RFC 8461)."""

    mode: Literal["enforce", "testing", "off"] = setting(
        "enforce",
        "What follows where a mail host does not meet its domain's policy: `enforce`: the mail waits; `testing`: it is"
        " logged and counted, and the mail goes on; `off`: nobody is asked.",
    )
    fetch_s: float = setting(
        10.0, "How long a policy may take to come; after that the mail goes on without.", low=1, high=60
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DaneSection:
    """Certificates that domains publish in DNS, signed with DNSSEC (RFC 7672)."""

    enabled: bool = setting(
        False, "Whether TLSA records are heeded. Needs a resolver that validates DNSSEC, and a safe way to it."
    )
    resolver: str = setting(
        "",
        "`ADDRESS:PORT` of that resolver, whose word is believed; empty: `[dns] nameserver`, where it is on this"
        " machine.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsReportsSection:
    """Sessions counted, and reported each day to domains that ask for it (RFC 8460)."""

    count: bool = setting(True, "Whether sessions with other mail hosts are counted, for `postroad tls report`.")
    send: bool = setting(False, "Whether domains that ask for reports get them, by mail or HTTPS.")
    organization: str = setting("", "Who reports, as readers see it; the server's host name by default.")
    contact: str = setting("", "The address to ask about reports, and their sender; `postmaster@` the host name.")
