"""A WebSocket on a socket that somebody else accepted.

The request is read and answered within `open_timeout`, which counts for the TLS handshake in
front of it, too. A refusal is a complete response, and gets the time to arrive.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from typing import Any, NamedTuple

from ws_middleware.asking import run_in_place
from ws_middleware.core.frame_tap import FrameTap
from ws_middleware.core.handshake import encode_refusal, encode_response
from ws_middleware.errors import HandshakeError
from ws_middleware.handlers import (
    HandlerLike,
    check_handler,
    check_parameters,
    needs_loop,
    observes_control,
    run_blocking,
)
from ws_middleware.logs import handshake_refused
from ws_middleware.options import Options
from ws_middleware.request import Address, Request
from ws_middleware.request_reader import HeadReader, parse_head
from ws_middleware.routing import Route, Router
from ws_middleware.socket_connection import SocketConnection
from ws_middleware.socket_driver import SocketDriver
from ws_middleware.stream import Stream
from ws_middleware.upgrade import Upgrade, decide, find_route
from ws_middleware.waiting import Interest, waiting_for
from ws_middleware.wsgi.asking import ask_in_worker, asking_within

__all__ = ["Arrival", "OneRoute", "upgrade"]

#: How long a peer may take to read why it was refused, in seconds.
LINGER_TIME = 1.0


def upgrade(
    sock: socket.socket, *, leftover: bytes = b"", observe_frames: bool = False, **options: Any
) -> SocketConnection:
    """Open a WebSocket as the server of a connected socket: TCP, Unix, TLS or a socketpair.

    Reads the request, of which `leftover` was read before, and answers it; `options` are fields
    of `Options`, `observe_frames` lets `recv_frame` give each frame. `HandshakeError` after a
    request that was refused, `TimeoutError` where none came within `open_timeout`, `OSError`
    where the peer is gone; the socket is closed then.
    """
    for name in options:
        if name.startswith(_OF_MANY):
            raise TypeError(f"{name} is about many connections: whoever accepts them counts")
    settings = Options().replaced(**options)
    router = OneRoute(_no_handler, settings)
    check_routes(router)
    opened = Arrival(sock, router).open(leftover)
    connection = opened.connect(FrameTap.for_options(settings) if observe_frames else None)
    if not opened.introduce(connection):
        connection.close()
        raise connection.endpoint.closed
    return connection


#: How the names of those options begin that mean nothing for a single connection.
_OF_MANY = ("max_connections", "max_handshakes", "max_failures")


def _no_handler(connection: SocketConnection) -> None:
    """Stand for the caller of `upgrade`, who handles the connection."""


class OneRoute(Router):
    """Lead every path to one handler."""

    def __init__(self, handler: HandlerLike, options: Options) -> None:
        super().__init__(options)
        check_handler(handler)
        check_parameters(handler, "/", ())
        self._route = Route("/", handler, options)
        self.routes.append(self._route)

    def match(self, path: str) -> tuple[Route, dict[str, Any]]:
        """Find the one route."""
        return self._route, {}


def check_routes(router: Router) -> None:
    """Refuse what takes an event loop."""
    for route in router.routes:
        if needs_loop(route.handler):
            raise TypeError(f"{route.handler!r} is `async def`; here handlers run in threads")
    for options in (router.options, *(route.options for route in router.routes)):
        if options.readable is not None:
            raise ValueError("readable is a setting of servers with an event loop")


# --- one socket ---


class _Opened(NamedTuple):
    """Hold a handshake that was accepted, and the stream that the 101 has still to go through."""

    stream: Stream
    route: Route
    request: Request
    agreed: Upgrade
    leftover: bytes

    def connect(self, tap: FrameTap | None = None) -> SocketConnection:
        """Send the 101, and make the connection."""
        options, agreed = self.route.options, self.agreed
        endpoint = agreed.make_endpoint(
            options,
            time.monotonic(),
            observe_control=observes_control(self.route.handler),
            beside=() if tap is None else (tap,),
        )
        preface = encode_response(101, agreed.fields)
        driver = SocketDriver(
            endpoint, self.stream, options, preface=preface, leftover=self.leftover
        )
        connection = SocketConnection(driver, self.request, agreed.subprotocol, agreed.agreements)
        connection.tap = tap
        agreed.opened(connection, driver.waiting.spawner())
        return connection

    def serve(self, connection: SocketConnection) -> None:
        """Run the handler to its end."""
        run_blocking(self.route.handler, connection, self.request.path_params, self.introduce)

    def introduce(self, connection: SocketConnection) -> bool:
        """Hear the first message where the peer is to say by it who he is; False refuses him."""
        introduction = self.agreed.introduction
        return introduction is None or introduction.in_place(connection, ask_in_worker)


class Arrival:
    """Be a socket on which a handshake is to come."""

    def __init__(self, sock: socket.socket, router: Router) -> None:
        self._router = router
        self._options = router.options
        self._address = _peer_of(sock)
        self._stream = Stream(sock)
        self._waiting = waiting_for(sock)
        timeout = self._options.open_timeout
        self._deadline = None if timeout is None else time.monotonic() + timeout

    def open(self, leftover: bytes = b"") -> _Opened:
        """Read the request and decide; a refusal is written before it is raised."""
        target = "-"
        try:
            head, leftover = self._read_head(leftover)
            request = Request(
                parse_head(head),
                remote_address=self._address,
                secure=hasattr(self._stream.sock, "pending"),
            )
            target = request.target
            ask = asking_within(self._options.open_timeout)
            route = find_route(self._router, request)
            route, agreed = run_in_place(decide(self._router, request, route, ask))
        except HandshakeError as error:
            handshake_refused(self._address, target, error)
            self._refuse(error)
            raise
        except BaseException:
            self._stream.close()
            raise
        return _Opened(self._stream, route, request, agreed, leftover)

    def secure(self, context: ssl.SSLContext) -> None:
        """Make the TLS handshake; `OSError` where it fails."""
        sock = self._stream.sock
        try:
            secured = context.wrap_socket(
                sock, server_side=True, do_handshake_on_connect=False, suppress_ragged_eofs=True
            )
        except OSError:
            sock.close()
            raise
        self._stream = Stream(secured)
        try:
            self._shake_hands(secured)
        except BaseException:
            self._stream.close()
            raise

    def _shake_hands(self, secured: ssl.SSLSocket) -> None:
        while True:
            try:
                return secured.do_handshake()
            except ssl.SSLWantReadError:
                self._wait(read=True)
            except ssl.SSLWantWriteError:
                self._wait(read=False)

    def _read_head(self, data: bytes | None) -> tuple[bytes, bytes]:
        reader = HeadReader(self._options)
        try:
            while data is None or (read := reader.feed(data)) is None:
                data = self._receive()
        except TimeoutError:
            if reader.is_empty:
                raise
            limit = self._options.open_timeout
            reason = f"no whole request came within open_timeout={limit} s"
            raise HandshakeError(408, reason) from None
        return read

    def _receive(self) -> bytes:
        """Wait for bytes."""
        while (data := self._stream.receive()) is None:
            self._wait(read=not self._stream.wants_write)
        if not data:
            raise ConnectionError("the peer ended its stream without a whole request")
        return data

    def _wait(self, *, read: bool) -> None:
        """Wait for the socket; `TimeoutError` where the deadline comes first."""
        left = None if self._deadline is None else self._deadline - time.monotonic()
        if left is not None and left <= 0:
            raise TimeoutError(
                f"no request came within open_timeout={self._options.open_timeout} s"
            )
        self._waiting.wait_for(Interest(self._stream.sock, read, not read), timeout=left)

    def _refuse(self, error: HandshakeError) -> None:
        """Write the response, and let it arrive: closing over unread input would take it back."""
        data = memoryview(encode_refusal(error))
        self._deadline = time.monotonic() + LINGER_TIME
        with contextlib.suppress(OSError):
            while data:
                data = data[self._stream.send(data) :]
                if data:
                    self._wait(read=self._stream.wants_read)
            self._stream.end_writing()
            while True:
                self._receive()
        self._stream.close()


def _peer_of(sock: socket.socket) -> Address:
    try:
        address: Address = sock.getpeername()
    except OSError:  # it is gone already
        return None
    return address
