"""Real filters under test: OpenDKIM and rspamd, each with a configuration and ports of its own, ended by pid."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from peers.need import need_program, need_root
from peers.processes import free_ports, kill_group, wait_for_port

START_S = 60


@contextmanager
def opendkim(directory: Path, domain: str, selector: str) -> Iterator[tuple[str, bytes]]:
    """A signing OpenDKIM for that domain: its address, and the public key (DER) that verifies."""
    program = need_program("opendkim")
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    private = directory / "opendkim.key"
    private.touch(mode=0o600)
    private.write_bytes(pem)
    (port,) = free_ports(1)
    configuration = directory / "opendkim.conf"
    configuration.write_text(
        f"Domain {domain}\nSelector {selector}\nKeyFile {private}\nSocket inet:{port}@127.0.0.1\nMode s\n"
        "Canonicalization relaxed/relaxed\nInternalHosts 127.0.0.0/8\nUserID root\nSyslog no\n"
        "RequireSafeKeys no\nBackground no\n"
    )
    with (directory / "opendkim.log").open("wb") as log:
        process = subprocess.Popen(
            [program, "-f", "-x", str(configuration)], stdout=log, stderr=log, start_new_session=True
        )
    try:
        wait_for_port("127.0.0.1", port, timeout_s=START_S, alive=process)
        yield (
            f"127.0.0.1:{port}",
            key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo),
        )
    finally:
        kill_group(process)


@dataclass(frozen=True)
class Rspamd:
    """Where it listens: HTTP, and the milter protocol."""

    url: str
    milter: str


@contextmanager
def rspamd(directory: Path) -> Iterator[Rspamd]:
    """An rspamd that knows its test pattern and little else, without a network and without Redis."""
    program = need_program("rspamd")
    need_root("rspamd started with a configuration of its own")
    http, milter = free_ports(2)
    configuration = directory / "rspamd.conf"
    configuration.write_text(
        f'options {{ pidfile = "{directory}/rspamd.pid"; filters = ""; gtube_patterns = "all";'
        ' dns { nameserver = ["127.0.0.1:9"]; timeout = 0.2s; retransmits = 1; } }\n'
        f'logging {{ type = "file"; filename = "{directory}/rspamd.log"; level = "warning"; }}\n'
        "actions { reject = 15; add_header = 6; }\n"
        f'worker "normal" {{ bind_socket = "127.0.0.1:{http}"; count = 1; }}\n'
        f'worker "rspamd_proxy" {{ bind_socket = "127.0.0.1:{milter}"; milter = yes; count = 1; timeout = 10s;'
        f' upstream "local" {{ default = yes; hosts = "127.0.0.1:{http}"; }} }}\n'
    )
    with (directory / "rspamd.out").open("wb") as log:
        process = subprocess.Popen(
            [
                *(program, "-i", "-f", "-c", str(configuration)),
                *(f"--var=DBDIR={directory}", f"--var=RUNDIR={directory}"),
            ],
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        for port in (http, milter):
            wait_for_port("127.0.0.1", port, timeout_s=START_S, alive=process)
        yield Rspamd(f"http://127.0.0.1:{http}", f"127.0.0.1:{milter}")
    finally:
        kill_group(process)
