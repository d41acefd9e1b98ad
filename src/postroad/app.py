"""`postroad serve`: what is done once before there are workers, and their supervision.

Prepares the state directory, the certificate and the first account, binds the sockets, and hands over to the
supervisor, whose children run worker.py. Prints nothing: what a person should read goes to `say`.
"""

from __future__ import annotations

import datetime
import os
import pwd
import resource
import secrets
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NoReturn

from postroad import __version__, events, metrics
from postroad.compose.log import use_log
from postroad.compose.server import certificate_paths, metrics_directory, needs_restart, secret_path
from postroad.config import Config, ConfigMistake, load
from postroad.net.hostname import machine_name
from postroad.net.inherited import bound_to, hand_on, notify, take_inherited
from postroad.net.listen import ListenError, bind, show
from postroad.net.tls import TlsError, make_self_signed, server_context
from postroad.store.accounts import AccountError, SqliteAccounts
from postroad.store.spool import SpoolError, SpoolLocked
from postroad.store.sqlite import FileLock
from postroad.supervisor import Assignment, Supervisor
from postroad.worker import run_worker

Load = Callable[[], "Config | list[ConfigMistake]"]


class CannotServe(Exception):
    """The server cannot start; the message says why and how to mend it."""


@dataclass(frozen=True, slots=True)
class Overrides:
    """What the command line says over the configuration."""

    state: Path | None = None
    workers: int | None = None

    def apply(self, config: Config) -> Config:
        """The configuration with them."""
        server = config.server
        if self.state is not None:
            server = replace(server, state_dir=str(self.state))
        if self.workers is not None:
            server = replace(server, workers=self.workers)
        return complete(replace(config, server=server))


def complete(config: Config) -> Config:
    """The configuration with the defaults that depend on the machine or on each other filled in."""
    hostname = (config.server.hostname or machine_name()).lower().rstrip(".")
    state = Path(config.server.state_dir).absolute()
    return replace(
        config,
        server=replace(config.server, hostname=hostname, state_dir=str(state)),
        domains=replace(
            config.domains,
            local=config.domains.local or (hostname,),
            maildir=config.domains.maildir or str(state / "mail"),
            postmaster=config.domains.postmaster or "postmaster",
        ),
    )


def load_config(
    path: Path | None, environment: Mapping[str, str], overrides: Overrides
) -> Config | list[ConfigMistake]:
    """Configuration from file, environment and command line."""
    loaded = load(path, environment)
    return loaded if isinstance(loaded, list) else overrides.apply(loaded)


def serve(config: Config, reload: Load, say: Callable[[str], None]) -> int:
    """Run until told to stop; returns the exit status. Raises CannotServe."""
    use_log(config)
    _allow_many_files(config)
    state = Path(config.server.state_dir)
    _check_user(config)
    try:
        state.mkdir(parents=True, exist_ok=True)
        state.chmod(0o700)
    except OSError as error:
        raise CannotServe(f"{state}: the state directory cannot be made ({error.strerror})") from None
    try:
        lock = FileLock(state / "server")
        try:
            return _serve_alone(config, reload, say, lock)
        finally:
            lock.release()
    except SpoolLocked:
        raise CannotServe(
            f"another server uses the state directory {state}: stop that one first, or name another directory by"
            " --state or [server] state_dir"
        ) from None
    except (SpoolError, AccountError) as error:
        raise CannotServe(str(error)) from None


def _serve_alone(config: Config, reload: Load, say: Callable[[str], None], lock: FileLock) -> int:
    """The rest of `serve`, once no other server has the state directory (D-06)."""
    state = Path(config.server.state_dir)
    _check_certificate(config, state)
    sockets = _bind(config)
    password = None
    is_shown = False
    try:
        keep_secret(secret_path(config))
        metrics.prepare(metrics_directory(config))
        password = _first_account(config, state)
        _give_to_user(config, state)
        lines = _where_it_serves(config, sockets, password)

        def ready() -> None:
            nonlocal is_shown
            say("\n".join(lines))
            is_shown = True

        def work(assignment: Assignment) -> int:
            lock.release()  # the supervisor's copy holds it: a worker that outlives it must not
            loaded = reload()  # a worker that is started again takes what a SIGHUP brought meanwhile
            is_usable = isinstance(loaded, Config) and not needs_restart(config, loaded)
            current = loaded if isinstance(loaded, Config) and is_usable else config
            _become(config.server.user)
            if assignment.index == config.server.workers:
                from postroad.web import run_web  # loaded in its own process only: a third of a second

                return run_web(current, reload, assignment)
            return run_worker(current, reload, assignment)

        supervisor = Supervisor(
            work=work,
            sockets=sockets,
            drain_s=config.server.drain_s,
            on_ready=ready,
            on_end=partial(metrics.gone, metrics_directory(config)),
            tell=partial(notify, dict(os.environ)),
            may_give_way=lambda: _is_usable(reload()),
            watchdog_s=int(os.environ.get("WATCHDOG_USEC", "0") or 0) / 3e6,
        )
        status = supervisor.run()
        if supervisor.is_giving_way and not status:
            _give_way([bound for row in sockets for bound in row])
        return status
    finally:
        for row in sockets:
            for bound in row:
                bound.close()
        if password is not None and not is_shown:
            _forget_account(config, state)


def _is_usable(loaded: Config | list[ConfigMistake]) -> bool:
    """Whether a server could start with this; what is wrong is told to the log."""
    for mistake in loaded if isinstance(loaded, list) else ():
        events.emit("config.refused", mistake=str(mistake))
    return isinstance(loaded, Config)


def _give_way(sockets: Sequence[socket.socket]) -> NoReturn:
    """Become the program as it is now on the disk, with the same arguments, process id and sockets: clients that
    connect meanwhile wait in the sockets' queues, and signals until the new one takes them."""
    events.emit("worker.giving_way", pid=os.getpid())
    os.execve(sys.executable, sys.orig_argv, {**os.environ, **hand_on(sockets)})  # noqa: S606 - our own command line


def _where_it_serves(config: Config, rows: Sequence[Sequence[socket.socket]], password: str | None) -> list[str]:
    """The lines a person reads at the start."""
    places = [
        show(listener.address, bound.getsockname()[1]) for listener, bound in zip(config.listener, rows[0], strict=True)
    ]
    width = max(map(len, places))
    lines = [f"Postroad {__version__} serves as {config.server.hostname}"]
    for listener, place in zip(config.listener, places, strict=True):
        lines.append(f"  {listener.role:<12} {place:<{width}}   {_purpose(listener.role, config)}")
    if config.http.enabled:
        port = rows[-1][0].getsockname()[1]
        lines.append(f"  {'web':<12} {show(config.http.address, port):<{width}}   health and metrics")
    if password is not None:
        lines.append(f"  administrator {_administrator(config)}, password {password} (shown this once)")
    return lines


def _purpose(role: str, config: Config) -> str:
    if role == "mx":
        maildir, here = Path(config.domains.maildir), Path.cwd()
        kept = maildir.relative_to(here) if maildir.is_relative_to(here) else maildir
        return f"mail for {', '.join(config.domains.local)}, kept in {kept}"
    return "STARTTLS and AUTH" if role == "submission" else "TLS and AUTH"


def _bind(config: Config) -> list[list[socket.socket]]:
    """One socket for each worker and listener, then that of the web listener; a port 0 is chosen once and shared by
    all workers."""
    workers = config.server.workers
    inherited = take_inherited(os.environ, os.getpid())
    rows: list[list[socket.socket]] = []

    def made(address: str, port: int, index: int, *, shared: bool) -> socket.socket:
        there = bound_to(inherited, address, port)
        # Fewer than there are workers: several of them accept on one.
        return there[index % len(there)].dup() if there else bind(address, port, shared=shared)

    try:
        for index in range(workers):
            row: list[socket.socket] = []
            rows.append(row)
            for place, listener in enumerate(config.listener):
                port = listener.port or (rows[0][place].getsockname()[1] if index else 0)
                row.append(made(listener.address, port, index, shared=workers > 1))
        if config.http.enabled:
            rows.append([made(config.http.address, config.http.port, 0, shared=False)])
    except ListenError as error:
        for row in rows:
            for bound in row:
                bound.close()
        raise CannotServe(str(error)) from None
    finally:
        for one in inherited:
            one.close()
    return rows


def _check_certificate(config: Config, state: Path) -> None:
    try:
        if not config.tls.certificate:
            now = datetime.datetime.now(datetime.UTC)
            path, _, is_new = make_self_signed(state / "tls", config.server.hostname, now)
            if is_new:
                events.emit(
                    "tls.self_signed",
                    certificate=str(path),
                    advice="mail programs will not trust it; set [tls] certificate and key",
                )
        certificate, key = certificate_paths(config)
        server_context(certificate, key, minimum=config.tls.minimum)
    except TlsError as error:
        raise CannotServe(str(error)) from None


def _first_account(config: Config, state: Path) -> str | None:
    """On the first run there is an administrator; his password, if he was made now."""
    with closing(SqliteAccounts(state / "accounts.db")) as accounts:
        if accounts.all():
            return None
        password = secrets.token_urlsafe(12)
        identities = [f"*@{local}" for local in config.domains.local]
        accounts.add(_administrator(config), password, identities=identities, is_admin=True)
        return password


def _administrator(config: Config) -> str:
    return f"admin@{config.domains.local[0]}"


def _forget_account(config: Config, state: Path) -> None:
    """Nobody saw the password, since nothing came to serve: the next start makes another."""
    with closing(SqliteAccounts(state / "accounts.db")) as accounts:
        accounts.remove(_administrator(config))


def keep_secret(path: Path) -> None:
    """Make the server's own secret on the first run. All workers share it, so that they answer unknown users alike."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_bytes(32))


def _allow_many_files(config: Config) -> None:
    wanted = config.limits.connections + config.delivery.connections + 256
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        ceiling = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (ceiling, hard))


def _user(name: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        raise CannotServe(f"[server] user: there is no user {name!r} on this machine") from None


def _check_user(config: Config) -> None:
    if config.server.user:
        _user(config.server.user)
        if os.geteuid() != 0:
            raise CannotServe("[server] user: only a start as root can become another user")


def _give_to_user(config: Config, state: Path) -> None:
    if not config.server.user:
        return
    owner = _user(config.server.user)
    for path in [state, *state.rglob("*")]:
        os.chown(path, owner.pw_uid, owner.pw_gid, follow_symlinks=False)


def _become(name: str) -> None:
    if not name:
        return
    owner = _user(name)
    os.setgroups([])
    os.setgid(owner.pw_gid)
    os.setuid(owner.pw_uid)
