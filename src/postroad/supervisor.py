"""Starts the worker processes, watches them, passes signals on, and stops last.

Single-threaded and without an event loop, so that it may fork at any time. It holds the listening sockets: a worker
that dies is started again (with growing pauses) and finds its backlog as it was. SIGTERM and SIGINT drain, SIGHUP
reloads, SIGUSR2 drains and gives way to a new version of the program, which takes the sockets over; and when the
supervisor itself is killed the workers notice by their end of a pipe, drain and leave.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from postroad.events import emit

EXIT_CANNOT_START = 78
"""A worker's exit status for what starting it again will not mend."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2, signal.SIGCHLD)


@dataclass(frozen=True, slots=True)
class Assignment:
    """What one worker is handed at birth."""

    index: int
    sockets: Sequence[socket.socket]
    """One for each listener, in the order of the configuration."""
    lifeline: int
    """Readable (at end of file) once the supervisor is gone."""
    ready: int
    """The worker writes one byte here when it serves."""


@dataclass(slots=True)
class _Worker:
    index: int
    pid: int = 0
    deaths: int = 0
    started_at: float = 0.0
    restart_at: float = 0.0


@dataclass(slots=True)
class Supervisor:
    """`work` runs in the child and returns its exit status. `sockets[i]` are worker i's."""

    work: Callable[[Assignment], int]
    sockets: Sequence[Sequence[socket.socket]]
    drain_s: float
    on_ready: Callable[[], None]
    on_end: Callable[[int], None] = lambda pid: None
    """Told the process id of each child that has ended."""
    tell: Callable[[str], None] = lambda state: None
    """Told how things stand, as systemd wants to hear it: READY=1, STOPPING=1, RELOADING=1, WATCHDOG=1."""
    watchdog_s: float = 0.0
    """How often WATCHDOG=1 is told while every worker is there; 0: never."""
    may_give_way: Callable[[], bool] = lambda: True
    """Whether the next version could start, so far as that can be seen."""
    is_giving_way: bool = False
    """SIGUSR2 came: `run` has returned with the sockets still open, for the next version of the program."""
    _workers: list[_Worker] = field(default_factory=list)
    _lifeline: tuple[int, int] = (-1, -1)
    _ready: tuple[int, int] = (-1, -1)
    _is_reload_due: bool = False

    def run(self) -> int:
        """Until told to stop. Returns the exit status: 0 when all workers ended in order."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        self._lifeline, self._ready = os.pipe(), os.pipe()
        self._workers = [_Worker(index) for index in range(len(self.sockets))]
        for worker in self._workers:
            self._start(worker)
        status = self._await_ready()
        if status is None:
            self.on_ready()
            self.tell("READY=1")
            status = self._watch()
        self.tell("STOPPING=1" if not self.is_giving_way else f"RELOADING=1\nMONOTONIC_USEC={_microseconds()}")
        return self._stop(status)

    def _start(self, worker: _Worker) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        worker.started_at = time.monotonic()
        pid = os.fork()
        if pid:
            worker.pid = pid
            emit("worker.started", worker=worker.index, pid=pid)
            return
        status = 1
        try:
            os.close(self._lifeline[1])
            for index, sockets in enumerate(self.sockets):
                if index != worker.index:
                    for listener in sockets:
                        listener.close()
            # Until the worker can take it, a SIGHUP has nothing to tell it: it reads the configuration as it starts.
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            own = self.sockets[worker.index]
            status = self.work(Assignment(worker.index, own, self._lifeline[0], self._ready[1]))
        except BaseException:
            emit("worker.failed", worker=worker.index, error=traceback.format_exc())
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def _await_ready(self) -> int | None:
        """None once every worker serves; else the exit status to end with."""
        waiting = len(self._workers)
        while waiting:
            readable, _, _ = select.select([self._ready[0]], [], [], 0.2)
            if readable:
                waiting -= len(os.read(self._ready[0], 64))
            taken = signal.sigtimedwait(_SIGNALS, 0)
            if taken is None:
                continue
            if taken.si_signo == signal.SIGCHLD:
                status = self._reap(may_restart=False)
                if status is not None:
                    return status
            elif taken.si_signo == signal.SIGHUP:
                self._is_reload_due = True  # a worker that does not serve yet could not take it
            elif taken.si_signo == signal.SIGUSR2:
                continue  # it has only just come up
            else:
                return 0
        return None

    def _watch(self) -> int:
        if self._is_reload_due:
            self._signal(signal.SIGHUP)
        alive_at = time.monotonic()
        while True:
            taken = signal.sigtimedwait(_SIGNALS, 0.5)
            now = time.monotonic()
            if self.watchdog_s and now >= alive_at and all(worker.pid for worker in self._workers):
                alive_at = now + self.watchdog_s
                self.tell("WATCHDOG=1")
            for worker in self._workers:
                if not worker.pid and now >= worker.restart_at:
                    self._start(worker)
            if taken is None:
                continue
            if taken.si_signo == signal.SIGCHLD:
                status = self._reap(may_restart=True)
                if status is not None:
                    return status
            elif taken.si_signo == signal.SIGHUP:
                self.tell(f"RELOADING=1\nMONOTONIC_USEC={_microseconds()}")
                self._signal(signal.SIGHUP)
                self.tell("READY=1")
            elif taken.si_signo != signal.SIGUSR2:
                return 0
            elif self.may_give_way():
                self.is_giving_way = True
                return 0

    def _reap(self, *, may_restart: bool) -> int | None:
        """Bury the dead, and plan their return; an exit status where there is no use in going on."""
        for worker in self._workers:
            if not worker.pid:
                continue
            pid, wait_status = os.waitpid(worker.pid, os.WNOHANG)
            if not pid:
                continue
            worker.pid = 0
            code = os.waitstatus_to_exitcode(wait_status)
            emit("worker.died", worker=worker.index, pid=pid, status=code)
            self.on_end(pid)
            if code == EXIT_CANNOT_START or not may_restart:
                return code if code > 0 else 1
            now = time.monotonic()
            worker.deaths = 0 if now - worker.started_at > 60 else worker.deaths + 1
            worker.restart_at = now + min(30.0, 0.1 * 2 ** min(worker.deaths, 10))
        return None

    def _signal(self, number: int) -> None:
        for worker in self._workers:
            if worker.pid:
                os.kill(worker.pid, number)

    def _stop(self, status: int) -> int:
        self._signal(signal.SIGTERM)
        deadline = time.monotonic() + self.drain_s + 5.0
        while any(worker.pid for worker in self._workers) and time.monotonic() < deadline:
            signal.sigtimedwait((signal.SIGCHLD,), 0.2)
            self._bury()
        self._signal(signal.SIGKILL)
        for worker in self._workers:
            if worker.pid:
                os.waitpid(worker.pid, 0)
                status = status or 1
        for descriptor in (*self._lifeline, *self._ready):
            os.close(descriptor)
        return status

    def _bury(self) -> None:
        for worker in self._workers:
            if worker.pid and os.waitpid(worker.pid, os.WNOHANG)[0]:
                emit("worker.stopped", worker=worker.index, pid=worker.pid)
                worker.pid = 0


def _microseconds() -> int:
    return time.monotonic_ns() // 1000
