"""The certificate, the secret and what only a restart takes up."""

from __future__ import annotations

import shutil
import ssl
from pathlib import Path

from postroad.config import Config
from postroad.events import emit
from postroad.net.tls import server_context
from postroad.receive.caller import Caller, Role
from postroad.smtp.reply import Reply, reply
from postroad.smtp.server_events import MailReceived

_NO_ROOM = reply(452, "Insufficient system storage: try again later", "4.3.1")


def certificate_paths(config: Config) -> tuple[Path, Path]:
    """The certificate and key in use."""
    if config.tls.certificate:
        return Path(config.tls.certificate), Path(config.tls.key)
    directory = Path(config.server.state_dir) / "tls"
    return directory / "self-signed.pem", directory / "self-signed.key"


def tls_contexts(config: Config) -> dict[str, ssl.SSLContext]:
    """The context of each role, made anew on reload. Raises TlsError."""
    certificate, key = certificate_paths(config)
    return {role.value: server_context(certificate, key, minimum=config.tls.minimum) for role in Role}


def secret_path(config: Config) -> Path:
    """The server's own secret, from which the keys of unknown users are made up."""
    return Path(config.server.state_dir) / "secret"


def metrics_directory(config: Config) -> Path:
    """Where all processes count together."""
    return Path(config.server.state_dir) / "run" / "metrics"


def alive_mark(config: Config, index: int) -> Path:
    """The file whose time says when a worker was last at work."""
    return metrics_directory(config) / f"worker-{index}.alive"


def mark_alive(config: Config, index: int) -> None:
    """Leave the mark of a worker at work."""
    try:
        alive_mark(config, index).touch()
    except OSError:
        pass


class DiskGuard:
    """Refuses mail while the disk has less room than the configuration asks for (D-02). `look` blocks for microseconds;
    called once a second."""

    def __init__(self, config: Config) -> None:
        self.is_low = False
        self.use(config)

    def use(self, config: Config) -> None:
        """From now on, by this configuration."""
        self._state = config.server.state_dir
        self._least = config.disk.least_free_octets
        self.look()

    def look(self) -> None:
        """See how much room there is."""
        was_low = self.is_low
        try:
            self.is_low = shutil.disk_usage(self._state).free < self._least
        except OSError:
            self.is_low = True
        if self.is_low and not was_low:
            emit("limit.reached", limit="least_free_octets", path=self._state)

    def mail(self, caller: Caller, event: MailReceived) -> Reply | None:
        """The check of each message that begins."""
        return _NO_ROOM if self.is_low else None


def needs_restart(old: Config, new: Config) -> bool:
    """Whether the difference cannot be taken up by running workers."""
    return (
        old.listener != new.listener
        or old.server.workers != new.server.workers
        or old.server.state_dir != new.server.state_dir
        or old.server.user != new.server.user
        or old.http != new.http
    )
