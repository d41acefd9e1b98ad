"""`postroad alias`: addresses that stand for others, changed while the server runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from postroad.cli.settings import configured, fail, settings
from postroad.events import escaped

if TYPE_CHECKING:
    from postroad.compose.addresses import Addresses

SHOWN = 10_000


@contextmanager
def _addresses(config: Path | None, state: Path | None, *, may_make: bool = False) -> Iterator[Addresses]:
    """The addresses of the server; what goes wrong with them ends the command in one sentence."""
    from postroad.compose.addresses import addresses
    from postroad.store.accounts import AccountError
    from postroad.store.mailbox_book import AliasError
    from postroad.store.spool import SpoolError

    try:
        with addresses(settings(config, state), may_make=may_make) as found:
            yield found
    except (AliasError, AccountError, SpoolError) as error:
        fail(str(error))


@click.group("alias")
def command() -> None:
    """Add, change and look at aliases: addresses that stand for others, here or elsewhere."""


@command.command("add")
@click.argument("address")
@click.argument("targets", nargs=-1, required=True)
@click.option("--note", default="", help="A word about it, shown in lists.")
@click.option("--replace", is_flag=True, help="Change where an alias goes that is there already.")
@configured
def add(
    address: str, targets: tuple[str, ...], note: str, replace: bool, config: Path | None, state: Path | None
) -> None:
    """Let mail to ADDRESS go to TARGETS: addresses anywhere, or users of its own domain; itself, to keep a copy."""
    from postroad.store.mailbox_book import make_alias

    with _addresses(config, state, may_make=True) as found:
        assert found.book is not None
        alias = make_alias(address, targets, note)
        if any(one.name == alias.name and is_fixed for one, is_fixed in found.aliases()):
            fail(f"{alias.name} is an alias of the configuration file: change it there")
        found.book.put(alias, replace=replace)
        click.echo(escaped(f"{alias.name} → {', '.join(map(str, alias.targets))}"))
        _warn(found.fault(alias))


def _warn(fault: str) -> None:
    if fault:
        click.echo(escaped(f"postroad: {fault}"), err=True)


@command.command("remove")
@click.argument("address")
@configured
def remove(address: str, config: Path | None, state: Path | None) -> None:
    """Remove the alias ADDRESS."""
    with _addresses(config, state) as found:
        if found.book is None or not found.book.remove(address):
            fail(f"there is no alias {address!r}, other than perhaps in the configuration file")
        click.echo(escaped(f"removed {address}"))


@command.command("list")
@click.option("--json", "is_json", is_flag=True, help="One JSON object on a line each.")
@click.option("--most", type=click.IntRange(1, 1_000_000), default=SHOWN, show_default=True, help="How many at most.")
@configured
def list_(is_json: bool, most: int, config: Path | None, state: Path | None) -> None:
    """List the aliases, those of the configuration file first, and what is wrong with one."""
    with _addresses(config, state) as found:
        for count, (alias, is_fixed) in enumerate(found.aliases()):
            if count >= most:
                break
            fault = found.fault(alias)
            targets = [str(one) for one in alias.targets]
            if is_json:
                told = {"address": alias.name, "to": targets, "note": alias.note, "file": is_fixed, "fault": fault}
                click.echo(json.dumps(told))
                continue
            marks = [*(["in the file"] if is_fixed else []), *([alias.note] if alias.note else [])]
            line = f"{alias.name} → {', '.join(targets)}" + (f"  ({'; '.join(marks)})" if marks else "")
            click.echo(escaped(line))
            _warn(fault)


@command.command("show")
@click.argument("address")
@configured
def show(address: str, config: Path | None, state: Path | None) -> None:
    """Tell where mail to ADDRESS goes in the end, and how it is delivered there; status 1 where it goes nowhere."""
    with _addresses(config, state) as found:
        resolved = found.resolve(address)
        for lost in resolved.astray:
            _warn(f"{lost} does not exist")
        if resolved.refusal is not None:
            fail(f"mail to {address} is refused: {resolved.refusal}")
        for one in resolved.addresses:
            click.echo(escaped(f"{one}  {found.transport(one)}"))
