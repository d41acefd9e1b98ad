"""Exim and OpenSMTPD, unpacked by tests/peers/fetch and run beside the machine's own Postfix.

Each runs in mount and process namespaces of its own, where /var, /run and the list of users are the ones of a
temporary directory, so that it neither finds nor leaves anything on the machine, and where nothing of it outlives
the end. Each takes mail for alice and bob at its own domain into Maildirs, refuses everyone else there, and relays
what comes from 127.0.0.1: by our submission port as `user`, with AUTH, what `user` sends, else by our MX port.
"""

from __future__ import annotations

import email
import email.policy
import os
import re
import shutil
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from email.message import EmailMessage
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

import trustme

from peers.need import absent, need_program, need_root
from peers.processes import free_ports, kill_group, wait_for_port

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

ROOT = Path(__file__).parents[2] / ".peers/root"
USERS = ("alice", "bob")
SECRET = "a secret between hosts"
"""Of the account `relay`, by which we may prove ourselves to them."""


class Unpacked(ABC):
    """`with Exim(mx_port, submission_port, user, password) as peer:`; the ports are ours, on 127.0.0.1."""

    name: ClassVar[str]
    program: ClassVar[str]
    users: ClassVar[tuple[str, ...]]
    folders: ClassVar[tuple[str, ...]]

    def __init__(self, mx_port: int, submission_port: int, user: str, password: str) -> None:
        self.domain = f"{self.name.lower()}.test"
        self.mx_port, self.submission_port = mx_port, submission_port
        self.user, self.password = user, password
        self.port = 0
        self.directory = Path()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    @abstractmethod
    def version(self) -> str:
        """As the program tells it."""

    @abstractmethod
    def configure(self) -> Sequence[str]:
        """Write the configuration; the command that serves in the foreground."""

    def __enter__(self) -> Self:
        need_root(self.name)
        if not (ROOT / "usr/sbin" / self.program).exists():
            absent(self.name, f"{self.name} is not unpacked in .peers/ (tests/peers/fetch does it)")
        (self.port,) = free_ports(1)
        self.directory = Path(tempfile.mkdtemp(prefix=f"postroad-{self.name.lower()}-", dir="/tmp"))
        try:
            self._make_world()
            command = self.configure()
            with (self.directory / "output").open("wb") as output:
                self._process = subprocess.Popen(
                    self.inside(*command),
                    stdout=output,
                    stderr=output,
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,
                )
            wait_for_port("127.0.0.1", self.port, timeout_s=30, alive=self._process, greeting=b"220")
        except BaseException as error:
            error.add_note(f"what {self.name} said:\n{self.log()[-4000:]}")
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            error.add_note(f"the log of {self.name}:\n{self.log()[-4000:]}")
        self._remove()

    def inside(self, *command: str) -> list[str]:
        """That command in the namespaces: a shell is their first process, and all end with it."""
        binds = {
            self.directory / "passwd": "/etc/passwd",
            self.directory / "group": "/etc/group",
            ROOT / "usr/sbin": "/usr/local/sbin",
            ROOT / "usr/libexec": "/usr/libexec",
            self.directory / "var": "/var",
            self.directory / "run": "/run",
        }
        mounts = "".join(f"mount --bind {source} {target} && " for source, target in binds.items())
        return [
            *(need_program("unshare"), "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"),
            *("sh", "-c", mounts + '"$@"; exit $?', "sh", *command),
        ]

    def log(self) -> str:
        """What it wrote so far, to its output and to its log."""
        files = [self.directory / "output", *sorted((self.directory / "var/log").rglob("*log"))]
        return "".join(file.read_text(errors="replace") for file in files if file.is_file())

    def messages(self, user: str) -> list[EmailMessage]:
        """That user's messages, parsed."""
        return [
            email.message_from_bytes(path.read_bytes(), _class=EmailMessage, policy=email.policy.default)
            for path in sorted((self.directory / "var/mail" / user).rglob("new/*"))
        ]

    def certificate(self) -> tuple[Path, Path]:
        chain, key = self.directory / "chain.pem", self.directory / "key.pem"
        issued = trustme.CA().issue_cert(f"mx.{self.domain}", key_type=trustme.KeyType.RSA)
        chain.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        key.touch(mode=0o600)
        key.write_bytes(issued.private_key_pem.bytes())
        return chain, key

    def _make_world(self) -> None:
        self.directory.chmod(0o755)
        for number, name in enumerate(self.users, 64_101):
            for file, line in (
                ("passwd", f"{name}:x:{number}:{number}::/:/bin/false\n"),
                ("group", f"{name}:x:{number}:\n"),
            ):
                target = self.directory / file
                before = target.read_text() if target.exists() else Path("/etc", file).read_text()
                kept = [each for each in before.splitlines(keepends=True) if not each.startswith(f"{name}:")]
                target.write_text("".join([*kept, line]))
        for folder in ("var/tmp", "run", *self.folders, *(f"var/mail/{user}" for user in USERS)):
            (self.directory / folder).mkdir(parents=True, exist_ok=True)
        (self.directory / "var/run").symlink_to("/run")
        for user in USERS:
            os.chown(self.directory / "var/mail" / user, 65_534, 65_534)

    def _remove(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            kill_group(process)
        # Its processes end a moment after the shell that was their first.
        deadline = time.monotonic() + 5
        while self.directory.name and self.directory.exists() and time.monotonic() < deadline:
            shutil.rmtree(self.directory, ignore_errors=True)


class Exim(Unpacked):
    """Debian's light daemon."""

    name = "Exim"
    program = "exim4"
    users = ("Debian-exim",)
    folders = ("var/lib/exim4", "var/spool/exim4", "var/log/exim4")

    @property
    def version(self) -> str:
        done = subprocess.run(
            self.inside("/usr/local/sbin/exim4", "-bV"), capture_output=True, text=True, timeout=30, check=True
        )
        found = re.search(r"Exim version (\S+)", done.stdout)
        assert found is not None, done.stdout
        return found[1]

    def configure(self) -> Sequence[str]:
        chain, key = self.certificate()
        for file in (chain, key, self.directory / "var/spool/exim4", self.directory / "var/log/exim4"):
            shutil.chown(file, 64_101, 64_101)
        users = " : ".join(USERS)
        relays = "".join(
            f"{name}:\n driver = manualroute\n{senders} transport = {name}\n"
            f' route_list = * "127.0.0.1::{port}"\n self = send\n'
            for name, port, senders in (
                ("smarthost", self.submission_port, f" senders = {self.user}\n"),
                ("remote", self.mx_port, ""),
            )
        )
        (self.directory / "var/lib/exim4/config.autogenerated").write_text(f"""\
primary_hostname = mx.{self.domain}
exim_path = /usr/local/sbin/exim4
local_interfaces = 127.0.0.1
daemon_smtp_ports = {self.port}
domainlist here = {self.domain} : auth.{self.domain}
keep_environment =
message_size_limit = 50M
smtputf8_advertise_hosts = *
dsn_advertise_hosts = *
tls_advertise_hosts = *
tls_certificate = {chain}
tls_privatekey = {key}
acl_smtp_rcpt = recipient
acl_smtp_data = whole
log_selector = +all
begin acl
recipient:
 deny domains = +here
  !verify = recipient
  message = nobody of that name here
 accept hosts = 127.0.0.1
whole:
 accept
begin routers
here:
 driver = accept
 domains = +here
 local_parts = {users}
 transport = maildir
nobody:
 driver = redirect
 domains = +here
 allow_fail
 data = :fail: nobody of that name here
{relays}begin transports
maildir:
 driver = appendfile
 directory = /var/mail/$local_part_data
 maildir_format
 return_path_add
 user = nobody
remote:
 driver = smtp
smarthost:
 driver = smtp
 hosts_require_auth = *
begin retry
* * F,1h,2s
begin authenticators
plain:
 driver = plaintext
 public_name = PLAIN
 client_send = ^{self.user}^{self.password}
 server_prompts = :
 server_condition = ${{if and{{{{eq{{$auth2}}{{relay}}}}{{eq{{$auth3}}{{{SECRET}}}}}}}}}
 server_advertise_condition = ${{if def:tls_in_cipher}}
 server_set_id = $auth2
""")
        return ("/usr/local/sbin/exim4", "-bdf", "-q2s")


class OpenSmtpd(Unpacked):
    """Debian's OpenSMTPD."""

    name = "OpenSMTPD"
    program = "smtpd"
    users = ("opensmtpd", "opensmtpq")
    folders = ("var/spool/smtpd", "var/lib/opensmtpd/empty", "var/log")

    @property
    def version(self) -> str:
        done = subprocess.run(
            self.inside("/usr/local/sbin/smtpd", "-h"), capture_output=True, text=True, timeout=30, check=False
        )
        found = re.search(r"OpenSMTPD (\S+)", done.stdout + done.stderr)
        assert found is not None, done.stdout + done.stderr
        return found[1]

    def configure(self) -> Sequence[str]:
        chain, key = self.certificate()
        homes = ", ".join(f'{user} = "65534:65534:/var/mail/{user}"' for user in USERS)
        hashed = subprocess.run(
            [need_program("openssl"), "passwd", "-6", SECRET], capture_output=True, text=True, check=True
        ).stdout.strip()
        (self.directory / "var/spool/smtpd").chmod(0o711)
        file = self.directory / "smtpd.conf"
        file.write_text(f"""\
pki "mx.{self.domain}" cert "{chain}"
pki "mx.{self.domain}" key "{key}"
table homes {{ {homes} }}
table secrets {{ us = "{self.user}:{self.password}" }}
table known {{ "relay" = "{hashed}" }}
smtp max-message-size "50M"
listen on 127.0.0.1 port {self.port} tls pki "mx.{self.domain}" auth-optional <known> hostname mx.{self.domain}
action "here" maildir userbase <homes>
action "smarthost" relay host smtp+tls://us@127.0.0.1:{self.submission_port} auth <secrets> tls no-verify
action "remote" relay host smtp://127.0.0.1:{self.mx_port}
match from any for domain {{ "{self.domain}", "auth.{self.domain}" }} action "here"
match from src 127.0.0.1 mail-from "{self.user}" for any action "smarthost"
match from src 127.0.0.1 for any action "remote"
match from local for any action "remote"
""")
        return ("/usr/local/sbin/smtpd", "-d", "-f", str(file))
