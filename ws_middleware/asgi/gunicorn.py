"""Our handshake and frames in gunicorn's own asgi worker, on the raw transport.

For a WebSocket gunicorn makes an object of a class that it looks up each time, and awaits its
`run`; ours takes the place of that class. Rule 1: the transport is lent, so its loss is told to
gunicorn. Rule 2: of the worker nothing is required but that; what else there is, is looked up.
"""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

from gunicorn.asgi import websocket
from uvicorn.server import ServerState

from ws_middleware.asgi.streams import ScopedHandshake
from ws_middleware.asgi.types import ASGIApp, Scope
from ws_middleware.options import Options

__all__ = ["WebSocketProtocol", "install"]

#: What gunicorn makes the object of a connection with, whatever else there may be.
_PARAMETERS = ["transport", "scope", "app", "log"]
#: Messages are no larger where gunicorn has no setting for it, as before 27.
_MAX_MESSAGE_SIZE = 2**24


def install(_: object) -> None:
    """Let gunicorn's asgi worker open WebSockets with our class.

    Raises whatever tells that this gunicorn is not known.
    """
    stock = websocket.WebSocketProtocol
    if stock is WebSocketProtocol:
        return
    parameters = list(inspect.signature(stock).parameters)
    if parameters[: len(_PARAMETERS)] != _PARAMETERS or not callable(stock.run):
        raise TypeError("its WebSockets are made in another way")
    websocket.WebSocketProtocol = WebSocketProtocol


class WebSocketProtocol:
    """Be one WebSocket of gunicorn's worker, from its request to its end."""

    def __init__(
        self,
        transport: asyncio.Transport,
        scope: Scope,
        app: ASGIApp,
        log: object,
        max_message_size: int = _MAX_MESSAGE_SIZE,
        drain: object = None,
    ) -> None:
        options = Options(
            max_message_size=max_message_size or None,
            origins="*",  # a policy is the application's here
        )
        lender: Any = transport.get_protocol()
        goodbye = _goodbye_of(getattr(lender, "worker", None))
        self._handshake = _Handshake(app, options, goodbye.state, scope)
        self._handshake.lender = lender
        if goodbye.said:
            self._handshake.shutdown()
        self._handshake.connection_made(transport)
        transport.set_protocol(self._handshake)

    async def run(self) -> None:
        """Carry the connection to its end."""
        await self._handshake.serve()

    def feed_eof(self) -> None:
        """Be told by the lender that the connection is lost, which we have told it."""


class _Handshake(ScopedHandshake):
    """Answer a handshake on a transport that is lent."""

    __slots__ = ("lender",)

    lender: asyncio.Protocol

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection; whoever works for it, and the lender, is told."""
        super().connection_lost(exc)
        self.lender.connection_lost(exc)


class _Goodbye:
    """Stand among the servers of a worker, which closes them when it stops."""

    def __init__(self) -> None:
        self.state = ServerState()  # of the open connections
        self.said = False

    def close(self) -> None:
        """Tell every connection that the worker stops."""
        self.said = True
        for connection in list(self.state.connections):
            connection.shutdown()

    async def wait_closed(self) -> None:
        """Leave the waiting to the worker, which counts its connections."""


def _goodbye_of(worker: Any) -> _Goodbye:
    servers = getattr(worker, "servers", None)
    if not isinstance(servers, list):
        return _Goodbye()
    for server in servers:
        if isinstance(server, _Goodbye):
            return server
    servers.append(goodbye := _Goodbye())
    return goodbye
