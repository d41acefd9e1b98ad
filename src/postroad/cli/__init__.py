"""The `postroad` command: one module a subcommand, loaded when it is asked for. The only room that prints."""

from __future__ import annotations

STOPPED = 130
"""Status after Ctrl-C, as shells have it."""

try:
    import importlib
    import os
    import sys
    from pathlib import Path
    from typing import Any

    import click
    from click.shell_completion import CompletionItem

    import postroad
except KeyboardInterrupt:  # a Ctrl-C so soon that there is nothing yet to tell it with
    raise SystemExit(STOPPED) from None

COMMANDS = {
    "serve": ("postroad.cli.serve", "Run the mail server."),
    "verify": ("postroad.cli.verify", "Verify addresses by the SMTP handshake."),
    "send": ("postroad.cli.send", "Submit a message."),
    "explain": ("postroad.cli.explain", "Tell what replies of mail servers mean."),
    "bounce": ("postroad.cli.bounce", "Read messages that came back."),
    "suppress": ("postroad.cli.suppress", "Keep the list of those not to be mailed."),
    "forget": ("postroad.cli.forget", "Remove what is known of an address."),
    "site": ("postroad.cli.site", "Show the sites that mail goes to; change their limits, pause them."),
    "queue": ("postroad.cli.queue", "Look into the queue, hold, release, retry, bounce, remove."),
    "trace": ("postroad.cli.trace", "Tell a message's whole life."),
    "log": ("postroad.cli.log", "Read or follow the log of the server."),
    "ban": ("postroad.cli.ban", "Keep addresses, networks and accounts from the server."),
    "greylist": ("postroad.cli.greylist", "Look at who is greylisted."),
    "domain": ("postroad.cli.domain", "Set up a domain: its keys, and its records in DNS."),
    "tls": ("postroad.cli.tls", "Show what domains ask of TLS, and what came of it."),
    "health": ("postroad.cli.health", "Ask the running server whether it is well."),
    "backup": ("postroad.cli.backup", "Copy everything, while the server runs."),
    "restore": ("postroad.cli.restore", "Put a backup into an empty directory."),
    "check": ("postroad.cli.check", "Inspect the state directory, and repair it."),
    "user": ("postroad.cli.user", "Add and change accounts."),
    "alias": ("postroad.cli.alias", "Add and change addresses that stand for others."),
    "lab": ("postroad.cli.lab", "Run a simulated internet to try verification in."),
    "config": ("postroad.cli.config", "Check and show the configuration."),
    "completion": ("postroad.cli.completion", "Print shell completion."),
}
"""Name → module, whose `command` it is, and what it is for."""


class _LazyGroup(click.Group):
    """Knows its commands by name, and imports one when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(COMMANDS[cmd_name][0]).command
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Ctrl-C ends every command that says nothing better of it in one sentence, and with the status of shells."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("postroad: stopped", err=True)
            sys.exit(STOPPED)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        commands = [
            CompletionItem(name, help=text) for name, (_, text) in COMMANDS.items() if name.startswith(incomplete)
        ]
        return commands + click.Command.shell_complete(self, ctx, incomplete)


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(postroad.__version__, prog_name="postroad")
@click.option("--config", type=click.Path(dir_okay=False, path_type=Path), help="TOML file; ./postroad.toml if there.")
@click.pass_context
def group(ctx: click.Context, config: Path | None) -> None:
    """Postroad carries mail and verifies addresses."""
    ctx.obj = config


def main() -> None:
    """The entry point: a fault of ours ends in one sentence, never in a traceback (POSTROAD_DEBUG=1 shows it)."""
    try:
        group(prog_name="postroad")
    except KeyboardInterrupt:
        sys.exit(STOPPED)
    except Exception as error:
        if os.environ.get("POSTROAD_DEBUG"):
            raise
        from postroad.events import escaped

        sentence = escaped(f"{type(error).__name__}: {error}")
        click.echo(f"postroad: {sentence} (POSTROAD_DEBUG=1 shows where)", err=True)
        sys.exit(1)
