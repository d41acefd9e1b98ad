"""`postroad completion`: the script that lets a shell complete commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the completion script of SHELL.

    \b
    bash:  postroad completion bash > ~/.local/share/bash-completion/completions/postroad
    zsh:   postroad completion zsh > "${fpath[1]}/_postroad"
    fish:  postroad completion fish > ~/.config/fish/completions/postroad.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None  # click knows the shells named above
    root = click.get_current_context().find_root().command
    click.echo(kind(root, {}, "postroad", "_POSTROAD_COMPLETE").source())
