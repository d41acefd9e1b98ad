"""A real Dovecot that takes mail by LMTP over a Unix socket: two users, one of them with hardly any room."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from peers.need import absent, need_program, need_root
from peers.processes import kill_group

START_S = 30


@dataclass(frozen=True)
class Dovecot:
    """`socket`: where LMTP is spoken. Mail of a user is below `mail`."""

    socket: Path
    mail: Path
    log: Path

    def messages(self, user: str) -> list[bytes]:
        """What that user has got."""
        return [path.read_bytes() for path in sorted((self.mail / user).glob("new/*"))]


@contextmanager
def dovecot(*users: str, full: str = "") -> Iterator[Dovecot]:
    """Those users, by local part, at any domain; `full` has room for one octet."""
    program = need_program("dovecot")
    need_root("Dovecot started with a configuration of its own")
    if not Path("/usr/lib/dovecot/lmtp").exists():
        absent("dovecot-lmtpd", "dovecot-lmtpd is not installed on this machine")
    account = pwd.getpwnam("nobody")
    group = grp.getgrgid(account.pw_gid).gr_name
    directory = Path(tempfile.mkdtemp(prefix="postroad-dovecot-"))
    directory.chmod(0o711)
    mail = directory / "mail"
    for each in (mail, directory / "run", directory / "state"):
        each.mkdir(mode=0o755)
    os.chown(mail, account.pw_uid, account.pw_gid)
    lines = [
        f"{user}:{{PLAIN}}x:{account.pw_uid}:{account.pw_gid}::{mail}/{user}::"
        + ("userdb_quota_rule=*:bytes=1B" if user == full else "")
        for user in users
    ]
    (directory / "users").write_text("\n".join(lines) + "\n")
    (directory / "users").chmod(0o644)
    configuration = directory / "dovecot.conf"
    configuration.write_text(f"""
base_dir = {directory}/run
state_dir = {directory}/state
log_path = {directory}/log
protocols = lmtp
ssl = no
first_valid_uid = 1
first_valid_gid = 1
default_internal_user = {account.pw_name}
default_internal_group = {group}
default_login_user = {account.pw_name}
mail_location = maildir:~/
auth_username_format = %Ln
mail_plugins = quota
quota_full_tempfail = yes
plugin {{
  quota = maildir:User quota
}}
protocol lmtp {{
  auth_username_format = %Ln
  mail_plugins = quota
}}
lmtp_save_to_detail_mailbox = no
recipient_delimiter = +
passdb {{
  driver = passwd-file
  args = username_format=%Ln {directory}/users
}}
userdb {{
  driver = passwd-file
  args = username_format=%Ln {directory}/users
}}
service lmtp {{
  chroot =
  unix_listener {directory}/lmtp {{
    mode = 0666
  }}
}}
service anvil {{
  chroot =
}}
service stats {{
  chroot =
  unix_listener stats-writer {{
    mode = 0666
  }}
}}
""")
    with (directory / "out").open("wb") as log:
        process = subprocess.Popen(
            [program, "-F", "-c", str(configuration)], stdout=log, stderr=log, start_new_session=True
        )
    try:
        deadline = time.monotonic() + START_S
        while not (directory / "lmtp").exists():
            if process.poll() is not None or time.monotonic() > deadline:
                said = "".join(path.read_text() for path in (directory / "out", directory / "log") if path.exists())
                raise RuntimeError(f"Dovecot does not listen: {said[-2000:]}")
            time.sleep(0.05)
        yield Dovecot(directory / "lmtp", mail, directory / "log")
    finally:
        kill_group(process)
        shutil.rmtree(directory, ignore_errors=True)
