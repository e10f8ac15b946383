"""What uvicorn's HTTP protocols leave out when they hand a request on."""

from __future__ import annotations

from typing import Any

import pytest
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from tests.asgi.handshaking import request_bytes
from tests.inprocess import FakeTransport, in_virtual_time, settled
from tests.peer import TEXT, frame
from ws_middleware.aio import AsyncConnection
from ws_middleware.asgi.handover import Handover, look_behind
from ws_middleware.asgi.uvicorn import WebSocketProtocol
from ws_middleware.mounts import WebSockets

ws = WebSockets(ping_interval=None, extensions=())


@ws.route("/echo")
async def echo(connection: AsyncConnection) -> None:
    async for message in connection:
        await connection.send(message)


async def slow(scope: Any, receive: Any, send: Any) -> None:
    """Answer when it is too late."""
    while (await receive())["type"] != "http.disconnect":
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"late"})


def connect(kind: Any) -> FakeTransport:
    config = uvicorn.Config(ws.asgi(slow), ws=WebSocketProtocol, log_config=None)
    config.load()
    protocol = kind(config, ServerState(), {})
    transport = FakeTransport(peername=("127.0.0.1", 9), sockname=("127.0.0.1", 8000))
    transport.set_protocol(protocol)
    protocol.connection_made(transport)
    return transport


both = pytest.mark.parametrize("kind", [H11Protocol, HttpToolsProtocol])


@both
@in_virtual_time
async def test_frames_behind_the_request_are_kept(kind: Any) -> None:
    transport = connect(kind)
    early = frame(TEXT, "early") + frame(TEXT, "half")
    transport.feed(request_bytes("/echo"), early[:-2])
    await settled()
    head, mark, _ = transport.sent.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101")
    transport.skip(len(head + mark))
    assert [one.payload for one in transport.take_frames()] == [b"early"]
    transport.feed(early[-2:])
    await settled()
    assert [one.payload for one in transport.take_frames()] == [b"half"]
    transport.lose()


@both
@in_virtual_time
async def test_http_1_0_is_refused_though_it_comes_as_1_1(kind: Any) -> None:
    transport = connect(kind)
    transport.feed(request_bytes("/echo").replace(b"HTTP/1.1", b"HTTP/1.0"))
    await settled()
    assert transport.sent.startswith(b"HTTP/1.1 400")
    assert b"a WebSocket is opened with HTTP/1.1" in transport.sent
    transport.lose()


@in_virtual_time
async def test_handshake_does_not_overtake_an_earlier_response() -> None:
    transport = connect(HttpToolsProtocol)
    transport.feed(b"GET /slow HTTP/1.1\r\nHost: test\r\n\r\n", request_bytes("/echo"))
    await settled()
    assert transport.sent.startswith(b"HTTP/1.1 400")
    assert b"before an earlier response ended" in transport.sent
    assert b"late" not in transport.sent
    transport.lose()


@pytest.mark.parametrize("http", [None, object(), WebSocketProtocol])
def test_what_is_not_found_counts_as_right(http: object) -> None:
    assert look_behind(http) == Handover(b"", None)


def test_timer_of_an_older_uvicorn_is_stopped() -> None:
    class Older:
        stopped = 0

        def _unset_keepalive_if_required(self) -> None:
            self.stopped += 1

    http = Older()
    look_behind(http)
    assert http.stopped == 1
