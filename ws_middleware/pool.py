"""Calls in other threads than the loop's: one thread each, or a few for many short calls.

Rule 1: all threads are daemons, so no call keeps the program alive. Rule 2: a call of the pool
that waits for a peer makes room for another one, so a peer that does not read holds up nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

from ws_middleware.native import renew_after_fork, start_named_thread

__all__ = [
    "LoopClosedError",
    "OutOfThreadsError",
    "Pool",
    "Starter",
    "as_failure",
    "call_in",
    "check_open",
    "result_of",
    "start_thread",
    "waiting",
]

_Result = TypeVar("_Result")
_Work = Callable[[], object]
#: What runs a call in another thread, in the caller's context, without waiting for it.
Starter = Callable[[_Work], object]

#: How often those who wait for a loop look whether it is still there, in seconds.
ROUND_TIME = 1.0

_current = threading.local()  # its `pool` is the one that the thread belongs to


class OutOfThreadsError(RuntimeError):
    """Tell that the system gives no more threads."""


class LoopClosedError(RuntimeError):
    """Tell that the loop that was to do something is closed."""


def start_thread(work: _Work) -> None:
    """Run a call in a thread of its own, in the caller's context.

    `OutOfThreadsError` where the system gives none.
    """
    call = functools.partial(contextvars.copy_context().run, work)
    try:
        start_named_thread(call, "ws_middleware handler")
    except RuntimeError as error:
        raise OutOfThreadsError(str(error)) from None


async def call_in(start: Starter, function: Callable[[], _Result]) -> _Result:
    """Let `start` run a function elsewhere, and wait for its outcome."""
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[_Result] = loop.create_future()

    def settle(result: Any, error: BaseException | None) -> None:
        if outcome.done():
            return
        if error is None:
            outcome.set_result(result)
        else:
            outcome.set_exception(error)

    def work() -> None:
        result: _Result | None = None
        failure: BaseException | None = None
        try:
            result = function()
        except BaseException as error:
            failure = as_failure(error)
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody wants to know
            loop.call_soon_threadsafe(settle, result, failure)

    start(work)
    return await outcome


def result_of(outcome: Future[_Result], loop: asyncio.AbstractEventLoop) -> _Result:
    """Wait in a thread for what a loop does; `LoopClosedError` where it never will."""
    while True:
        try:
            return outcome.result(ROUND_TIME)
        except TimeoutError:
            if outcome.done():
                raise  # this is the outcome
        check_open(loop)


def check_open(loop: asyncio.AbstractEventLoop) -> None:
    """Raise `LoopClosedError` for a loop that is closed."""
    # One that has stopped takes calls until then, and never makes them.
    if loop.is_closed():
        raise LoopClosedError("the event loop is closed")


def as_failure(error: BaseException) -> Exception:
    """Give an exception that fails a call, for one that would end its thread or its loop."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    failure = RuntimeError(f"the handler raised {error!r}")
    return failure.with_traceback(error.__traceback__)


class Pool:
    """Run calls on at most `size` threads, not counting those that wait for a peer."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._begin_anew()
        renew_after_fork(self, Pool._begin_anew)

    def _begin_anew(self) -> None:
        """Begin without threads: after a fork those that ran are the parent's."""
        self._calls: queue.SimpleQueue[_Work] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._running = 0

    def submit(self, work: _Work) -> None:
        """Run a call as soon as a thread is free."""
        self._calls.put(work)
        self._start_thread()

    def _start_thread(self) -> None:
        with self._lock:
            if self._running >= self._size:
                return
            self._running += 1
        try:
            start_named_thread(self._run, "ws_middleware callbacks")
        except RuntimeError:  # the system gives no more threads: those that run have to do
            with self._lock:
                self._running -= 1
                if self._running == 0:
                    raise

    def _run(self) -> None:
        _current.pool = self
        while self._is_wanted():
            self._calls.get()()

    def _is_wanted(self) -> bool:
        with self._lock:
            if self._running <= self._size:
                return True
            self._running -= 1
            return False

    @contextlib.contextmanager
    def substituted(self) -> Iterator[None]:
        """Let another thread take the place of this one meanwhile."""
        with self._lock:
            self._running -= 1
        if not self._calls.empty():
            self._start_thread()
        try:
            yield
        finally:
            with self._lock:
                self._running += 1


def waiting() -> contextlib.AbstractContextManager[None]:
    """Tell that this thread waits for a peer."""
    pool: Pool | None = getattr(_current, "pool", None)
    return contextlib.nullcontext() if pool is None else pool.substituted()
