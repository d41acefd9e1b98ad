"""A real Postfix of our own: its configuration, queue, data and log in one temporary directory.

As a receiving MX it delivers to Maildirs of alice, bob and carol at postfix.test and refuses everyone
else there with 550 5.1.1. As a sending client (`relay_host`) it takes messages by its sendmail program
and brings them where it is told. The benchmarks give it more settings. It never touches the machine's
own Postfix, and it stops only the process group it started. Needs root, as Postfix's master does.
"""

from __future__ import annotations

import email
import email.policy
import os
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import TYPE_CHECKING, Self

from peers.need import need_program, need_root
from peers.processes import group_lives, wait_for_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from types import TracebackType

    from peers.netns import Namespace

DOMAIN = "postfix.test"
USERS = ("alice", "bob", "carol", "postmaster")
DAEMONS = ("/usr/lib/postfix/sbin", "/usr/libexec/postfix", "/usr/lib/postfix")

SERVICES = """\
pickup     unix       n - n 60    1 pickup
cleanup    unix       n - n -     0 cleanup
qmgr       unix       n - n 300   1 qmgr
tlsmgr     unix       - - n 1000? 1 tlsmgr
rewrite    unix       - - n -     - trivial-rewrite
bounce     unix       - - n -     0 bounce
defer      unix       - - n -     0 bounce
trace      unix       - - n -     0 bounce
verify     unix       - - n -     1 verify
flush      unix       n - n 1000? 0 flush
proxymap   unix       - - n -     - proxymap
proxywrite unix       - - n -     1 proxymap
smtp       unix       - - n -     - smtp
relay      unix       - - n -     - smtp
showq      unix       n - n -     - showq
error      unix       - - n -     - error
retry      unix       - - n -     - error
discard    unix       - - n -     - discard
local      unix       - n n -     - local
virtual    unix       - n n -     - virtual
anvil      unix       - - n -     1 anvil
scache     unix       - - n -     1 scache
postlog    unix-dgram n - n -     1 postlogd
"""


@dataclass
class Postfix:
    """`with Postfix(address=..., port=...) as peer:`; `port` 0 means: no listener, a sending client only."""

    address: str = "127.0.0.1"
    port: int = 0
    namespace: Namespace | None = None
    relay_host: str = ""
    certificate: tuple[Path, Path] | None = None
    """Chain and key as PEM files: offers STARTTLS."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """More lines of main.cf; they win over ours."""
    directory: Path = field(init=False)
    base: Path | None = None
    """Where to make the directory; None: the temporary directory of the machine."""
    _process: subprocess.Popen[bytes] | None = field(init=False, default=None)

    def __enter__(self) -> Self:
        need_root("Postfix")
        need_program("postfix")
        self.directory = Path(tempfile.mkdtemp(prefix="postroad-postfix-", dir=self.base))
        try:
            self._configure()
            self.start()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    def start(self) -> None:
        """Start master and wait until it listens."""
        self._process = subprocess.Popen(
            self._inside(need_program("postfix"), "-c", str(self._etc), "start-fg"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"},
        )
        if self.port:
            wait_for_port(self.address, self.port, timeout_s=30, alive=self._process)
        else:
            self._wait(lambda: (self.directory / "queue/public/pickup").exists(), "start")

    def stop(self) -> None:
        """End what `start` began (the starting script and master's own process group), and nothing else."""
        process, self._process = self._process, None
        if process is None:
            return
        groups = [*self._master_group(), process.pid]
        for number in (signal.SIGTERM, signal.SIGKILL):
            for group in groups:
                with suppress(ProcessLookupError):
                    os.killpg(group, number)
                # The script waits for master: it ends after the last of them.
                with suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=10)
            if not any(group_lives(group) for group in groups):
                return
            time.sleep(0.1)

    def submit(self, message: bytes, *, sender: str, recipients: Sequence[str]) -> None:
        """Hand a message to this Postfix by its sendmail program."""
        subprocess.run(
            [need_program("sendmail"), "-C", str(self._etc), "-i", "-f", sender, "--", *recipients],
            input=message,
            check=True,
            capture_output=True,
            timeout=60,
        )

    def flush(self) -> None:
        """Try everything queued again now."""
        subprocess.run([need_program("postqueue"), "-c", str(self._etc), "-f"], check=True, timeout=60)

    def queue_length(self) -> int:
        """Messages in the incoming, active, deferred and maildrop queues."""
        queues = ("maildrop", "incoming", "active", "deferred")
        total = 0
        for name in queues:
            for _, _, files in os.walk(self.directory / "queue" / name):
                total += len(files)
        return total

    def log(self) -> str:
        """What Postfix logged so far."""
        path = self.directory / "maillog"
        return path.read_text(errors="replace") if path.exists() else ""

    def mailbox(self, user: str) -> list[Path]:
        """The files in that user's Maildir."""
        return sorted((self.directory / "mail" / user / "new").glob("*"))

    def messages(self, user: str) -> list[EmailMessage]:
        """That user's messages, parsed."""
        return [
            email.message_from_bytes(path.read_bytes(), _class=EmailMessage, policy=email.policy.default)
            for path in self.mailbox(user)
        ]

    def wait_for_messages(self, user: str, count: int = 1, *, timeout_s: float = 30) -> list[EmailMessage]:
        """That user's messages, once there are so many."""
        self._wait(lambda: len(self.mailbox(user)) >= count, f"have {count} messages for {user}", timeout_s)
        return self.messages(user)

    def wait_for_log(self, text: str, *, timeout_s: float = 30) -> None:
        self._wait(lambda: text in self.log(), f"log {text!r}", timeout_s)

    @property
    def _etc(self) -> Path:
        return self.directory / "etc"

    def _master_group(self) -> list[int]:
        try:
            pid = int((self.directory / "queue/pid/master.pid").read_text())
            return [pid] if os.getpgid(pid) == pid else []
        except (OSError, ValueError):
            return []

    def _wait(self, done: Callable[[], bool], what: str, timeout_s: float = 30) -> None:
        deadline = time.monotonic() + timeout_s
        while not done():
            if time.monotonic() > deadline:
                raise AssertionError(f"Postfix did not {what} in {timeout_s:.0f} s; its log:\n{self.log()[-4000:]}")
            time.sleep(0.05)

    def _inside(self, *command: str) -> list[str]:
        return self.namespace.command(*command) if self.namespace is not None else list(command)

    def _configure(self) -> None:
        self.directory.chmod(0o755)
        for name, owner in (("etc", "root"), ("queue", "root"), ("data", "postfix"), ("mail", "nobody")):
            (self.directory / name).mkdir(mode=0o755)
            shutil.chown(self.directory / name, owner)
        listener = f"{self.address}:{self.port} inet n - n - - smtpd\n" if self.port else ""
        (self._etc / "master.cf").write_text(listener + SERVICES)
        (self._etc / "users").write_text("".join(f"{user}@{DOMAIN} {user}/\n" for user in USERS))
        (self._etc / "main.cf").write_text("".join(f"{key} = {value}\n" for key, value in self._main().items()))
        subprocess.run(
            [need_program("postfix"), "-c", str(self._etc), "check"], check=True, capture_output=True, timeout=60
        )

    def _main(self) -> dict[str, str]:
        daemons = next((path for path in DAEMONS if (Path(path) / "master").exists()), DAEMONS[0])
        main = {
            "compatibility_level": "3.6",
            "config_directory": str(self._etc),
            "queue_directory": str(self.directory / "queue"),
            "data_directory": str(self.directory / "data"),
            "daemon_directory": daemons,
            "command_directory": str(Path(need_program("postqueue")).parent),
            "mail_owner": "postfix",
            "setgid_group": "postdrop",
            "maillog_file": str(self.directory / "maillog"),
            "maillog_file_prefixes": str(self.directory),
            "myhostname": f"mx.{DOMAIN}",
            "inet_interfaces": "all",
            "inet_protocols": "ipv4",
            "mydestination": "",
            "mynetworks": "127.0.0.0/8",
            "alias_maps": "",
            "alias_database": "",
            "biff": "no",
            "relayhost": self.relay_host,
            "virtual_mailbox_domains": DOMAIN,
            "virtual_mailbox_maps": f"texthash:{self._etc / 'users'}",
            "virtual_mailbox_base": str(self.directory / "mail"),
            "virtual_uid_maps": "static:65534",
            "virtual_gid_maps": "static:65534",
            "smtpd_relay_restrictions": "permit_mynetworks, reject_unauth_destination",
            "smtpd_client_connection_count_limit": "0",
        }
        if self.certificate is not None:
            chain, key = self.certificate
            main |= {
                "smtpd_tls_security_level": "may",
                "smtpd_tls_cert_file": str(chain),
                "smtpd_tls_key_file": str(key),
                "smtpd_tls_received_header": "yes",
            }
        return main | dict(self.settings)

    def _remove(self) -> None:
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)


def subjects(messages: Iterable[EmailMessage]) -> list[str]:
    """Their Subject headers, sorted."""
    return sorted(str(message["Subject"]) for message in messages)
