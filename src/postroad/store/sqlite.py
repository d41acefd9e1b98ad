"""SQLite as every store here uses it: opening, schema versions, ownership, and what its errors mean.

`open_database` gives a connection in WAL mode with the schema brought to the newest numbered
migration (package data `migrations/<schema>/0001_*.sql`). A database written by a newer version,
or by another program, is refused before anything in it is changed. `FileLock` makes one process
the owner. `explain` turns sqlite3's exceptions into the port's, each one clear sentence.

Never used here: auto_vacuum (a third of the throughput; freed pages are used again anyway) and
foreign keys (the few statements that write keep the references themselves).
Used by the spool, the accounts and the results of verification; nobody else opens a database.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Literal

from postroad.store.spool import (
    SpoolBusy,
    SpoolDamaged,
    SpoolError,
    SpoolFull,
    SpoolLocked,
    SpoolReadOnly,
    SpoolVersion,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGE_BYTES = 4096
BUSY_PAUSE_S = 0.01
"""Between tries to set the mode of a database that others open too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseSettings:
    """How a database is opened. The defaults are the spool's; the other stores lower some of them."""

    synchronous: Literal["FULL", "NORMAL"] = "FULL"
    """FULL: every commit is synced and survives a power cut. NORMAL: it survives only a killed process."""
    busy_timeout_s: float = 5.0
    """How long to wait for another program's lock on the database."""
    cache_kib: int = 32 * 1024
    checkpoint_pages: int = 2000
    """The write-ahead log is copied into the database after this many pages."""
    log_limit_bytes: int = 64 * 1024 * 1024
    """The write-ahead log's file is cut back to this size after a checkpoint."""
    max_bytes: int | None = None
    """The database may grow to this size; beyond it SpoolFull. None: as far as the disk goes."""


def open_database(
    path: Path, schema: str, settings: DatabaseSettings, *, create: bool = True, is_guest: bool = False
) -> sqlite3.Connection:
    """A connection in autocommit mode, usable by one thread at a time.

    The schema is migrated, unless `is_guest`: a guest in another's database takes its schema as it must be.
    Raises SpoolError (SpoolVersion, SpoolReadOnly, SpoolDamaged, ...) with the reason."""
    connection = None
    try:
        if create:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw",
            uri=True,
            timeout=settings.busy_timeout_s,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
        _bring_up_to_date(connection, path, schema, is_guest=is_guest, patience_s=settings.busy_timeout_s)
        _configure(connection, settings)
        if create:
            _sync_directory(path.parent)
    except (sqlite3.Error, OSError) as error:
        if connection is not None:
            connection.close()
        raise explain(error, path) from error
    except BaseException:
        if connection is not None:
            connection.close()
        raise
    return connection


def _configure(connection: sqlite3.Connection, settings: DatabaseSettings) -> None:
    execute = connection.execute
    execute(f"PRAGMA synchronous = {settings.synchronous}")
    execute(f"PRAGMA cache_size = -{settings.cache_kib}")
    execute(f"PRAGMA wal_autocheckpoint = {settings.checkpoint_pages}")
    execute(f"PRAGMA journal_size_limit = {settings.log_limit_bytes}")
    # Some builds zero what they delete by default: for a queue this doubles the pages written.
    execute("PRAGMA secure_delete = OFF")
    execute("PRAGMA temp_store = MEMORY")
    if settings.max_bytes is not None:
        execute(f"PRAGMA max_page_count = {max(1, settings.max_bytes // PAGE_BYTES)}")


def _bring_up_to_date(
    connection: sqlite3.Connection, path: Path, schema: str, *, is_guest: bool, patience_s: float
) -> None:
    scripts = _migrations(schema)
    ours = zlib.crc32(f"postroad {schema}".encode()) & 0x7FFFFFFF
    version = _checked_version(connection, path, schema, ours, len(scripts))
    if is_guest:
        if version != len(scripts):
            raise SpoolVersion(
                f"{path} has {schema} schema version {version}, and this Postroad works on {len(scripts)}:"
                " use the version that the server runs, or start this version's server on it once"
            )
        return
    if version == 0:
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        connection.execute("PRAGMA auto_vacuum = NONE")
    if _journal_mode(connection, patience_s) != "wal":
        raise SpoolError(f"{path} cannot use a write-ahead log: put it on a local file system, not a network one")
    if version == len(scripts):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Another process may have been faster between the look and the lock.
        version = _checked_version(connection, path, schema, ours, len(scripts))
        for script in scripts[version:]:
            for statement in _statements(script):
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {ours}")
        connection.execute(f"PRAGMA user_version = {len(scripts)}")
        connection.execute("COMMIT")
    except BaseException:
        roll_back(connection)
        raise


def _journal_mode(connection: sqlite3.Connection, patience_s: float) -> str:
    """Ask for a write-ahead log; the mode that it is now. SQLite itself does not wait here for another process that
    opens the new database at the same moment, as the workers of a server do."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            return str(connection.execute("PRAGMA journal_mode = WAL").fetchone()[0])
        except sqlite3.OperationalError as error:
            if primary_code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        time.sleep(BUSY_PAUSE_S)


def _checked_version(connection: sqlite3.Connection, path: Path, schema: str, ours: int, newest: int) -> int:
    """The schema version of the file (0: empty), refused where this version of the program must not touch it."""
    # In one statement: another process may be making the schema between two.
    version, owner, is_empty = connection.execute(
        "SELECT (SELECT user_version FROM pragma_user_version), (SELECT application_id FROM pragma_application_id),"
        " NOT EXISTS (SELECT 1 FROM sqlite_schema)"
    ).fetchone()
    if version == 0 and owner == 0 and is_empty:
        return 0
    if owner != ours:
        raise SpoolVersion(f"{path} is not a Postroad {schema} database: name another file; this one was left as it is")
    if version > newest:
        raise SpoolVersion(
            f"{path} has {schema} schema version {version}, written by a newer Postroad; this one knows up to {newest}:"
            " run the newer version or restore an older copy; the file was left as it is"
        )
    return int(version)


def _migrations(schema: str) -> list[str]:
    folder = resources.files("postroad.store") / "migrations" / schema
    files = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".sql")), key=lambda entry: entry.name)
    for number, entry in enumerate(files, 1):
        if not entry.name.startswith(f"{number:04d}_"):
            raise SpoolError(
                f"migration {number} of the {schema} schema is missing from this installation: reinstall it"
            )
    return [entry.read_text(encoding="utf-8") for entry in files]


def _statements(script: str) -> Iterator[str]:
    part = ""
    for line in script.splitlines(keepends=True):
        part += line
        if sqlite3.complete_statement(part):
            yield part
            part = ""


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def transaction(connection: sqlite3.Connection, path: Path) -> Iterator[sqlite3.Connection]:
    """All of it or nothing; the connection itself is handed in and out. Raises SpoolError for what SQLite says."""
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield connection
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        roll_back(connection)
        raise explain(error, path) from error
    except BaseException:
        roll_back(connection)
        raise


def roll_back(connection: sqlite3.Connection) -> None:
    """End a transaction that failed, whether or not SQLite ended it already."""
    try:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    except sqlite3.Error:
        pass


def wipe(connection: sqlite3.Connection, path: Path) -> None:
    """Write the database anew without the room of deleted rows, and empty its log: what was deleted is in neither.

    For personal data that somebody wants gone; takes as much room again meanwhile, and the file system may keep what it
    held. Raises SpoolError, SpoolBusy where another program reads or writes it just now."""
    try:
        # The copy may be large: it goes to a temporary file that SQLite removes, not into memory.
        connection.execute("PRAGMA temp_store = FILE")
        try:
            connection.execute("VACUUM")
        finally:
            connection.execute("PRAGMA temp_store = MEMORY")
        is_busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.Error as error:
        raise explain(error, path) from error
    if is_busy:
        raise SpoolBusy(f"{path} is in use by another program: end that one first")


def delete_database(path: Path) -> None:
    """Remove a closed database with what belongs to it (its log; its lock file last)."""
    for suffix in ("-wal", "-shm", "", ".lock"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    _sync_directory(path.parent)


def explain(error: BaseException, path: Path) -> SpoolError:
    """The port's error for what went wrong with that database: one sentence with the way to mend it."""
    if isinstance(error, SpoolError):
        return error
    name = getattr(error, "sqlite_errorname", "") or type(error).__name__
    match primary_code(error):
        case sqlite3.SQLITE_FULL:
            return SpoolFull(f"no room left for {path}: free disk space or raise the store's size limit")
        case sqlite3.SQLITE_READONLY:
            return SpoolReadOnly(f"{path} may not be written ({name}): check the mount and the file's owner")
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return SpoolDamaged(f"{path} is damaged ({name}, {error}): restore it, or recover it with sqlite3 .recover")
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return SpoolBusy(f"{path} is held by another program ({name}): end that program's transaction")
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            return SpoolError(f"{path} cannot be opened ({error}): check that it exists and whose it is")
        case sqlite3.SQLITE_IOERR:
            return SpoolError(f"reading, writing or syncing {path} failed ({name}): check the disk")
    if isinstance(error, OSError):
        return SpoolError(f"{path} cannot be opened ({error.strerror or error}): check the directory and its owner")
    return SpoolError(f"{path}: {error} ({name})")


def is_environment(error: BaseException) -> bool:
    """Whether the disk or the file is at fault, rather than the one operation that was tried."""
    return isinstance(error, SpoolError) or primary_code(error) in _ENVIRONMENT


def primary_code(error: BaseException) -> int:
    """SQLite's primary result code behind an exception; 0 where SQLite itself did not fail."""
    return int(getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF


def is_row_fault(error: BaseException) -> bool:
    """Whether one record is unreadable (a damaged page, text that is no text), the rest perhaps not."""
    if isinstance(error, sqlite3.Error):
        return primary_code(error) in (0, sqlite3.SQLITE_CORRUPT)
    return isinstance(error, (ValueError, TypeError, AttributeError, KeyError))


_ENVIRONMENT = frozenset(
    {
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_PROTOCOL,
    }
)


class FileLock:
    """One process owns a store: an advisory lock on `<database>.lock`, which also names the owner.

    The kernel lets go of it when the process ends, however it ends."""

    def __init__(self, database: Path) -> None:
        """Take the lock at once or raise SpoolLocked."""
        self.path = database.with_name(database.name + ".lock")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._descriptor = self._take(database)
        except OSError as error:
            raise explain(error, self.path) from error

    def _take(self, database: Path) -> int:
        while True:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.read(descriptor, 32).decode("ascii", "replace").strip() or "unknown"
                os.close(descriptor)
                raise SpoolLocked(
                    f"{database} is in use by the process {holder}: stop that one first, or name another directory"
                ) from None
            except BaseException:
                os.close(descriptor)
                raise
            try:
                # The file may have been deleted with its database between opening and locking.
                same = os.path.samestat(os.fstat(descriptor), os.stat(self.path))  # noqa: PTH116
            except FileNotFoundError:
                same = False
            if same:
                os.ftruncate(descriptor, 0)
                os.write(descriptor, b"%d\n" % os.getpid())
                return descriptor
            os.close(descriptor)

    def release(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
