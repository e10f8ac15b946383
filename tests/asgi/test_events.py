"""Our connection over a server's events: what the server is told, and what handlers see."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.asgi.handshaking import App
from tests.inprocess import in_virtual_time, settled
from ws_middleware.aio import AsyncConnection
from ws_middleware.callbacks import Handler
from ws_middleware.connection import Connection
from ws_middleware.core.frames import Frame, Opcode
from ws_middleware.core.messages import TextMessage
from ws_middleware.errors import ConnectionClosed, UnsupportedError
from ws_middleware.mounts import WebSockets

Event = dict[str, Any]

DISCONNECT: Event = {"type": "websocket.disconnect", "code": 1001, "reason": "bye"}


class ForeignServer:
    """Be a server that speaks the handshake and the frames by itself."""

    def __init__(self, app: App, path: str = "/", **scope: Any) -> None:
        self.coming: asyncio.Queue[Event | Exception] = asyncio.Queue()
        self.sent: list[Event] = []
        self.receiving = 0
        self.receiving_at_close: int | None = None
        self.takes = asyncio.Event()
        self.takes.set()
        self.breaks: Exception | None = None
        self.refused_codes = range(0)
        self.coming.put_nowait({"type": "websocket.connect"})
        whole = {"type": "websocket", "path": path, "headers": [], **scope}
        self.task = asyncio.create_task(app(whole, self.receive, self.send))

    async def receive(self) -> Event:
        self.receiving += 1
        try:
            event = await self.coming.get()
        finally:
            self.receiving -= 1
        if isinstance(event, Exception):
            raise event
        return event

    async def send(self, event: Event) -> None:
        await self.takes.wait()
        if self.breaks is not None:
            raise self.breaks
        if event["type"] == "websocket.close":
            if event["code"] in self.refused_codes:
                raise ValueError("invalid close code")
            self.receiving_at_close = self.receiving
        self.sent.append(event)

    def says(self, *events: Event | str | bytes | Exception) -> None:
        """Give events to the app; text and bytes are messages."""
        for event in events:
            if isinstance(event, str | bytes):
                name = "text" if isinstance(event, str) else "bytes"
                event = {"type": "websocket.receive", name: event}
            self.coming.put_nowait(event)

    @property
    def messages(self) -> list[str | bytes]:
        """Give the messages that were sent."""
        sent = [event for event in self.sent if event["type"] == "websocket.send"]
        return [event["text"] if "text" in event else event["bytes"] for event in sent]

    @property
    def close(self) -> tuple[int, str] | None:
        """Give code and reason of the close that was sent, which comes last, if it was."""
        *before, last = self.sent
        assert all(event["type"] != "websocket.close" for event in before)
        return (last["code"], last["reason"]) if last["type"] == "websocket.close" else None


def serving(handler: Callable[..., Any], **options: Any) -> ForeignServer:
    """Open a connection to a handler."""
    ws = WebSockets(**options)
    ws.add("/", handler)
    return ForeignServer(ws.asgi())


async def echo(connection: AsyncConnection) -> None:
    async for message in connection:
        await connection.send(message)


@in_virtual_time
async def test_messages_go_both_ways() -> None:
    server = serving(echo)
    server.says("text", b"bytes", "", b"")
    server.says({"type": "websocket.receive", "text": None, "bytes": b"both keys"})
    await settled()
    assert server.sent[0] == {"type": "websocket.accept", "subprotocol": None, "headers": []}
    assert server.messages == ["text", b"bytes", "", b"", b"both keys"]
    server.says(DISCONNECT)
    await server.task
    assert server.close is None, "nothing is sent behind the end"
    assert server.receiving == 0


def blocking_echo(connection: Connection) -> None:
    for message in connection:
        connection.send(message)


class Echo(Handler):
    def on_message(self, message: str | bytes) -> None:
        self.connection.send(message)


@pytest.mark.parametrize("handler", [blocking_echo, Echo])
def test_blocking_handlers_run_over_events(handler: Callable[..., Any]) -> None:
    async def run() -> None:
        server = serving(handler)
        server.says("text", b"bytes")
        while len(server.messages) < 2:  # noqa: ASYNC110 - a thread is at work
            await asyncio.sleep(0.001)
        server.says(DISCONNECT)
        await server.task
        assert server.messages == ["text", b"bytes"]

    asyncio.run(run())


@in_virtual_time
async def test_pieces_leave_as_one_message() -> None:
    async def handler(connection: AsyncConnection) -> None:
        await connection.send(iter(["o", "n", "e"]))
        await connection.send([b"t", b"wo"])
        await connection.send(TextMessage("three", compress=False))

    server = serving(handler)
    await settled()
    assert server.messages == ["one", b"two", "three"]


@in_virtual_time
async def test_a_message_comes_as_one_fragment() -> None:
    taken: list[str | bytes] = []

    async def handler(connection: AsyncConnection) -> None:
        taken.extend([piece async for piece in connection.recv_fragments()])
        taken.append(await connection.recv())

    server = serving(handler)
    server.says("whole", "next")
    await settled()
    assert taken == ["whole", "next"]


@pytest.mark.parametrize(
    ("code", "seen"), [(4001, 4001), (1005, 1005), (None, 1005), (1006, 1006), (1000, 1000)]
)
@in_virtual_time
async def test_disconnect_is_seen(code: int | None, seen: int) -> None:
    ends: list[tuple[int, str]] = []

    class Ends(Handler):
        async def on_close(self, code: int, reason: str) -> None:
            ends.append((code, reason))

    server = serving(Ends)
    server.says({"type": "websocket.disconnect", "code": code})
    await server.task
    assert ends == [(seen, "")]


@in_virtual_time
async def test_peer_that_leaves_is_noticed_without_receiving() -> None:
    async def handler(connection: AsyncConnection) -> None:
        await connection.send("before")
        await asyncio.sleep(1)
        with pytest.raises(ConnectionClosed, match=r"closed with 1001 \(bye\) by the peer"):
            await connection.send("behind")

    server = serving(handler)
    await settled()
    server.says(DISCONNECT)
    await server.task
    assert server.messages == ["before"]


@in_virtual_time
async def test_messages_before_the_end_are_received() -> None:
    received: list[str | bytes] = []

    async def handler(connection: AsyncConnection) -> None:
        await asyncio.sleep(1)
        received.extend([message async for message in connection])

    server = serving(handler, max_queue=2)
    server.says("one", "two", "three", DISCONNECT)
    await server.task
    assert received == ["one", "two", "three"]


@in_virtual_time
async def test_handler_that_does_not_receive_stops_the_reading() -> None:
    async def handler(connection: AsyncConnection) -> None:
        await asyncio.sleep(10)
        async for message in connection:
            await connection.send(message)

    server = serving(handler, max_queue=2)
    server.says(*(str(number) for number in range(9)))
    await asyncio.sleep(1)
    assert server.coming.qsize() == 7
    await asyncio.sleep(10)
    assert server.messages == [str(number) for number in range(9)]
    server.says(DISCONNECT)
    await server.task


@in_virtual_time
async def test_close_is_said_and_its_answer_awaited() -> None:
    closed: list[tuple[int | None, str | None]] = []

    async def handler(connection: AsyncConnection) -> None:
        await connection.send("last")
        await connection.close(4321, "enough")
        closed.append((connection.close_code, connection.close_reason))

    server = serving(handler)
    await settled()
    assert server.messages == ["last"]
    assert server.close == (4321, "enough")
    assert not server.task.done()
    server.says("dropped", {"type": "websocket.disconnect", "code": 4321, "reason": ""})
    await server.task
    assert closed == [(4321, "")]


@in_virtual_time
async def test_close_ends_also_where_the_server_is_silent() -> None:
    async def handler(connection: AsyncConnection) -> None:
        await connection.close()

    server = serving(handler, close_timeout=3)
    begin = asyncio.get_running_loop().time()
    await server.task
    assert asyncio.get_running_loop().time() - begin == pytest.approx(3, abs=0.1)
    assert server.close == (1000, "")


@in_virtual_time
async def test_close_is_sent_while_nobody_receives() -> None:
    """Some servers hold a close back until their `receive` is over."""
    server = serving(echo)
    server.says("before")
    await settled()
    assert server.receiving == 1
    server.task.cancel()
    await settled()
    assert server.close == (1001, "the server is shutting down")
    assert server.receiving_at_close == 0


@in_virtual_time
async def test_handler_that_raises_closes_with_1011() -> None:
    async def handler(connection: AsyncConnection) -> None:
        raise LookupError("on purpose")

    server = serving(handler)
    await settled()
    assert server.close == (1011, "internal error")
    server.says(DISCONNECT)
    await server.task


@in_virtual_time
async def test_server_that_refuses_a_close_code_gets_another_one() -> None:
    """Some take no code below 3000 but 1000."""

    async def handler(connection: AsyncConnection) -> None:
        await connection.close(1011, "internal error")

    server = serving(handler)
    server.refused_codes = range(1001, 3000)
    await settled()
    assert server.close == (4011, "internal error")
    server.says(DISCONNECT)
    await server.task


@pytest.mark.parametrize("code", [1000, 4011])
@in_virtual_time
async def test_server_that_refuses_every_close_has_lost_the_connection(code: int) -> None:
    async def handler(connection: AsyncConnection) -> None:
        await connection.close(code)

    server = serving(handler)
    server.refused_codes = range(5000)
    await server.task
    assert server.close is None


@in_virtual_time
async def test_abort_closes_with_1011_and_drops_what_waits() -> None:
    async def handler(connection: AsyncConnection) -> None:
        await connection.send("not sent")
        connection.abort()

    server = serving(handler)
    await server.task
    assert server.messages == []
    assert server.close == (1011, "")


@in_virtual_time
async def test_message_above_the_limit_is_refused() -> None:
    server = serving(echo, max_message_size=4)
    server.says("1234", "ööö")
    await settled()
    assert server.messages == ["1234"]
    assert server.close == (1009, "message of more than max_message_size=4 bytes")
    server.says({"type": "websocket.disconnect", "code": 1009})
    await server.task


@in_virtual_time
async def test_send_waits_for_a_server_that_takes_nothing() -> None:
    count = 0

    async def handler(connection: AsyncConnection) -> None:
        nonlocal count
        server.takes.clear()
        for _ in range(10):
            count += 1
            await connection.send(bytes(30))

    server = serving(handler, write_high_water=100)
    await settled()
    assert count == 5, "four fill the buffer, the fifth waits"
    server.takes.set()
    await settled()
    assert server.messages == [bytes(30)] * 10
    server.says(DISCONNECT)
    await server.task


@pytest.mark.parametrize("error", [OSError("gone"), RuntimeError("gone")])
@in_virtual_time
async def test_server_that_raises_has_lost_the_connection(error: Exception) -> None:
    async def handler(connection: AsyncConnection) -> None:
        server.breaks = error
        await connection.send("into the void")
        with pytest.raises(ConnectionClosed, match=r"closed with 1006 .* gone"):
            await connection.recv()

    server = serving(handler)
    await server.task
    assert server.sent[-1]["type"] == "websocket.accept"


@in_virtual_time
async def test_server_that_fails_to_receive_has_lost_the_connection() -> None:
    async def handler(connection: AsyncConnection) -> None:
        with pytest.raises(ConnectionClosed, match=r"closed with 1006 .* broken"):
            await connection.recv()

    server = serving(handler)
    server.says(OSError("broken"))
    await server.task


@in_virtual_time
async def test_cancelled_handler_says_goodbye() -> None:
    server = serving(echo)
    await settled()
    server.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await server.task
    assert server.close == (1001, "the server is shutting down")


@in_virtual_time
async def test_what_needs_frames_is_refused_by_name() -> None:
    async def handler(connection: AsyncConnection) -> None:
        for call in (
            connection.ping(),
            connection.pong(),
            connection.send_frame(Frame(Opcode.TEXT, b"")),
        ):
            with pytest.raises(UnsupportedError, match=r"(ping|pong|send_frame)\(\) needs frames"):
                await call
        assert connection.extensions == ()

    server = serving(handler)
    await settled()
    assert server.close == (1000, "")
    server.says(DISCONNECT)
    await server.task


@in_virtual_time
async def test_peer_that_left_at_once_gets_no_handler() -> None:
    ws = WebSockets()
    ws.add("/", echo)
    server = ForeignServer(ws.asgi())
    server.coming.get_nowait()
    server.says(DISCONNECT)
    await server.task
    assert server.sent == []
