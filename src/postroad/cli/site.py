"""`postroad site`: the sites that mail goes to, how they are, and what an operator wants of them for now."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from postroad.cli.guard import stamp
from postroad.cli.settings import configured, fail, settings
from postroad.cli.site_queue import queue_lines, sent_by_sources, source_lines, waiting_for
from postroad.clock import SystemClock
from postroad.compose.shaping import LIMITS, origins, site_name
from postroad.events import escaped
from postroad.smtp.address import AddressError
from postroad.store.site_book import FOR_GOOD, Seen, SiteBook, Wish
from postroad.store.spool import SpoolError

if TYPE_CHECKING:
    from postroad.config import Config

QUIET_S = 15.0
"""What a worker saw longer ago, and did not see again, is how the site was left."""
SHOWN = 200
MAX_PAUSE_S = 30 * 86_400.0
MAX_LIMIT = 1_000_000
_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}
_LENGTH = re.compile(r"([0-9]{1,7})(s|min|m|h|d|w)")
_RATE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)/(s|min|m|h|d)")
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


class _Group(click.Group):
    """Alone it lists."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        is_asked = args[:1] in (["-h"], ["--help"])
        return super().parse_args(ctx, args if is_asked or set(args[:1]) & set(self.commands) else ["list", *args])


@click.group("site", cls=_Group)
def command() -> None:
    """Show the sites that mail goes to (`list`, also without a word); change their limits, pause and resume them."""


def _length(_context: click.Context, _option: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    found = _LENGTH.fullmatch(value)
    if found is None or not int(found[1]):
        raise click.BadParameter("write a number and a unit, such as 90s, 30m, 12h, 7d or 4w")
    return float(int(found[1]) * _UNITS[found[2]])


@contextmanager
def _book(config: Path | None, state: Path | None) -> Iterator[tuple[SiteBook, Config]]:
    loaded = settings(config, state)
    directory = Path(loaded.server.state_dir)
    file = directory / "sites.db"
    if not file.is_file():
        fail(f"{directory} holds no sites.db: name the directory the server uses by --state, or start the server once")
    try:
        with SiteBook(file) as book:
            yield book, loaded
    except SpoolError as error:
        fail(str(error))


def _key(text: str) -> str:
    try:
        return site_name(text[:300])
    except AddressError as error:
        fail(f"{text[:100]!r} is no site: {error}")


# Changing ------------------------------------------------------------------------------------------------------------


@command.command("set", short_help="Give a site other limits for now.")
@click.argument("key")
@click.argument("limits", nargs=-1, required=True)
@click.option("--for", "seconds", callback=_length, help="How long, such as 30m, 12h or 7d; until cleared by default.")
@configured
def set_limits(key: str, limits: Sequence[str], seconds: float | None, config: Path | None, state: Path | None) -> None:
    """Give a site other limits, such as connections=2 rate=60/min, for the whole server. Running workers take them up
    within seconds. `rate` is messages, per s, min, h or d; the others are named as in [[site]]."""
    wanted = dict(_limit(text) for text in limits)
    now = SystemClock().wall()
    until = FOR_GOOD if seconds is None else now + seconds
    with _book(config, state) as (book, _):
        wish = book.want(_key(key), wanted, until, now)
    told = ", ".join(f"{name} = {value:g}" for name, value in wish.limits.items())
    click.echo(escaped(f"{wish.key}: {told}, {_until(until)}"))


def _limit(text: str) -> tuple[str, float]:
    name, equals, value = text.partition("=")
    if name == "rate":
        found = _RATE.fullmatch(value)
        if found is None or not float(found[1]):
            fail(f"{text[:100]!r} is no rate: write one such as rate=60/min, rate=5/s or rate=1000/h")
        rate = float(found[1]) * 60 / _UNITS[found[2]]
        if not 0.0001 <= rate <= MAX_LIMIT:
            fail(f"{text[:100]!r} is no rate: it may be from 0.0001 to {MAX_LIMIT} a minute")
        return "messages_per_minute", rate
    if not equals or name not in LIMITS:
        fail(f"{text[:100]!r} is no limit: write rate=60/min, or one of {', '.join(f'{one}=N' for one in LIMITS)}")
    if not re.fullmatch(r"[0-9]{1,7}", value) or not 1 <= int(value) <= MAX_LIMIT:
        fail(f"{text[:100]!r}: write a whole number from 1 to {MAX_LIMIT}")
    return name, float(value)


@command.command("clear", short_help="Let a site have its usual limits again.")
@click.argument("key")
@configured
def clear(key: str, config: Path | None, state: Path | None) -> None:
    """Let a site have the limits of the configuration again. A pause stays: `resume` ends it."""
    with _book(config, state) as (book, _):
        had = book.clear(_key(key), SystemClock().wall())
    click.echo(escaped(f"{_key(key)}: {'the usual limits again' if had else 'it had the usual limits'}"))


@command.command("pause", short_help="Send nothing to a site for a while.")
@click.argument("key")
@click.option("--for", "seconds", callback=_length, required=True, help="How long, such as 30m, 12h or 7d.")
@configured
def pause(key: str, seconds: float, config: Path | None, state: Path | None) -> None:
    """Send nothing to a site for a while. Its mail waits: this is no attempt, and nothing bounces for it."""
    if seconds > MAX_PAUSE_S:
        fail("a pause lasts at most 30 days")
    now = SystemClock().wall()
    with _book(config, state) as (book, _):
        book.pause(_key(key), now + seconds, now)
    click.echo(escaped(f"{_key(key)}: paused {_until(now + seconds)}"))


@command.command("resume", short_help="Send to a site again, and forget its back-off.")
@click.argument("key")
@configured
def resume(key: str, config: Path | None, state: Path | None) -> None:
    """Send to a site again: a pause ends, whoever made it, and what was learnt of the site is forgotten."""
    with _book(config, state) as (book, _):
        book.resume(_key(key), SystemClock().wall())
    click.echo(escaped(f"{_key(key)}: resumed"))


# Showing -------------------------------------------------------------------------------------------------------------


@command.command("list", short_help="Print the sites, the busiest first.")
@_json
@configured
def list_sites(as_json: bool, config: Path | None, state: Path | None) -> None:
    """Print the sites of the last days, the busiest first: what waits, connections, rate, and how they are."""
    now = SystemClock().wall()
    with _book(config, state) as (book, _):
        seen, wishes = book.seen(), book.wishes(now)
    by_key: dict[str, list[Seen]] = {key: [] for key, wish in wishes.items() if _is_in_force(wish, now)}
    for one in seen:
        by_key.setdefault(one.key, []).append(one)
    found = [_summary(key, ones, wishes.get(key, Wish(key=key)), now) for key, ones in by_key.items()]
    found.sort(key=lambda site: (-site["waiting"], -site["connections"], -site["messages"], site["key"]))
    if as_json:
        click.echo(json.dumps(found))
        return
    if not found:
        click.echo("no mail has gone to any site yet")
    for site in found[:SHOWN]:
        connections = f"{site['connections']:>3} of {site['most']}"
        rate = "" if site["rate"] is None else f"  {site['rate']:.4g}/min"
        click.echo(
            escaped(
                f"{site['key']:<28}  {site['waiting']:>6} waiting  {connections} connections"
                f"{rate}  {site['messages']:>8} sent  {site['status']}"
            )
        )
    if len(found) > SHOWN:
        click.echo(f"and {len(found) - SHOWN} more; --json prints all")


def _is_in_force(wish: Wish, now: float) -> bool:
    return bool(wish.limits) or wish.paused_until > now


def _summary(key: str, seen: Sequence[Seen], wish: Wish, now: float) -> dict[str, Any]:
    """Of one site, over all workers and sources."""
    fresh = [one.state for one in seen if one.state["connections"] or one.state["waiting"] or now - one.at < QUIET_S]
    rates = [state["rate"] for state in fresh if state["rate"] is not None]
    paused = max(
        (one.state for one in seen if one.state["paused_until"] > now and one.at >= wish.resumed_at),
        key=lambda state: float(state["paused_until"]),
        default=None,
    )
    status = "ok"
    if wish.paused_until > now:
        status = f"paused by an operator {_until(wish.paused_until)}"
    elif paused is not None:
        because = f" because of «{paused['words']}»" if paused["words"] else ""
        status = f"backing off {_until(paused['paused_until'])}{because}"
    elif any(state["share"] < 1.0 for state in fresh):
        status = f"recovering, at {min(state['share'] for state in fresh):.0%} of its limits"
    return {
        "key": key,
        "waiting": sum(state["waiting"] for state in fresh),
        "connections": sum(state["connections"] for state in fresh),
        "most": sum(state["most"] for state in fresh),
        "rate": sum(rates) if rates else None,
        "messages": sum(one.state["messages"] for one in seen),
        "troubles": sum(one.state["troubles"] for one in seen),
        "status": status,
    }


@command.command("show", short_help="Print all that is known of a site.")
@click.argument("key")
@_json
@configured
def show(key: str, as_json: bool, config: Path | None, state: Path | None) -> None:
    """Print a site's limits and where each comes from, what waits for it in the queue and why, what it last said, its
    pauses, and what each worker and source has of it."""
    name, now = _key(key), SystemClock().wall()
    with _book(config, state) as (book, loaded):
        seen, wish = book.seen(name), book.wishes(now).get(name, Wish(key=name))
        sent = sent_by_sources(loaded, book, name, now)
    waiting = waiting_for(loaded, name, now)
    limits = origins(loaded, name, wish.limits)
    summary = _summary(name, seen, wish, now)
    if as_json:
        told = [{"worker": one.worker, "source": one.source, "at": stamp(one.at), **one.state} for one in seen]
        click.echo(
            json.dumps(
                {
                    **summary,
                    "limits": {limit: {"value": value, "from": origin} for limit, value, origin in limits},
                    "paused_until": stamp(wish.paused_until) if wish.paused_until > now else None,
                    "override_until": None if not wish.limits or wish.until >= FOR_GOOD else stamp(wish.until),
                    "workers": told,
                    "queue": waiting,
                    "sources": sent,
                }
            )
        )
        return
    lines = [f"{name}: {summary['status']}", "", "Limits, all workers together:"]
    for limit, value, origin in limits:
        until = f", {_until(wish.until)}" if origin == "override" else ""
        lines.append(f"  {limit:<24} {'no limit' if value is None else f'{value:g}':>10}  ({origin}{until})")
    lines += ["", *queue_lines(waiting), *([""] if sent else []), *source_lines(sent)]
    lines += ["", "As workers last saw it:" if seen else "No worker has seen it."]
    for one in seen:
        source = f" from {one.source}" if one.source else ""
        last = one.state
        lines.append(
            f"  worker {one.worker}{source}, {stamp(one.at)}: {last['connections']} of {last['most']} connections,"
            f" {last['waiting']} waiting, {last['messages']} sent"
        )
        if last["share"] < 1.0:
            lines.append(f"    learnt: {last['share']:.0%} of the limits, after {last['troubles']} troubles")
        if last["words"]:
            when = "" if last["trouble_at"] is None else f" at {stamp(last['trouble_at'])}"
            lines.append(f"    it last refused{when}: {last['words']}")
    click.echo("\n".join(map(escaped, lines)))


def _until(wall: float) -> str:
    return "until cleared" if wall >= FOR_GOOD else f"until {stamp(wall)}"
