"""A WebSocket handshake given to our protocol class over a fake transport."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

import uvicorn
from uvicorn.server import ServerState

from tests.inprocess import FakeTransport
from tests.peer import Received
from ws_middleware.asgi.uvicorn import WebSocketProtocol
from ws_middleware.core.handshake import RequestHead
from ws_middleware.options import Options
from ws_middleware.server import ServerConfig

__all__ = ["FIELDS", "App", "Handshake", "Response", "parse_response", "request_bytes"]

App = Callable[[Any, Any, Any], Coroutine[Any, Any, None]]

FIELDS = {
    "Host": "test",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}


class Response(NamedTuple):
    """Hold a response: status, fields by their names in lower case, and what is behind."""

    status: int
    fields: dict[str, str]
    body: bytes


def parse_response(data: bytes) -> Response:
    """Read a response; no field may be there twice."""
    head, mark, body = data.partition(b"\r\n\r\n")
    assert mark, f"no whole response: {data!r}"
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = [line.split(": ", 1) for line in lines]
    fields = {name.lower(): value for name, value in pairs}
    assert len(fields) == len(pairs), "a field is there twice"
    return Response(int(first.split(" ")[1]), fields, body)


def request_bytes(target: str = "/", *lines: str, **changes: str | None) -> bytes:
    """Make a request; `changes` of fields are spelt with underscores, None leaves one out."""
    fields = {**FIELDS, **{name.replace("_", "-"): value for name, value in changes.items()}}
    kept = [f"{name}: {value}" for name, value in fields.items() if value is not None]
    return "\r\n".join([f"GET {target} HTTP/1.1", *kept, *lines, "", ""]).encode("latin-1")


class Handshake:
    """Be the request of a client for a WebSocket, and what comes of it."""

    def __init__(
        self,
        app: App,
        target: str = "/",
        *,
        options: Options | None = None,
        fields: dict[str, str] | None = None,
        leftover: bytes = b"",
        deadline: float | None = None,
        half_closes: bool = True,
        config: uvicorn.Config | None = None,
        begin: bool = True,
        peername: Any = ("127.0.0.1", 9),
        sockname: Any = ("127.0.0.1", 8000),
        **settings: Any,
    ) -> None:
        options = options or Options(extensions=(), ping_interval=None)
        self.config = config or ServerConfig(app, options=options, **settings)
        self.state = ServerState()
        self.transport = FakeTransport(
            half_closes=half_closes, peername=peername, sockname=sockname
        )
        self.protocol = WebSocketProtocol(self.config, self.state, {"key": "value"})
        self.transport.set_protocol(self.protocol)
        self.protocol.connection_made(self.transport)
        if begin:
            head = RequestHead("GET", target, "1.1", list({**FIELDS, **(fields or {})}.items()))
            self.protocol.begin(head, leftover, deadline=deadline)

    @property
    def response(self) -> Response:
        """Give the response to the request."""
        return parse_response(self.transport.sent)

    def take_frames(self) -> list[Received]:
        """Give the frames behind the 101 that were written since this was called last."""
        response = self.response
        assert response.status == 101, response
        self.transport.skip(len(self.transport.sent) - len(response.body))
        return self.transport.take_frames()
