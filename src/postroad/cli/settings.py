"""What commands share: the configuration and state they run with, passwords, and how they end in failure."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

if TYPE_CHECKING:
    from postroad.app import Overrides
    from postroad.config import Config, ConfigMistake
    from postroad.store.facts import FactStore

MAX_PASSWORD_CHARS = 1024
Command = TypeVar("Command", bound=Callable[..., Any])


def configured(command: Command) -> Command:
    """Give a command the options --config and --state."""
    command = click.option(
        "--state", type=click.Path(file_okay=False, path_type=Path), help="State directory; ./var by default."
    )(command)
    return click.option(
        "--config", type=click.Path(dir_okay=False, path_type=Path), help="TOML file; ./postroad.toml if there."
    )(command)


def config_path(config: Path | None) -> Path | None:
    """The file meant: the command's --config, or the one before its name, or ./postroad.toml where that exists."""
    context = click.get_current_context(silent=True)
    while config is None and context is not None:
        config = context.obj if isinstance(context.obj, Path) else None
        context = context.parent
    default = Path("postroad.toml")
    return config or (default if default.is_file() else None)


def loader(config: Path | None, overrides: Overrides) -> Callable[[], Config | list[ConfigMistake]]:
    """Reads it, each time anew."""
    from postroad.app import load_config

    path = config_path(config)
    return lambda: load_config(path, os.environ, overrides)


def settings(config: Path | None, state: Path | None = None) -> Config:
    """The configuration; its mistakes go to standard error, one a line, and end the command with status 1."""
    from postroad.app import Overrides

    return or_exit(loader(config, Overrides(state))())


def or_exit(loaded: Config | list[ConfigMistake]) -> Config:
    """The configuration, or the end of the command."""
    if isinstance(loaded, list):
        from postroad.events import escaped

        for mistake in loaded:
            click.echo(escaped(str(mistake)), err=True)
        sys.exit(1)
    return loaded


def verify_state(state: Path | None) -> Path:
    """The directory of what verification keeps: the one named, else that of the server that this directory configures
    or runs, else in the user's data; made where there is none."""
    if state is None:
        state = _server_state()
    if state is None:
        from platformdirs import user_data_path

        state = user_data_path("postroad", appauthor=False)
    try:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        fail(f"{state} cannot be made: {error.strerror}; name another directory by --state")
    return state


def _server_state() -> Path | None:
    """The state directory of the server that is started here, once it has run: there is what it learned."""
    from postroad.config import Config, load

    file = Path("postroad.toml")
    loaded = load(file if file.exists() else None, os.environ)
    state = Path(loaded.server.state_dir) if isinstance(loaded, Config) else None
    return state if state is not None and (state / "facts.db").exists() and os.access(state, os.W_OK) else None


@contextmanager
def fact_store(state: Path | None) -> Iterator[FactStore]:
    """The facts that `postroad verify` knows; what goes wrong with them ends the command in one sentence."""
    from postroad.store.facts import FactStore
    from postroad.store.spool import SpoolError
    from postroad.verify.traits import mailbox

    try:
        with FactStore(verify_state(state) / "facts.db", mailbox_of=mailbox) as facts:
            yield facts
    except SpoolError as error:
        fail(str(error))


def read_password(*, from_stdin: bool, is_new: bool) -> str:
    """A password from the first line of standard input, or asked for: twice where it is a new one."""
    if not from_stdin:
        if not _has_terminal():
            fail("there is no terminal to ask for the password: write it to standard input, with --password-stdin")
        return str(click.prompt("Password", hide_input=True, confirmation_prompt=is_new, err=True))
    line = sys.stdin.readline(MAX_PASSWORD_CHARS + 2).rstrip("\r\n")
    if not line:
        fail("standard input holds no password: write it there, on one line")
    if "\0" in line:
        fail("the password has a NUL in it, which no mail program can send")
    return line


def _has_terminal() -> bool:
    """Whether a person can be asked, also where standard input is something else."""
    try:
        with Path("/dev/tty").open("rb"):
            return True
    except OSError:
        return sys.stdin.isatty()


def fail(sentence: str) -> NoReturn:
    """End the command with one sentence and status 1."""
    from postroad.events import escaped

    click.echo(f"postroad: {escaped(sentence)}", err=True)
    sys.exit(1)
