"""`postroad serve`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from postroad.app import CannotServe, Overrides, serve
from postroad.cli.settings import configured, fail, loader, or_exit


@click.command("serve")
@configured
@click.option("--workers", type=click.IntRange(1, 64), help="Worker processes.")
def command(config: Path | None, state: Path | None, workers: int | None) -> None:
    """Run the mail server: MX, submission and submissions listeners, and delivery.

    SIGTERM drains and stops, SIGHUP reloads configuration and certificates.
    """
    load = loader(config, Overrides(state, workers))
    loaded = or_exit(load())
    try:
        sys.exit(serve(loaded, load, click.echo))
    except CannotServe as error:
        fail(str(error))
