"""`postroad queue`: what waits, why, and the operator's hand in it. Works beside a running server, or without one."""

from __future__ import annotations

from pathlib import Path

import click

from postroad.cli.queue_change import bounce, export, hold, release, remove, retry
from postroad.cli.queue_show import list_entries, show, summary
from postroad.cli.settings import configured


@click.group("queue", invoke_without_command=True)
@configured
@click.pass_context
def command(context: click.Context, config: Path | None, state: Path | None) -> None:
    """Look into the queue, hold, release, retry, give back, remove, export. By itself: list it."""
    if context.invoked_subcommand is None:
        options = [*(("--config", str(config)) if config else ()), *(("--state", str(state)) if state else ())]
        list_entries.main(args=options, prog_name=context.command_path, parent=context, standalone_mode=False)
    elif config is not None or state is not None:
        raise click.UsageError(f"write --config and --state behind {context.invoked_subcommand}")


for _one in (list_entries, show, summary, hold, release, retry, bounce, remove, export):
    command.add_command(_one)
