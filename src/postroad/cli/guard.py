"""What `postroad ban` and `postroad greylist` share: the book of the server's door, and how its times are shown."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import click

from postroad.cli.settings import fail, settings
from postroad.receive.guard.networks import Network, parse_network
from postroad.store.guard_book import GuardBook
from postroad.store.spool import SpoolError

list_style = click.option(
    "--format", "style", type=click.Choice(["table", "jsonl"]), default="table", show_default=True, help="How to print."
)


@contextmanager
def guard_book(config: Path | None, state: Path | None) -> Iterator[GuardBook]:
    """The book of the server's state directory; what goes wrong with it ends the command in one sentence."""
    directory = Path(settings(config, state).server.state_dir)
    file = directory / "guard.db"
    if not file.is_file():
        fail(f"{directory} holds no guard.db: name the directory the server uses by --state, or start the server once")
    try:
        with GuardBook(file) as book:
            yield book
    except SpoolError as error:
        fail(str(error))


def network_or_none(text: str) -> Network | None:
    """The network that a text is; None where it is none."""
    try:
        return parse_network(text)
    except ValueError:
        return None


def stamp(wall: float) -> str:
    """A time as it is shown: UTC, to the second."""
    return datetime.fromtimestamp(wall, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
