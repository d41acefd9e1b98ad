"""`postroad greylist`: whom the server's door puts off."""

from __future__ import annotations

import json
from pathlib import Path

import click

from postroad.cli.guard import guard_book, list_style, network_or_none, stamp
from postroad.cli.settings import configured, fail
from postroad.events import escaped
from postroad.receive.guard.greylist import network_of

SHOWN = 1000


@click.group("greylist")
def command() -> None:
    """Look at who is greylisted, and forget it."""


@command.command("list")
@list_style
@click.option("--most", type=click.IntRange(1, 100_000), default=SHOWN, show_default=True, help="How many at most.")
@configured
def list_triplets(config: Path | None, state: Path | None, style: str, most: int) -> None:
    """Print the senders that were put off or came again, the last seen first."""
    with guard_book(config, state) as book:
        found = book.triplets(most)
    for triplet, known in found:
        if style == "jsonl":
            click.echo(
                json.dumps(
                    {
                        "network": triplet.network,
                        "sender": triplet.sender,
                        "recipient": triplet.recipient,
                        "first_at": stamp(known.first_at),
                        "last_at": stamp(known.last_at),
                        "passed": known.passed,
                    }
                )
            )
        else:
            told = f"known, last seen {stamp(known.last_at)}" if known.passed else f"put off {stamp(known.first_at)}"
            click.echo(escaped(f"{triplet.network}  {triplet.sender} → {triplet.recipient}  {told}"))


@command.command("clear", short_help="Forget who is greylisted.")
@click.argument("address", required=False)
@configured
def clear(address: str | None, config: Path | None, state: Path | None) -> None:
    """Forget all of greylisting, or what is known of the network around an IP address."""
    network = None if address is None else _greylisted_network(address)
    with guard_book(config, state) as book:
        count = book.clear_triplets(network)
    click.echo(f"{count:,} forgotten")


def _greylisted_network(text: str) -> str:
    network = network_or_none(text)
    if network is None:
        fail(f"{text[:100]!r} is no IP address")
    return network_of(str(network.network_address))
