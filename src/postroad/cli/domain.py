"""`postroad domain`: what a domain needs in DNS to be believed, and the keys that sign its mail."""

from __future__ import annotations

import asyncio
import dataclasses
import ipaddress
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click

from postroad.cli.domain_output import checked, findings_json, keys_json, listed, setup_json, told
from postroad.cli.settings import configured, fail, settings
from postroad.clock import SystemClock
from postroad.config import Config
from postroad.message.dkim_key import Algorithm, is_published, key_record, query_name
from postroad.message.domain_check import check_domain, is_well, known_addresses
from postroad.message.domain_records import DomainSetup, PublishedKey
from postroad.net.resolver import DnsResolver
from postroad.smtp.address import Address, AddressError, to_a_labels
from postroad.store.dkim_keys import KEEP_S, DkimKeys, KeptKey, KeyState, KeyStoreError

_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_addresses = click.option(
    "--address", "addresses", multiple=True, metavar="IP", help="Address that mail leaves from; may be repeated."
)
_reports = click.option("--reports", metavar="MAILBOX", help="Where reports go; postmaster of the domain by default.")
_resolver = click.option("--resolver", metavar="ADDRESS:PORT", help="DNS server; that of the configuration by default.")


@click.group("domain")
def command() -> None:
    """Set up a domain: the keys that sign its mail, and the DNS records to publish for it."""


@command.command("add", short_help="Make the keys of a domain, and print what to publish.")
@click.argument("name")
@_addresses
@_reports
@click.option("--rsa-bits", type=click.Choice(["2048", "3072", "4096"]), default="2048", show_default=True)
@click.option("--now", "at_once", is_flag=True, help="Let the keys sign at once, not when DNS shows them.")
@_json
@configured
def add(
    name: str,
    addresses: tuple[str, ...],
    reports: str | None,
    rsa_bits: str,
    at_once: bool,
    as_json: bool,
    config: Path | None,
    state: Path | None,
) -> None:
    """Make the keys of the domain NAME, and print every DNS record to publish, and why.

    The keys sign as soon as DNS shows them: the server looks once a minute, and so does `postroad domain check`.
    """
    loaded, keys, domain = _opened(name, config, state)
    now = SystemClock().wall()
    try:
        if any(one.state is not KeyState.RETIRED for one in keys.keys(domain)):
            fail(f"{domain} has keys: `postroad domain show {domain}` prints them, `rotate` makes new ones")
        made = keys.make(domain, [Algorithm.RSA, Algorithm.ED25519], now=now, rsa_bits=int(rsa_bits))
        if at_once:
            keys.activate(domain, [one.selector for one in made], now=now)
        setup = _setup(loaded, keys, domain, addresses, reports)
    except KeyStoreError as error:
        fail(str(error))
    _print_setup(setup, keys, loaded, as_json=as_json)


@command.command("list")
@_json
@configured
def list_(as_json: bool, config: Path | None, state: Path | None) -> None:
    """List the domains that have keys, and what the keys do."""
    keys = _keys(settings(config, state))
    try:
        found = [(domain, keys.keys(domain)) for domain in keys.domains()]
    except KeyStoreError as error:
        fail(str(error))
    click.echo(keys_json(found) if as_json else "".join(listed(found)), nl=as_json)


@command.command("show")
@click.argument("name")
@_addresses
@_reports
@_json
@configured
def show(
    name: str,
    addresses: tuple[str, ...],
    reports: str | None,
    as_json: bool,
    config: Path | None,
    state: Path | None,
) -> None:
    """Print again what to publish for the domain NAME."""
    loaded, keys, domain = _opened(name, config, state)
    try:
        setup = _setup(loaded, keys, domain, addresses, reports)
    except KeyStoreError as error:
        fail(str(error))
    _print_setup(setup, keys, loaded, as_json=as_json)


@command.command("rotate", short_help="Make new keys, which sign once DNS shows them.")
@click.argument("name")
@click.option("--rsa-bits", type=click.Choice(["2048", "3072", "4096"]), default="2048", show_default=True)
@_json
@configured
def rotate(name: str, rsa_bits: str, as_json: bool, config: Path | None, state: Path | None) -> None:
    """Make new keys for the domain NAME, and print their records.

    The keys in use go on signing until DNS shows the new ones. Then they are retired, and their records stay for a
    week.
    """
    loaded, keys, domain = _opened(name, config, state)
    now = SystemClock().wall()
    try:
        waiting = [one for one in keys.keys(domain) if one.state is KeyState.PENDING]
        if waiting:
            names = ", ".join(one.selector for one in waiting)
            fail(
                f"{domain} has new keys already that DNS does not show yet ({names}): publish them, or take them back"
                f" by `postroad domain remove-key {domain} SELECTOR`"
            )
        made = keys.make(domain, [Algorithm.RSA, Algorithm.ED25519], now=now, rsa_bits=int(rsa_bits))
        setup = _setup(loaded, keys, domain, (), None)
    except KeyStoreError as error:
        fail(str(error))
    _print_setup(setup, keys, loaded, as_json=as_json, only={one.selector for one in made})


@command.command("remove-key")
@click.argument("name")
@click.argument("selector")
@configured
def remove_key(name: str, selector: str, config: Path | None, state: Path | None) -> None:
    """Remove a key of the domain NAME for good."""
    _, keys, domain = _opened(name, config, state)
    try:
        if not keys.remove(domain, selector):
            fail(f"{domain} has no key {selector!r}")
    except KeyStoreError as error:
        fail(str(error))
    click.echo(f"removed the key {selector} of {domain}: take its record out of DNS")


@command.command("check", short_help="Ask DNS whether a domain is set up as it should be.")
@click.argument("name")
@_addresses
@_reports
@_resolver
@_json
@configured
def check(
    name: str,
    addresses: tuple[str, ...],
    reports: str | None,
    resolver: str | None,
    as_json: bool,
    config: Path | None,
    state: Path | None,
) -> None:
    """Ask DNS what is published for the domain NAME: each record is ok, missing, or differs.

    The status is 1 where one is wrong. New keys that DNS shows begin to sign.
    """
    loaded, keys, domain = _opened(name, config, state)
    try:
        asyncio.run(_check(loaded, keys, domain, addresses, reports, resolver, as_json=as_json))
    except KeyStoreError as error:
        fail(str(error))


async def _check(
    config: Config,
    keys: DkimKeys,
    domain: str,
    addresses: tuple[str, ...],
    reports: str | None,
    nameserver: str | None,
    *,
    as_json: bool,
) -> None:
    try:
        dns = DnsResolver(
            nameserver or config.dns.nameserver or None,
            timeout_s=config.dns.timeout_s,
            tries=config.dns.tries,
            cache_size=config.dns.cache_size,
        )
    except ValueError as error:
        fail(str(error))
    try:
        setup = _setup(config, keys, domain, addresses, reports)
        setup = _with_addresses(setup, await known_addresses(setup, dns))
        findings = await check_domain(setup, dns)
        activated = await _activate(keys, domain, dns)
    finally:
        await dns.close()
    click.echo(findings_json(domain, findings, activated) if as_json else checked(domain, findings, activated))
    if not is_well(findings):
        sys.exit(1)


async def _activate(keys: DkimKeys, domain: str, dns: DnsResolver) -> list[KeptKey]:
    """Let new keys sign that DNS shows; those that now do."""
    shown = [
        one.selector
        for one in keys.keys(domain)
        if one.state is KeyState.PENDING
        and is_published(await dns.texts(query_name(one.selector, domain)), keys.private(one))
    ]
    changed = keys.activate(domain, shown, now=SystemClock().wall()) if shown else []
    return [one for one in changed if one.state is KeyState.ACTIVE]


# What the commands have in common ---------------------------------------------------------------------------------


def _keys(config: Config) -> DkimKeys:
    return DkimKeys(Path(config.server.state_dir) / "dkim")


def _opened(name: str, config: Path | None, state: Path | None) -> tuple[Config, DkimKeys, str]:
    """The configuration, the keys, and the domain in A-labels."""
    try:
        domain = to_a_labels(name.rstrip("."))
    except AddressError as error:
        fail(f"{name[:80]!r} is no domain: {error}")
    if "." not in domain:
        fail(f"{name[:80]!r} is no domain that others could ask for: it has one label only")
    loaded = settings(config, state)
    if "." not in loaded.server.hostname:
        fail(f"this server is called {loaded.server.hostname!r}, which nobody can look up: set [server] hostname")
    return loaded, _keys(loaded), domain


def _setup(config: Config, keys: DkimKeys, domain: str, addresses: Sequence[str], reports: str | None) -> DomainSetup:
    kept = keys.keys(domain)
    now = SystemClock().wall()
    source = config.delivery.source_address
    setup = DomainSetup(
        domain=domain,
        hostname=config.server.hostname,
        keys=tuple(
            PublishedKey(
                selector=one.selector, record=key_record(keys.private(one)), is_retired=one.state is KeyState.RETIRED
            )
            for one in kept
            if one.retired_at is None or now < one.retired_at + KEEP_S
        ),
        reports=_mailbox(reports) if reports else f"postmaster@{domain}",
        policy_id=f"{datetime.fromtimestamp(kept[0].created_at if kept else now, UTC):%Y%m%d%H%M%S}",
    )
    return _with_addresses(setup, addresses or ((source,) if source else ()))


def _with_addresses(setup: DomainSetup, addresses: Sequence[str]) -> DomainSetup:
    for address in addresses:
        try:
            ipaddress.ip_address(address)
        except ValueError:
            fail(f"{address[:60]!r} is no IP address")
    return dataclasses.replace(setup, addresses=tuple(str(ipaddress.ip_address(one)) for one in addresses))


def _mailbox(text: str) -> str:
    try:
        return str(Address.parse(text))
    except AddressError as error:
        fail(f"{text[:80]!r} is no mailbox: {error}")


def _print_setup(
    setup: DomainSetup, keys: DkimKeys, config: Config, *, as_json: bool, only: set[str] | None = None
) -> None:
    try:
        kept = keys.keys(setup.domain)
    except KeyStoreError as error:
        fail(str(error))
    if as_json:
        click.echo(setup_json(setup, kept))
        return
    is_local = setup.domain in {to_a_labels(one) for one in config.domains.local}
    click.echo(told(setup, kept, is_local=is_local, only=only), nl=False)
