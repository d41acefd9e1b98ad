"""`postroad check`: a state directory looked through, and mended where the server is stopped."""

from __future__ import annotations

import shutil
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from postroad.cli.settings import configured, fail, settings
from postroad.config import Config
from postroad.events import escaped
from postroad.store.repair import Finding, look, mend_spool
from postroad.store.shards import find_shards
from postroad.store.spool import SpoolError


@click.command("check")
@click.option("--repair", "is_repairing", is_flag=True, help="Mend the spool; the server must be stopped.")
@configured
def command(is_repairing: bool, config: Path | None, state: Path | None) -> None:
    """Inspect queue, accounts, history and lists, the disk, and the files that the configuration names.

    Looking changes nothing and works beside a running server. --repair sets damaged messages aside (what can be read of
    them is kept in files beside), makes indexes anew, and copies what can be read of a database that is broken; nothing
    is deleted. Status 1 where something is wrong that was not mended.
    """
    current = settings(config, state)
    directory = Path(current.server.state_dir)
    if not directory.is_dir():
        fail(f"there is no state directory {directory}: name the one that the server uses by --state or --config")
    found: list[Finding] = []
    try:
        if is_repairing:
            found += _tell(mend_spool(directory / "spool"))
        found += _tell(_look(directory))
        found += _tell(_files(current))
    except SpoolError as error:
        fail(str(error))
    faults = [one for one in found if one.is_fault and not one.mended]
    mended = [one for one in found if one.mended]
    told = f", {len(mended)} mended" if mended else ""
    click.echo(f"{directory}: {'all is well' if not faults else f'{len(faults)} faults'}{told}")
    if faults:
        sys.exit(1)


def _tell(findings: Iterator[Finding]) -> list[Finding]:
    found = []
    for one in findings:
        found.append(one)
        mended = f"; {one.mended}" if one.mended else ""
        mark = "fixed" if one.mended else "fault" if one.is_fault else "ok"
        click.echo(escaped(f"{mark:<6} {one.path}: {one.sentence}{mended}"))
    return found


def _look(directory: Path) -> Iterator[Finding]:
    shards = {path for _, path in find_shards(directory / "spool")}
    for path in sorted(shards):
        yield from look(path, is_spool=True)
    for path in sorted(directory.glob("*.db")):
        found = list(look(path, is_spool=False))
        yield from found or [Finding(path=path, sentence="sound", is_fault=False)]
    for path in sorted((directory / "spool").glob("*.damaged")):
        yield Finding(
            path=path, sentence="is what an earlier repair left: look at it, then move it away", is_fault=False
        )


def _files(config: Config) -> Iterator[Finding]:
    """What the configuration names outside of the databases."""
    state = Path(config.server.state_dir)
    free = shutil.disk_usage(state).free
    room = f"{free:,} octets free"
    is_low = free < config.disk.least_free_octets
    yield Finding(
        path=state, sentence=f"{room}, less than [disk] least_free_octets" if is_low else room, is_fault=is_low
    )
    if stat.S_IMODE(state.stat().st_mode) & 0o077:
        yield Finding(path=state, sentence="others may look into it: `chmod 700` it")
    named = [config.tls.certificate, config.tls.key, *(route.password_file for route in config.route)]
    for name in filter(None, named):
        path = Path(name)
        try:
            path.open("rb").close()
        except OSError as error:
            yield Finding(path=path, sentence=f"is named in the configuration and cannot be read: {error.strerror}")
    key = state / "secret"
    if key.exists() and stat.S_IMODE(key.stat().st_mode) & 0o077:
        yield Finding(path=key, sentence="others may read the server's secret: `chmod 600` it")
