"""The certificate, the secret and what only a restart takes up."""

from __future__ import annotations

import ssl
from pathlib import Path

from postroad.config import Config
from postroad.net.tls import server_context
from postroad.receive.caller import Role


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


def needs_restart(old: Config, new: Config) -> bool:
    """Whether the difference cannot be taken up by running workers."""
    return (
        old.listener != new.listener
        or old.server.workers != new.server.workers
        or old.server.state_dir != new.server.state_dir
        or old.server.user != new.server.user
    )
