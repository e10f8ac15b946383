"""The asyncio driver in virtual time: bytes, backpressure, one timer, and every way to the end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import cast

import pytest
import uvloop

from tests.core.wire import close
from tests.inprocess import (
    FakeTransport,
    Line,
    VirtualLoop,
    in_virtual_time,
    make_request,
    settled,
)
from tests.peer import BINARY, CLOSE, PING, PONG, TEXT, frame
from ws_middleware.aio import AsyncConnection
from ws_middleware.core.endpoint import Endpoint, State
from ws_middleware.driver import BLOCK, StreamDriver, end_stream
from ws_middleware.errors import ConnectionClosed
from ws_middleware.options import Options

#: One frame that is a block together with its header.
WHOLE_BLOCK = frame(BINARY, bytes(BLOCK - 14))


async def echo(connection: AsyncConnection) -> None:
    async for message in connection:
        await connection.send(message)


# --- input ---


@in_virtual_time
async def test_a_block_is_handled_at_once() -> None:
    line = Line()
    line.transport.feed(WHOLE_BLOCK[:-1])
    line.transport.feed(WHOLE_BLOCK[-1:])
    assert line.endpoint.messages_received == 1
    assert line.transport.calls == ["resume"], "reading was never paused"


@in_virtual_time
async def test_flood_is_handled_a_block_a_turn() -> None:
    line = Line()
    assert len(WHOLE_BLOCK) == BLOCK
    line.transport.feed(*3 * [WHOLE_BLOCK], b"\x89")
    for blocks in (1, 2, 3):
        assert line.endpoint.bytes_received == blocks * BLOCK
        assert not line.transport.is_reading()
        await asyncio.sleep(0)  # the driver goes on
        await asyncio.sleep(0)  # the transport reads
    assert line.endpoint.bytes_received == 3 * BLOCK + 1
    assert line.transport.is_reading()


@in_virtual_time
async def test_a_large_payload_is_read_into_memory_of_its_own() -> None:
    line, payload = Line(max_message_size=None), bytes(range(256)) * 4096
    line.transport.feed(frame(BINARY, payload))
    assert line.transport.is_reading(), "reading it never paused"
    assert await line.connection.recv() == payload
    assert line.endpoint.room is None


@in_virtual_time
async def test_a_large_payload_is_written_behind_its_header_without_a_copy() -> None:
    line, payload = Line(), bytes(100_000)
    await line.connection.send(payload)
    assert line.transport.writes[-1] is payload


@in_virtual_time
async def test_what_comes_while_blocks_wait_keeps_its_place() -> None:
    line = Line()
    line.transport.feed(WHOLE_BLOCK, frame(TEXT, "a"))
    line.transport.feed(frame(TEXT, "b"))
    assert line.endpoint.bytes_received == BLOCK
    await settled()
    assert [await line.connection.recv() for _ in range(3)] == [bytes(BLOCK - 14), "a", "b"]


@in_virtual_time
async def test_blocks_that_wait_are_dropped_with_the_connection() -> None:
    line = Line()
    line.transport.feed(*3 * [WHOLE_BLOCK])
    line.transport.lose()
    await settled()
    assert line.endpoint.bytes_received == BLOCK


@pytest.mark.parametrize("half_closes", [True, False])
@in_virtual_time
async def test_blocks_that_wait_come_before_the_end_of_the_stream(half_closes: bool) -> None:
    line = Line(half_closes=half_closes)
    line.transport.feed(*2 * [WHOLE_BLOCK], frame(TEXT, "last words"), close(4000))
    line.transport.feed_eof()
    await settled()
    assert [len(await line.connection.recv()) for _ in range(3)] == 2 * [BLOCK - 14] + [10]
    with pytest.raises(ConnectionClosed, match="closed with 4000"):
        await line.connection.recv()
    await settled()
    assert line.losses == [None]


@in_virtual_time
async def test_what_was_read_with_the_request_comes_first() -> None:
    line = Line(leftover=frame(TEXT, "early"))
    line.transport.feed(frame(TEXT, "late"))
    assert [await line.connection.recv() for _ in range(2)] == ["early", "late"]


@in_virtual_time
async def test_reading_stops_where_the_queue_is_full_and_goes_on_behind_it() -> None:
    line = Line(max_queue=3)
    line.transport.feed(frame(TEXT, "1"), frame(TEXT, "2"))
    assert line.transport.is_reading()
    line.transport.feed(frame(TEXT, "3"), frame(TEXT, "4"))
    assert not line.transport.is_reading()
    assert [await line.connection.recv() for _ in range(4)] == ["1", "2", "3", "4"]
    await settled()
    assert line.transport.calls == ["resume", "pause", "resume"]


@in_virtual_time
async def test_nothing_is_paused_on_a_transport_that_closes() -> None:
    line = Line(max_queue=1, half_closes=False)
    line.connection.start_closing()
    line.transport.feed(close(1000))
    assert line.transport.is_closing()
    before = list(line.transport.calls)
    line.driver._balance_reading()
    assert line.transport.calls == before


# --- output ---


@in_virtual_time
async def test_replies_to_what_came_together_leave_together() -> None:
    line = Line()
    echoing = asyncio.create_task(echo(line.connection))
    await settled()
    line.transport.feed(*[frame(TEXT, str(i)) for i in range(10)])
    await settled()
    assert len(line.transport.writes) == 1
    assert [one.payload for one in line.transport.take_frames()] == [b"%d" % i for i in range(10)]
    echoing.cancel()


@in_virtual_time
async def test_pongs_to_what_came_together_leave_together() -> None:
    line = Line()
    line.transport.feed(frame(PING, "1"), frame(PING, "2"))
    assert [one.payload for one in line.transport.take_frames()] == [b"1", b"2"]
    assert len(line.transport.writes) == 1


@in_virtual_time
async def test_settling_soon_is_done_once_a_turn() -> None:
    line = Line()
    line.endpoint.send_message("a")
    line.driver.settle_soon()
    line.endpoint.send_message("b")
    line.driver.settle_soon()
    assert line.transport.writes == []
    await asyncio.sleep(0)
    assert len(line.transport.writes) == 1


@in_virtual_time
async def test_nothing_is_written_while_the_transport_is_full() -> None:
    line = Line(write_high_water=100)
    line.transport.stuck = True
    await line.connection.send("x" * 200)
    line.transport.feed(frame(PING, "?"))
    assert len(line.transport.writes) == 1
    line.transport.drain()
    assert [one.opcode for one in line.transport.take_frames()] == [TEXT, PONG]


@in_virtual_time
async def test_loss_ends_a_settling_that_was_put_off() -> None:
    line = Line()
    line.endpoint.send_message("too late")
    line.driver.settle_soon()
    line.transport.lose()
    await settled()
    assert line.transport.writes == []


# --- time ---


@in_virtual_time
async def test_traffic_sets_no_timers() -> None:
    loop = cast(VirtualLoop, asyncio.get_running_loop())
    line = Line(max_queue=1000)
    before = loop.timers
    for _ in range(100):
        loop.now += 1.0
        line.transport.feed(frame(TEXT, "busy"))
        line.endpoint.send_message("busy")
        line.driver.settle()
    assert loop.timers == before


@in_virtual_time
async def test_timer_that_rings_early_asks_again() -> None:
    line = Line(ping_interval=20.0)
    await asyncio.sleep(15)
    line.transport.feed(frame(PONG, "alive"))
    await asyncio.sleep(19)
    assert line.transport.writes == []
    await asyncio.sleep(2)
    assert [one.opcode for one in line.transport.take_frames()] == [PING]


@in_virtual_time
async def test_earlier_deadline_replaces_the_timer() -> None:
    line = Line(ping_interval=1000.0, close_timeout=1.0)
    line.connection.start_closing()
    await asyncio.sleep(1.5)
    assert line.transport.is_lost()
    assert "close_timeout=1 s" in line.endpoint.closed.detail


@in_virtual_time
async def test_silent_peer_is_asked_and_dropped() -> None:
    line = Line(ping_interval=20.0, ping_timeout=5.0)
    await asyncio.sleep(20.5)
    assert [one.opcode for one in line.transport.take_frames()] == [PING]
    await asyncio.sleep(5)
    assert "abort" in line.transport.calls
    assert line.losses == [None]
    with pytest.raises(ConnectionClosed, match="ping_timeout=5 s"):
        await line.connection.recv()


@in_virtual_time
async def test_peer_that_answers_pings_is_kept() -> None:
    line = Line(ping_interval=20.0, ping_timeout=5.0)
    for _ in range(10):
        await asyncio.sleep(22)
        (ping,) = line.transport.take_frames()
        line.transport.feed(frame(PONG, ping.payload))
    assert line.connection.state is State.OPEN
    assert line.connection.latency is not None


@in_virtual_time
async def test_peer_that_takes_nothing_is_dropped_without_a_ping() -> None:
    line = Line(ping_interval=20.0, ping_timeout=5.0, write_high_water=100)
    line.transport.stuck = True
    await line.connection.send("x" * 200)
    await asyncio.sleep(24)
    assert not line.transport.is_lost()
    await asyncio.sleep(2)
    assert line.transport.is_lost()
    assert len(line.transport.writes) == 1


@in_virtual_time
async def test_peer_that_takes_something_is_kept() -> None:
    line = Line(ping_interval=20.0, ping_timeout=5.0, write_high_water=100)
    line.transport.stuck = True
    await line.connection.send("x" * 20_000)
    for _ in range(50):
        await asyncio.sleep(4)
        line.transport.drain(50)
    assert line.connection.state is State.OPEN
    await asyncio.sleep(50)
    assert line.transport.is_lost()


@in_virtual_time
async def test_resumed_writing_is_a_sign_of_life() -> None:
    line = Line(ping_interval=20.0, ping_timeout=5.0, write_high_water=100)
    line.transport.stuck = True
    await line.connection.send("x" * 200)
    await asyncio.sleep(24)
    line.transport.drain()
    await asyncio.sleep(19)
    assert line.connection.state is State.OPEN


@in_virtual_time
async def test_peer_is_not_blamed_for_a_handler_that_does_not_receive() -> None:
    line = Line(ping_interval=20.0, ping_timeout=5.0, max_queue=1)
    line.transport.feed(frame(TEXT, "1"), frame(TEXT, "2"))
    await asyncio.sleep(200)
    assert [await line.connection.recv() for _ in range(2)] == ["1", "2"]
    assert line.connection.state is State.OPEN


# --- the end ---


@in_virtual_time
async def test_closing_handshake_of_the_peer_half_closes_and_waits_for_its_end() -> None:
    line = Line()
    line.transport.feed(close(4000, "bye"))
    assert [one.payload for one in line.transport.take_frames()] == [b"\x0f\xa0"]
    assert line.transport.calls[-1] == "eof"
    assert line.losses == []
    line.transport.feed_eof()
    await settled()
    assert line.transport.calls[-2:] == ["eof", "close"]
    assert line.losses == [None]
    assert line.connection.close_code == 4000


@in_virtual_time
async def test_our_closing_handshake_half_closes_behind_the_answer() -> None:
    line = Line()
    closing = asyncio.create_task(line.connection.close(4000))
    await settled()
    assert "eof" not in line.transport.calls
    line.transport.feed(close(4000))
    assert line.transport.calls[-1] == "eof"
    assert not closing.done()
    line.transport.feed_eof()
    await closing


@in_virtual_time
async def test_stream_is_ended_once() -> None:
    line = Line()
    line.transport.feed(close())
    line.connection.start_closing()
    line.driver.settle()
    assert line.transport.calls.count("eof") == 1


@in_virtual_time
async def test_peer_that_keeps_its_stream_open_is_dropped() -> None:
    line = Line(close_timeout=3.0)
    line.transport.feed(close())
    await asyncio.sleep(2.9)
    assert not line.transport.is_lost()
    await asyncio.sleep(0.2)
    assert line.transport.calls[-1] == "abort"


@in_virtual_time
async def test_transport_that_cannot_half_close_is_closed() -> None:
    line = Line(half_closes=False)
    line.transport.feed(close())
    await settled()
    assert line.transport.calls[-2:] == ["write", "close"]
    assert line.losses == [None]


@in_virtual_time
async def test_transport_that_cannot_half_close_ends_with_the_peers_stream() -> None:
    line = Line(half_closes=False)
    assert not line.driver.eof_received()
    assert Line(half_closes=True).driver.eof_received()


@in_virtual_time
async def test_what_is_written_gets_close_timeout_to_leave() -> None:
    line = Line(half_closes=False, close_timeout=3.0)
    line.transport.stuck = True
    line.transport.feed(close())
    assert line.transport.calls[-1] == "close"
    await asyncio.sleep(2.9)
    assert not line.transport.is_lost()
    await asyncio.sleep(0.2)
    assert line.transport.calls[-1] == "abort"
    assert line.losses == [None]


@in_virtual_time
async def test_what_is_written_leaves_before_the_stream_ends() -> None:
    line = Line(write_high_water=100)
    line.transport.stuck = True
    await line.connection.send("x" * 200)
    line.transport.feed(close())
    assert "eof" not in line.transport.calls
    line.transport.drain()
    assert line.transport.calls[-2:] == ["write", "eof"]
    assert [one.opcode for one in line.transport.take_frames()] == [TEXT, CLOSE]


@in_virtual_time
async def test_peer_that_leaves_and_takes_nothing_is_dropped() -> None:
    line = Line(write_high_water=100, close_timeout=3.0)
    line.transport.stuck = True
    await line.connection.send("x" * 200)
    line.transport.feed(close())
    line.transport.feed_eof()
    await asyncio.sleep(2.9)
    assert not line.transport.is_lost()
    await asyncio.sleep(0.2)
    assert line.transport.is_lost()


@in_virtual_time
async def test_peer_that_leaves_and_takes_everything_late_gets_it() -> None:
    line = Line(write_high_water=100, close_timeout=3.0)
    line.transport.stuck = True
    await line.connection.send("x" * 200)
    line.transport.feed(close())
    line.transport.feed_eof()
    line.transport.stuck = False
    line.transport.drain()
    await settled()
    assert [one.opcode for one in line.transport.take_frames()] == [TEXT, CLOSE]
    assert line.transport.calls[-2:] == ["write", "close"]
    assert line.losses == [None]


@in_virtual_time
async def test_calls_behind_the_end_do_not_keep_what_is_stuck() -> None:
    line = Line(close_timeout=3.0)
    line.transport.stuck = True
    line.transport.feed(close())
    line.transport.feed_eof()
    assert line.transport.calls[-1] == "close"
    line.endpoint.handle_timeout(asyncio.get_running_loop().time())
    line.driver.settle()
    await asyncio.sleep(3.1)
    assert line.transport.is_lost()


@in_virtual_time
async def test_reset_that_was_not_noticed_yet_is_the_end() -> None:
    line = Line()
    line.transport.reset_behind = OSError("not connected")
    line.transport.feed(close())
    await settled()
    assert line.transport.calls[-2:] == ["eof", "abort"]
    assert line.losses == [None]


@in_virtual_time
async def test_abort_drops_everything() -> None:
    line = Line(write_high_water=100)
    line.transport.stuck = True
    await line.connection.send("x" * 200)
    line.connection.abort()
    await settled()
    assert line.transport.calls[-1] == "abort"
    assert line.losses == [None]
    assert line.connection.close_code == 1006


@in_virtual_time
async def test_end_of_stream_without_a_close_is_an_end() -> None:
    line = Line()
    line.transport.feed_eof()
    await settled()
    assert line.losses == [None]
    assert line.connection.close_code == 1006


@in_virtual_time
async def test_lender_is_told_once_and_why() -> None:
    line = Line()
    error = ConnectionResetError("by the peer")
    line.transport.lose(error)
    assert line.losses == [error]
    assert line.driver.is_lost
    assert line.endpoint.closed.detail == "the connection was lost: by the peer"


@in_virtual_time
async def test_loss_without_a_lender() -> None:
    transport = FakeTransport()
    driver = StreamDriver(Endpoint("server", Options()), transport, Options())
    driver.start()
    transport.lose()
    assert driver.is_lost
    assert driver.expect_input() is None


@in_virtual_time
async def test_loss_leaves_no_timer() -> None:
    line = Line(ping_interval=1.0, ping_timeout=1.0)
    line.transport.lose()
    before = list(line.transport.calls)
    await asyncio.sleep(100)
    assert line.transport.calls == before
    assert line.losses == [None]


WAITS: dict[str, Callable[[AsyncConnection], Awaitable[object]]] = {
    "recv": lambda connection: connection.recv(),
    "send": lambda connection: connection.send("more"),
    "pieces": lambda connection: connection.send(["more", "and more"]),
    "ping": lambda connection: connection.ping(),
    "close": lambda connection: connection.close(),
    "wait_closed": lambda connection: connection.wait_closed(),
}


@pytest.mark.parametrize("wait", WAITS)
@in_virtual_time
async def test_loss_wakes_everybody_who_waits(wait: str) -> None:
    line = Line(write_high_water=100)
    line.transport.stuck = True
    await line.connection.send("x" * 200)
    waiting = asyncio.ensure_future(WAITS[wait](line.connection))
    await settled()
    assert not waiting.done()
    line.transport.lose()
    await asyncio.wait([waiting])
    if wait in ("close", "wait_closed"):
        assert waiting.exception() is None
    else:
        assert isinstance(waiting.exception(), ConnectionClosed)


@in_virtual_time
async def test_those_who_gave_up_are_not_woken() -> None:
    line = Line(write_high_water=100)
    line.transport.stuck = True
    await line.connection.send("x" * 200)
    waiting = [
        asyncio.create_task(line.connection.send("more")),
        asyncio.create_task(line.connection.recv()),
        asyncio.create_task(line.connection.wait_closed()),
    ]
    await settled()
    for task in waiting:
        task.cancel()
    line.transport.feed(frame(TEXT, "comes at that moment"))
    line.transport.lose()
    await asyncio.wait(waiting)
    assert all(task.cancelled() for task in waiting)
    assert await line.connection.recv() == "comes at that moment"


# --- on the transports that there are ---

LOOPS = [
    pytest.param(asyncio.new_event_loop, id="asyncio"),
    pytest.param(uvloop.new_event_loop, id="uvloop"),
]


def over_sockets(
    loop: Callable[[], asyncio.AbstractEventLoop],
    scene: Callable[[AsyncConnection, socket.socket], Awaitable[None]],
    **options: object,
) -> None:
    """Play a scene between a connection of a server and the other end of its socket."""

    async def run() -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            theirs.setblocking(False)
            transport, _ = await asyncio.get_running_loop().connect_accepted_socket(
                asyncio.Protocol, ours
            )
            settings = Options(extensions=(), **options)  # type: ignore[arg-type]
            lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            endpoint = Endpoint("server", settings, now=asyncio.get_running_loop().time())
            driver = StreamDriver(
                endpoint,
                transport,
                settings,
                lambda _: lost.set_result(None),
            )
            driver.start()
            async with asyncio.timeout(30):
                await scene(AsyncConnection(driver, make_request()), theirs)
                transport.abort()
                await lost

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(run())


async def read_all(peer: socket.socket) -> bytes:
    """Read up to the end of the stream."""
    data = b""
    while part := await asyncio.get_running_loop().sock_recv(peer, 2**20):
        data += part
    return data


@pytest.mark.parametrize("loop", LOOPS)
def test_messages_over_a_socket(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def scene(connection: AsyncConnection, peer: socket.socket) -> None:
        peer.send(frame(TEXT, "hello") + close(1000))
        assert await connection.recv() == "hello"
        await connection.send("bye")
        with pytest.raises(ConnectionClosed, match="closed with 1000 by the peer"):
            await connection.recv()
        expected = frame(TEXT, "bye", key=None) + close(1000, masked=False)
        assert await read_all(peer) == expected
        peer.close()
        await connection.wait_closed()

    over_sockets(loop, scene)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("early", [8, 9, 1000])
def test_large_payload_behind_its_header_over_a_socket(
    loop: Callable[[], asyncio.AbstractEventLoop], early: int
) -> None:
    async def scene(connection: AsyncConnection, peer: socket.socket) -> None:
        payload = bytes(range(256)) * 150
        data = frame(BINARY, payload)
        peer.send(frame(TEXT, "begin") + data[:early])
        assert await connection.recv() == "begin"
        assert connection.endpoint.room is not None
        peer.sendall(data[early:])
        assert await connection.recv() == payload
        peer.close()

    over_sockets(loop, scene)


@pytest.mark.parametrize("loop", LOOPS)
def test_large_message_to_a_transport_that_was_given_up_is_dropped(
    loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def scene(connection: AsyncConnection, peer: socket.socket) -> None:
        transport = connection._driver._transport
        assert transport is not None
        transport.abort()
        await connection.send(bytes(2**18))
        await connection.wait_closed()
        selector = getattr(asyncio.get_running_loop(), "_selector", None)
        assert selector is None or len(selector.get_map()) <= 1  # the loop's own pipe
        assert peer.recv(1) == b""

    over_sockets(loop, scene)


@pytest.mark.parametrize("loop", LOOPS)
def test_backpressure_over_a_socket(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def scene(connection: AsyncConnection, peer: socket.socket) -> None:
        async def send_a_lot() -> None:
            for _ in range(64):
                await connection.send(bytes(2**18))
            await connection.close()

        sending = asyncio.create_task(send_a_lot())
        await asyncio.wait([sending], timeout=0.05)
        assert connection.endpoint.messages_sent < 64, "the peer reads nothing"
        data = b""
        while len(data) < 64 * (2**18 + 10) + 4:
            data += await asyncio.get_running_loop().sock_recv(peer, 2**20)
        assert data.endswith(close(1000, masked=False))
        peer.close()
        await sending

    over_sockets(loop, scene)


@pytest.mark.parametrize("loop", LOOPS)
def test_end_of_a_stream_over_a_socket(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def scene(connection: AsyncConnection, peer: socket.socket) -> None:
        peer.send(frame(TEXT, "last words"))
        peer.shutdown(socket.SHUT_WR)
        assert await connection.recv() == "last words"
        await connection.send("heard")
        with pytest.raises(ConnectionClosed, match="ended its stream without a close frame"):
            await connection.recv()
        assert await read_all(peer) == frame(TEXT, "heard", key=None)

    over_sockets(loop, scene)


@pytest.mark.parametrize("loop", LOOPS)
def test_ending_a_stream_that_is_gone(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def scene(connection: AsyncConnection, peer: socket.socket) -> None:
        peer.close()
        transport = connection._driver._transport
        assert transport is not None
        end_stream(transport)
        await connection.wait_closed()
        assert connection.close_code == 1006

    over_sockets(loop, scene)
