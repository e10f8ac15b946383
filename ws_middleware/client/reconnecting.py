"""One connection after the other: a new one whenever the last one has ended.

The same steps for threads and for asyncio; how long each wait is says `client.backoff`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Unpack

from ws_middleware.aio import AsyncConnection
from ws_middleware.client.asynchronous import connect_async
from ws_middleware.client.backoff import (
    Backoff,
    asked_by_close,
    asked_by_refusal,
    is_worth_retrying,
)
from ws_middleware.client.blocking import connect_blocking
from ws_middleware.client.plan import ClientSettings, Plan, make_plan
from ws_middleware.connection import Connection

__all__ = ["Reconnecting", "reconnecting"]

logger: logging.Logger = logging.getLogger("ws_middleware")


def reconnecting(
    url: str,
    *,
    min_delay: float = 1.0,
    max_delay: float = 60.0,
    stable_after: float = 10.0,
    **settings: Unpack[ClientSettings],
) -> Reconnecting:
    """Iterate over connections to one URL, with `for` or `async for`: each ends, the next begins.

    The first one is opened at once, later ones after a random part of a delay that doubles from
    `min_delay` to `max_delay` seconds, and is short again behind a connection that was open for
    `stable_after`. Retry-After and the close codes 1012 and 1013 make it longer. What will not
    heal is raised, as by `connect`: a status such as 403, or a certificate that is not valid.
    """
    plan = make_plan(url, settings)
    Backoff(min_delay, max_delay, random.random)  # which checks them
    return Reconnecting(plan, min_delay, max_delay, stable_after)


class Reconnecting:
    """Be connections, one after the other; each is closed behind its turn, and with the loop."""

    def __init__(self, plan: Plan, min_delay: float, max_delay: float, stable_after: float) -> None:
        self._plan = plan
        self._delays = min_delay, max_delay
        self._stable_after = stable_after
        self._stopped = threading.Event()
        self._wakers: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    def stop(self) -> None:
        """End the iteration before its next connection, from any thread; a wait ends at once."""
        self._stopped.set()
        for loop, event in self._wakers:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(event.set)

    def __iter__(self) -> Iterator[Connection]:
        """Open connections for threads."""
        backoff = self._backoff()
        while not self._stopped.is_set():
            try:
                connection = connect_blocking(self._plan)
            except Exception as error:
                delay = self._after_failure(backoff, error)
            else:
                opened_at = time.monotonic()
                try:
                    yield connection
                finally:  # also where the loop is left
                    connection.close()
                delay = self._after_end(backoff, connection, opened_at)
            self._stopped.wait(delay)

    async def __aiter__(self) -> AsyncIterator[AsyncConnection]:
        """Open connections for asyncio."""
        backoff = self._backoff()
        waker = asyncio.get_running_loop(), asyncio.Event()
        self._wakers.append(waker)
        try:
            while not self._stopped.is_set():
                try:
                    connection = await connect_async(self._plan)
                except Exception as error:
                    delay = self._after_failure(backoff, error)
                else:
                    opened_at = time.monotonic()
                    try:
                        yield connection
                    finally:
                        await connection.close()
                    delay = self._after_end(backoff, connection, opened_at)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(delay):
                        await waker[1].wait()
        finally:
            self._wakers.remove(waker)

    def _backoff(self) -> Backoff:
        return Backoff(*self._delays, random.random)

    def _after_failure(self, backoff: Backoff, error: Exception) -> float:
        if not is_worth_retrying(error):
            raise error
        delay = backoff.next_delay(asked_by_refusal(error, time.time()))
        logger.info("%s: %s; the next attempt is in %.1f s", self._plan.uri, error, delay)
        return delay

    def _after_end(
        self, backoff: Backoff, connection: Connection | AsyncConnection, opened_at: float
    ) -> float:
        if time.monotonic() - opened_at >= self._stable_after:
            backoff.reset()
        return backoff.next_delay(asked_by_close(connection.close_code))
