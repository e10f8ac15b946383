"""The guard of the standalone server in virtual time: whose a request is, and by when it comes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from tests.asgi.handshaking import Response, parse_response, request_bytes
from tests.core.wire import close
from tests.inprocess import FakeTransport, in_virtual_time, settled
from tests.peer import TEXT, frame
from ws_middleware.aio import AsyncConnection
from ws_middleware.asgi import lending
from ws_middleware.asgi.guard import HTTPGuard
from ws_middleware.asgi.uvicorn import WebSocketProtocol
from ws_middleware.driver import BLOCK
from ws_middleware.mounts import WebSockets
from ws_middleware.server import ServerConfig

ws = WebSockets(extensions=(), ping_interval=None)


@ws.route("/echo")
async def echo(connection: AsyncConnection) -> None:
    async for message in connection:
        await connection.send(message)


async def read_body(receive: Any) -> bytes:
    body, more = b"", True
    while more:
        event = await receive()
        if event["type"] == "http.disconnect":
            return body + b" and then nothing"
        body += event["body"]
        more = event["more_body"]
    return body


async def respond(send: Any, body: bytes, status: int = 200) -> None:
    fields = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Echo bodies; /early answers first and reads then, /slow takes its time."""
    if scope["path"] == "/early":
        await respond(send, b"early")
        return
    body = await read_body(receive)
    if scope["path"] == "/slow":
        await asyncio.sleep(2)
    await respond(send, scope["path"].encode() + b" " + body)


class Guarded:
    """Be a TCP connection of the standalone server."""

    def __init__(self, application: Any = app, **settings: Any) -> None:
        options = ws.options
        config = ServerConfig(
            ws.asgi(application), options=options, **{"timeout_keep_alive": 4, **settings}
        )
        config.load()
        self.state = ServerState()
        self.transport = FakeTransport(peername=("127.0.0.1", 9), sockname=("127.0.0.1", 8000))
        self.guard = HTTPGuard(config, self.state, {})
        self.transport.set_protocol(self.guard)
        self.guard.connection_made(self.transport)

    def feed(self, *data: bytes) -> None:
        self.transport.feed(*data)

    def responses(self) -> list[Response]:
        """Give all responses; each has to have a Content-Length."""
        data, found = self.transport.sent, []
        while data:
            response = parse_response(data)
            size = int(response.fields["content-length"])
            found.append(response._replace(body=response.body[:size]))
            data = response.body[size:]
        return found

    def bodies(self) -> list[bytes]:
        return [response.body for response in self.responses()]


@pytest.fixture(params=[H11Protocol, HttpToolsProtocol], ids=["h11", "httptools"], autouse=True)
def uvicorns_parser(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let plain HTTP be spoken by each of uvicorn's own protocols."""
    former = lending.WatchedHTTP.__bases__
    lending.WatchedHTTP.__bases__ = (request.param,)
    yield
    lending.WatchedHTTP.__bases__ = former


def plain(path: str = "/page", *lines: str, method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: test", *lines, "", ""]).encode()


# --- whose a request is ---


@in_virtual_time
async def test_websocket_goes_to_our_protocol_with_every_byte_behind_it() -> None:
    guarded = Guarded()
    assert len(guarded.state.connections) == 1
    guarded.feed(request_bytes("/echo") + frame(TEXT, "a"), frame(TEXT, "b"))
    await settled()
    (protocol,) = guarded.state.connections
    assert isinstance(protocol, WebSocketProtocol)
    response = parse_response(guarded.transport.sent)
    assert response.status == 101
    assert response.body == frame(TEXT, "a", key=None) + frame(TEXT, "b", key=None)
    guarded.feed(close())
    guarded.transport.feed_eof()
    await settled()
    assert not guarded.state.connections
    assert not guarded.state.tasks


@in_virtual_time
async def test_plain_request_goes_to_the_app() -> None:
    guarded = Guarded()
    guarded.feed(plain())
    await settled()
    assert guarded.bodies() == [b"/page "]
    assert not guarded.transport.is_closing()


@in_virtual_time
async def test_request_may_come_byte_by_byte() -> None:
    guarded = Guarded()
    for byte in plain("/a", "Content-Length: 3", method="POST") + b"xyz" + plain("/b"):
        guarded.feed(bytes([byte]))
    await settled()
    assert guarded.bodies() == [b"/a xyz", b"/b "]


@in_virtual_time
async def test_requests_are_answered_one_after_the_other() -> None:
    guarded = Guarded()
    guarded.feed(plain("/slow") + plain("/a") + plain("/b"))
    await settled()
    assert guarded.bodies() == []
    await asyncio.sleep(2.5)
    assert guarded.bodies() == [b"/slow ", b"/a ", b"/b "]


@in_virtual_time
async def test_reading_stops_where_too_much_comes_behind_a_request() -> None:
    guarded = Guarded()
    guarded.feed(plain("/slow"))
    size = BLOCK + 40_000
    rest = plain("/a", f"Content-Length: {size}", method="POST") + bytes(size)
    guarded.feed(rest[:BLOCK])
    assert guarded.transport.is_reading()
    guarded.feed(rest[BLOCK:])
    assert not guarded.transport.is_reading()
    await asyncio.sleep(2.5)
    assert guarded.transport.is_reading()
    assert [len(body) for body in guarded.bodies()] == [6, size + 3]


@in_virtual_time
async def test_websocket_may_come_behind_plain_requests() -> None:
    guarded = Guarded()
    guarded.feed(
        plain("/a") + plain("/b", "Transfer-Encoding: chunked", method="POST"),
        b"3\r\nxyz\r\n0\r\n\r\n" + request_bytes("/echo") + frame(TEXT, "c"),
    )
    await settled()
    assert guarded.transport.sent.count(b"HTTP/1.1 200 OK") == 2
    assert guarded.transport.sent.endswith(frame(TEXT, "c", key=None))
    guarded.transport.lose()
    await settled()
    assert not guarded.state.connections


@in_virtual_time
async def test_refused_websocket_behind_a_plain_request_is_answered_completely() -> None:
    guarded = Guarded()
    guarded.feed(plain("/a") + request_bytes("/echo", Sec_WebSocket_Key="short"))
    await settled()
    assert [response.status for response in guarded.responses()] == [200, 400]
    assert guarded.transport.calls[-1] == "eof"


# --- deadlines ---


@in_virtual_time
async def test_connection_that_says_nothing_is_dropped() -> None:
    guarded = Guarded()
    await asyncio.sleep(9.9)
    assert not guarded.transport.is_lost()
    await asyncio.sleep(0.2)
    assert guarded.transport.calls[-1] == "abort"
    assert guarded.transport.writes == []
    assert not guarded.state.connections


@in_virtual_time
async def test_half_a_request_is_answered_with_408_at_the_deadline() -> None:
    guarded = Guarded()
    for byte in plain()[:9]:
        guarded.feed(bytes([byte]))
        await asyncio.sleep(1)
    assert guarded.transport.writes == []
    await asyncio.sleep(1.1)
    (response,) = guarded.responses()
    assert response.status == 408
    assert b"open_timeout=10.0 s" in response.body


@in_virtual_time
async def test_deadline_counts_from_the_connection_on() -> None:
    async def undecided(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(100)

    guarded = Guarded(undecided)
    await asyncio.sleep(8)
    guarded.feed(request_bytes("/elsewhere"))
    await asyncio.sleep(1.9)
    assert guarded.transport.writes == []
    await asyncio.sleep(0.2)
    assert guarded.responses()[0].status == 503


@in_virtual_time
async def test_connection_that_is_kept_and_says_nothing_is_closed() -> None:
    guarded = Guarded()
    guarded.feed(plain())
    await asyncio.sleep(3.9)
    assert not guarded.transport.is_closing()
    await asyncio.sleep(0.2)
    assert guarded.transport.is_lost()


@in_virtual_time
async def test_request_on_a_kept_connection_ends_its_deadline() -> None:
    guarded = Guarded()
    for number in range(5):
        guarded.feed(plain(f"/{number}"))
        await asyncio.sleep(3)
    assert len(guarded.bodies()) == 5


@in_virtual_time
async def test_body_that_goes_on_behind_its_response_gets_close_timeout() -> None:
    guarded = Guarded()
    guarded.feed(plain("/early", "Content-Length: 100", method="POST"))
    await settled()
    assert guarded.bodies() == [b"early"]
    for _ in range(9):
        await asyncio.sleep(1)
        guarded.feed(b"x")
    await asyncio.sleep(1.1)
    assert "abort" in guarded.transport.calls


@in_virtual_time
async def test_body_that_ends_behind_its_response_is_no_request() -> None:
    guarded = Guarded()
    guarded.feed(plain("/early", "Content-Length: 6", method="POST"))
    await settled()
    guarded.feed(b"GET / " + plain("/next"))
    await settled()
    assert guarded.bodies() == [b"early", b"/next "]


# --- refusals ---


@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        (b"\r\n", 400),
        (b"GET /" + b"x" * 9000, 414),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 102, 431),
        (plain("/", "Content-Length: 1", "Transfer-Encoding: chunked"), 400),
        (plain("test:80", method="CONNECT"), 501),
        (plain("/", "Transfer-Encoding: gzip"), 501),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (plain("/").replace(b"HTTP/1.1", b"HTTP/2.0"), 400),
    ],
)
@in_virtual_time
async def test_bad_head_is_refused_and_logged(
    request_head: bytes, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    guarded = Guarded()
    guarded.feed(request_head)
    (response,) = guarded.responses()
    assert response.status == status
    assert guarded.transport.calls[-1] == "eof"
    assert [message.partition(":")[0] for message in caplog.messages] == ["127.0.0.1"]
    assert f"refused with {status}" in caplog.text
    guarded.transport.feed_eof()
    await settled()
    assert not guarded.state.connections


@in_virtual_time
async def test_broken_body_is_400() -> None:
    guarded = Guarded()
    guarded.feed(plain("/a", "Transfer-Encoding: chunked", method="POST") + b"nonsense\r\n")
    await settled()
    (response,) = guarded.responses()
    assert response.status == 400


@in_virtual_time
async def test_broken_body_behind_a_response_ends_the_connection() -> None:
    guarded = Guarded()
    guarded.feed(plain("/early", "Transfer-Encoding: chunked", method="POST"))
    await settled()
    guarded.feed(b"nonsense\r\n")
    await settled()
    assert guarded.bodies() == [b"early"]
    assert guarded.transport.calls[-1] == "eof"
    guarded.feed(b"what still comes is dropped, so that no reset takes the response with it")
    guarded.transport.feed_eof()
    await settled()
    assert guarded.transport.is_lost()


@pytest.mark.parametrize(
    ("version", "lines"),
    [
        ("1.1", ["Upgrade: h2c", "Connection: Upgrade", "Content-Length: 3"]),
        ("1.0", ["Expect: 100-continue", "Content-Length: 3"]),
    ],
)
@in_virtual_time
async def test_what_uvicorn_would_take_amiss_is_left_out(version: str, lines: list[str]) -> None:
    guarded = Guarded()
    head = plain("/a", *lines, method="POST").replace(b"HTTP/1.1", f"HTTP/{version}".encode())
    guarded.feed(head + b"xyz")
    await settled()
    assert guarded.bodies() == [b"/a xyz"]


# --- the end ---


@in_virtual_time
async def test_stopping_server_closes_who_asked_nothing() -> None:
    guarded = Guarded()
    guarded.guard.shutdown()
    await settled()
    assert guarded.transport.is_lost()
    assert not guarded.state.connections


@in_virtual_time
async def test_end_of_the_stream_before_a_request_is_the_end() -> None:
    guarded = Guarded()
    guarded.transport.feed_eof()
    await settled()
    assert guarded.transport.is_lost()
    await asyncio.sleep(20)
    assert "abort" not in guarded.transport.calls


@in_virtual_time
async def test_app_is_told_of_a_peer_that_leaves_within_a_body() -> None:
    told: list[bytes] = []

    async def reading(scope: Any, receive: Any, send: Any) -> None:
        told.append(await read_body(receive))

    guarded = Guarded(reading)
    guarded.feed(plain("/a", "Content-Length: 9", method="POST") + b"half")
    await settled()
    guarded.transport.feed_eof()
    guarded.transport.lose()
    await settled()
    assert told == [b"half and then nothing"]
    assert not guarded.state.connections


@in_virtual_time
async def test_response_waits_for_a_peer_that_does_not_read() -> None:
    sent = 0

    async def sending(scope: Any, receive: Any, send: Any) -> None:
        nonlocal sent
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(10):
            sent += 1
            await send({"type": "http.response.body", "body": bytes(70_000), "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    guarded = Guarded(sending)
    guarded.transport.stuck = True
    guarded.feed(plain())
    await settled()
    assert sent < 3
    guarded.transport.stuck = False
    guarded.transport.drain()
    await settled()
    assert sent == 10


@in_virtual_time
async def test_flow_control_without_a_request_is_nobodys_business() -> None:
    guarded = Guarded()
    guarded.guard.pause_writing()
    guarded.guard.resume_writing()
    assert not guarded.transport.is_closing()


@in_virtual_time
async def test_uvicorn_has_no_hold_of_a_transport_that_was_taken_back() -> None:
    guarded = Guarded()
    guarded.feed(plain("/a") + request_bytes("/echo"))
    await settled()
    lent = guarded.guard._lent
    assert lent is not None
    before = list(guarded.transport.calls)
    lent.write(b"late")
    lent.close()
    lent.pause_reading()
    assert lent.is_closing()
    assert guarded.transport.calls == before
    guarded.transport.lose()
