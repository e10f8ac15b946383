"""How a hijacked socket is served: on the background loop, in a thread of ours, or in place.

The 101 is the first thing that is written to it, and by whoever writes everything else.
"""

from __future__ import annotations

import asyncio
import socket
import time
from dataclasses import dataclass, replace
from typing import Any, cast

from ws_middleware.aio import AsyncConnection
from ws_middleware.core.endpoint import Endpoint
from ws_middleware.core.handshake import encode_response
from ws_middleware.driver import StreamDriver
from ws_middleware.handlers import observes_control, run_blocking, run_handler
from ws_middleware.info import ConnectionInfo
from ws_middleware.logs import connection_finished
from ws_middleware.request import Request
from ws_middleware.routing import Route
from ws_middleware.socket_connection import SocketConnection
from ws_middleware.socket_driver import SocketDriver
from ws_middleware.stream import Stream
from ws_middleware.upgrade import Upgrade
from ws_middleware.wsgi.asking import ask_in_worker
from ws_middleware.wsgi.hijack import Taken
from ws_middleware.wsgi.parking import parking
from ws_middleware.wsgi.relay import relay

__all__ = ["Serving"]


@dataclass(frozen=True, slots=True)
class Serving:
    """Hold all it takes to serve one connection."""

    request: Request
    route: Route
    upgrade: Upgrade
    taken: Taken
    #: The socket is out of the server's hands, and the server's thread is free.
    parks: bool

    def start_on_loop(self) -> None:
        """Serve on the background loop; where nothing is parked this thread relays to the end."""
        if self.parks:
            parking().start(self._on_loop)
            return
        ours, theirs = socket.socketpair()
        parking().start(replace(self, taken=self.taken._replace(sock=ours))._on_loop)
        relay(self._stream, Stream(theirs))

    async def _on_loop(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(lambda: _Arrival(self), self.taken.sock)
        except BaseException:
            self.upgrade.ended()
            raise

    def in_thread(self) -> None:
        """Serve in the calling thread or greenlet, from the 101 to the end of the handler."""
        now = time.monotonic()
        driver = SocketDriver(
            self.make_endpoint(now),
            self._stream,
            self.route.options,
            preface=self.response,
            leftover=self.taken.leftover,
        )
        connection = SocketConnection(driver, *self.terms)
        parking().enter(connection, driver.waiting)
        try:
            self.upgrade.opened(connection, driver.waiting.spawner())
            run_blocking(self.route.handler, connection, self.request.path_params, self._introduce)
        finally:
            _end(connection, self.upgrade, time.monotonic() - now)

    def _introduce(self, connection: SocketConnection) -> bool:
        introduction = self.upgrade.introduction
        return introduction is None or introduction.in_place(connection, ask_in_worker)

    @property
    def _stream(self) -> Stream:
        return Stream(self.taken.sock, borrowed=self.taken.borrowed)

    @property
    def response(self) -> bytes:
        """Give the response that accepts the handshake."""
        return encode_response(101, self.upgrade.fields)

    @property
    def terms(self) -> tuple[Any, ...]:
        """Give what a connection knows of its handshake."""
        return self.request, self.upgrade.subprotocol, self.upgrade.agreements

    def make_endpoint(self, now: float) -> Endpoint:
        """Make the endpoint of the connection that begins now."""
        return self.upgrade.make_endpoint(
            self.route.options, now, observe_control=observes_control(self.route.handler)
        )


def _end(connection: AsyncConnection | SocketConnection, upgrade: Upgrade, duration: float) -> None:
    upgrade.ended()
    parking().leave(connection)
    info: ConnectionInfo = connection
    connection_finished(info, info.endpoint, duration)


class _Arrival(asyncio.Protocol):
    """Begin to speak on a transport as soon as there is one."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the 101, make the connection, and start its handler."""
        serving = self._serving
        stream = cast(asyncio.Transport, transport)  # uvloop's is not one by class
        stream.write(serving.response)
        now = asyncio.get_running_loop().time()
        # The fields were sent, and are not needed any more.
        departure = _Departure(serving.upgrade._replace(fields=()), now)
        driver = StreamDriver(
            serving.make_endpoint(now), stream, serving.route.options, departure.on_lost
        )
        connection = departure.connection = AsyncConnection(driver, *serving.terms)
        parking().enter(connection, None)
        driver.start(serving.taken.leftover)
        serving.upgrade.opened(connection, asyncio.get_running_loop().call_soon_threadsafe)
        introduction = serving.upgrade.introduction
        parking().add_task(
            run_handler(
                serving.route.handler,
                connection,
                serving.request.path_params,
                None if introduction is None else introduction.on_loop,
            )
        )


class _Departure:
    """Note the end of a connection; it keeps no more than that takes."""

    __slots__ = ("_opened_at", "_upgrade", "connection")

    connection: AsyncConnection

    def __init__(self, upgrade: Upgrade, now: float) -> None:
        self._upgrade = upgrade
        self._opened_at = now

    def on_lost(self, exc: Exception | None) -> None:
        """Be told by the driver."""
        duration = asyncio.get_running_loop().time() - self._opened_at
        _end(self.connection, self._upgrade, duration)
