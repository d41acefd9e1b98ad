"""Copies of a state directory while the server runs, and their return.

Databases are copied by SQLite's own online backup, so each is as it was at one moment; between two of them moments may
pass. Keys, certificates, the secret and aliases come along, Maildirs where they are wanted. A manifest with a digest of
each file stands at the end of the archive; what has none was cut short, and is not restored. A restored queue delivers
again what was delivered after the copy was made. Synchronous; raises BackupError, OSError.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import sqlite3
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

MANIFEST = "postroad-backup.json"
FORMAT = 1
PIECE_OCTETS = 1 << 20
PAGES_AT_ONCE = 500
"""Of a database; between two steps the server may write."""
_LEFT_OUT = frozenset({"run"})
_LEFT_OUT_SUFFIXES = (".lock", "-wal", "-shm", "-journal", ".tmp")


class BackupError(Exception):
    """The archive is not what it should be, or the place is not free; one sentence says what to do."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One file of a backup. `digest`: SHA-256."""

    name: str
    octets: int
    digest: str


def back_up(
    state: Path,
    archive: Path,
    *,
    mail: Path,
    with_mail: bool,
    config: Path | None,
    at: float,
    say: Callable[[str], None],
) -> tuple[Kept, ...]:
    """Write everything into a new tar file; durable when it returns. `mail`: the root of Maildirs."""
    if not state.is_dir():
        raise BackupError(f"there is no state directory {state}: name the one that the server uses")
    if archive.exists():
        raise BackupError(f"{archive} is there already: name a file that is not")
    kept: list[Kept] = []
    unfinished = archive.with_name(archive.name + ".unfinished")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
                for path in _files(state, besides=mail):
                    name = f"state/{path.relative_to(state).as_posix()}"
                    say(name)
                    kept.append(
                        _add_database(tar, path, name, archive.parent)
                        if path.suffix == ".db"
                        else _add(tar, path, name)
                    )
                if with_mail and mail.is_dir():
                    for path in _files(mail, besides=None):
                        try:
                            kept.append(_add(tar, path, f"mail/{path.relative_to(mail).as_posix()}"))
                        except FileNotFoundError:
                            continue  # a reader has moved or removed it meanwhile
                if config is not None and config.is_file():
                    kept.append(_add(tar, config, "postroad.toml"))
                manifest = {
                    "format": FORMAT,
                    "made_at": at,
                    "files": [[one.name, one.octets, one.digest] for one in kept],
                }
                _add_octets(tar, MANIFEST, json.dumps(manifest).encode())
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(archive)
        _sync(archive.parent)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    return tuple(kept)


def restore(archive: Path, state: Path, *, mail: Path | None, say: Callable[[str], None]) -> tuple[Kept, ...]:
    """Put a backup into a new state directory. Nothing is left there where the archive is not whole.

    `mail`: where Maildirs go, below the state directory by default."""
    if state.exists() and any(state.iterdir()):
        raise BackupError(f"{state} is not empty: restore into a directory that is, then use it by --state")
    mail = mail or state / "mail"
    if mail.exists() and any(mail.iterdir()):
        raise BackupError(f"{mail} is not empty: move the Maildirs away, or name another place by --mail")
    manifest = read_manifest(archive)
    state.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{state.name}-", dir=state.parent) as scratch:
        found = _unpack(archive, Path(scratch), manifest, say)
        _put(Path(scratch) / "state", state)
        if (Path(scratch) / "mail").is_dir():
            mail.parent.mkdir(parents=True, exist_ok=True)
            _put(Path(scratch) / "mail", mail)
        configuration = Path(scratch) / "postroad.toml"
        if configuration.is_file():
            configuration.rename(state / "postroad.toml.restored")
    _sync(state.parent)
    return found


def read_manifest(archive: Path) -> dict[str, Kept]:
    """What the archive says it holds. Raises BackupError where it is none, or was cut short."""
    last: tarfile.TarInfo | None = None
    try:
        with tarfile.open(archive, "r:") as tar:
            last = next(reversed(tar.getmembers()), None)
            file = tar.extractfile(last) if last is not None and last.name == MANIFEST else None
            told = json.loads(file.read()) if file is not None else None
    except (tarfile.TarError, ValueError, EOFError) as error:
        raise BackupError(f"{archive} is no backup of Postroad, or is damaged: {error}") from None
    if not isinstance(told, dict):
        raise BackupError(f"{archive} has no list of its files at its end: it is no backup, or was cut short")
    if told.get("format") != FORMAT:
        raise BackupError(f"{archive} has format {told.get('format')!r}; this Postroad reads {FORMAT}: use its version")
    return {name: Kept(name, octets, digest) for name, octets, digest in told["files"]}


def _unpack(archive: Path, into: Path, manifest: dict[str, Kept], say: Callable[[str], None]) -> tuple[Kept, ...]:
    found: list[Kept] = []
    with tarfile.open(archive, "r:") as tar:
        for info in tar:
            if info.name == MANIFEST:
                continue
            wanted = manifest.get(info.name)
            place = PurePosixPath(info.name)
            if wanted is None or not info.isreg() or place.is_absolute() or ".." in place.parts:
                raise BackupError(f"{archive} holds {info.name[:200]!a}, which its list does not name: it was changed")
            file = tar.extractfile(info)
            assert file is not None
            path = into / place
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            digest = hashlib.sha256()
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as copy:
                while piece := file.read(PIECE_OCTETS):
                    digest.update(piece)
                    copy.write(piece)
                copy.flush()
                os.fsync(copy.fileno())
            if digest.hexdigest() != wanted.digest:
                raise BackupError(f"{info.name} in {archive} is not as it was written: take another backup")
            say(info.name)
            found.append(wanted)
    if len(found) != len(manifest):
        raise BackupError(f"{archive} lacks {len(manifest) - len(found)} of its files: take another backup")
    return tuple(found)


def _put(source: Path, target: Path) -> None:
    if target.exists():
        target.rmdir()
    source.rename(target)
    target.chmod(0o700)


def _files(root: Path, *, besides: Path | None) -> Iterator[Path]:
    for directory, names, files in os.walk(root):
        here = Path(directory)
        names[:] = sorted(
            name
            for name in names
            if not (here == root and name in _LEFT_OUT)
            and (besides is None or here / name != besides)
            and name != "tmp"
        )
        for name in sorted(files):
            path = here / name
            if path.is_file() and not path.is_symlink() and not name.endswith(_LEFT_OUT_SUFFIXES):
                yield path


def _add_database(tar: tarfile.TarFile, path: Path, name: str, beside: Path) -> Kept:
    """A database as it is at one moment, checked: by its own backup, into a file beside the archive."""
    with tempfile.TemporaryDirectory(prefix=".postroad-backup-", dir=beside) as place:
        copy = Path(place) / "copy.db"
        try:
            with (
                closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30.0)) as source,
                closing(sqlite3.connect(copy)) as target,
            ):
                source.backup(target, pages=PAGES_AT_ONCE, sleep=0.01)
                target.execute("PRAGMA journal_mode = DELETE")
        except sqlite3.Error as error:
            raise BackupError(f"{path} cannot be copied: {error}; `postroad check` says more") from None
        return _add(tar, copy, name)


def _add(tar: tarfile.TarFile, path: Path, name: str) -> Kept:
    octets = path.read_bytes() if path.stat().st_size < PIECE_OCTETS else None
    if octets is not None:
        return _add_octets(tar, name, octets)
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(PIECE_OCTETS):
            digest.update(piece)
        size = file.tell()
        file.seek(0)
        info = tarfile.TarInfo(name)
        info.size, info.mode = size, 0o600
        tar.addfile(info, file)
    return Kept(name, size, digest.hexdigest())


def _add_octets(tar: tarfile.TarFile, name: str, octets: bytes) -> Kept:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(octets), 0o600
    tar.addfile(info, io.BytesIO(octets))
    return Kept(name, len(octets), hashlib.sha256(octets).hexdigest())


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
