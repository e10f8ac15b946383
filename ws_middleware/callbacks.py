"""Handlers with callbacks: what users inherit from, and what calls it.

Callbacks come one after the other. `async def` ones run on the loop; plain `def` ones in a small
pool, or in the calling thread where there is no loop. `on_close` comes last, and always.
"""

from __future__ import annotations

import abc
import contextvars
import functools
import inspect
from collections.abc import Callable
from typing import Any

from ws_middleware.aio import AsyncConnection
from ws_middleware.asking import run_in_place
from ws_middleware.core.frames import CloseCode
from ws_middleware.core.messages import Data, Ping, Pong
from ws_middleware.failures import fail, is_end_of
from ws_middleware.pool import Pool, call_in
from ws_middleware.socket_connection import SocketConnection

__all__ = ["CALLBACKS", "CallbacksInPlace", "CallbacksOnLoop", "Handler"]

#: How many threads serve the plain `def` callbacks of all `Handler` objects.
POOL_SIZE = 16


class Handler:
    """Handle one connection by callbacks; write those you need, as `def` or `async def`.

    There is one object per connection: `connection` is an `AsyncConnection` where any callback
    is `async def`, a blocking `Connection` otherwise. Callbacks come one after the other.
    """

    def __init__(self, connection: Any, **path_params: Any) -> None:
        self.connection = connection
        self.path_params = path_params

    def on_open(self) -> Any:
        """React to the connection being open."""

    def on_message(self, message: Data) -> Any:
        """React to a message: str for text, bytes for binary."""

    def on_ping(self, payload: bytes) -> Any:
        """React to a ping; it has been answered already."""

    def on_pong(self, payload: bytes) -> Any:
        """React to a pong."""

    def on_close(self, code: int, reason: str) -> Any:
        """React to the end of the connection, whoever closed it; it comes last, and always."""

    def on_error(self, error: Exception) -> Any:
        """React to an exception of another callback; by default it goes on, closing with 1011."""
        raise error


#: The names of the callbacks.
CALLBACKS: list[str] = [name for name in vars(Handler) if name.startswith("on_")]
_DEFAULTS = frozenset(vars(Handler)[name] for name in CALLBACKS)


@functools.cache
def _pool() -> Pool:
    return Pool(POOL_SIZE)


class _Callbacks(abc.ABC):
    """Drive the callbacks of one `Handler` object; subclasses say how to wait."""

    def __init__(self, handler: Handler, connection: AsyncConnection | SocketConnection) -> None:
        self._handler = handler
        self._connection = connection

    async def run(self) -> None:
        """Call everything in its order."""
        connection = self._connection
        try:
            await self._converse()
        except Exception as error:
            if not is_end_of(connection, error):
                fail(connection)
                await self._wait_closed()
        finally:
            code = connection.close_code
            await self._call(
                self._handler.on_close,
                CloseCode.ABNORMAL if code is None else code,
                connection.close_reason or "",
            )

    async def _converse(self) -> None:
        await self._react(self._handler.on_open)
        while True:
            await self._dispatch(await self._receive())

    async def _dispatch(self, item: Data | Ping | Pong) -> None:
        if isinstance(item, Ping):
            await self._react(self._handler.on_ping, item.payload)
        elif isinstance(item, Pong):
            await self._react(self._handler.on_pong, item.payload)
        else:
            await self._react(self._handler.on_message, item)

    async def _react(self, callback: Callable[..., Any], *arguments: Any) -> None:
        try:
            await self._call(callback, *arguments)
        except Exception as error:
            if is_end_of(self._connection, error):
                raise
            await self._call(self._handler.on_error, error)

    @abc.abstractmethod
    async def _receive(self) -> Data | Ping | Pong:
        """Wait for the next message, ping or pong."""

    @abc.abstractmethod
    async def _wait_closed(self) -> None:
        """Wait for the end of a connection that is closing."""

    @abc.abstractmethod
    async def _call(self, callback: Callable[..., Any], *arguments: Any) -> None:
        """Make a call, where such a call belongs."""


class CallbacksOnLoop(_Callbacks):
    """Drive callbacks on the event loop, the plain ones in threads of a pool."""

    _connection: AsyncConnection

    def __init__(self, handler: Handler, connection: AsyncConnection) -> None:
        super().__init__(handler, connection)
        self._context = contextvars.copy_context()

    async def _receive(self) -> Data | Ping | Pong:
        return await self._connection.recv_item()

    async def _wait_closed(self) -> None:
        await self._connection.wait_closed()

    async def _call(self, callback: Callable[..., Any], *arguments: Any) -> None:
        if inspect.iscoroutinefunction(callback):
            await callback(*arguments)
        elif getattr(callback, "__func__", None) in _DEFAULTS:
            callback(*arguments)  # not worth a thread
        else:
            call = functools.partial(self._context.run, callback, *arguments)
            await call_in(_pool().submit, call)


class CallbacksInPlace(_Callbacks):
    """Drive plain callbacks in the calling thread: nothing that is awaited here suspends."""

    _connection: SocketConnection

    def drive(self) -> None:
        """Call everything in its order, and return when the connection has ended."""
        run_in_place(self.run())

    async def _receive(self) -> Data | Ping | Pong:
        return self._connection.recv_item()

    async def _wait_closed(self) -> None:
        self._connection.close()

    async def _call(self, callback: Callable[..., Any], *arguments: Any) -> None:
        callback(*arguments)
