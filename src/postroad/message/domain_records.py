"""What a domain publishes so that mail sent from here is believed and mail to it arrives: each record, and why.

Values only; `postroad domain` prints them, and domain_check compares them with what DNS says.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from postroad.message.dkim_key import txt_strings

POLICY_MAX_AGE_S = 604_800
"""How long other hosts keep the MTA-STS policy: a week."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedKey:
    """A signing key's record. `is_retired`: it signs no more, and mail that it signed may still be on its way."""

    selector: str
    record: str
    is_retired: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainSetup:
    """A domain as it is served here. Names in A-labels. `addresses`: those that its mail leaves from, as text; none
    where they are not known. `reports`: the mailbox that reports are sent to. `policy_id`: changes with the policy."""

    domain: str
    hostname: str
    addresses: tuple[str, ...] = ()
    keys: tuple[PublishedKey, ...] = ()
    reports: str
    policy_id: str = "1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A record to publish. `about`: which of its kind, in a word or two; `is_needed`: without it mail suffers."""

    about: str
    name: str
    kind: str
    value: str
    why: str
    is_needed: bool = True

    @property
    def zone_line(self) -> str:
        """As a zone file has it; text is cut into strings of 255 octets."""
        if self.kind == "TXT":
            shown = " ".join(f'"{part}"' for part in txt_strings(self.value))
            return f"{self.name}. IN TXT {shown}" if shown.count('"') == 2 else f"{self.name}. IN TXT ( {shown} )"
        return f"{self.name}. IN {self.kind} {self.value}"


def records(setup: DomainSetup) -> list[Record]:
    """Every record, the most needed first."""
    return [
        *_ways(setup),
        *_permissions(setup),
        *[key_record_of(setup.domain, key) for key in setup.keys],
        *_policies(setup),
    ]


def _ways(setup: DomainSetup) -> list[Record]:
    found = [
        Record(
            about="MX",
            name=setup.domain,
            kind="MX",
            value=f"10 {setup.hostname}.",
            why="Mail to the domain, and bounces of its mail, come to this server.",
        )
    ]
    for address in setup.addresses:
        parsed = ipaddress.ip_address(address)
        found.append(
            Record(
                about=f"address {address}",
                name=setup.hostname,
                kind="A" if parsed.version == 4 else "AAAA",
                value=address,
                why="The server's name leads to the address that it sends from.",
            )
        )
        found.append(
            Record(
                about=f"PTR {address}",
                name=parsed.reverse_pointer,
                kind="PTR",
                value=f"{setup.hostname}.",
                why="The address leads back to the name; many hosts refuse mail without it. Whoever gave you the"
                " address publishes it.",
            )
        )
    return found


def _permissions(setup: DomainSetup) -> list[Record]:
    found = [
        Record(
            about="SPF",
            name=setup.domain,
            kind="TXT",
            value=f"v=spf1 {_spf_terms(setup)} ~all",
            why="This server may send in the name of the domain. ~all leaves the judgement to DMARC, so that forwarded"
            " mail with a good signature still passes.",
        )
    ]
    if setup.hostname != setup.domain:
        found.append(
            Record(
                about="SPF of the server's name",
                name=setup.hostname,
                kind="TXT",
                value="v=spf1 a -all",
                why="Bounces have no sender: they are judged by the server's own name.",
                is_needed=False,
            )
        )
    return found


def _spf_terms(setup: DomainSetup) -> str:
    ours = [f"ip{ipaddress.ip_address(address).version}:{address}" for address in setup.addresses]
    return " ".join([f"a:{setup.hostname}", *ours])


def key_record_of(domain: str, key: PublishedKey) -> Record:
    """The record of one key."""
    return Record(
        about=f"DKIM {key.selector}",
        name=f"{key.selector}._domainkey.{domain}",
        kind="TXT",
        value=key.record,
        why="It signs no more; the record stays for a week, for mail that is on its way."
        if key.is_retired
        else "Receivers check the signatures of the domain's mail by it.",
        is_needed=not key.is_retired,
    )


def _policies(setup: DomainSetup) -> list[Record]:
    return [
        Record(
            about="DMARC",
            name=f"_dmarc.{setup.domain}",
            kind="TXT",
            value=f"v=DMARC1; p=none; rua=mailto:{setup.reports}",
            why="What receivers do with mail that only claims to be from the domain. Begin with p=none, read the"
            " reports, then go on to p=quarantine and p=reject.",
        ),
        Record(
            about="MTA-STS",
            name=f"_mta-sts.{setup.domain}",
            kind="TXT",
            value=f"v=STSv1; id={setup.policy_id}",
            why="Other hosts send mail to the domain by verified TLS alone. Publish it after the policy file, and give"
            " it a new id whenever that changes.",
            is_needed=False,
        ),
        Record(
            about="TLS reports",
            name=f"_smtp._tls.{setup.domain}",
            kind="TXT",
            value=f"v=TLSRPTv1; rua=mailto:{setup.reports}",
            why="Other hosts report where TLS to this server fails.",
            is_needed=False,
        ),
    ]


def sts_policy_url(domain: str) -> str:
    """Where the MTA-STS policy of a domain is looked for (RFC 8461 §3.2)."""
    return f"https://mta-sts.{domain}/.well-known/mta-sts.txt"


def sts_policy(hosts: Sequence[str], *, mode: str = "testing") -> str:
    """The policy file: mail for the domain goes to these hosts, by verified TLS."""
    lines = ["version: STSv1", f"mode: {mode}", *[f"mx: {host}" for host in hosts], f"max_age: {POLICY_MAX_AGE_S}"]
    return "".join(f"{line}\r\n" for line in lines)
