"""The real `postroad serve` process under test: its own state directory, configuration and ports.

`Server` is a context manager: it writes the configuration, starts the command in a process group of its
own, waits until it listens, and at the end stops it by SIGTERM and insists on a clean exit. What it
wrote to standard error is in `log()`. Local users live at local.test, each with a Maildir that
`messages` reads; accounts are made by the real `postroad user add`.
"""

from __future__ import annotations

import email
import email.policy
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import TYPE_CHECKING, Self

from peers.processes import free_ports, kill_group, wait_for_port
from postroad.store.queue_admin import QueueAdmin

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from postroad.store.queue_admin import QueueEntry

DOMAIN = "local.test"
PASSWORD = "correct horse battery"


Section = Mapping[str, object]
Settings = Mapping[str, Section | Sequence[Section]]
"""Section name → its keys; a sequence is an array of tables."""


def toml(settings: Settings) -> str:
    """Those settings as TOML; JSON's strings, numbers, Booleans and arrays are TOML's too."""
    lines = []
    for name, value in settings.items():
        tables = [(f"[{name}]", value)] if isinstance(value, Mapping) else [(f"[[{name}]]", each) for each in value]
        for header, keys in tables:
            lines += [header, *(f"{key} = {json.dumps(setting)}" for key, setting in keys.items())]
    return "\n".join(lines) + "\n"


@dataclass
class Server:
    """`with Server() as server:`; `settings`: sections of the configuration over ours."""

    settings: Settings = field(default_factory=dict)
    base: Path | None = None
    workers: int = 1
    directory: Path = field(init=False)
    mx_port: int = field(init=False)
    submission_port: int = field(init=False)
    submissions_port: int = field(init=False)
    process: subprocess.Popen[bytes] | None = field(init=False, default=None)

    def __enter__(self) -> Self:
        self.directory = Path(tempfile.mkdtemp(prefix="postroad-server-", dir=self.base))
        self.mx_port, self.submission_port, self.submissions_port = free_ports(3)
        try:
            self.configure()
            self.start()
        except BaseException:
            self.kill()
            shutil.rmtree(self.directory, ignore_errors=True)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self.stop()
            else:
                error.add_note(f"the server's log:\n{self.log()[-6000:]}")
        finally:
            self.kill()
            shutil.rmtree(self.directory, ignore_errors=True)

    def configure(self, **changes: Section | Sequence[Section]) -> None:
        """Write the configuration file: ours, then `settings`, then these changes, key by key."""
        merged: dict[str, Section | Sequence[Section]] = {}
        for layer in (self._own_settings(), self.settings, changes):
            for name, value in layer.items():
                before = merged.get(name, {})
                merged[name] = (
                    {**before, **value} if isinstance(before, Mapping) and isinstance(value, Mapping) else value
                )
        self.config.write_text(toml(merged))

    def start(self, *, timeout_s: float = 30) -> None:
        """Start the command and wait until each listener takes connections."""
        with (self.directory / "stderr").open("ab") as log:
            self.process = subprocess.Popen(
                self._command("serve"),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                start_new_session=True,
            )
        try:
            # The sockets listen before the workers serve: only a greeting says that they do.
            wait_for_port("127.0.0.1", self.mx_port, timeout_s=timeout_s, alive=self.process, greeting=b"220")
        except RuntimeError as error:
            raise RuntimeError(f"{error}; its log:\n{self.log()[-4000:]}") from error

    def stop(self, *, timeout_s: float = 30) -> None:
        """SIGTERM; the server must end by itself in time, with status 0."""
        process, self.process = self.process, None
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            status = process.wait(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            kill_group(process)
            raise AssertionError(
                f"SIGTERM did not end the server in {timeout_s:.0f} s:\n{self.log()[-4000:]}"
            ) from None
        assert status == 0, f"the server ended with status {status}:\n{self.log()[-4000:]}"

    def kill(self) -> None:
        """SIGKILL to the whole process group, supervisor and workers; harmless when it is down."""
        process, self.process = self.process, None
        if process is not None:
            kill_group(process)

    def reload(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGHUP)

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """A `postroad` command with this server's configuration."""
        done = subprocess.run(
            self._command(*arguments), capture_output=True, text=True, timeout=120, check=False, cwd=self.directory
        )
        if check and done.returncode != 0:
            raise AssertionError(
                f"postroad {' '.join(arguments)}: status {done.returncode}\n{done.stdout}{done.stderr}"
            )
        return done

    def add_user(self, name: str, password: str = PASSWORD) -> None:
        """An account by `postroad user add`, the password on standard input."""
        done = subprocess.run(
            self._command("user", "add", name, "--password-stdin"),
            input=password + "\n",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def queue(self) -> list[QueueEntry]:
        """The messages in the queue of all workers, oldest first, read beside the running server."""
        with QueueAdmin(self.state / "spool") as admin:
            return list(admin.list(limit=100_000))

    def queued(self) -> int:
        """How many messages are in the queue."""
        with QueueAdmin(self.state / "spool") as admin:
            return admin.counts(time.time()).messages

    def queued_recipients(self) -> list[str]:
        """The recipients still to be settled, as addresses, sorted."""
        with QueueAdmin(self.state / "spool") as admin:
            shown = [admin.show(entry.id) for entry in admin.list(limit=100_000)]
        return sorted(
            str(each.queued.recipient.address) for found in shown if found is not None for each in found.recipients
        )

    def mailbox(self, user: str) -> list[Path]:
        """The files in that local user's Maildir."""
        return sorted((self.maildir / DOMAIN / user / "new").glob("*"))

    def messages(self, user: str) -> list[EmailMessage]:
        return [
            email.message_from_bytes(path.read_bytes(), _class=EmailMessage, policy=email.policy.default)
            for path in self.mailbox(user)
        ]

    def wait_for_messages(self, user: str, count: int = 1, *, timeout_s: float = 30) -> list[EmailMessage]:
        """That local user's messages, once there are so many."""
        self.wait(lambda: len(self.mailbox(user)) >= count, f"{count} messages for {user}", timeout_s=timeout_s)
        return self.messages(user)

    def wait(self, done: Callable[[], bool], what: str, *, timeout_s: float = 30) -> None:
        """Return once `done`; fail with the server's log when it does not come in time."""
        deadline = time.monotonic() + timeout_s
        while not done():
            assert time.monotonic() < deadline, f"no {what} in {timeout_s:.0f} s; log:\n{self.log()[-4000:]}"
            time.sleep(0.05)

    def log(self) -> str:
        path = self.directory / "stderr"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def config(self) -> Path:
        return self.directory / "postroad.toml"

    @property
    def state(self) -> Path:
        return self.directory / "var"

    @property
    def maildir(self) -> Path:
        return self.directory / "mail"

    def _own_settings(self) -> dict[str, Section | Sequence[Section]]:
        ports = {"mx": self.mx_port, "submission": self.submission_port, "submissions": self.submissions_port}
        return {
            "server": {
                "hostname": f"mx.{DOMAIN}",
                "workers": self.workers,
                "state_dir": str(self.state),
                "drain_s": 10,
            },
            "domains": {"local": [DOMAIN], "mailboxes": "accounts", "maildir": str(self.maildir)},
            "http": {"enabled": False},
            "listener": [{"address": "127.0.0.1", "port": port, "role": role} for role, port in ports.items()],
        }

    def _command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "postroad", *arguments, "--config", str(self.config)]
