"""Where the log goes, as configured."""

from __future__ import annotations

from pathlib import Path

from postroad.config import Config
from postroad.events import configure, emit
from postroad.log.file import LogFile

_files: dict[tuple[str, int, int], LogFile] = {}
"""The one that this process writes: a reload that changes nothing keeps it."""


def log_path(config: Config) -> Path | None:
    """The file of the log; None where it goes to standard error."""
    return Path(config.server.state_dir) / config.log.file if config.log.file else None


def use_log(config: Config) -> None:
    """From now on log as configured. A file that cannot be written is told on standard error, where the log goes then.

    Never raises: a log disturbs nobody's mail."""
    settings = config.log
    path = log_path(config)
    key = (str(path), settings.rotate_octets, settings.keep)
    if path is not None and key in _files:
        configure(level=settings.level, as_json=True, stream=_files[key])
        return
    for old in _files.values():
        old.close()
    _files.clear()
    configure(level=settings.level, as_json=settings.format == "json")
    if path is None:
        return
    try:
        _files[key] = LogFile(path, rotate_octets=settings.rotate_octets, keep=settings.keep)
    except OSError as error:
        emit("log.failed", path=str(path), error=error.strerror or str(error))
        return
    configure(level=settings.level, as_json=True, stream=_files[key])
