"""A plain accept loop: each connection is served in a thread of its own, or a greenlet.

Rule: where connections are accepted nothing else is waited for, TLS handshakes included.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import socket
import ssl
import time
from typing import Any

from ws_middleware.core.closing import SHUTDOWN
from ws_middleware.errors import HandshakeError
from ws_middleware.handlers import HandlerLike
from ws_middleware.logs import connection_finished
from ws_middleware.options import Options
from ws_middleware.raw import Arrival, OneRoute, check_routes
from ws_middleware.routing import Router
from ws_middleware.socket_connection import SocketConnection
from ws_middleware.waiting import Interest, waiting_for

__all__ = ["serve_forever"]

#: How long is waited where nothing can be accepted, as no descriptor is left, in seconds.
RECOVERY_TIME = 0.1


def serve_forever(
    listener: socket.socket,
    target: HandlerLike | Router,
    *,
    ssl_context: ssl.SSLContext | None = None,
    max_threads: int = 1000,
    **options: Any,
) -> None:
    """Accept connections and serve each in a thread of its own, until the listener is shut down.

    `target` is a handler without any `async def`, for every path, or a `WebSockets` object with
    routes to such; `options` are fields of `Options`. While `max_threads` are connected, others
    wait. At the end, those who are connected get 1001.
    """
    if isinstance(target, Router):
        router = target
        router.override(**options)
    else:
        router = OneRoute(target, Options().replaced(**options))
    _Acceptor(router, ssl_context, max_threads).run(listener)


class _Acceptor:
    """Accept, and serve each connection beside the loop."""

    def __init__(
        self, router: Router, ssl_context: ssl.SSLContext | None, max_threads: int
    ) -> None:
        check_routes(router)
        self._router = router
        self._ssl_context = ssl_context
        self._max_threads = max_threads
        self._sockets: set[socket.socket] = set()
        self._connections: set[SocketConnection] = set()
        self._stopping = False

    def run(self, listener: socket.socket) -> None:
        """Accept until the listener is shut down; then end what is open."""
        self._waiting = waiting_for(listener)
        self._changed = self._waiting.make_event()
        try:
            while (sock := self._accept(listener)) is not None:
                self._sockets.add(sock)
                self._waiting.spawn(functools.partial(self._serve, sock), "ws_middleware handler")
                while len(self._sockets) >= self._max_threads:
                    self._wait_for_change(None)
        finally:
            self._end()

    def _accept(self, listener: socket.socket) -> socket.socket | None:
        """Wait for the next connection; None where there will be none."""
        while True:
            try:
                self._waiting.wait_for(Interest(listener, True, False), timeout=None)
                return listener.accept()[0]
            except BlockingIOError:
                continue  # another process was faster
            except (OSError, ValueError) as error:
                if listener.fileno() < 0 or getattr(error, "errno", None) in _SHUT:
                    return None
                self._waiting.make_event().wait(RECOVERY_TIME)

    def _serve(self, sock: socket.socket) -> None:
        try:
            # The peer has got its answer by then, or is gone.
            with contextlib.suppress(OSError, HandshakeError):
                self._handle(sock)
        finally:
            self._sockets.discard(sock)
            self._changed.set()

    def _handle(self, sock: socket.socket) -> None:
        arrival = Arrival(sock, self._router)
        if self._ssl_context is not None:
            arrival.secure(self._ssl_context)
        opened = arrival.open()
        began = time.monotonic()
        try:
            connection = opened.connect()
            self._connections.add(connection)
            try:
                if self._stopping:
                    connection.start_closing(*SHUTDOWN)
                opened.serve(connection)
            finally:
                self._connections.discard(connection)
                connection_finished(connection, connection.endpoint, time.monotonic() - began)
        finally:
            opened.agreed.ended()

    def _wait_for_change(self, timeout: float | None) -> None:
        self._changed.wait(timeout)
        self._changed = self._waiting.make_event()

    def _end(self) -> None:
        """Tell everybody, and drop who does not go in time."""
        self._stopping = True
        for connection in list(self._connections):
            close = functools.partial(connection.close, *SHUTDOWN)
            self._waiting.spawn(close, "ws_middleware closing")
        deadline = time.monotonic() + 2 * self._router.options.close_timeout
        while self._connections and (left := deadline - time.monotonic()) > 0:
            self._wait_for_change(left)
        for connection in list(self._connections):
            connection.abort()


#: What a listener says that was shut down.
_SHUT = frozenset({errno.EINVAL, errno.EBADF, errno.ENOTSOCK})
