"""`postroad serve`."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Literal, cast, get_args, get_type_hints

import click

from postroad.app import CannotServe, Overrides, serve
from postroad.cli.settings import configured, fail, loader, or_exit
from postroad.config import Config, ConfigMistake, ListenerSettings
from postroad.config.judge import split_host_port

_ROLES = get_args(get_type_hints(ListenerSettings)["role"])


@click.command("serve")
@configured
@click.option("--workers", type=click.IntRange(1, 64), help="Worker processes.")
@click.option(
    "--listen",
    "listeners",
    multiple=True,
    metavar="ROLE=ADDRESS:PORT",
    callback=lambda _context, _option, values: tuple(map(parse_listener, values)),
    help="Listen there instead of where the configuration says; repeat for more. ROLE: mx, submission, submissions.",
)
def command(
    config: Path | None, state: Path | None, workers: int | None, listeners: tuple[ListenerSettings, ...]
) -> None:
    """Run the mail server: MX, submission and submissions listeners, and delivery.

    SIGTERM drains and stops, SIGHUP reloads configuration and certificates.
    """
    configuration = loader(config, Overrides(state, workers))

    def load() -> Config | list[ConfigMistake]:
        loaded = configuration()
        return replace(loaded, listener=listeners) if listeners and isinstance(loaded, Config) else loaded

    try:
        sys.exit(serve(or_exit(load()), load, click.echo))
    except CannotServe as error:
        fail(str(error))


def parse_listener(text: str) -> ListenerSettings:
    """`mx=0.0.0.0:25` as a listener. Raises click.BadParameter."""
    role, equals, place = text.partition("=")
    found = split_host_port(place, lowest=0)
    if not equals or role not in _ROLES or found is None:
        raise click.BadParameter(f"write ROLE=ADDRESS:PORT, such as mx=127.0.0.1:2525, not {text!r}")
    return ListenerSettings(address=found[0], port=found[1], role=cast(Literal["mx"], role))
