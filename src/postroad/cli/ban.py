"""`postroad ban`: whom the server's door does not hear."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import click

from postroad.cli.guard import guard_book, list_style, network_or_none, stamp
from postroad.cli.settings import configured, fail
from postroad.clock import SystemClock
from postroad.events import escaped
from postroad.store.accounts import AccountError, normalise_name
from postroad.store.guard_book import FOR_GOOD, Ban, BanKind

MAX_REASON_CHARS = 500
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_LENGTH = re.compile(r"([0-9]{1,9})([smhdw])")


def _length(_context: click.Context, _option: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    found = _LENGTH.fullmatch(value)
    if found is None or not int(found[1]):
        raise click.BadParameter("write a number and a unit, such as 90s, 30m, 12h, 7d or 4w")
    return float(int(found[1]) * _UNITS[found[2]])


def _reason(_context: click.Context, _option: click.Parameter, value: str) -> str:
    if len(value) > MAX_REASON_CHARS:
        raise click.BadParameter(f"a reason has at most {MAX_REASON_CHARS} characters, and this one has {len(value):,}")
    return value


def _subject(text: str) -> tuple[str, BanKind]:
    """What an argument means: a network where it can be read as one, else an account."""
    network = network_or_none(text)
    if network is not None:
        if network.prefixlen < (8 if network.version == 4 else 16):
            fail(f"{text} is too much of the internet to be banned: name a smaller network")
        return str(network), "network"
    try:
        return normalise_name(text), "account"
    except AccountError as error:
        fail(f"{text[:100]!r} is neither an address, nor a network, nor the name of an account: {error}")


def _until(ban: Ban) -> str:
    return "for good" if ban.until >= FOR_GOOD else f"until {stamp(ban.until)}"


@click.group("ban")
def command() -> None:
    """Keep addresses, networks and accounts from the server.

    The server enters by itself who fails too often to authenticate, for a time. A running server takes up each change
    within two seconds.
    """


@command.command("list")
@list_style
@configured
def list_bans(config: Path | None, state: Path | None, style: str) -> None:
    """Print the bans in force."""
    with guard_book(config, state) as book:
        bans = book.bans(SystemClock().wall())
    for ban in bans:
        if style == "jsonl":
            click.echo(
                json.dumps(
                    {
                        "subject": ban.subject,
                        "kind": ban.kind,
                        "reach": ban.reach,
                        "made_at": stamp(ban.made_at),
                        "until": None if ban.until >= FOR_GOOD else stamp(ban.until),
                        "times": ban.times,
                        "reason": ban.reason,
                    }
                )
            )
        else:
            reach = "may not connect" if ban.reach == "all" and ban.kind == "network" else "may not authenticate"
            reason = f": {ban.reason}" if ban.reason else ""
            click.echo(escaped(f"{ban.subject}  {reach}, {_until(ban)}{reason}"))


@command.command("add", short_help="Ban addresses, networks or accounts.")
@click.argument("subjects", metavar="SUBJECT...", nargs=-1, required=True)
@click.option("--for", "seconds", callback=_length, help="How long, such as 30m, 12h or 7d; for good by default.")
@click.option("--reason", default="", callback=_reason, help="Words to remember it by.")
@configured
def add(subjects: tuple[str, ...], config: Path | None, state: Path | None, seconds: float | None, reason: str) -> None:
    """Ban addresses or networks from connecting, and accounts from authenticating.

    SUBJECT is an IP address, a network such as 192.0.2.0/24 or 2001:db8::/48, or the name of an account.
    """
    now = SystemClock().wall()
    until = FOR_GOOD if seconds is None else now + seconds
    bans = [
        Ban(subject=subject, kind=kind, reach="all", made_at=now, until=until, reason=reason)
        for subject, kind in map(_subject, subjects)
    ]
    with guard_book(config, state) as book:
        for ban in bans:
            book.ban(ban)
    for ban in bans:
        click.echo(escaped(f"{ban.subject}: banned {_until(ban)}"))


@command.command("remove", short_help="Lift bans.")
@click.argument("subjects", metavar="SUBJECT...", nargs=-1, required=True)
@configured
def remove(subjects: tuple[str, ...], config: Path | None, state: Path | None) -> None:
    """Lift bans, and forget the failures that led to them. Status 1 where one was not banned."""
    wanted = [subject for subject, _ in map(_subject, subjects)]
    with guard_book(config, state) as book:
        gone = [subject for subject in wanted if book.unban(subject)]
    for subject in gone:
        click.echo(escaped(f"{subject}: no longer banned"))
    for subject in wanted:
        if subject not in gone:
            click.echo(escaped(f"postroad: {subject} is not banned"), err=True)
    if len(gone) < len(wanted):
        sys.exit(1)
