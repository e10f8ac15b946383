"""Asking from a WSGI worker: a plain function in place, `async def` on the background loop.

The worker, a thread or a greenlet, waits for the loop; the loop gives up in time.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import socket
from collections.abc import Awaitable, Callable
from typing import Any

from ws_middleware.asking import Ask
from ws_middleware.errors import HandshakeError
from ws_middleware.native import make_socket
from ws_middleware.waiting import Interest, waiting_here
from ws_middleware.wsgi.parking import parking

__all__ = ["ask_in_worker", "asking_within"]


def asking_within(timeout: float | None) -> Ask:
    """Give a way to ask that takes `timeout` seconds at the most where the loop answers."""
    return functools.partial(_ask, timeout)


async def ask_in_worker(function: Callable[..., Any], *arguments: Any) -> Any:
    """Ask, however long it takes."""
    return await _ask(None, function, *arguments)


async def _ask(timeout: float | None, function: Callable[..., Any], *arguments: Any) -> Any:
    outcome = function(*arguments)
    return _await_on_loop(outcome, timeout) if inspect.isawaitable(outcome) else outcome


def _await_on_loop(awaitable: Awaitable[Any], timeout: float | None) -> Any:
    answer: asyncio.Future[Any] | None = None
    # The end of a stream is what threads and greenlets of all kinds can wait for.
    ours, theirs = socket.socketpair()
    bell = make_socket(theirs.detach())

    async def work() -> None:
        nonlocal answer
        answer = asyncio.ensure_future(_within(awaitable, timeout))
        with bell:
            await asyncio.wait([answer])

    with ours:
        parking().start(work)
        waiting_here().wait_for(Interest(ours, True, False), timeout=None)
    if answer is None or answer.cancelled():
        raise HandshakeError(503, "the question who may connect was given up")
    return answer.result()


async def _within(awaitable: Awaitable[Any], timeout: float | None) -> Any:
    try:
        async with asyncio.timeout(timeout) as limit:
            return await awaitable
    except TimeoutError:
        if not limit.expired():
            raise
    raise HandshakeError(503, f"nobody said who may connect within open_timeout={timeout} s")
