"""Processes that serve, kept running by one that does not.

Each inherits the listening socket, so whoever comes while one is replaced waits. They are
stopped by SIGTERM, and by nothing that a terminal sends before they serve; none outlives its
parent.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess

__all__ = ["CANNOT_START", "Reloader", "Supervisor"]

logger: logging.Logger = logging.getLogger("ws_middleware")

#: The exit status of a worker that will never serve.
CANNOT_START = 3
#: How often the parent looks around, in seconds.
_INTERVAL = 0.25
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_CAN_MASK = hasattr(signal, "pthread_sigmask")  # not so on Windows
_SPAWN = multiprocessing.get_context("spawn")


class Supervisor:
    """Keep workers serving until a signal comes; one that dies is replaced.

    `work` is called in each process and has to be something that can be pickled.
    """

    def __init__(self, work: Callable[[], None], count: int) -> None:
        self._work = work
        self._count = count
        self._workers: list[SpawnProcess] = []
        self._signals: list[int] = []
        self._failed = False

    def run(self, on_started: Callable[[], None] = lambda: None) -> int:
        """Start the workers and look after them; returns the exit status."""
        with self._signals_caught():
            self._start_missing()
            on_started()
            while not self._signals and not self._failed:
                wait([worker.sentinel for worker in self._workers], _INTERVAL)
                self._look_around()
            self._stop()
        return int(self._failed)

    @contextlib.contextmanager
    def _signals_caught(self) -> Iterator[None]:
        former = {
            number: signal.signal(number, lambda number, _: self._signals.append(number))
            for number in _SIGNALS
        }
        try:
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)

    def _look_around(self) -> None:
        for worker in self._remove_dead():
            if worker.exitcode == CANNOT_START:
                self._failed = True
                return
            logger.error(
                "the worker process %s ended with %s: another one takes its place",
                worker.pid,
                worker.exitcode,
            )
        self._start_missing()

    def _remove_dead(self) -> list[SpawnProcess]:
        dead = [worker for worker in self._workers if not worker.is_alive()]
        self._workers = [worker for worker in self._workers if worker not in dead]
        return dead

    def _start_missing(self) -> None:
        while len(self._workers) < self._count:
            worker = _SPAWN.Process(target=_run_worker, args=(self._work,))
            with _interrupts_held_back():
                worker.start()
            self._workers.append(worker)

    def _stop(self) -> None:
        """Let the workers say goodbye; a further SIGINT makes them stop at once."""
        for worker in self._workers:
            worker.terminate()
        while self._workers:
            if signal.SIGINT in self._signals[1:]:
                for worker in self._workers:
                    assert worker.pid is not None
                    os.kill(worker.pid, signal.SIGINT)
            wait([worker.sentinel for worker in self._workers], _INTERVAL)
            self._remove_dead()


class Reloader(Supervisor):
    """Keep one worker serving, and start it anew when a Python file below a folder changes."""

    def __init__(self, work: Callable[[], None], folder: str) -> None:
        super().__init__(work, 1)
        self._folder = folder
        self._seen = dict(_list_code(folder))

    def _look_around(self) -> None:
        seen, self._seen = self._seen, dict(_list_code(self._folder))
        if changed := {path for path, _ in seen.items() ^ self._seen.items()}:
            names = sorted(os.path.relpath(path, self._folder) for path in changed)
            logger.info("changed: %s", ", ".join(names))
            self._stop()
            self._start_missing()
        elif self._remove_dead():
            logger.error("waiting for the code to change")


def _list_code(folder: str) -> Iterator[tuple[str, int]]:
    """Give the Python files below a folder and when they changed, without installed packages."""
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if _is_ours(os.path.join(place, name))]
        for name in files:
            if name.endswith(".py"):
                path = os.path.join(place, name)
                with contextlib.suppress(OSError):  # gone meanwhile
                    yield path, os.stat(path).st_mtime_ns


def _is_ours(folder: str) -> bool:
    name = os.path.basename(folder)
    hidden = name.startswith((".", "__pycache__")) or name == "node_modules"
    return not hidden and not os.path.exists(os.path.join(folder, "pyvenv.cfg"))


@contextlib.contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Start a process that hears of no SIGINT before it wants to; the parent misses none."""
    if not _CAN_MASK:
        yield
        return
    resource_tracker.ensure_running()  # by itself, it would do that below, and unblock SIGINT
    former = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


def _run_worker(work: Callable[[], None]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if _CAN_MASK:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_end_with_parent, daemon=True).start()
    work()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
