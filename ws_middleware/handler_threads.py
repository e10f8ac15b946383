"""Threads of ours for `def` handlers: a bounded number, and a bounded queue behind it."""

from __future__ import annotations

import contextvars
import functools
import logging
import threading
from collections import deque
from collections.abc import Callable

from ws_middleware.pool import OutOfThreadsError, start_thread

__all__ = ["HandlerThreads"]

logger: logging.Logger = logging.getLogger("ws_middleware")


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
