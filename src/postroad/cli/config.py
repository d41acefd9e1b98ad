"""`postroad config`: is the configuration right, and what is in force."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from postroad.cli.settings import config_path, configured, settings
from postroad.config import Config, load
from postroad.events import escaped


@click.group("config")
def command() -> None:
    """Check and show the configuration."""


@command.command("check")
@click.argument("file", required=False, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--config", type=click.Path(dir_okay=False, path_type=Path), help="The same as FILE.")
def check(file: Path | None, config: Path | None) -> None:
    """Check FILE (./postroad.toml by default) and the environment: each mistake on a line, and status 1."""
    path = config_path(file or config)
    loaded = load(path, os.environ)
    if isinstance(loaded, list):
        for mistake in loaded:
            click.echo(escaped(str(mistake)))
        sys.exit(1)
    for doubt in _doubts(loaded):
        click.echo(escaped(f"doubt: {doubt}"), err=True)
    click.echo(f"{path}: ok" if path else "ok: there is no file, the defaults are in force")


def _doubts(config: Config) -> list[str]:
    """What the accounts and aliases of the state directory show, and the addresses of this machine: no mistake of the
    file, but perhaps not meant."""
    from postroad.app import complete
    from postroad.compose.addresses import addresses
    from postroad.compose.shaping import source_pools
    from postroad.compose.source_house import absent_sources
    from postroad.store.spool import SpoolError

    absent = [
        f"this machine lacks an address of the source {name}: mail leaves from the others of its pool"
        for name in absent_sources(source_pools(config))
    ]
    try:
        with addresses(complete(config)) as found:
            return [*absent, *found.faults()]
    except SpoolError as error:
        return [*absent, str(error)]


@command.command("show")
@configured
def show(config: Path | None, state: Path | None) -> None:
    """Show what is in force, defaults and environment included, as a configuration file."""
    click.echo("\n\n".join(to_toml(settings(config, state))))


def to_toml(config: Config) -> Iterator[str]:
    """Each table of the configuration as TOML. Secrets are not in it: settings name the files that hold them."""
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        tables = value if isinstance(value, tuple) else (value,)
        header = f"[[{item.name}]]" if isinstance(value, tuple) else f"[{item.name}]"
        for table in tables:
            yield "\n".join([header, *_pairs(table)])


def _pairs(table: Any) -> Iterator[str]:
    for item in dataclasses.fields(table):
        # JSON's strings, numbers, Booleans and arrays of strings are TOML's too.
        yield f"{item.name} = {json.dumps(getattr(table, item.name), ensure_ascii=False)}"
