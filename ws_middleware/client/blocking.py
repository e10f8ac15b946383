"""Connecting for threads: a socket under a deadline, then a blocking connection over it.

Rule: every call to the socket gets what is left of `open_timeout`, looking up the name included.
"""

from __future__ import annotations

import functools
import queue
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar, Unpack

from ws_middleware.asking import run_in_place
from ws_middleware.client.opening import Opened, open_websocket
from ws_middleware.client.plan import ClientSettings, Plan, make_plan
from ws_middleware.client.proxies import Proxy
from ws_middleware.client.socks import connect_through
from ws_middleware.pool import start_thread
from ws_middleware.request import Request
from ws_middleware.socket_connection import SocketConnection
from ws_middleware.socket_driver import SocketDriver
from ws_middleware.stream import BLOCK, Stream

__all__ = ["connect", "connect_blocking"]

_Result = TypeVar("_Result")


def connect(url: str, **settings: Unpack[ClientSettings]) -> SocketConnection:
    """Open a WebSocket and give its connection, for use by threads; `with` closes it.

    `settings` are those of `ClientSettings`. `HandshakeRefused` where the server answers with
    another status than 101, `HandshakeError` where its answer breaks the rules, `OSError` where
    network or TLS fail, its subclass `TimeoutError` after `open_timeout` seconds.
    """
    return connect_blocking(make_plan(url, settings))


def connect_blocking(plan: Plan) -> SocketConnection:
    """Open the WebSocket that was planned."""
    wire = _SocketWire(plan.options.open_timeout)
    try:
        opened = run_in_place(open_websocket(wire, plan))
    except BaseException as error:
        wire.close()
        if isinstance(error, TimeoutError) and wire.is_late:
            raise plan.too_late() from None
        raise
    return _make_connection(opened, wire.sock)


def _make_connection(opened: Opened, sock: socket.socket) -> SocketConnection:
    options = opened.plan.options
    endpoint = opened.make_endpoint(time.monotonic())
    address = sock.getpeername()
    driver = SocketDriver(endpoint, Stream(sock), options, leftover=opened.leftover)
    request = Request(opened.request, remote_address=address, secure=opened.plan.uri.secure)
    connection = SocketConnection(driver, request, opened.subprotocol, opened.agreements)
    opened.describe(connection)
    return connection


def _raise(error: OSError) -> NoReturn:
    raise error


class _SocketWire:
    """Move bytes through a blocking socket, until the deadline."""

    def __init__(self, timeout: float | None) -> None:
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._socket: socket.socket | None = None

    @property
    def sock(self) -> socket.socket:
        """Give the socket."""
        assert self._socket is not None
        return self._socket

    @property
    def is_late(self) -> bool:
        """Tell whether the deadline is over."""
        return self._deadline is not None and time.monotonic() >= self._deadline

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()

    async def connect(self, host: str, port: int) -> None:
        self.close()
        addresses = self._look_up(host, port)
        failure: OSError | None = None
        for position, (family, kind, protocol, _, address) in enumerate(addresses):
            self._socket = socket.socket(family, kind, protocol)
            try:
                # One address that does not answer leaves time for the others.
                self._within(len(addresses) - position).connect(address)
            except OSError as error:
                failure = failure or error
                self._socket.close()
            else:
                return
        assert failure is not None
        self._left()
        raise failure

    async def connect_unix(self, path: str) -> None:
        self.close()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._within().connect(path)

    async def connect_socks(self, proxy: Proxy, host: str, port: int) -> None:
        self.close()
        left = self._left()
        self._socket = self._in_time(lambda: connect_through(proxy, host, port, left))

    async def start_tls(self, context: ssl.SSLContext, server_hostname: str) -> None:
        self._socket = context.wrap_socket(self._within(), server_hostname=server_hostname)

    async def write(self, data: bytes) -> None:
        self._within().sendall(data)

    async def read(self) -> bytes:
        return self._within().recv(BLOCK)

    def _look_up(self, host: str, port: int) -> list[Any]:
        look_up = functools.partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        try:
            return look_up(flags=socket.AI_NUMERICHOST)
        except socket.gaierror:
            return self._in_time(look_up)

    def _in_time(self, function: Callable[[], _Result]) -> _Result:
        """Wait for the outcome of what knows no time limit, as long as there is time."""
        outcome: queue.SimpleQueue[Callable[[], _Result]] = queue.SimpleQueue()

        def work() -> None:
            try:
                result = function()
            except OSError as error:
                outcome.put(functools.partial(_raise, error))
            else:
                outcome.put(lambda: result)

        start_thread(work)
        try:
            return outcome.get(timeout=self._left())()
        except queue.Empty:
            raise TimeoutError from None

    def _within(self, parts: int = 1) -> socket.socket:
        """Give the socket the time that is left, or one of some equal parts of it."""
        left = self._left()
        self.sock.settimeout(None if left is None else left / parts)
        return self.sock

    def _left(self) -> float | None:
        if self._deadline is None:
            return None
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left
