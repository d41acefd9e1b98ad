"""`postroad backup` and `postroad restore`: a copy of everything while the server runs, and its return."""

from __future__ import annotations

import time
from pathlib import Path

import click

from postroad.cli.settings import config_path, configured, fail, settings
from postroad.clock import SystemClock
from postroad.events import escaped
from postroad.store.backup import BackupError, back_up, restore


@click.command("backup")
@click.argument("archive", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path), required=False)
@click.option("--mail/--no-mail", default=True, show_default=True, help="Whether Maildirs are copied too.")
@click.option("--quiet", is_flag=True, help="Name no files.")
@configured
def backup(archive: Path | None, mail: bool, quiet: bool, config: Path | None, state: Path | None) -> None:
    """Copy queue, accounts, keys, history, lists and mail into FILE, a tar archive, while the server runs.

    FILE is postroad-DATE.tar by default. It holds secrets: keep it like them. A queue that comes back from it delivers
    again what was delivered after the copy was made.
    """
    current = settings(config, state)
    where = Path(current.server.state_dir)
    target = archive or Path(f"postroad-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}.tar")
    try:
        kept = back_up(
            where,
            target,
            mail=Path(current.domains.maildir),
            with_mail=mail,
            config=config_path(config),
            at=SystemClock().wall(),
            say=(lambda name: None) if quiet else _say,
        )
    except BackupError as error:
        fail(str(error))
    except OSError as error:
        fail(f"{target} cannot be written: {error.strerror or error}")
    click.echo(f"{target}: {len(kept):,} files, {sum(one.octets for one in kept):,} octets")


@click.command("restore")
@click.argument("archive", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--state", type=click.Path(file_okay=False, path_type=Path), required=True, help="A directory that is empty."
)
@click.option(
    "--mail", type=click.Path(file_okay=False, path_type=Path), help="Where Maildirs go; STATE/mail by default."
)
def restore_command(archive: Path, state: Path, mail: Path | None) -> None:
    """Put a backup into an empty state directory, each file checked. Start a server on it then by --state.

    The configuration that was copied is left in STATE/postroad.toml.restored: look at it before you use it.
    """
    try:
        found = restore(archive, state, mail=mail, say=lambda name: None)
    except BackupError as error:
        fail(str(error))
    except OSError as error:
        fail(f"{state} cannot be written: {error.strerror or error}")
    click.echo(f"{escaped(str(state))}: {len(found):,} files restored; begin with `postroad serve --state {state}`")


def _say(name: str) -> None:
    click.echo(escaped(name))


command = backup
