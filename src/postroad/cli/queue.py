"""`postroad queue`: what waits, why, and the operator's hand in it. Works beside a running server, or without one."""

from __future__ import annotations

import click

from postroad.cli.queue_change import bounce, export, hold, release, remove, retry
from postroad.cli.queue_show import list_entries, show, summary


@click.group("queue", invoke_without_command=True)
@click.pass_context
def command(context: click.Context) -> None:
    """Look into the queue, hold, release, retry, give back, remove, export. By itself: list it."""
    if context.invoked_subcommand is None:
        list_entries.main(args=[], prog_name=context.command_path, parent=context, standalone_mode=False)


for _one in (list_entries, show, summary, hold, release, retry, bounce, remove, export):
    command.add_command(_one)
