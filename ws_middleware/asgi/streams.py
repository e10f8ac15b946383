"""Our handshake and frames where a server has read the request, and carries the bytes itself.

Such a server has made an ASGI scope already; what the scope says of the connection is believed.
Our middleware, and any other application behind it, see the connection that they see on a raw
socket. Rule: the end of a stream stands for that of a TCP connection.
"""

from __future__ import annotations

import abc
import asyncio
import functools
from collections.abc import Callable, Iterable
from http import HTTPStatus

from uvicorn.server import ServerState

from ws_middleware.asgi.handshake import Handshake
from ws_middleware.asgi.pump import Outlet
from ws_middleware.asgi.scopes import encode_fields, request_of
from ws_middleware.asgi.types import ASGIApp, Scope
from ws_middleware.core.extended_connect import accepting_status, as_upgrade, fields_for
from ws_middleware.core.handshake import (
    RequestHead,
    connection_fields,
    offered_subprotocols,
    refusal_fields,
)
from ws_middleware.core.headers import check_fields
from ws_middleware.errors import HandshakeError
from ws_middleware.options import Options
from ws_middleware.request import Request

__all__ = ["ScopedHandshake", "StreamHandshake", "StreamTransport"]

#: How soon a server is asked again what it keeps, and how soon at the latest, in seconds.
_ASK_AGAIN = 0.001, 0.5


class ScopedHandshake(Handshake):
    """Answer a handshake of which a server has made a scope."""

    __slots__ = ("_given", "_lost", "_scope")

    def __init__(
        self, app: ASGIApp, options: Options, server_state: ServerState, scope: Scope
    ) -> None:
        super().__init__(app, options, server_state)
        self._scope = scope
        self._given = request_of(scope)
        self._lost = asyncio.Event()

    async def serve(self, *, refusal: HandshakeError | None = None) -> None:
        """Carry the connection to its end, and that of whoever works for it."""
        try:
            self.begin(as_upgrade(self._given.head), refusal=refusal)
            await self._lost.wait()
            if self._task is not None:
                await asyncio.wait([self._task])
        finally:
            if self._task is not None:
                self._task.cancel()  # the server does not wait any longer

    @property
    def options(self) -> Options:
        """Give the options of the server."""
        return self._options

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection; whoever works for it is told."""
        super().connection_lost(exc)
        self._lost.set()

    def _make_request(self, head: RequestHead) -> Request:
        given = self._given
        return Request(
            head,
            remote_address=given.remote_address,
            secure=given.secure,
            root_path=given.root_path,
            scope=self._make_scope,
        )

    def _make_scope(self) -> Scope:
        given = {key: value for key, value in self._scope.items() if key != "method"}
        return {
            **given,
            "type": "websocket",
            "asgi": {**given["asgi"], "spec_version": "2.5"},
            "scheme": "wss" if self.request.secure else "ws",
            "subprotocols": offered_subprotocols(self.request.head.fields),
            "extensions": self._scope_extensions(),
        }


class StreamTransport(Outlet):
    """Be the transport of a WebSocket that is a stream."""

    _has_answered = False

    def attach(self, handshake: ScopedHandshake) -> None:
        """Give the stream to whoever answers the request, before anything comes."""
        self._protocol = self._handshake = handshake
        handshake.connection_made(self)

    async def carry(self, *, refusal: HandshakeError | None = None) -> None:
        """Carry the connection from its handshake to its end."""
        self.start()
        if self._closing and refusal is None:
            refusal = HandshakeError(400, "the stream of the opening handshake has ended")
        try:
            await self._handshake.serve(refusal=refusal)
        finally:
            await self.stop(self._handshake.options.close_timeout)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Give the stream to a protocol."""
        assert isinstance(protocol, asyncio.Protocol | asyncio.BufferedProtocol)
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Give the protocol that has the stream."""
        return self._protocol

    def _give(self, data: memoryview) -> None:
        while data:  # whoever has the stream may hand it to another one
            protocol = self._protocol
            if isinstance(protocol, asyncio.BufferedProtocol):
                buffer = memoryview(protocol.get_buffer(len(data)))
                count = min(len(buffer), len(data))
                buffer[:count] = data[:count]
                protocol.buffer_updated(count)
            else:
                count = len(data)
                protocol.data_received(bytes(data))
            data = data[count:]

    def _end_input(self) -> None:
        if not self._protocol.eof_received():
            self.close()

    # --- to the server ---

    @property
    def _kept_by_server(self) -> int:
        """Tell how many bytes the server keeps until the peer takes them, as far as it tells."""
        return 0

    async def _let_peer_take(self) -> None:
        """Wait while the server keeps too much; it takes everything, so it has to be asked."""
        pause, longest = _ASK_AGAIN
        while self._kept_by_server > self._high_water and not self._closing:
            await asyncio.sleep(pause)
            pause = min(2 * pause, longest)

    # --- what the handshake and the driver call ---

    def get_write_buffer_size(self) -> int:
        """Tell how many bytes the peer has not taken yet."""
        return self._unsent + self._kept_by_server

    @abc.abstractmethod
    def respond(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Send a response's head."""

    def write_eof(self) -> None:
        """End our half of the stream behind what was sent; servers know of no end before a head."""
        if not self._has_answered:
            self.respond(HTTPStatus.BAD_REQUEST, [])
        self._put_end()
        self._said_goodbye = True

    @abc.abstractmethod
    def _put_end(self) -> None:
        """Send the end of our half of the stream."""

    def can_write_eof(self) -> bool:
        """Tell that a stream has halves: browsers end theirs together with their close frame."""
        return True


class StreamHandshake(ScopedHandshake):
    """Answer a handshake in a stream."""

    __slots__ = ()

    transport: StreamTransport

    def _response_of(self, fields: Iterable[tuple[str, str]]) -> Callable[[], None]:
        status = accepting_status(self._given.head.version)
        return functools.partial(self.transport.respond, status, self._encode(fields))

    def _encode(self, fields: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
        fields = fields_for(self._given.head.version, fields)
        check_fields(fields)
        return encode_fields(fields)

    def _send_refusal(self, error: HandshakeError) -> None:
        fields = [*refusal_fields(error), *connection_fields(error)]
        self._send_denial(error.status, fields, error.body, last=True)

    def _send_denial(
        self, status: int, fields: list[tuple[str, str]], body: bytes, *, last: bool
    ) -> None:
        headers = self._encode(fields)
        self.transport.respond(status, headers)
        self._send_last(body, last=last)
