"""Where parked connections live: one background loop and some threads of ours per process.

Everything is made when the first connection is parked, in whichever process that happens, and
ends with the process: peers are told 1001 before it goes.
"""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import functools
import importlib
import logging
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from ws_middleware.core.frames import CloseCode
from ws_middleware.native import make_lock, start_thread

__all__ = ["GRACE_TIME", "HandlerThreads", "Parking", "close_all", "close_on_signals", "parking"]

logger = logging.getLogger("ws_middleware")

#: How long peers may take to say goodbye when the process ends, in seconds.
GRACE_TIME = 5.0
#: How often is looked whether they have gone, in seconds.
TICK = 0.02


class Parked(Protocol):
    """Be a connection that can be told to end."""

    def start_closing(self, code: int = ..., reason: str = ...) -> None:
        """Start to close without waiting."""

    def abort(self) -> None:
        """Drop the connection."""


class Parking:
    """Keep one process's connections, and the loop that some of them live on."""

    def __init__(self) -> None:
        self._lock = make_lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._on_loop: set[Parked] = set()
        self._in_threads: set[Parked] = set()

    # --- the loop ---

    def start(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Start a task on the background loop, in the caller's context."""
        context = contextvars.copy_context()
        self.loop.call_soon_threadsafe(self._start, work, context)

    def _start(
        self, work: Callable[[], Coroutine[Any, Any, None]], context: contextvars.Context
    ) -> None:
        context.run(self.add_task, work())

    def add_task(self, work: Coroutine[Any, Any, None]) -> None:
        """Start a task, on the loop and in the current context."""
        task = self.loop.create_task(work)
        self._tasks.add(task)  # the loop itself keeps no reference
        task.add_done_callback(self._tasks.discard)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """Give the background loop, running."""
        with self._lock:
            if self._loop is None:
                self._loop = _new_loop()
                start_thread(self._loop.run_forever)
            return self._loop

    # --- the connections ---

    def enter(self, connection: Parked, *, on_loop: bool) -> None:
        """Note a connection that has to be closed before the process ends."""
        with self._lock:
            (self._on_loop if on_loop else self._in_threads).add(connection)

    def leave(self, connection: Parked) -> None:
        """Forget a connection that has ended."""
        with self._lock:
            self._on_loop.discard(connection)
            self._in_threads.discard(connection)

    @property
    def count(self) -> int:
        """Count the open connections."""
        return len(self._on_loop) + len(self._in_threads)

    def close_all(self, code: int, reason: str, grace: float) -> None:
        """Say goodbye to every peer at once, and wait until they have gone."""
        self._tell(lambda connection: connection.start_closing(code, reason))
        deadline = time.monotonic() + grace
        while self.count and time.monotonic() < deadline:
            time.sleep(TICK)  # lets greenlets run, and is only for this moment
        self._tell(lambda connection: connection.abort())

    def _tell(self, say: Callable[[Parked], None]) -> None:
        with self._lock:
            on_loop, in_threads = list(self._on_loop), list(self._in_threads)
        for connection in on_loop:
            self.loop.call_soon_threadsafe(say, connection)
        # A peer that takes nothing must not keep the others waiting.
        for connection in in_threads:
            threading.Thread(target=say, args=(connection,), daemon=True).start()

    def stop(self) -> None:
        """End the loop, and with it its thread."""
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is not None:
            loop.call_soon_threadsafe(loop.stop)


class HandlerThreads:
    """Run `def` handlers in threads of ours: `most` at once, `waiting` more in a queue."""

    def __init__(self, most: int, waiting: int) -> None:
        self._most = most
        self._places = most + waiting
        self._lock = threading.Lock()
        self._reserved = 0
        self._running = 0
        self._queue: deque[Callable[[], None]] = deque()

    def reserve(self) -> bool:
        """Take a place, before anything is promised to the peer; False when all are taken."""
        with self._lock:
            if self._reserved >= self._places:
                return False
            self._reserved += 1
            return True

    def give_back(self) -> None:
        """Give back a place that was not needed."""
        with self._lock:
            self._reserved -= 1

    def run(self, work: Callable[[], None]) -> None:
        """Run `work` in a thread, at a place that was reserved and in the caller's context."""
        call = functools.partial(contextvars.copy_context().run, work)
        with self._lock:
            if self._running >= self._most:
                self._queue.append(call)
                return
            self._running += 1
        self._start_thread(call)

    def _start_thread(self, call: Callable[[], None]) -> None:
        threading.Thread(
            target=self._work, args=(call,), name="ws_middleware handler", daemon=True
        ).start()

    def _work(self, call: Callable[[], None] | None) -> None:
        while call is not None:
            try:
                call()
            except BaseException:
                logger.exception("a handler's thread failed")
            with self._lock:
                self._reserved -= 1
                call = self._queue.popleft() if self._queue else None
                self._running -= call is None


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        loop: asyncio.AbstractEventLoop = importlib.import_module("uvloop").new_event_loop()
    except ImportError:
        loop = asyncio.new_event_loop()
    return loop


_parking: Parking | None = None
_parking_lock = make_lock()


def parking() -> Parking:
    """Give this process's parking."""
    global _parking
    with _parking_lock:
        if _parking is None:
            _parking = Parking()
            _at_exit(_close_at_exit)
        return _parking


def close_all(
    code: int = CloseCode.GOING_AWAY,
    reason: str = "the server is shutting down",
    grace: float = GRACE_TIME,
) -> None:
    """Close every connection of this process, and wait for it up to `grace` seconds."""
    if _parking is not None:
        _parking.close_all(code, reason, grace)


def close_on_signals() -> None:
    """Close before SIGTERM or SIGHUP ends the process, where nobody else handles them.

    Without that they would end it at once. Only the main thread can set this up.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _on_signal)


def _on_signal(number: int, frame: object) -> None:
    def leave() -> None:
        _close_at_exit()
        os.kill(os.getpid(), number)

    signal.signal(number, signal.SIG_DFL)
    start_thread(leave)  # this one may hold any lock just now


def _close_at_exit() -> None:
    if _parking is not None:
        close_all()
        _parking.stop()


def _at_exit(function: Callable[[], None]) -> None:
    # The interpreter joins all threads of executors before `atexit`, and a worker thread that
    # runs a handler would not end: where it can be, this comes before.
    getattr(threading, "_register_atexit", atexit.register)(function)


def _forget_in_child() -> None:
    # After a fork neither loop nor threads are there; the sockets are the parent's.
    global _parking, _parking_lock
    _parking = None
    _parking_lock = make_lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)
