"""What gunicorn's asgi worker gives to our class and is told by it, without a worker."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.asgi import websocket
from gunicorn.asgi.lifespan import LifespanManager

from tests.asgi.handshaking import FIELDS, parse_response
from tests.inprocess import FakeTransport, in_virtual_time, settled
from tests.peer import BINARY, frame
from ws_middleware import AsyncConnection, WebSockets
from ws_middleware.asgi.gunicorn import WebSocketProtocol
from ws_middleware.asgi.install import install

STOCK = websocket.WebSocketProtocol
ws = WebSockets(ping_interval=None, extensions=())


@ws.route("/echo")
async def echo(connection: AsyncConnection) -> None:
    async for message in connection:
        await connection.send(message)


@ws.route("/who")
async def who(connection: AsyncConnection) -> None:
    await connection.send_json([connection.remote_address, connection.request.secure])


async def own(scope: Any, receive: Any, send: Any) -> None:
    """Be an app with a socket of its own."""
    await receive()
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": str(len(event["bytes"]))})


class Lender(asyncio.Protocol):
    """Be gunicorn's protocol of a connection."""

    def __init__(self, worker: Any = None) -> None:
        if worker is not None:
            self.worker = worker
        self.losses = 0

    def connection_lost(self, exc: Exception | None) -> None:
        self.losses += 1


class Opened:
    """Open a WebSocket on a lent transport."""

    def __init__(self, path: str = "/echo", worker: Any = None, **settings: Any) -> None:
        self.lender = Lender(worker)
        self.transport = FakeTransport()
        self.transport.set_protocol(self.lender)
        scope = {
            "type": "websocket",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "scheme": "wss",  # as a proxy said
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(name.lower().encode(), value.encode()) for name, value in FIELDS.items()],
            "client": ("192.0.2.7", 4),  # as a proxy said
            "server": ("127.0.0.1", 8000),
            "subprotocols": [],
        }
        protocol = WebSocketProtocol(
            self.transport, scope, ws.asgi(own, install=False), None, **settings
        )
        self.task = asyncio.create_task(protocol.run())

    @property
    def status(self) -> int:
        return parse_response(self.transport.sent).status


@in_virtual_time
async def test_lender_hears_of_the_end_and_run_ends_with_it() -> None:
    opened = Opened()
    await settled()
    assert opened.status == 101
    opened.transport.lose()
    await opened.task
    assert opened.lender.losses == 1


@pytest.mark.parametrize(("settings", "size"), [({"max_message_size": 10}, 11), ({}, 2**24 + 1)])
@in_virtual_time
async def test_limit_of_the_apps_own_endpoints(settings: Any, size: int) -> None:
    opened = Opened("/own", **settings)
    await settled()
    opened.transport.skip(len(opened.transport.sent))
    opened.transport.feed(frame(BINARY, bytes(size)))
    await settled()
    assert opened.transport.take_frames()[0].payload[:2] == (1009).to_bytes(2, "big")
    opened.task.cancel()


@in_virtual_time
async def test_nothing_stands_for_no_limit() -> None:
    opened = Opened("/own", max_message_size=0)
    await settled()
    opened.transport.skip(len(opened.transport.sent))
    opened.transport.feed(frame(BINARY, bytes(2**24 + 1)))
    await settled()
    assert opened.transport.take_frames()[0].payload == str(2**24 + 1).encode()
    opened.task.cancel()


@in_virtual_time
async def test_stopping_worker_says_goodbye() -> None:
    worker = SimpleNamespace(servers=[])
    opened = [Opened(worker=worker), Opened(worker=worker)]
    await settled()
    (goodbye,) = worker.servers
    goodbye.close()
    await goodbye.wait_closed()
    for one in opened:
        one.transport.skip(one.transport.sent.index(b"\r\n\r\n") + 4)
        assert one.transport.take_frames()[0].payload[:2] == (1001).to_bytes(2, "big")
    late = Opened(worker=worker)
    await settled()
    assert late.status == 503
    for one in [*opened, late]:
        one.transport.lose()
        await one.task


@in_virtual_time
async def test_what_the_scope_says_of_the_connection_is_believed() -> None:
    opened = Opened("/who")
    await settled()
    assert b'[["192.0.2.7", 4], true]' in opened.transport.sent
    opened.task.cancel()


# --- being put in place ---


@pytest.fixture(autouse=True)
def stock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin with gunicorn as it is."""
    monkeypatch.setattr(websocket, "WebSocketProtocol", STOCK)


def find() -> bool:
    return install(LifespanManager(ws.asgi(), None)._receive)


@in_virtual_time
async def test_class_is_replaced() -> None:
    assert find()
    assert find()
    assert websocket.WebSocketProtocol is WebSocketProtocol


class Other:
    """Be made in another way."""

    def __init__(self, connection: Any) -> None:
        """Take what we do not know."""


@pytest.mark.parametrize("other", [Other, object(), None])
def test_gunicorn_that_is_not_known_is_left_alone(
    other: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(websocket, "WebSocketProtocol", other)
    in_virtual_time(check_not_found)()
    assert websocket.WebSocketProtocol is other
    assert "this gunicorn is not known" in caplog.text


async def check_not_found() -> None:
    assert not find()
