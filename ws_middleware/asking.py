"""Asking functions of the user about a peer: plain or `async def`, from a loop or a thread.

Rule 1: on a loop a plain function runs in a thread of a small pool, unless its attribute
`blocking` is False. Rule 2: what asks is one coroutine everywhere; in a thread it is run in
place, and nothing in it suspends.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import functools
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from ws_middleware.errors import HandshakeError
from ws_middleware.pool import LoopClosedError, Pool, call_in, result_of

__all__ = [
    "Ask",
    "answers_at_once",
    "ask_in_place",
    "ask_on_loop",
    "asking_from_thread",
    "is_async",
    "run_in_place",
]

_Result = TypeVar("_Result")

#: A way to call a function with arguments, and to wait for its outcome.
Ask = Callable[..., Awaitable[Any]]

#: How many questions that block, such as a look into a database, are asked at once.
POOL_SIZE = 16


@functools.cache
def _pool() -> Pool:
    return Pool(POOL_SIZE)


def is_async(function: Callable[..., Any]) -> bool:
    """Tell whether calling this gives a coroutine; wrapped and callable objects included."""
    while isinstance(function, functools.partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - an object with `async def __call__`
    )


def answers_at_once(function: Callable[..., Any] | None) -> bool:
    """Tell whether a function neither waits nor computes for long, as `blocking` says."""
    return function is None or not (getattr(function, "blocking", True) or is_async(function))


async def ask_on_loop(function: Callable[..., Any], *arguments: Any) -> Any:
    """Ask on an event loop, which goes on meanwhile."""
    if is_async(function):
        return await function(*arguments)
    call = functools.partial(function, *arguments)
    if getattr(function, "blocking", True):
        outcome = await call_in(
            _pool().submit, functools.partial(contextvars.copy_context().run, call)
        )
    else:
        outcome = call()
    return await outcome if inspect.isawaitable(outcome) else outcome


def asking_from_thread(loop: asyncio.AbstractEventLoop) -> Ask:
    """Give a way to ask in a thread: plain functions in place, `async def` on the loop."""

    async def ask(function: Callable[..., Any], *arguments: Any) -> Any:
        outcome = function(*arguments)
        if not inspect.isawaitable(outcome):
            return outcome
        question = _wait_for(outcome)
        try:
            return result_of(asyncio.run_coroutine_threadsafe(question, loop), loop)
        except (concurrent.futures.CancelledError, LoopClosedError):
            for asked in filter(inspect.iscoroutine, (question, outcome)):
                asked.close()  # it may never have begun
            raise HandshakeError(503, "the question who may connect was given up") from None

    return ask


async def _wait_for(outcome: Awaitable[Any]) -> Any:
    return await outcome


async def ask_in_place(function: Callable[..., Any], *arguments: Any) -> Any:
    """Ask in the calling thread a function that does not wait."""
    return function(*arguments)


def run_in_place(work: Coroutine[Any, Any, _Result]) -> _Result:
    """Run a coroutine in which nothing suspends."""
    try:
        work.send(None)
    except StopIteration as done:
        result: _Result = done.value
        return result
    work.close()
    raise RuntimeError("something was awaited that is not there at once, where nothing can wait")
