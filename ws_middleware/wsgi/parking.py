"""Where parked connections live: one background loop per process, and who has to be told.

Everything is made when the first connection is parked, in whichever process that happens.
Nothing of it survives a fork.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import importlib
import time
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple, Protocol

from ws_middleware.native import (
    call_after_fork,
    make_lock,
    make_selector,
    share_logging,
    start_thread,
)
from ws_middleware.waiting import Spawner, Waiting

__all__ = ["Parked", "Parking", "open_parking", "parking"]

#: How often is looked whether everybody has gone, in seconds.
TICK = 0.02


class Parked(Protocol):
    """Be a connection that can be told to end."""

    def start_closing(self, code: int = ..., reason: str = ...) -> None:
        """Start to close without waiting."""

    def abort(self) -> None:
        """Drop the connection."""


class _Place(NamedTuple):
    """Say how a connection's handler waits, and what runs something beside it."""

    waiting: Waiting
    spawn: Spawner


class Parking:
    """Keep one process's connections, and the loop that some of them live on."""

    def __init__(self) -> None:
        self._lock = make_lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._parked: dict[Parked, _Place | None] = {}

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
                share_logging()
                start_thread(self._loop.run_forever)
            return self._loop

    # --- the connections ---

    def enter(self, connection: Parked, waiting: Waiting | None) -> None:
        """Note a connection that has to be told when the process ends.

        It lives on the loop, or its handler waits in the way of `waiting`.
        """
        place = None if waiting is None else _Place(waiting, waiting.spawner())
        with self._lock:
            self._parked[connection] = place

    def leave(self, connection: Parked) -> None:
        """Forget a connection that has ended."""
        with self._lock:
            self._parked.pop(connection, None)

    def tell_all(self, say: Callable[[Parked], None], told: set[Parked] | None = None) -> None:
        """Say something to every connection, where it lives, without waiting for any.

        Those in `told` know it already; who is told now joins them.
        """
        with self._lock:
            parked = [item for item in self._parked.items() if not told or item[0] not in told]
        if told is not None:
            told.update(connection for connection, _ in parked)
        for connection, place in parked:
            if place is None:
                self.loop.call_soon_threadsafe(say, connection)
            else:
                place.spawn(functools.partial(say, connection))

    def dismiss(self, say: Callable[[Parked], None], timeout: float) -> None:
        """Tell all, newcomers too, and wait until they have ended, at most `timeout` seconds."""
        told: set[Parked] = set()
        deadline = time.monotonic() + timeout
        while self._parked and time.monotonic() < deadline:
            self.tell_all(say, told)
            self._pause()

    def _pause(self) -> None:
        with self._lock:
            places = list(self._parked.values())
        greenlets = (place.waiting for place in places if place and place.waiting.is_cooperative)
        waiting = next(greenlets, None)
        if waiting is None:
            time.sleep(TICK)
        else:
            waiting.make_event().wait(TICK)  # where this thread has greenlets, they run meanwhile

    def stop(self) -> None:
        """End the loop, and with it its thread."""
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is not None:
            loop.call_soon_threadsafe(loop.stop)


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        loop: asyncio.AbstractEventLoop = importlib.import_module("uvloop").new_event_loop()
    except ImportError:
        loop = asyncio.SelectorEventLoop(make_selector())
    return loop


_parking: Parking | None = None
_lock = make_lock()


def parking() -> Parking:
    """Give this process's parking; it is made where there is none."""
    global _parking
    with _lock:
        if _parking is None:
            _parking = Parking()
        return _parking


def open_parking() -> Parking | None:
    """Give this process's parking, if it has one."""
    return _parking


def _forget_in_child() -> None:
    # After a fork neither loop nor threads are there; the sockets are the parent's.
    global _parking, _lock
    _parking = None
    _lock = make_lock()


call_after_fork(_forget_in_child)
