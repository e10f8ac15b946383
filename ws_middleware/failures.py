"""How a handler failed, if it did, and how that is told: by a line in the log, and a close code."""

from __future__ import annotations

import asyncio
import logging

from ws_middleware.aio import AsyncConnection
from ws_middleware.core.endpoint import State
from ws_middleware.core.frames import CloseCode
from ws_middleware.errors import ConnectionClosed
from ws_middleware.pool import OutOfThreadsError
from ws_middleware.socket_connection import SocketConnection

__all__ = ["fail", "go_without_thread", "is_being_cancelled", "is_end_of", "is_only"]

logger: logging.Logger = logging.getLogger("ws_middleware")


def is_end_of(connection: AsyncConnection | SocketConnection, error: Exception) -> bool:
    """Tell whether an exception only says that the peer went while the handler was at work."""
    # That another connection is closed is an error of the handler like any other.
    return connection.state is not State.OPEN and is_only(error, ConnectionClosed)


def is_only(error: BaseException, *kinds: type[Exception]) -> bool:
    """Tell whether an exception, or every one of a group, is of these kinds."""
    if isinstance(error, BaseExceptionGroup):
        return all(is_only(one, *kinds) for one in error.exceptions)
    return isinstance(error, kinds)


def is_being_cancelled() -> bool:
    """Tell whether somebody cancels this task; a handler may as well raise by itself."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def fail(connection: AsyncConnection | SocketConnection) -> None:
    """Tell of the exception that is being handled: us in the log, the peer with 1011."""
    logger.exception("the handler of %a failed", connection.request.path)
    connection.start_closing(CloseCode.INTERNAL_ERROR, "internal error")


def go_without_thread(
    connection: AsyncConnection | SocketConnection, error: OutOfThreadsError
) -> None:
    """Tell that there is no thread to run a handler in: the peer may try again later."""
    logger.error("no thread for the handler of %a: %s", connection.request.path, error)
    connection.start_closing(CloseCode.TRY_AGAIN_LATER, "no thread is free")
