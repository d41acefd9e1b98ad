"""`postroad tls`: what domains ask of connections to their mail hosts, how that went, what others report of ours."""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from postroad.cli.settings import configured, fail, settings
from postroad.clock import SystemClock
from postroad.events import escaped

if TYPE_CHECKING:
    from postroad.config import Config
    from postroad.road.route import Route, RouteHost, Router
    from postroad.road.sts_policies import StsFailure
    from postroad.store.tls_book import TlsBook

MOST = 10_000
"""Domains that are listed."""
_MAX_FILE_OCTETS = 16 * 1024 * 1024


@click.group("tls")
def command() -> None:
    """Show what domains ask of TLS (MTA-STS, DANE), and what came of it."""


@command.command("show")
@click.argument("domains", nargs=-1, required=True, metavar="DOMAIN...")
@click.option("--connect", "is_trial", is_flag=True, help="Also connect to each host, and say whether it is met.")
@click.option("--json", "as_json", is_flag=True, help="JSON, one line a domain.")
@configured
def show(config: Path | None, state: Path | None, domains: tuple[str, ...], is_trial: bool, as_json: bool) -> None:
    """Ask which policies hold for a domain, and what they mean for each of its mail hosts.

    Status 1 where mail for one of the domains would wait.
    """
    loaded = settings(config, state)
    with _book(loaded) as book:
        found = [asyncio.run(_ask(loaded, book, domain, is_trial=is_trial)) for domain in domains]
    for one in found:
        click.echo(json.dumps(one) if as_json else escaped_lines(_told(one)))
    sys.exit(0 if all(one["is_open"] for one in found) else 1)


async def _ask(config: Config, book: TlsBook, name: str, *, is_trial: bool) -> dict[str, Any]:
    from postroad.compose import sending
    from postroad.compose.tls_policy import secure_resolver, sts_policies
    from postroad.net.resolver import DnsResolver
    from postroad.road.route import RouteFailure
    from postroad.road.tls_policies import TlsPolicies
    from postroad.smtp.address import AddressError, to_a_labels

    try:
        domain = to_a_labels(name.rstrip("."))
    except AddressError:
        fail(f"{name[:100]!r} is no domain name")
    clock = SystemClock()
    failures: list[StsFailure] = []
    resolver = DnsResolver(config.dns.nameserver or None, timeout_s=config.dns.timeout_s, tries=config.dns.tries)
    sts = sts_policies(config, resolver, book, clock, on_failure=failures.append)
    is_off = config.mta_sts.mode == "off"
    policies = TlsPolicies(
        sts=None if is_off else sts,
        dane=secure_resolver(config, clock),
        wall=clock.wall,
        is_enforced=config.mta_sts.mode == "enforce",
    )
    router = sending.router(config, resolver, random.Random(), policies)  # noqa: S311 - chance, not secrecy
    try:
        route = await router.route(domain)
        told: dict[str, Any] = {"domain": domain, "mta_sts": _sts(book, domain, failures, is_off=is_off)}
        told["dane"] = "on" if config.dane.enabled else "off"
        if isinstance(route, RouteFailure):
            return {**told, "hosts": [], "failure": str(route.reply), "is_open": False}
        hosts = [await _host(config, router, route, host, is_trial=is_trial) for host in route.hosts]
        return {**told, "hosts": hosts, "failure": "", "is_open": any(host["is_open"] for host in hosts)}
    finally:
        await resolver.close()


def _sts(book: TlsBook, domain: str, failures: list[StsFailure], *, is_off: bool) -> dict[str, Any]:
    from postroad.message.mta_sts import StsInvalid, parse_policy

    kept = None if is_off else book.policy(domain)
    fault = failures[-1].reason if failures else ""
    if kept is None or kept.expires_at <= SystemClock().wall():
        return {"mode": "off" if is_off else "", "fault": fault}
    try:
        policy = parse_policy(kept.content)
    except StsInvalid as error:
        return {"mode": "", "fault": str(error)}
    return {
        "mode": policy.mode.value,
        "mx": list(policy.mx),
        "id": kept.record_id,
        "fetched_at": _stamp(kept.fetched_at),
        "until": _stamp(kept.expires_at),
        "fault": fault,
    }


async def _host(config: Config, router: Router, route: Route, host: RouteHost, *, is_trial: bool) -> dict[str, Any]:
    demand = host.tls
    told: dict[str, Any] = {
        "host": host.name,
        "preference": host.preference,
        "by": "" if demand is None or demand.policy is None else demand.policy.kind.value,
        "asks": _asks(route, host),
        "refusal": "" if demand is None else demand.refusal,
        "enforced": demand is not None and demand.is_enforced,
        "is_open": demand is None or not demand.refusal or not demand.is_enforced,
    }
    if is_trial and told["is_open"]:
        told["trial"], told["is_open"] = await _trial(config, router, replace(route, hosts=(host,)))
    return told


def _asks(route: Route, host: RouteHost) -> str:
    demand = host.tls
    if demand is None:
        return {"opportunistic": "TLS where it is offered", "none": "no TLS"}.get(route.tls.value, f"TLS {route.tls}")
    if demand.check is not None:
        return "TLS with a certificate that TLSA records name"
    return "TLS with a certificate for its name" if demand.mode.value == "verified" else "TLS with any certificate"


async def _trial(config: Config, router: Router, route: Route) -> tuple[str, bool]:
    """What came of a connection to the route's one host, and whether mail could go."""
    from postroad.compose.sending import pool_settings
    from postroad.message.tls_report import TlsSession
    from postroad.net.dialogue import Connection, connect
    from postroad.net.tls import client_context
    from postroad.road.opening import ConnectFailure, Opener

    made = pool_settings(config)
    sessions: list[TlsSession] = []
    opener = Opener(
        router.endpoints,
        connect,
        client_context,
        hello=made.hello,
        timeouts=made.timeouts,
        down_s=0.0,
        down_table=1,
        on_tls=sessions.append,
    )
    got = await opener.open(route)
    if isinstance(got, Connection):
        secured = got.tls
        await got.quit()
        fault = next((one.reason for one in sessions if one.result and one.policy is not None), "")
        how = "in the clear" if secured is None else secured.version
        return (f"reached, {how}, though the policy is not met: {fault}" if fault else f"reached, {how}"), True
    if isinstance(got, ConnectFailure):
        return str(got.last.reply or got.last.detail), False
    return str(got.reply), False


def _told(one: dict[str, Any]) -> list[str]:
    sts = one["mta_sts"]
    lines = [one["domain"]]
    if sts["mode"] and sts["mode"] != "off":
        lines.append(f"  MTA-STS: {sts['mode']}, id {sts['id']}, fetched {sts['fetched_at']}, until {sts['until']}")
    else:
        lines.append(f"  MTA-STS: {'off' if sts['mode'] else 'no policy'}")
    if sts["fault"]:
        lines.append(f"  MTA-STS could not be had: {sts['fault']}")
    lines.append(f"  DANE: {one['dane']}")
    if one["failure"]:
        lines.append(f"  no way there: {one['failure']}")
    for host in one["hosts"]:
        by = f" ({host['by']}{'' if host['enforced'] else ', only noted'})" if host["by"] else ""
        lines.append(f"  {host['preference']} {host['host']}: {host['asks']}{by}")
        if host["refusal"]:
            lines.append(f"    {'not used' if host['enforced'] else 'used all the same'}: {host['refusal']}")
        if "trial" in host:
            lines.append(f"    {host['trial']}")
    return lines


def escaped_lines(lines: list[str]) -> str:
    """Lines for a terminal, whatever strangers wrote into them."""
    return "\n".join(escaped(line) for line in lines)


# What was counted ------------------------------------------------------------------------------------------------


def _day(_context: click.Context, _option: click.Parameter, value: str | None) -> int:
    today = datetime.fromtimestamp(SystemClock().wall(), UTC).date()
    named = {None: today, "today": today, "yesterday": today - timedelta(days=1)}
    try:
        day = named[value] if value in named else date.fromisoformat(str(value))
    except ValueError:
        raise click.BadParameter("write a day such as 2026-03-31, or today, or yesterday") from None
    return day.toordinal() - date(1970, 1, 1).toordinal()


@command.command("report")
@click.argument("domain", required=False)
@click.option("--day", callback=_day, metavar="DAY", help="A day (UTC) such as 2026-03-31, or yesterday; today.")
@click.option("--json", "as_json", is_flag=True, help="JSON; of one domain the report as it would be sent.")
@configured
def report(config: Path | None, state: Path | None, domain: str | None, day: int, as_json: bool) -> None:
    """Show the sessions of a day with the hosts of a domain, or of all of them, the most failures first."""
    loaded = settings(config, state)
    with _book(loaded) as book:
        if domain is None:
            counted, outcomes = book.domains(day, MOST), book.report_outcomes(day)
            rows = [(name, good, bad, outcomes.get(name, "")) for name, good, bad in counted]
            for name, good, bad, told in rows:
                if as_json:
                    click.echo(json.dumps({"domain": name, "succeeded": good, "failed": bad, "reported": told}))
                else:
                    click.echo(escaped(f"{name}  {good} well, {bad} failed" + (f"  ({told})" if told else "")))
            return
        sessions = book.sessions(day, domain.lower().rstrip("."))
    if as_json:
        click.echo(json.dumps(_as_sent(loaded, domain, day, sessions)))
        return
    for session, count in sorted(sessions, key=lambda one: (one[0].result, one[0].host)):
        policy = session.policy.kind.value if session.policy is not None else "no policy"
        what = f"{session.result}: {session.reason}" if session.result else "well"
        click.echo(escaped(f"{count}  {session.host or '-'}  {policy}  {what}"))


def _as_sent(config: Config, domain: str, day: int, sessions: Any) -> dict[str, Any]:
    from postroad.compose.tls_policy import reporter_settings
    from postroad.deliver.tls_reports import head_of
    from postroad.message.tls_report import build

    return build(head_of(reporter_settings(config), domain, day, "shown"), sessions)


@command.command("policies")
@configured
def policies(config: Path | None, state: Path | None) -> None:
    """List the MTA-STS policies that are kept."""
    from postroad.message.mta_sts import StsInvalid, parse_policy

    with _book(settings(config, state)) as book:
        kept = book.policies(MOST)
    now = SystemClock().wall()
    for one in kept:
        try:
            mode = parse_policy(one.content).mode.value
        except StsInvalid:
            mode = "not to be read"
        ended = " (over)" if one.expires_at <= now else ""
        click.echo(
            escaped(f"{one.domain}  {mode}  fetched {_stamp(one.fetched_at)}, until {_stamp(one.expires_at)}{ended}")
        )


@command.command("read")
@click.argument("files", nargs=-1, required=True, type=click.Path(dir_okay=False, path_type=Path), metavar="FILE...")
def read_reports(files: tuple[Path, ...]) -> None:
    """Read reports that others sent of sessions with your hosts: JSON, as it is or in gzip.

    Status 1 where a file is none.
    """
    from postroad.message.tls_report import TlsReportInvalid, read

    has_fault = False
    for file in files:
        try:
            with file.open("rb") as opened:
                told = read(opened.read(_MAX_FILE_OCTETS + 1))
        except (OSError, TlsReportInvalid) as error:
            has_fault = True
            why = error.strerror if isinstance(error, OSError) else str(error)
            click.echo(f"postroad: {escaped(f'{file}: {why}')}", err=True)
            continue
        click.echo(escaped(f"{told.organization}, {told.start} to {told.end}"))
        for policy in told.policies:
            where = f"{policy.domain or '-'}  {policy.kind}"
            click.echo(escaped(f"  {where}  {policy.succeeded} well, {policy.failed} failed"))
            for one in policy.failures:
                why = f" ({one.reason})" if one.reason else ""
                click.echo(escaped(f"    {one.count}  {one.host or '-'}  {one.result}{why}"))
    sys.exit(1 if has_fault else 0)


@contextmanager
def _book(config: Config) -> Iterator[TlsBook]:
    from postroad.store.spool import SpoolError
    from postroad.store.tls_book import TlsBook

    try:
        with TlsBook(Path(config.server.state_dir) / "tls.db") as book:
            yield book
    except SpoolError as error:
        fail(str(error))


def _stamp(wall: float) -> str:
    return f"{datetime.fromtimestamp(wall, UTC):%Y-%m-%dT%H:%M:%SZ}"
