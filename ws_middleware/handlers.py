"""The three shapes of a handler, and how each of them ends.

`async def` runs on the loop; `def` runs in a thread of its own; a `Handler` class gets its
callbacks in order, plain `def` ones from a small pool. A handler that returns closes with
1000; one that raises closes with 1011 and leaves one traceback in the log.
"""

from __future__ import annotations

import asyncio
import difflib
import functools
import inspect
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from ws_middleware.aio import AsyncConnection
from ws_middleware.asking import is_async
from ws_middleware.bridge import BridgedConnection
from ws_middleware.callbacks import CALLBACKS, CallbacksInPlace, CallbacksOnLoop, Handler
from ws_middleware.connection import Connection
from ws_middleware.core.closing import SHUTDOWN
from ws_middleware.failures import fail, go_without_thread, is_being_cancelled, is_end_of
from ws_middleware.pool import OutOfThreadsError, Starter, as_failure, call_in, start_thread
from ws_middleware.socket_connection import SocketConnection

__all__ = [
    "HandlerLike",
    "check_handler",
    "check_parameters",
    "is_blocking",
    "needs_loop",
    "observes_control",
    "run_blocking",
    "run_handler",
    "run_in_thread",
]

#: A function of a connection and the path's parameters, or a `Handler` class.
HandlerLike = Callable[..., Any]
#: What other packages call their callbacks.
_ELSEWHERE = {
    "on_connect": "on_open",
    "on_receive": "on_message",
    "on_data": "on_message",
    "on_disconnect": "on_close",
}


# --- whether it can be one ---


def check_handler(handler: HandlerLike) -> None:
    """Refuse, with `TypeError`, what cannot be a handler."""
    kind = _handler_class(handler)
    if kind is not None:
        _check_callbacks(kind)
    elif inspect.isclass(handler):
        raise TypeError(f"{handler.__name__} is a class but not a subclass of Handler")
    if not callable(handler):
        raise TypeError(f"a handler is a function or a Handler class, not {handler!r}")
    _check_runs(handler, _name(handler))


def _check_callbacks(kind: type[Handler]) -> None:
    blank = object.__new__(kind)
    for name in dir(kind):
        if name in CALLBACKS:
            names = list(inspect.signature(getattr(Handler(None), name)).parameters)
            _check_call(getattr(blank, name), f"{kind.__name__}.{name}", names, {})
            _check_runs(getattr(blank, name), f"{kind.__name__}.{name}")
        elif name.startswith("on") and (meant := _meant_by(name)) is not None:
            raise TypeError(
                f"{kind.__name__}.{name} is never called: write {meant}, or give it another name"
            )


def _meant_by(name: str) -> str | None:
    """Find the callback that a name stands for elsewhere, or that it was meant to be."""
    near = difflib.get_close_matches(name, CALLBACKS, 1, cutoff=0.9)
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


def _check_runs(function: Callable[..., Any], name: str) -> None:
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(f"{name}() yields, so nothing of it would run: use send()")


def _name(handler: HandlerLike) -> str:
    name: str = getattr(handler, "__name__", type(handler).__name__)
    return name


# --- which shape it has ---


def _handler_class(handler: HandlerLike) -> type[Handler] | None:
    return handler if inspect.isclass(handler) and issubclass(handler, Handler) else None


def observes_control(handler: HandlerLike) -> bool:
    """Tell whether a handler wants to see pings and pongs."""
    kind = _handler_class(handler)
    if kind is None:
        return False
    return kind.on_ping is not Handler.on_ping or kind.on_pong is not Handler.on_pong


def is_blocking(handler: HandlerLike) -> bool:
    """Tell whether a handler is a plain function, which takes a thread for itself."""
    return _handler_class(handler) is None and not is_async(handler)


def needs_loop(handler: HandlerLike) -> bool:
    """Tell whether any of a handler is `async def`."""
    kind = _handler_class(handler)
    if kind is None:
        return is_async(handler)
    return any(inspect.iscoroutinefunction(getattr(kind, name)) for name in CALLBACKS)


# --- running it ---


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
            connection.start_closing(*SHUTDOWN)
            raise
        fail(connection)
    except OutOfThreadsError as error:
        go_without_thread(connection, error)
    except Exception as error:
        if not is_end_of(connection, error):
            fail(connection)
    except BaseException:
        connection.abort()
        raise
    await connection.close()


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
        go_without_thread(connection, error)
    except asyncio.CancelledError:
        connection.start_closing(*SHUTDOWN)
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
        if not is_end_of(connection, error):
            fail(connection)
    except BaseException:
        # The server ends this thread, and may write into the socket: it must be shut by then.
        connection.start_closing(*SHUTDOWN)
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
        return CallbacksOnLoop(kind(given, **path_params), connection).run()
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
        CallbacksInPlace(kind(connection, **path_params), connection).drive()


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
