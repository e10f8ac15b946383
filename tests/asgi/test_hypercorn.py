"""What a stream of hypercorn's gives to our handshake and takes from it, without a server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import hypercorn.protocol.h2
import hypercorn.protocol.h11
import pytest
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.lifespan import Lifespan
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from hypercorn.protocol.events import (
    Body,
    Data,
    EndBody,
    EndData,
    Event,
    Request,
    Response,
    StreamClosed,
)
from hypercorn.protocol.ws_stream import WSStream

from tests.asgi.handshaking import FIELDS
from tests.core.wire import read_frames
from tests.inprocess import in_virtual_time, settled
from tests.peer import BINARY, CLOSE, PING, TEXT, Received, frame
from ws_middleware import AsyncConnection, WebSockets
from ws_middleware.asgi.hypercorn import HTTP3Stream, WebSocketStream
from ws_middleware.asgi.install import install

PROTOCOLS = [hypercorn.protocol.h11, hypercorn.protocol.h2]
ws = WebSockets(max_queue=2, ping_interval=None, extensions=())


@ws.route("/echo")
async def echo(connection: AsyncConnection) -> None:
    async for message in connection:
        await connection.send(message)


@ws.route("/flood")
async def flood(connection: AsyncConnection) -> None:
    await connection.send(bytes(200_000))
    await connection.send("behind")


@ws.route("/deaf")
async def deaf(connection: AsyncConnection) -> None:
    await connection.wait_closed()


@ws.route("/abort")
async def abort(connection: AsyncConnection) -> None:
    connection.abort()


async def own(scope: Any, receive: Any, send: Any) -> None:
    """Be an app with a socket of its own that denies in two pieces."""
    await receive()
    if scope["path"] == "/denied":
        headers = [(b"x-why", b"no"), (b"content-length", b"99")]
        await send({"type": "websocket.http.response.start", "status": 401, "headers": headers})
        for body, more in ((b"not ", True), (b"you", False)):
            await send({"type": "websocket.http.response.body", "body": body, "more_body": more})
        return
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        await send({**event, "type": "websocket.send"})


app: Any = ws.asgi(own, install=False)


class Log:
    """Be hypercorn's log."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, int]] = []

    async def access(self, scope: Any, response: Any, _: float) -> None:
        self.lines.append((scope["path"], response["status"]))


class Group:
    """Be hypercorn's group of tasks."""

    def __init__(self) -> None:
        self.tasks: list[asyncio.Task[None]] = []

    def spawn(self, function: Any, *arguments: Any) -> None:
        self.tasks.append(asyncio.create_task(function(*arguments)))


class Stream:
    """Play the protocol of hypercorn that has a stream, and its peer."""

    def __init__(self, path: str, version: str = "1.1", *, context: Any = None) -> None:
        self.config = Config()
        self.config._log = Log()  # type: ignore[assignment]
        self.context = context or WorkerContext(None)
        self.group = Group()
        self.sent: list[Event] = []
        self.room = asyncio.Event()
        self.room.set()
        address = ("127.0.0.1", 9), ("127.0.0.1", 8000)
        rest = (self.context, self.group, False, *address, self.send, 1)
        kind = HTTP3Stream if version == "3" else WebSocketStream
        self.stream = kind(ASGIWrapper(app), self.config, *rest)
        self.path, self.version = path, version

    async def send(self, event: Event) -> None:
        await self.room.wait()
        self.sent.append(event)

    async def give(self, data: bytes) -> None:
        kind = Data if self.version == "1.1" else Body
        await self.stream.handle(kind(stream_id=1, data=data))

    async def open(self, **fields: str) -> Response:
        given = {**FIELDS, **fields}
        if self.version != "1.1":
            for name in ("Upgrade", "Connection", "Sec-WebSocket-Key"):
                del given[name]
        request = Request(
            stream_id=1,
            headers=[(name.lower().encode(), value.encode()) for name, value in given.items()],
            http_version=self.version,
            method="GET" if self.version == "1.1" else "CONNECT",
            raw_path=self.path.encode(),
            state={},  # type: ignore[arg-type]
        )
        await self.stream.handle(request)
        await settled()
        assert isinstance(self.sent[0], Response)
        return self.sent[0]

    @property
    def body(self) -> bytes:
        """Give what was sent behind the head."""
        return b"".join(event.data for event in self.sent if isinstance(event, Data | Body))

    @property
    def frames(self) -> list[Received]:
        return read_frames(self.body)

    @property
    def ends(self) -> list[type]:
        """Tell which ends were sent."""
        return [type(one) for one in self.sent if isinstance(one, EndData | EndBody | StreamClosed)]

    @property
    def log(self) -> list[tuple[str, int]]:
        log: Any = self.config._log
        return list(log.lines)


@pytest.mark.parametrize(("version", "status"), [("1.1", 101), ("2", 200), ("3", 200)])
@in_virtual_time
async def test_messages_go_both_ways(version: str, status: int) -> None:
    stream = Stream("/echo?x", version)
    response = await stream.open()
    assert response.status_code == status
    assert (b"upgrade", b"websocket") in [
        (name, value.lower()) for name, value in response.headers
    ] or version != "1.1"
    await stream.give(frame(TEXT, "hello"))
    await settled()
    assert [(one.opcode, one.payload) for one in stream.frames] == [(TEXT, b"hello")]
    assert stream.log == [("/echo", status)]


@in_virtual_time
async def test_what_comes_before_the_answer_is_kept() -> None:
    stream = Stream("/echo")
    await asyncio.gather(stream.open(), stream.give(frame(TEXT, "early")))
    await settled()
    assert stream.frames[0].payload == b"early"


@in_virtual_time
async def test_endpoint_of_the_app_itself_gets_events() -> None:
    stream = Stream("/own")
    await stream.open()
    await stream.give(frame(BINARY, b"bytes") + frame(PING, b"now"))
    await settled()
    assert sorted(one.payload for one in stream.frames) == [b"bytes", b"now"]


@pytest.mark.parametrize("version", ["1.1", "2"])
@in_virtual_time
async def test_denial_in_pieces(version: str) -> None:
    stream = Stream("/denied", version)
    response = await stream.open()
    assert response.status_code == 401
    names = [name for name, _ in response.headers]
    assert names == ([b"x-why", b"connection"] if version == "1.1" else [b"x-why"])
    assert stream.body == b"not you"
    assert EndBody in stream.ends


# --- flow control ---


@pytest.mark.parametrize("version", ["1.1", "2"])
@in_virtual_time
async def test_handler_that_does_not_receive_stops_the_reading(version: str) -> None:
    stream = Stream("/deaf", version)
    await stream.open()
    await stream.give(frame(TEXT, "x") * 3)
    blocked = asyncio.create_task(stream.give(b""))
    await settled()
    assert not blocked.done()
    await stream.stream.handle(StreamClosed(stream_id=1))
    await settled()
    assert blocked.done()


@in_virtual_time
async def test_nobody_waits_for_a_stream_of_http3() -> None:
    stream = Stream("/deaf", "3")
    await stream.open()
    for _ in range(40):
        await stream.give(frame(BINARY, bytes(5000)))
    await settled()
    assert not stream.stream.idle
    for _ in range(40):
        await stream.give(frame(BINARY, bytes(5000)))
    await settled()
    assert stream.stream.idle


@in_virtual_time
async def test_what_nobody_received_in_http3_is_not_lost() -> None:
    stream = Stream("/echo", "3")
    await stream.open()
    stream.room.clear()
    for _ in range(40):
        await settled()
        await stream.give(frame(BINARY, bytes(5000)))
    stream.room.set()
    await stream.give(frame(CLOSE, (1000).to_bytes(2, "big")))
    await stream.stream.handle(EndBody(stream_id=1))
    await settled()
    assert [one.opcode for one in stream.frames] == [BINARY] * 40 + [CLOSE]


@in_virtual_time
async def test_dead_peer_is_noticed_by_endpoints_of_the_app_in_http3() -> None:
    stream = Stream("/own", "3")
    await stream.open()
    await asyncio.sleep(60)
    assert stream.frames[0].opcode == PING
    assert stream.stream.idle


@in_virtual_time
async def test_send_waits_for_a_server_that_takes_nothing() -> None:
    stream = Stream("/flood")
    await stream.open()
    stream.room.clear()
    await settled()
    sent = len(stream.sent)
    await settled()
    assert len(stream.sent) == sent
    stream.room.set()
    await settled()
    assert [one.opcode for one in stream.frames] == [BINARY, TEXT, CLOSE]


# --- endings ---


@pytest.mark.parametrize("version", ["2", "3"])
@in_virtual_time
async def test_stream_is_forgotten_when_both_halves_have_ended(version: str) -> None:
    stream = Stream("/echo", version)
    await stream.open()
    await stream.give(frame(CLOSE, (1000).to_bytes(2, "big")))
    await settled()
    assert (stream.ends, stream.stream.idle) == ([EndBody], False)
    await asyncio.sleep(ws.options.close_timeout + 1)
    assert (stream.ends, stream.stream.idle) == ([EndBody], True)
    await stream.give(b"what comes yet")
    await stream.stream.handle(EndBody(stream_id=1))
    assert stream.ends == [EndBody, StreamClosed]


@in_virtual_time
async def test_connection_is_closed_with_the_stream() -> None:
    stream = Stream("/echo")
    await stream.open()
    assert not stream.stream.idle
    await stream.give(frame(CLOSE, (1000).to_bytes(2, "big")))
    await settled()
    assert stream.ends == [EndData, StreamClosed]
    assert stream.stream.idle


@pytest.mark.parametrize("version", ["1.1", "2"])
@in_virtual_time
async def test_abort(version: str) -> None:
    stream = Stream("/abort", version)
    await stream.open()
    await settled()
    assert stream.frames == []
    assert stream.stream.idle


@pytest.mark.parametrize("version", ["1.1", "2"])
@in_virtual_time
async def test_peer_that_left_ends_the_handler(version: str) -> None:
    stream = Stream("/echo", version)
    await stream.open()
    await stream.stream.handle(StreamClosed(stream_id=1))
    await settled()
    assert all(task.done() for task in stream.group.tasks)


@in_virtual_time
async def test_cancelled_server_cancels_the_handler() -> None:
    stream = Stream("/deaf")
    await stream.open()
    (task,) = stream.group.tasks
    task.cancel()
    await settled()
    assert task.done()
    assert StreamClosed in stream.ends


@in_virtual_time
async def test_stopping_worker_says_goodbye() -> None:
    stream = Stream("/echo")
    await stream.open()
    await stream.context.terminated.set()
    await settled()
    assert stream.frames[0].payload[:2] == (1001).to_bytes(2, "big")
    late = Stream("/echo", context=stream.context)
    assert (await late.open()).status_code == 503


@in_virtual_time
async def test_name_of_another_server_is_refused() -> None:
    stream = Stream("/echo")
    stream.config.server_names = ["chat.example"]
    assert (await stream.open()).status_code == 404
    assert b"server_names" in stream.body


@in_virtual_time
async def test_limit_of_the_apps_own_endpoints_is_hypercorns() -> None:
    stream = Stream("/own")
    stream.config.websocket_max_message_size = 10
    await stream.open()
    await stream.give(frame(TEXT, "x" * 11))
    await settled()
    assert stream.frames[0].payload[:2] == (1009).to_bytes(2, "big")


# --- being put in place ---


@pytest.fixture(autouse=True)
def stock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin with hypercorn as it is."""
    for protocol in PROTOCOLS:
        monkeypatch.setattr(protocol, "WSStream", WSStream)


def make_lifespan() -> Any:
    return Lifespan(ASGIWrapper(app), Config(), asyncio.get_running_loop(), {})


def open_stream(protocol: Any, config: Config) -> Any:
    return protocol.WSStream(ASGIWrapper(app), config, *[None] * 7)


@in_virtual_time
async def test_server_that_was_found_gets_our_class_and_no_other() -> None:
    lifespans = [make_lifespan(), make_lifespan()]
    for lifespan in [*lifespans, *lifespans]:
        assert install(lifespan.asgi_receive)
    for protocol in PROTOCOLS:
        for lifespan in lifespans:
            assert isinstance(open_stream(protocol, lifespan.config), WebSocketStream)
        assert isinstance(open_stream(protocol, Config()), WSStream)


def lose_parameter(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other(WSStream):
        def __init__(self, app: Any, config: Any) -> None:
            """Be made in another way."""

    monkeypatch.setattr(hypercorn.protocol.h2, "WSStream", Other)


def lose_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(hypercorn.protocol.h11, "WSStream")


@pytest.mark.parametrize("change", [lose_parameter, lose_class])
def test_hypercorn_that_is_not_known_is_left_alone(
    change: Callable[[pytest.MonkeyPatch], None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    change(monkeypatch)

    @in_virtual_time
    async def check() -> None:
        lifespan = make_lifespan()
        assert not install(lifespan.asgi_receive)
        for protocol in PROTOCOLS:
            if hasattr(protocol, "WSStream") and protocol.WSStream is WSStream:
                assert isinstance(open_stream(protocol, lifespan.config), WSStream)

    check()
    assert "this hypercorn is not known" in caplog.text
