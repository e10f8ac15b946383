"""Threads of ours for `def` handlers: a bounded number, and a bounded queue behind it."""

from __future__ import annotations

import contextvars
import functools
import logging
import threading
from collections import deque
from collections.abc import Callable

from ws_middleware.errors import HandshakeError
from ws_middleware.native import renew_after_fork
from ws_middleware.pool import OutOfThreadsError, start_thread

__all__ = ["MAX_THREADS", "MAX_WAITING", "HandlerThreads"]

logger: logging.Logger = logging.getLogger("ws_middleware")

#: How many handlers run at once, and how many more wait, where nobody says otherwise.
MAX_THREADS = 1000
MAX_WAITING = 100


class HandlerThreads:
    """Run `def` handlers in threads of ours: `most` at once, `waiting` more in a queue."""

    def __init__(self, most: int, waiting: int) -> None:
        for name, number, least in (("max_threads", most, 1), ("max_waiting", waiting, 0)):
            if number < least:
                raise ValueError(f"{name}={number!r} is less than {least}")
        self._most = most
        self._places = most + waiting
        self._begin_anew()
        renew_after_fork(self, HandlerThreads._begin_anew)

    def _begin_anew(self) -> None:
        """Count from no thread on: after a fork those that ran are the parent's."""
        self._lock = threading.Lock()
        self._reserved = 0
        self._running = 0
        self._queue: deque[Callable[[], object]] = deque()

    def check_room(self) -> None:
        """Raise a `HandshakeError` of 503 while all places are taken."""
        if self._reserved >= self._places:
            reason = f"max_threads={self._most} handlers are running"
            raise HandshakeError(503, reason, [("Retry-After", "5")])

    def reserve(self) -> None:
        """Take a place, before anything is promised to the peer; as `check_room`."""
        with self._lock:
            self.check_room()
            self._reserved += 1

    def give_back(self) -> None:
        """Give back a place that was not needed."""
        with self._lock:
            self._reserved -= 1

    def start(self, work: Callable[[], object]) -> None:
        """Run `work` as `run` does, at a place that is taken now.

        `OutOfThreadsError` where there is none.
        """
        try:
            self.reserve()
        except HandshakeError as error:
            raise OutOfThreadsError(error.reason) from None
        self.run(work)

    def run(self, work: Callable[[], object]) -> None:
        """Run `work` in a thread, at a place that was reserved and in the caller's context.

        `OutOfThreadsError` where the system gives none and none of ours is at work; the place
        is given back then.
        """
        call = functools.partial(contextvars.copy_context().run, work)
        with self._lock:
            if self._running >= self._most:
                self._queue.append(call)
                return
            self._running += 1
        try:
            start_thread(functools.partial(self._work, call))
        except OutOfThreadsError:
            with self._lock:
                self._running -= 1
                if not self._running:
                    self._reserved -= 1
                    raise
                self._queue.append(call)  # whoever ends next takes it over

    def _work(self, call: Callable[[], object] | None) -> None:
        while call is not None:
            try:
                call()
            except BaseException:
                logger.exception("a handler's thread failed")
            with self._lock:
                self._reserved -= 1
                call = self._queue.popleft() if self._queue else None
                self._running -= call is None
