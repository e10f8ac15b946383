"""Our asyncio connections under a server that runs trio: one loop beside it carries them all.

The server's two callables stay in trio. Each call of them is started there by a token, and its
outcome comes back to the loop; cancelling it here cancels it there.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from ws_middleware.asgi.types import Event, Receive, Send
from ws_middleware.native import start_named_thread

__all__ = ["is_asyncio", "run_beside_trio"]

#: What is run on the loop, with a `receive` and a `send` of its own.
Work = Callable[[Receive, Send], Coroutine[Any, Any, None]]


def is_asyncio() -> bool:
    """Tell whether this runs on an event loop of asyncio."""
    return asyncio._get_running_loop() is not None


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    start_named_thread(loop.run_forever, "ws_middleware asyncio")
    return loop


async def run_beside_trio(work: Work, receive: Receive, send: Send) -> None:
    """Run `work` on the loop, and wait for its end in trio."""
    import trio

    ended, token = trio.Event(), trio.lowlevel.current_trio_token()
    async with trio.open_nursery() as nursery:
        calls = _Calls(nursery, token)

        async def run() -> None:
            try:
                await work(lambda: calls.call(receive), lambda event: calls.call(send, event))
            finally:
                token.run_sync_soon(ended.set)

        outcome = asyncio.run_coroutine_threadsafe(run(), _loop())
        try:
            await ended.wait()
        except BaseException:
            outcome.cancel()
            with trio.CancelScope(shield=True):
                await ended.wait()  # the goodbye goes first
            raise
        nursery.cancel_scope.cancel()
    if not outcome.cancelled():
        await trio.to_thread.run_sync(outcome.result)


class _Calls:
    """Make calls in trio for a coroutine of the loop."""

    def __init__(self, nursery: Any, token: Any) -> None:
        self._nursery = nursery
        self._token = token

    def call(
        self, function: Callable[..., Awaitable[Any]], *arguments: Event
    ) -> asyncio.Future[Any]:
        """Start a call; the future is settled, on the loop, by its outcome."""
        import trio

        outcome: asyncio.Future[Any] = _loop().create_future()
        scope = trio.CancelScope(shield=True)

        async def run() -> None:
            with scope:
                try:
                    settle = functools.partial(outcome.set_result, await function(*arguments))
                except Exception as error:
                    settle = functools.partial(outcome.set_exception, error)
                _loop().call_soon_threadsafe(_settle, outcome, settle)

        def cancel(done: asyncio.Future[Any]) -> None:
            if done.cancelled():
                self._token.run_sync_soon(scope.cancel)

        outcome.add_done_callback(cancel)
        self._token.run_sync_soon(self._nursery.start_soon, run)
        return outcome


def _settle(outcome: asyncio.Future[Any], settle: Callable[[], None]) -> None:
    if not outcome.done():
        settle()
