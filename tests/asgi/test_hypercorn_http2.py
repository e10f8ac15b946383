"""Several streams of one connection: hypercorn's own HTTP/2 between our streams and a peer."""

from __future__ import annotations

import asyncio
from typing import Any

import h2.config
import h2.connection
import h2.events
import hypercorn.protocol.h2
import pytest
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.task_group import TaskGroup
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from hypercorn.events import Closed, RawData, Updated
from hypercorn.protocol.h2 import H2Protocol
from hypercorn.typing import ConnectionState

from tests.asgi.stream_socket import extended_connect
from tests.core.wire import read_frames
from tests.inprocess import in_virtual_time, settled
from tests.peer import BINARY, CLOSE, TEXT, Received, frame
from ws_middleware import AsyncConnection, ConnectionClosed, WebSockets
from ws_middleware.asgi.hypercorn import HTTP2Stream

#: The room that each stream has at first.
WINDOW = 65_535

ws = WebSockets(max_queue=2, ping_interval=None, extensions=(), write_high_water=10_000)
#: What handlers tell.
told: list[Any] = []


@ws.route("/echo")
async def echo(connection: AsyncConnection) -> None:
    async for message in connection:
        await connection.send(message)


@ws.route("/deaf")
async def deaf(connection: AsyncConnection) -> None:
    await connection.wait_closed()
    told.append("ended")


@ws.route("/pours")
async def pour(connection: AsyncConnection) -> None:
    while True:
        await connection.send(bytes(5000))
        told.append("sent")


@ws.route("/late")
async def receive_late(connection: AsyncConnection) -> None:
    await asyncio.sleep(60)
    try:
        while True:
            told.append(await connection.recv())
    except ConnectionClosed as closed:
        told.append(closed.code)


app: Any = ws.asgi(install=False)


@ws.route("/pinging", ping_interval=1, ping_timeout=1)
async def ping(connection: AsyncConnection) -> None:
    while True:
        await connection.send(bytes(5000))


@ws.route("/aborts")
async def abort(connection: AsyncConnection) -> None:
    connection.abort()


class Peer:
    """Be the peer of one connection, and what carries the bytes."""

    def __init__(self, group: TaskGroup) -> None:
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self._h2.initiate_connection()
        addresses = ("127.0.0.1", 9), ("127.0.0.1", 8000)
        self.protocol = H2Protocol(
            ASGIWrapper(app),
            Config(),
            WorkerContext(None),
            group,
            ConnectionState({}),
            False,
            *addresses,
            self._take,
        )
        self.statuses: dict[int, str] = {}
        self.received: dict[int, bytes] = {}
        #: What was received and may be given back.
        self.taken: dict[int, int] = {}
        self.ended: set[int] = set()
        self.were_reset: set[int] = set()
        #: Whether hypercorn waits for a request alone.
        self.idle = True

    async def _take(self, event: Any) -> None:
        if isinstance(event, RawData):
            for one in self._h2.receive_data(event.data):
                if isinstance(one, h2.events.DataReceived):
                    self.received[one.stream_id] += one.data
                    self.taken[one.stream_id] += one.flow_controlled_length
                elif isinstance(one, h2.events.ResponseReceived):
                    self.statuses[one.stream_id] = str(dict[Any, Any](one.headers)[":status"])
                elif isinstance(one, h2.events.StreamReset):
                    self.were_reset.add(one.stream_id)
                elif isinstance(one, h2.events.StreamEnded):
                    self.ended.add(one.stream_id)
        else:
            assert isinstance(event, Closed | Updated)
            self.idle = isinstance(event, Updated) and event.idle

    async def open(self, path: str, *, ends: bool = False) -> int:
        number = self._h2.get_next_available_stream_id()
        self.received[number], self.taken[number] = b"", 0
        fields = list(extended_connect(path).items())
        self._h2.send_headers(number, fields, end_stream=ends)
        await self.flush()
        return number

    async def flush(self) -> None:
        # Whoever reads the connection waits for nobody's handler.
        await asyncio.wait_for(self.protocol.handle(RawData(self._h2.data_to_send())), 1)
        await settled()

    async def send(self, number: int, data: bytes) -> bytes:
        """Send as much as there is room for; gives the rest."""
        while room := min(len(data), self._h2.local_flow_control_window(number), 16_384):
            self._h2.send_data(number, data[:room])
            data = data[room:]
            await self.flush()
        return data

    async def end(self, number: int) -> None:
        self._h2.end_stream(number)
        await self.flush()

    async def reset(self, number: int) -> None:
        self._h2.reset_stream(number)
        await self.flush()

    async def give_room(self) -> None:
        """Give back the room for all that was received."""
        for number, size in self.taken.items():
            if size:
                self._h2.acknowledge_received_data(size, number)
                self.taken[number] = 0
        await self.flush()

    def frames(self, number: int) -> list[Received]:
        return read_frames(self.received[number])


@pytest.fixture(autouse=True)
def ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hypercorn.protocol.h2, "WSStream", HTTP2Stream)
    told.clear()


class Connected:
    """Have a connection to the end of the block."""

    async def __aenter__(self) -> Peer:
        self._group = TaskGroup(asyncio.get_running_loop())
        await self._group.__aenter__()
        self._peer = Peer(self._group)
        await self._peer.protocol.initiate()
        await self._peer.flush()
        return self._peer

    async def __aexit__(self, *error: Any) -> None:
        await self._peer.protocol.handle(Closed())
        await self._group.__aexit__(*error)


@in_virtual_time
async def test_sender_waits_for_a_peer_that_gives_no_room() -> None:
    async with Connected() as peer:
        number = await peer.open("/pours")
        await asyncio.sleep(60)
        assert len(peer.received[number]) == WINDOW
        sent = len(told)
        assert sent < 40
        await asyncio.sleep(60)
        assert len(told) == sent
        await peer.give_room()
        await asyncio.sleep(60)
        assert len(peer.received[number]) == 2 * WINDOW


@in_virtual_time
async def test_one_who_does_not_receive_keeps_no_other_stream_waiting() -> None:
    async with Connected() as peer:
        stuffed, number = await peer.open("/deaf"), await peer.open("/echo")
        rest = await peer.send(stuffed, frame(BINARY, bytes(1000)) * 300)
        assert len(rest) > 200_000  # it had room for so much, and gets no more
        for _ in range(50):
            assert not await peer.send(number, frame(BINARY, bytes(5000)))
            await peer.give_room()
        assert len(peer.frames(number)) == 50


@in_virtual_time
async def test_peer_that_reads_late_gets_everything() -> None:
    async with Connected() as peer:
        number = await peer.open("/echo")
        rest = await peer.send(number, frame(BINARY, bytes(1000)) * 300)
        assert rest
        while len(peer.received[number]) < 300 * 1004:
            await peer.give_room()
            await asyncio.sleep(1)
            rest = await peer.send(number, rest)
        assert peer.frames(number) == [Received(BINARY, bytes(1000), True, 0)] * 300


@in_virtual_time
async def test_end_of_the_stream_is_behind_what_nobody_has_received_yet() -> None:
    async with Connected() as peer:
        number = await peer.open("/late")
        await peer.send(number, frame(TEXT, "x") * 9 + frame(CLOSE, (4242).to_bytes(2, "big")))
        await peer.end(number)
        await asyncio.sleep(61)
        assert told == ["x"] * 9 + [4242]
        assert peer.frames(number)[0].payload[:2] == (4242).to_bytes(2, "big")
        assert number in peer.ended


@in_virtual_time
async def test_reset_is_noticed_though_nobody_receives() -> None:
    async with Connected() as peer:
        number = await peer.open("/deaf")
        await peer.send(number, frame(TEXT, "x") * 9)
        await peer.reset(number)
        assert told == ["ended"]
        assert peer.protocol.streams == {}
        assert peer.idle


@pytest.mark.parametrize("path", ["/echo", "/pinging", "/aborts"])
@in_virtual_time
async def test_stream_that_a_peer_does_not_end_is_reset(path: str) -> None:
    async with Connected() as peer:
        other, number = await peer.open("/echo"), await peer.open(path)
        if path == "/echo":
            await peer.send(number, frame(CLOSE, (1000).to_bytes(2, "big")))
        await asyncio.sleep(60)
        assert number in peer.were_reset
        assert list(peer.protocol.streams) == [other]
        await peer.reset(other)
        assert peer.idle


@in_virtual_time
async def test_lost_connection_waits_for_no_request() -> None:
    async with Connected() as peer:
        await peer.open("/echo")
    assert not peer.idle


@in_virtual_time
async def test_connection_that_is_lost_while_something_is_sent() -> None:
    async with Connected() as peer:
        number = await peer.open("/echo")
        await peer.send(number, frame(CLOSE, (1000).to_bytes(2, "big")))
        await asyncio.sleep(60)  # our part of it is done
        lock, take = asyncio.Lock(), peer.protocol.send

        async def send(event: Any) -> None:
            async with lock:
                await take(event)

        peer.protocol.send = send
        await peer.protocol.context.terminated.set()
        async with lock:  # as hypercorn's, which says so while it holds it
            await asyncio.wait_for(peer.protocol.handle(Closed()), 1)


@in_virtual_time
async def test_request_that_ends_its_stream_is_refused_and_no_other() -> None:
    async with Connected() as peer:
        number = await peer.open("/echo")
        ended = await peer.open("/echo", ends=True)
        await asyncio.sleep(60)
        assert (peer.statuses[ended], ended in peer.ended) == ("400", True)
        await peer.send(number, frame(TEXT, "hello"))
        assert peer.frames(number)[0].payload == b"hello"
