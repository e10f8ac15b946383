"""The three shapes of a handler, and how each of them ends.

`async def` runs on the loop; `def` runs in a thread of its own; a `Handler` class gets its
callbacks in order, plain `def` ones from a small pool. A handler that returns closes with
1000; one that raises closes with 1011 and leaves one traceback in the log.
"""

from __future__ import annotations

import abc
import asyncio
import contextvars
import difflib
import functools
import inspect
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from ws_middleware.aio import AsyncConnection
from ws_middleware.asking import is_async, run_in_place
from ws_middleware.bridge import BridgedConnection
from ws_middleware.connection import Connection
from ws_middleware.core.endpoint import State
from ws_middleware.core.frames import CloseCode
from ws_middleware.core.messages import Data, Ping, Pong
from ws_middleware.errors import ConnectionClosed
from ws_middleware.pool import (
    OutOfThreadsError,
    Pool,
    Starter,
    as_failure,
    call_in,
    start_thread,
)
from ws_middleware.socket_connection import SocketConnection

__all__ = [
    "Handler",
    "HandlerLike",
    "check_handler",
    "check_parameters",
    "is_being_cancelled",
    "is_only",
    "run_handler",
]

logger: logging.Logger = logging.getLogger("ws_middleware")

_STOPPING = CloseCode.GOING_AWAY, "the server is shutting down"
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


#: A function of a connection and the path's parameters, or a `Handler` class.
HandlerLike = Callable[..., Any]


def check_handler(handler: HandlerLike) -> None:
    """Refuse, with `TypeError`, what cannot be a handler."""
    kind = _handler_class(handler)
    if kind is not None:
        _check_callbacks(kind)
    elif inspect.isclass(handler):
        raise TypeError(f"{handler.__name__} is a class but not a subclass of Handler")
    if not callable(handler):
        raise TypeError(f"a handler is a function or a Handler class, not {handler!r}")
    if inspect.isgeneratorfunction(handler) or inspect.isasyncgenfunction(handler):
        raise TypeError(f"{_name(handler)}() yields, so nothing of it would run: use send()")


def _check_callbacks(kind: type[Handler]) -> None:
    blank = object.__new__(kind)
    for name in dir(kind):
        if name in _CALLBACKS:
            names = list(inspect.signature(getattr(Handler(None), name)).parameters)
            _check_call(getattr(blank, name), f"{kind.__name__}.{name}", names, {})
        elif name.startswith("on") and (meant := _meant_by(name)) is not None:
            raise TypeError(
                f"{kind.__name__}.{name} is never called: write {meant}, or give it another name"
            )


def _meant_by(name: str) -> str | None:
    """Find the callback that a name stands for elsewhere, or that it was meant to be."""
    near = difflib.get_close_matches(name, _CALLBACKS, 1, cutoff=0.9)
    return near[0] if near else _ELSEWHERE.get(name)


def check_parameters(handler: HandlerLike, rule: str, names: Iterable[str]) -> None:
    """Refuse, with `TypeError`, a handler that does not take what its rule finds in the path."""
    try:
        _check_call(handler, _name(handler), ["connection"], names)
    except TypeError as error:
        raise TypeError(f"{rule!r} means {error}") from None


def _check_call(
    function: Callable[..., Any], name: str, positional: Sequence[str], named: Iterable[str]
) -> None:
    try:
        # What a decorator wraps is the decorator's business.
        signature = inspect.signature(function, follow_wrapped=False)
    except ValueError:
        return  # it does not say
    try:
        signature.bind(*positional, **dict.fromkeys(named))
    except TypeError as error:
        call = ", ".join([*positional, *(f"{one}=..." for one in sorted(named))])
        raise TypeError(f"the call {name}({call}): {error}") from None


def _name(handler: HandlerLike) -> str:
    name: str = getattr(handler, "__name__", type(handler).__name__)
    return name


def _handler_class(handler: HandlerLike) -> type[Handler] | None:
    return handler if inspect.isclass(handler) and issubclass(handler, Handler) else None


def observes_control(handler: HandlerLike) -> bool:
    """Tell whether a handler wants to see pings and pongs."""
    kind = _handler_class(handler)
    if kind is None:
        return False
    return kind.on_ping is not Handler.on_ping or kind.on_pong is not Handler.on_pong


async def run_handler(
    handler: HandlerLike,
    connection: AsyncConnection,
    path_params: dict[str, Any],
    prelude: Callable[[AsyncConnection], Awaitable[bool]] | None = None,
    start: Starter = start_thread,
) -> None:
    """Run a handler from beginning to end, and close the connection behind it.

    Where there is a `prelude`, it comes first, and decides whether the handler is run at all.
    A plain `def` handler is run by `start`, which gives it a thread.
    """
    try:
        if prelude is None or await prelude(connection):
            await _start(handler, connection, path_params, start)
    except asyncio.CancelledError:
        if is_being_cancelled():
            connection.start_closing(*_STOPPING)
            raise
        _fail(connection)
    except OutOfThreadsError as error:
        _go_without_thread(connection, error)
    except Exception as error:
        if not _is_end_of(connection, error):
            _fail(connection)
    except BaseException:
        connection.abort()
        raise
    await connection.close()


def _is_end_of(connection: AsyncConnection | SocketConnection, error: Exception) -> bool:
    """Tell whether an exception only says that the peer went while the handler was at work."""
    # That another connection is closed is an error of the handler like any other.
    return connection.state is not State.OPEN and is_only(error, ConnectionClosed)


def is_only(error: BaseException, *kinds: type[Exception]) -> bool:
    """Tell whether an exception, or every one of a group, is of these kinds."""
    if isinstance(error, BaseExceptionGroup):
        return all(is_only(one, *kinds) for one in error.exceptions)
    return isinstance(error, kinds)


def _fail(connection: AsyncConnection | SocketConnection) -> None:
    """Tell of the exception that is being handled: us in the log, the peer with 1011."""
    logger.exception("the handler of %a failed", connection.request.path)
    connection.start_closing(CloseCode.INTERNAL_ERROR, "internal error")


def _go_without_thread(
    connection: AsyncConnection | SocketConnection, error: OutOfThreadsError
) -> None:
    logger.error("no thread for the handler of %a: %s", connection.request.path, error)
    connection.start_closing(CloseCode.TRY_AGAIN_LATER, "no thread is free")


def is_being_cancelled() -> bool:
    """Tell whether somebody cancels this task; a handler may as well raise by itself."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def run_in_thread(
    handler: HandlerLike,
    connection: SocketConnection,
    path_params: dict[str, Any],
    prelude: Callable[[SocketConnection], bool],
    start: Starter,
) -> None:
    """Run a plain `def` handler in a thread that needs no loop, and wait for its end."""
    call = functools.partial(run_blocking, _contained(handler), connection, path_params, prelude)
    try:
        await call_in(start, call)
    except OutOfThreadsError as error:
        _go_without_thread(connection, error)
    except asyncio.CancelledError:
        connection.start_closing(*_STOPPING)
        raise


def run_blocking(
    handler: HandlerLike,
    connection: SocketConnection,
    path_params: dict[str, Any],
    prelude: Callable[[SocketConnection], bool] | None = None,
) -> None:
    """Run a handler without any `async def` in this thread, and close the connection behind it."""
    try:
        if prelude is None or prelude(connection):
            _start_in_place(handler, connection, path_params)
    except Exception as error:
        if not _is_end_of(connection, error):
            _fail(connection)
    except BaseException:
        # The server ends this thread, and may write into the socket: it must be shut by then.
        connection.start_closing(*_STOPPING)
        connection.abort()
        raise
    connection.close()


def _contained(handler: HandlerLike) -> HandlerLike:
    """Make a failure of the handler alone what would end its thread."""

    @functools.wraps(handler)
    def call(*arguments: Any, **path_params: Any) -> Any:
        try:
            return handler(*arguments, **path_params)
        except Exception:
            raise
        except BaseException as error:
            raise as_failure(error) from None

    return call


def _start(
    handler: HandlerLike,
    connection: AsyncConnection,
    path_params: dict[str, Any],
    start: Starter,
) -> Awaitable[None]:
    """Give what runs the handler; it is awaited at once, and adds no frame of its own."""
    kind = _handler_class(handler)
    if kind is not None:
        given = connection if needs_loop(kind) else _bridge(connection)
        return _CallbacksOnLoop(kind(given, **path_params), connection).run()
    if is_async(handler):
        running: Awaitable[None] = handler(connection, **path_params)
        return running
    call = functools.partial(_use, _bridge(connection), handler, path_params)
    return call_in(start, call)


def _start_in_place(
    handler: HandlerLike, connection: SocketConnection, path_params: dict[str, Any]
) -> None:
    kind = _handler_class(handler)
    if kind is None:
        _call_plain(handler, connection, path_params)
    else:
        _CallbacksInPlace(kind(connection, **path_params), connection).drive()


def _bridge(connection: AsyncConnection) -> BridgedConnection:
    return BridgedConnection(connection, asyncio.get_running_loop())


def _use(connection: BridgedConnection, handler: HandlerLike, path_params: dict[str, Any]) -> None:
    """Run a plain `def` handler in this thread; what it has sent goes before the close."""
    try:
        _call_plain(handler, connection, path_params)
    finally:
        connection.flush()


def _call_plain(handler: HandlerLike, connection: Connection, path_params: dict[str, Any]) -> None:
    outcome = handler(connection, **path_params)
    if inspect.iscoroutine(outcome):
        # A plain decorator hides that the handler is `async def`, and nothing of it has run.
        outcome.close()
        raise TypeError(
            f"{handler!r} gave a coroutine: what wraps an `async def` handler has to be "
            "`async def` itself"
        )


def is_blocking(handler: HandlerLike) -> bool:
    """Tell whether a handler is a plain function, which takes a thread for itself."""
    return _handler_class(handler) is None and not is_async(handler)


def needs_loop(handler: HandlerLike) -> bool:
    """Tell whether any of a handler is `async def`."""
    kind = _handler_class(handler)
    if kind is None:
        return is_async(handler)
    return any(inspect.iscoroutinefunction(getattr(kind, name)) for name in _CALLBACKS)


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
            if not _is_end_of(connection, error):
                _fail(connection)
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
            if _is_end_of(self._connection, error):
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


class _CallbacksOnLoop(_Callbacks):
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


class _CallbacksInPlace(_Callbacks):
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


#: What other packages call theirs.
_ELSEWHERE = {
    "on_connect": "on_open",
    "on_receive": "on_message",
    "on_data": "on_message",
    "on_disconnect": "on_close",
}
_CALLBACKS = [name for name in vars(Handler) if name.startswith("on_")]
_DEFAULTS = frozenset(vars(Handler)[name] for name in _CALLBACKS)
