"""Our handshake and frames in a stream of HTTP/2 that a server gives as an `http` scope.

The bytes of the WebSocket are the bodies of the request and of the response, which flow at the
same time (RFC 8441 §5). Rule: the server is known by its scope; what else it tells is looked
up, nothing of it is required.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from uvicorn.config import Config
from uvicorn.server import ServerState

from ws_middleware.asgi.pump import Pump
from ws_middleware.asgi.streams import StreamHandshake, StreamTransport
from ws_middleware.asgi.types import ASGIApp, Event, Receive, Scope, Send
from ws_middleware.asgi.uvicorn_options import options_of
from ws_middleware.options import Options

__all__ = ["serve_stream"]


async def serve_stream(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Let `app` answer an extended CONNECT, and carry the connection to its end."""
    server = _Server.behind(receive)
    transport = _StreamTransport(receive, send, server)
    handshake = StreamHandshake(app, server.options, server.state, scope)
    transport.attach(handshake)
    await transport.carry()


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


class _StreamTransport(StreamTransport, Pump):
    """Be the transport of a WebSocket that is the bodies of a request and its response."""

    def __init__(self, receive: Receive, send: Send, server: _Server) -> None:
        super().__init__(receive, send, server.options.write_high_water)
        self._server = server

    def _take(self, event: Event) -> None:
        if event["type"] == "http.disconnect":
            self._lose(None)
            return
        self._give(memoryview(event.get("body", b"")))
        if not event.get("more_body"):
            self._end_input()

    async def _hand_over(self, event: Event) -> None:
        await self._send(event)
        if event["type"] == "http.response.body" and not event["more_body"]:
            self._lose(None)
        await self._let_peer_take()

    @property
    def _kept_by_server(self) -> int:
        return self._server.unsent

    # --- what the handshake and the driver call ---

    def respond(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Send a response's head; some servers send it with the first of the body alone."""
        self._has_answered = True
        self._put({"type": "http.response.start", "status": status, "headers": headers}, 0)
        self._put({"type": "http.response.body", "body": b"", "more_body": True}, 0)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes."""
        body = {"type": "http.response.body", "body": bytes(data), "more_body": True}
        self._put(body, len(data))

    def _put_end(self) -> None:
        self._put({"type": "http.response.body", "body": b"", "more_body": False}, 0)

    def close(self) -> None:
        """End the stream behind what was sent."""
        self._closing = True
        self.write_eof()

    def abort(self) -> None:
        """End the stream at once."""
        self._outbox.clear()
        self.close()
        self._loop.call_soon(self._lose, None)
