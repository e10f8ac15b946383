"""One message to many connections, without waiting for any of them."""

from __future__ import annotations

from collections.abc import Iterable

from ws_middleware.aio import AsyncConnection
from ws_middleware.core.endpoint import State
from ws_middleware.core.messages import Sendable, SharedMessage

__all__ = ["broadcast"]


def broadcast(connections: Iterable[AsyncConnection], message: Sendable) -> list[AsyncConnection]:
    """Send a message to all that can take it now; gives those that do not keep up.

    It is the caller's to let these skip the message, to send it to them later, or to `abort`
    them. Connections that are closing are passed over: their own handlers know. Those that
    compress alike compress it once: see `SharedMessage`, which may be given, too. Broadcasts
    arrive in their order; a `send` that has not returned yet may come behind them.
    """
    shared = message if isinstance(message, SharedMessage) else SharedMessage(message)
    members = list(connections)
    try:
        return [
            connection
            for connection in members
            if not connection.send_now(shared) and connection.state is State.OPEN
        ]
    except AttributeError:
        for member in members:
            _check_member(member)
        raise


def _check_member(member: object) -> None:
    if not hasattr(member, "send_now"):
        kind = type(member).__name__
        raise TypeError(
            f"broadcast is for connections of `async def` handlers, not {kind}"
        ) from None
