"""Our handshake and frames in a stream of HTTP/2 that a server gives as an `http` scope.

The bytes of the WebSocket are the bodies of the request and of the response, which flow at the
same time (RFC 8441 §5). Our middleware, and any other application behind it, see the connection
that they see on a raw socket. Rule: the end of the stream stands for that of a TCP connection.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, cast

from uvicorn.config import Config
from uvicorn.server import ServerState

from ws_middleware.asgi.pump import Pump
from ws_middleware.asgi.types import ASGIApp, Event, Receive, Scope, Send
from ws_middleware.asgi.uvicorn import EXTENSION, WebSocketProtocol, options_of
from ws_middleware.core.extended_connect import as_upgrade, stream_fields
from ws_middleware.core.handshake import offered_subprotocols, refusal_fields
from ws_middleware.core.headers import check_fields
from ws_middleware.errors import HandshakeError
from ws_middleware.logs import handshake_refused
from ws_middleware.options import Options
from ws_middleware.request import Request

__all__ = ["serve_stream"]

#: How often a server is asked whether the peer has taken what it keeps, in seconds.
_ASK_AGAIN = 0.05


@dataclass
class _Terms:
    """Be the configuration, of whatever server, as far as our protocol class asks for it."""

    loaded_app: ASGIApp
    root_path: str
    options: Options
    loaded: bool = True
    limit_concurrency: None = None  # the server has counted the stream already


async def serve_stream(
    app: ASGIApp, request: Request, scope: Scope, receive: Receive, send: Send
) -> None:
    """Let `app` answer an extended CONNECT, and carry the connection to its end."""
    server = _Server.behind(receive)
    transport = _StreamTransport(scope, receive, send, server)
    terms = _Terms(app, scope.get("root_path", ""), server.options)
    handshake = _StreamHandshake(cast(Config, terms), server.state, scope=scope)
    transport.set_protocol(handshake)
    handshake.connection_made(transport)
    transport.start()
    try:
        handshake.begin(as_upgrade(request.head))
        await transport.ended.wait()
        await handshake.finish()
    finally:
        handshake.cancel()
        await transport.stop(server.options.close_timeout)


@dataclass
class _Server:
    """Know what can be known of the server behind a `receive`."""

    options: Options = field(default_factory=lambda: Options(origins="*"))
    state: ServerState = field(default_factory=ServerState)
    stream: Any = None  # zttp's, which keeps what the peer does not take yet

    @classmethod
    def behind(cls, receive: Receive) -> _Server:
        """Look behind a `receive`, which is a method of uvicorn's where nothing wraps it."""
        cycle = getattr(receive, "__self__", None)
        protocol = getattr(getattr(cycle, "on_response", None), "__self__", None)
        config, state = getattr(protocol, "config", None), getattr(protocol, "server_state", None)
        if not isinstance(config, Config) or not isinstance(state, ServerState):
            return cls()
        return cls(options_of(config), state, getattr(cycle, "stream", None))

    @property
    def unsent(self) -> int:
        """Tell how many bytes of this stream wait for the peer, as far as the server tells."""
        return getattr(self.stream, "pending_bytes", None) or 0


class _StreamTransport(Pump):
    """Be the transport of a WebSocket that is a stream."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, server: _Server) -> None:
        super().__init__(receive, send, server.options.write_high_water)
        self._scope = scope
        self._server = server
        self.ended = asyncio.Event()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Tell what the scope tells of the connection."""
        client, server = self._scope.get("client"), self._scope.get("server")
        known = {
            "peername": tuple(client) if client else None,
            "sockname": tuple(server) if server else None,
            "sslcontext": True if self._scope.get("scheme") == "https" else None,
        }
        return known.get(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Give the stream to a protocol."""
        assert isinstance(protocol, asyncio.Protocol | asyncio.BufferedProtocol)
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Give the protocol that has the stream."""
        return self._protocol

    def _take(self, event: Event) -> None:
        if event["type"] == "http.disconnect":
            self._lose(None)
            return
        self._give(memoryview(event.get("body", b"")))
        if not event.get("more_body") and not self._protocol.eof_received():
            self.close()

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

    async def _hand_over(self, event: Event) -> None:
        await self._send(event)
        if event["type"] == "http.response.body" and not event["more_body"]:
            self._lose(None)
        # Nobody tells when the peer has taken what the server keeps, so it is asked.
        while self._server.unsent > self._high_water and not self._closing:  # noqa: ASYNC110
            await asyncio.sleep(_ASK_AGAIN)

    def _lose(self, error: Exception | None) -> None:
        super()._lose(error)
        self.ended.set()

    # --- what the handshake and the driver call ---

    def respond(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Send a response's head; some servers send it with the first of the body alone."""
        self._put({"type": "http.response.start", "status": status, "headers": headers}, 0)
        self._put({"type": "http.response.body", "body": b"", "more_body": True}, 0)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes."""
        body = {"type": "http.response.body", "body": bytes(data), "more_body": True}
        self._put(body, len(data))

    def get_write_buffer_size(self) -> int:
        """Tell how many bytes the peer has not taken yet."""
        return self._unsent + self._server.unsent

    def can_write_eof(self) -> bool:
        """Tell that a stream has halves: browsers end theirs together with their close frame."""
        return True

    def write_eof(self) -> None:
        """End our half of the stream behind what was sent."""
        self._put({"type": "http.response.body", "body": b"", "more_body": False}, 0)
        self._said_goodbye = True

    def close(self) -> None:
        """End the stream behind what was sent."""
        self._closing = True
        self.write_eof()

    def abort(self) -> None:
        """End the stream at once."""
        self._outbox.clear()
        self.close()
        self._loop.call_soon(self._lose, None)


class _StreamHandshake(WebSocketProtocol):
    """Answer an extended CONNECT."""

    __slots__ = ("_http_scope",)

    transport: _StreamTransport

    def __init__(self, config: Config, state: ServerState, *, scope: Scope) -> None:
        super().__init__(config, state)
        self._begun = True
        self._http_scope = scope

    async def finish(self) -> None:
        """Wait until whoever answers has come to an end."""
        if self._task is not None:
            await asyncio.wait([self._task])

    def cancel(self) -> None:
        """End whoever answers: the server does not wait any longer."""
        if self._task is not None:
            self._task.cancel()

    def _make_scope(self) -> Scope:
        scope = dict(self._http_scope)
        del scope["method"]
        return {
            **scope,
            "type": "websocket",
            "asgi": {**scope["asgi"], "spec_version": "2.5"},
            "scheme": "wss" if self.request.secure else "ws",
            "subprotocols": offered_subprotocols(self.request.head.fields),
            "extensions": {"websocket.http.response": {}, EXTENSION: {"handshake": self}},
        }

    def _response_of(self, fields: Iterable[tuple[str, str]]) -> Callable[[], None]:
        # "a successful … response" to CONNECT (RFC 8441 §5) is any 2xx.
        return functools.partial(self.transport.respond, 200, _encode(fields))

    def refuse(self, error: HandshakeError) -> None:
        """Answer with the response that refuses the handshake."""
        if self.is_decided:
            return
        handshake_refused(self.request.remote_address, self.request.target, error)
        self._answer(error.status, refusal_fields(error))
        self.transport.write(error.body)
        self.transport.close()

    def deny(
        self, status: int, fields: Iterable[tuple[str, str]], body: bytes, *, more: bool
    ) -> None:
        """Answer with an application's own response."""
        if not self.is_decided:
            reason = HandshakeError(status, "denied by the application")
            handshake_refused(self.request.remote_address, self.request.target, reason)
            self._answer(status, fields)
        self.transport.write(body)
        if not more:
            self.transport.close()

    def _answer(self, status: int, fields: Iterable[tuple[str, str]]) -> None:
        headers = _encode(fields)
        self._decide()
        self.transport.respond(status, headers)


def _encode(fields: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    fields = stream_fields(fields)
    check_fields(fields)
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in fields]
