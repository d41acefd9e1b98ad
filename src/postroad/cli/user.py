"""`postroad user`: accounts of those who may submit mail."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import click

from postroad.cli.settings import configured, fail, read_password, settings
from postroad.store.accounts import AccountError, SqliteAccounts
from postroad.store.spool import SpoolError


@contextmanager
def _accounts(config: Path | None, state: Path | None, *, may_make: bool = False) -> Iterator[SqliteAccounts]:
    """The accounts of the state directory. `may_make`: also of one that is not there yet."""
    directory = Path(settings(config, state).server.state_dir)
    file = directory / "accounts.db"
    if not may_make and not file.is_file():
        fail(f"there are no accounts in {directory}: name the directory the server uses, or add the first account")
    try:
        is_new = not directory.exists()
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        with closing(SqliteAccounts(file)) as accounts:
            yield accounts
        if is_new:
            click.echo(f"postroad: the state directory {directory.absolute()} was made for it", err=True)
    except OSError as error:
        fail(f"{directory}: the state directory cannot be made ({error.strerror})")
    except (AccountError, SpoolError) as error:
        fail(str(error))


_stdin = click.option("--password-stdin", is_flag=True, help="Read the password from the first line of standard input.")
_identity = click.option(
    "--identity", "identities", multiple=True, metavar="PATTERN", help="Address the user may send as; *@domain for all."
)


@click.group("user")
def command() -> None:
    """Add and change accounts: who may submit mail, and in whose name."""


@command.command("add")
@click.argument("name")
@_identity
@click.option("--admin", is_flag=True, help="An administrator.")
@_stdin
@configured
def add(
    name: str, identities: tuple[str, ...], admin: bool, password_stdin: bool, config: Path | None, state: Path | None
) -> None:
    """Add the account NAME. An account whose name is an address may send as that address."""
    chosen = identities or ((name,) if "@" in name else ())
    if not chosen:
        fail(f"{name!r} is no address: say with --identity which addresses the user may send as")
    with _accounts(config, state, may_make=True) as accounts:
        account = accounts.add(
            name, read_password(from_stdin=password_stdin, is_new=True), identities=chosen, is_admin=admin
        )
        click.echo(f"added {account.name}, who may send as {', '.join(account.identities)}")
    _tell_of_aliases(account.name, config, state)


@command.command("list")
@configured
def list_(config: Path | None, state: Path | None) -> None:
    """List the accounts."""
    with _accounts(config, state) as accounts:
        for account in accounts.all():
            marks = [word for word, is_so in (("admin", account.is_admin), ("disabled", account.is_disabled)) if is_so]
            click.echo("\t".join([account.name, ", ".join(account.identities), ", ".join(marks)]).rstrip())


@command.command("password")
@click.argument("name")
@_stdin
@configured
def password(name: str, password_stdin: bool, config: Path | None, state: Path | None) -> None:
    """Give NAME a new password."""
    with _accounts(config, state) as accounts:
        accounts.set_password(name, read_password(from_stdin=password_stdin, is_new=True))
        click.echo(f"changed the password of {name}")


@command.command("identities")
@click.argument("name")
@click.argument("patterns", nargs=-1, required=True)
@configured
def identities(name: str, patterns: tuple[str, ...], config: Path | None, state: Path | None) -> None:
    """Set the addresses NAME may send as: user@domain, or *@domain for all of a domain."""
    with _accounts(config, state) as accounts:
        account = accounts.update(name, identities=patterns)
        click.echo(f"{account.name} may send as {', '.join(account.identities)}")


@command.command("disable")
@click.argument("name")
@click.option("--enable", is_flag=True, help="Undo it.")
@configured
def disable(name: str, enable: bool, config: Path | None, state: Path | None) -> None:
    """Refuse NAME from now on, and keep the account."""
    with _accounts(config, state) as accounts:
        accounts.update(name, is_disabled=not enable)
        click.echo(f"{'enabled' if enable else 'disabled'} {name}")
    _tell_of_aliases(name, config, state)


@command.command("remove")
@click.argument("name")
@configured
def remove(name: str, config: Path | None, state: Path | None) -> None:
    """Remove the account NAME."""
    with _accounts(config, state) as accounts:
        if not accounts.remove(name):
            fail(f"there is no account {name!r}")
        click.echo(f"removed {name}")
    _tell_of_aliases(name, config, state)


def _tell_of_aliases(name: str, config: Path | None, state: Path | None) -> None:
    """Say which aliases concern mail to an account that was changed just now."""
    from postroad.compose.addresses import addresses
    from postroad.events import escaped

    if "@" not in name:
        return
    try:
        with addresses(settings(config, state)) as found:
            told = found.about(name)
    except (AccountError, SpoolError):
        return  # the account was changed all the same
    for sentence in told:
        click.echo(escaped(f"postroad: {sentence}"), err=True)
