"""asyncio connections in virtual time: who gives up loses nothing, and nobody is in the way."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest

from tests.core.wire import close, close_of
from tests.inprocess import Line, in_virtual_time, settled
from tests.peer import BINARY, CONTINUATION, PING, PONG, TEXT, Received, frame
from ws_middleware.aio import AsyncConnection
from ws_middleware.broadcast import broadcast
from ws_middleware.core.endpoint import State
from ws_middleware.core.frames import Frame, Opcode
from ws_middleware.core.messages import BinaryMessage, Ping, Pong, TextMessage
from ws_middleware.core.receiver import Receiver
from ws_middleware.driver import BLOCK
from ws_middleware.errors import ConcurrencyError, ConnectionClosed, UnexpectedMessageError
from ws_middleware.extensions import PermessageDeflate


async def receive_all(connection: AsyncConnection) -> list[str | bytes]:
    return [message async for message in connection]


def payloads(frames: list[Received]) -> list[bytes]:
    return [received.payload for received in frames]


# --- receiving ---


@pytest.mark.parametrize(
    ("opcode", "payload", "message"),
    [(TEXT, "tëxt", TextMessage("tëxt")), (BINARY, b"\xff", BinaryMessage(b"\xff"))],
)
@in_virtual_time
async def test_kinds_of_messages(
    opcode: int, payload: str | bytes, message: TextMessage | BinaryMessage
) -> None:
    line = Line()
    line.transport.feed(frame(opcode, payload), frame(opcode, payload))
    assert await line.connection.recv() == message.data
    assert await line.connection.recv_message() == message


@in_virtual_time
async def test_expected_kind_of_message() -> None:
    line = Line()
    line.transport.feed(frame(TEXT, "text"), frame(BINARY, b"binary"))
    assert await line.connection.recv_text() == "text"
    assert await line.connection.recv_bytes() == b"binary"


@in_virtual_time
async def test_unexpected_kind_of_message_is_not_lost() -> None:
    line = Line()
    line.transport.feed(frame(TEXT, "text"), frame(BINARY, b"binary"), frame(TEXT, "go on"))
    with pytest.raises(UnexpectedMessageError, match="text message came") as error:
        await line.connection.recv_bytes()
    assert error.value.message == "text"
    with pytest.raises(UnexpectedMessageError, match="binary message came") as error:
        await line.connection.recv_text()
    assert error.value.message == b"binary"
    assert await line.connection.recv() == "go on"


@pytest.mark.parametrize(
    ("opcode", "payload", "value"),
    [(TEXT, '{"a": [1, null]}', {"a": [1, None]}), (BINARY, b'"x"', "x"), (TEXT, "7", 7)],
)
@in_virtual_time
async def test_json(opcode: int, payload: str | bytes, value: object) -> None:
    line = Line()
    line.transport.feed(frame(opcode, payload))
    assert await line.connection.recv_json() == value


@pytest.mark.parametrize(
    ("opcode", "payload"), [(TEXT, ""), (TEXT, "{"), (BINARY, b"\xff\xfe\xff")]
)
@in_virtual_time
async def test_what_is_no_json_is_a_value_error(opcode: int, payload: str | bytes) -> None:
    line = Line()
    line.transport.feed(frame(opcode, payload))
    with pytest.raises(ValueError, match=r".") as error:
        await line.connection.recv_json()
    assert not isinstance(error.value, ConnectionClosed)


@in_virtual_time
async def test_json_is_sent_as_text() -> None:
    line = Line()
    await line.connection.send_json({"a": [1, None]})
    assert line.transport.take_frames() == [(TEXT, b'{"a": [1, null]}', True, 0)]


Receive = Callable[[AsyncConnection, float | None], Awaitable[object]]
WAYS: dict[str, Receive] = {
    "recv": AsyncConnection.recv,
    "recv_message": AsyncConnection.recv_message,
    "recv_text": AsyncConnection.recv_text,
    "recv_json": AsyncConnection.recv_json,
    "recv_item": AsyncConnection.recv_item,
}


@pytest.mark.parametrize("way", WAYS)
@in_virtual_time
async def test_time_out_loses_nothing(way: str) -> None:
    line = Line()
    for _ in range(3):
        with pytest.raises(TimeoutError, match=r"^no message came within 0\.5 s$"):
            await WAYS[way](line.connection, 0.5)
    line.transport.feed(frame(TEXT, "1"))
    assert await line.connection.recv() == "1"


@in_virtual_time
async def test_message_that_comes_as_the_time_is_up_is_kept() -> None:
    line = Line()
    # The message is set down first, the time-out rings in the same turn.
    asyncio.get_running_loop().call_later(0.5, line.transport.feed, frame(TEXT, "just in time"))
    try:
        received = await line.connection.recv(0.5)
    except TimeoutError:
        received = await line.connection.recv(0.5)
    assert received == "just in time"


@pytest.mark.parametrize("turns", range(4))
@in_virtual_time
async def test_receiver_that_is_cancelled_loses_nothing(turns: int) -> None:
    line = Line()
    receiver = asyncio.create_task(line.connection.recv())
    await settled()
    line.transport.feed(frame(TEXT, "1"))
    for _ in range(turns):
        await asyncio.sleep(0)
    was_too_late = not receiver.cancel()
    await settled()
    line.transport.feed(frame(TEXT, "2"))
    expected = ["2"] if was_too_late else ["1", "2"]
    assert [await line.connection.recv() for _ in expected] == expected


@in_virtual_time
async def test_receiver_that_is_cancelled_while_it_gives_way_loses_nothing() -> None:
    line = Line()
    line.transport.feed(frame(BINARY, bytes(BLOCK - 14)), frame(TEXT, "next"))
    await settled()
    await line.connection.recv()
    receiver = asyncio.create_task(line.connection.recv())
    await asyncio.sleep(0)
    assert not receiver.done()
    receiver.cancel()
    await asyncio.wait([receiver])
    assert receiver.cancelled()
    assert await line.connection.recv() == "next"


@in_virtual_time
async def test_second_receiver_is_told_and_disturbs_nobody() -> None:
    line = Line()
    first = asyncio.create_task(line.connection.recv())
    await settled()
    for second in (line.connection.recv(), anext(line.connection), receive_all(line.connection)):
        with pytest.raises(ConcurrencyError, match="another task is receiving"):
            await second
    with pytest.raises(ConcurrencyError, match="another task is receiving"):
        await anext(line.connection.recv_fragments())
    line.transport.feed(frame(TEXT, "for the first"))
    assert await first == "for the first"


@pytest.mark.parametrize("code", [1000, 1001])
@in_virtual_time
async def test_iteration_ends_where_the_peer_has_finished(code: int) -> None:
    line = Line()
    line.transport.feed(frame(TEXT, "1"), frame(TEXT, "2"), close(code))
    assert await receive_all(line.connection) == ["1", "2"]
    assert await receive_all(line.connection) == []


@pytest.mark.parametrize("code", [None, 1002, 1011, 3000, 4999])
@in_virtual_time
async def test_iteration_raises_at_any_other_end(code: int | None) -> None:
    line = Line()
    line.transport.feed(frame(TEXT, "1"), close(code, "why" if code else ""))
    assert await line.connection.recv() == "1"
    for _ in range(2):
        with pytest.raises(ConnectionClosed) as error:
            await receive_all(line.connection)
        assert (error.value.code, error.value.reason) == ((code, "why") if code else (1005, ""))


@in_virtual_time
async def test_observed_pings_and_pongs_come_in_their_order() -> None:
    line = Line(observe_control=True)
    line.transport.feed(frame(PING, "a"), frame(TEXT, "b"), frame(PONG, "c"))
    items = [await line.connection.recv_item() for _ in range(3)]
    assert items == [Ping(b"a"), "b", Pong(b"c")]
    line.transport.feed(frame(PING, "a"), frame(TEXT, "b"))
    assert await line.connection.recv() == "b", "only who asks for them gets them"


@in_virtual_time
async def test_what_waits_can_be_taken_at_once() -> None:
    line = Line(observe_control=True, max_queue=3)
    assert line.connection.take_waiting() == []
    line.transport.feed(frame(TEXT, "1"), frame(PING, "2"), frame(BINARY, b"3"), frame(TEXT, "4"))
    assert not line.transport.is_reading()
    assert line.connection.take_waiting() == ["1", Ping(b"2"), b"3"]
    assert line.connection.take_waiting() == ["4"]
    await settled()
    assert line.transport.is_reading()
    line.transport.feed(close())
    assert line.connection.take_waiting() == []


@in_virtual_time
async def test_pieces_come_as_they_arrive() -> None:
    line = Line()
    pieces = line.connection.recv_fragments()
    line.transport.feed(frame(TEXT, b"sm\xc3", fin=False))
    assert await anext(pieces) == "sm"
    line.transport.feed(frame(CONTINUATION, b"\xb6rg", fin=False))
    assert await anext(pieces) == "örg"
    line.transport.feed(frame(CONTINUATION, b"\xc3\xa5s"), frame(TEXT, "next"))
    assert [piece async for piece in pieces] == ["ås"]
    assert await line.connection.recv() == "next"


@in_virtual_time
async def test_rest_of_a_message_that_is_given_up_is_dropped() -> None:
    line = Line()
    line.transport.feed(frame(BINARY, b"a", fin=False))
    async for piece in line.connection.recv_fragments():
        assert piece == b"a"
        break
    line.transport.feed(frame(CONTINUATION, b"b"), frame(TEXT, "next"))
    assert await line.connection.recv() == "next"


@in_virtual_time
async def test_receiver_of_pieces_that_is_cancelled_loses_only_their_message() -> None:
    line = Line()

    async def receive() -> None:
        async for _ in line.connection.recv_fragments():
            pass

    line.transport.feed(frame(BINARY, b"a", fin=False))
    receiver = asyncio.create_task(receive())
    await settled()
    receiver.cancel()
    await asyncio.wait([receiver])
    line.transport.feed(frame(CONTINUATION, b"b"), frame(TEXT, "next"))
    assert await line.connection.recv() == "next"


@in_virtual_time
async def test_end_within_a_message_in_pieces_is_raised() -> None:
    line = Line()
    line.transport.feed(frame(BINARY, b"a", fin=False))
    pieces = line.connection.recv_fragments()
    assert await anext(pieces) == b"a"
    line.transport.lose()
    with pytest.raises(ConnectionClosed):
        await anext(pieces)


# --- giving way ---


@contextlib.asynccontextmanager
async def counted_turns() -> AsyncIterator[list[None]]:
    """Count how often the loop gets round to others."""
    loop, turns = asyncio.get_running_loop(), list[None]()

    def count() -> None:
        turns.append(None)
        if not done:
            loop.call_soon(count)

    done = False
    loop.call_soon(count)
    yield turns
    done = True


@pytest.mark.parametrize("size", [0, 1000])
@in_virtual_time
async def test_receiver_gives_way_every_64_kib(size: int) -> None:
    line = Line(max_queue=10_000)
    number = 3 * BLOCK // (size + 64) + 10
    for _ in range(number):
        line.endpoint.receive_data(frame(BINARY, bytes(size)), 0.0)
    async with counted_turns() as turns:
        for _ in range(number):
            await line.connection.recv()
    assert len(turns) == 3


@pytest.mark.parametrize("size", [0, 1000, 100_000])
@in_virtual_time
async def test_sender_gives_way_every_64_kib(size: int) -> None:
    line = Line()
    async with counted_turns() as turns:
        for _ in range(3 * BLOCK // (size + 64) + 10):
            await line.connection.send(bytes(size))
    assert len(turns) >= 3


@pytest.mark.parametrize("size", [1000, 50_000])
@in_virtual_time
async def test_message_of_a_sender_that_gives_way_is_overtaken_by_none(size: int) -> None:
    line = Line(write_high_water=3 * BLOCK)
    texts = [f"{number:{size}}" for number in range(2 * BLOCK // size + 2)]
    await asyncio.gather(*map(line.connection.send, texts))
    assert numbers_sent(line) == list(range(len(texts)))


@in_virtual_time
async def test_sender_that_comes_while_others_give_way_goes_behind_them() -> None:
    line, loop = Line(write_high_water=3 * BLOCK), asyncio.get_running_loop()
    sends: list[asyncio.Task[None]] = []

    def send(number: int) -> None:
        sends.append(loop.create_task(line.connection.send(f"{number:{BLOCK}}")))

    for number in (0, 1):
        send(number)
    loop.call_soon(send, 3)  # begins when the first one that gave way goes on
    send(2)
    await settled()
    assert numbers_sent(line) == [0, 1, 2, 3]


@in_virtual_time
async def test_sender_that_is_cancelled_while_it_gives_way_sends_nothing() -> None:
    line = Line(write_high_water=3 * BLOCK)
    await line.connection.send(f"{0:{BLOCK}}")
    sends = [asyncio.create_task(line.connection.send(f"{number}")) for number in (1, 2)]
    await asyncio.sleep(0)
    sends[0].cancel()
    await asyncio.wait(sends)
    assert sends[0].cancelled()
    assert numbers_sent(line) == [0, 2]


def numbers_sent(line: Line) -> list[int]:
    return [int(payload) for payload in payloads(line.transport.take_frames())]


# --- sending ---


@pytest.mark.parametrize(
    ("message", "opcode", "payload"),
    [
        ("tëxt", TEXT, "tëxt".encode()),
        (b"bytes", BINARY, b"bytes"),
        (bytearray(b"array"), BINARY, b"array"),
        (memoryview(b"view"), BINARY, b"view"),
        (TextMessage("text"), TEXT, b"text"),
        (BinaryMessage(b"bytes"), BINARY, b"bytes"),
    ],
)
@in_virtual_time
async def test_what_can_be_sent(message: Any, opcode: int, payload: bytes) -> None:
    line = Line()
    await line.connection.send(message)
    assert line.transport.take_frames() == [(opcode, payload, True, 0)]


async def asynchronously(pieces: Any) -> AsyncIterator[Any]:
    for piece in pieces:
        await asyncio.sleep(0)
        yield piece


SOURCES: dict[str, Callable[[list[Any]], Any]] = {
    "list": list,
    "iterator": iter,
    "asynchronous": asynchronously,
}
sources = pytest.mark.parametrize("source", SOURCES)


@sources
@in_virtual_time
async def test_iterable_is_sent_as_the_fragments_of_one_message(source: str) -> None:
    line = Line()
    await line.connection.send(SOURCES[source](["a", "b", "c"]))
    await line.connection.send(SOURCES[source]([b"whole"]))
    assert line.transport.take_frames() == [
        (TEXT, b"a", False, 0),
        (CONTINUATION, b"b", False, 0),
        (CONTINUATION, b"c", True, 0),
        (BINARY, b"whole", True, 0),
    ]


@sources
@in_virtual_time
async def test_nothing_is_no_message(source: str) -> None:
    line = Line()
    with pytest.raises(ValueError, match="an empty iterable makes no message"):
        await line.connection.send(SOURCES[source]([]))
    await line.connection.send("go on")
    assert payloads(line.transport.take_frames()) == [b"go on"]


@pytest.mark.parametrize("message", [None, 7, object(), {"an": "object"}])
@in_virtual_time
async def test_what_is_no_message(message: Any) -> None:
    line = Line()
    with pytest.raises(TypeError, match=f"not {type(message).__name__}"):
        await line.connection.send(message)
    assert line.connection.state is State.OPEN


@sources
@in_virtual_time
async def test_mixed_kinds_fail_the_connection_once_a_piece_has_left(source: str) -> None:
    line = Line()
    with pytest.raises(TypeError, match="all fragments of a message are str, or all are bytes"):
        await line.connection.send(SOURCES[source](["a", b"b"]))
    first, last = line.transport.take_frames()
    assert first == (TEXT, b"a", False, 0)
    assert last.payload == b"\x03\xf3message not completed"


def failing(pieces: list[str]) -> Iterator[str]:
    yield from pieces
    raise LookupError("half-way")


@in_virtual_time
async def test_source_that_fails_before_a_piece_has_left_harms_nothing() -> None:
    line = Line()
    for pieces in ([], ["held back"]):
        with pytest.raises(LookupError):
            await line.connection.send(failing(pieces))
    await line.connection.send("go on")
    assert payloads(line.transport.take_frames()) == [b"go on"]


@in_virtual_time
async def test_source_that_fails_half_way_fails_the_connection() -> None:
    line = Line()
    with pytest.raises(LookupError):
        await line.connection.send(failing(["a", "b"]))
    assert payloads(line.transport.take_frames()) == [b"a", b"\x03\xf3message not completed"]
    with pytest.raises(ConnectionClosed):
        await line.connection.send("not behind half a message")


@in_virtual_time
async def test_messages_of_others_wait_for_all_fragments() -> None:
    line = Line()
    gate = asyncio.Event()

    async def slow() -> AsyncIterator[str]:
        yield "a"
        yield "b"
        await gate.wait()
        yield "c"

    tasks = [asyncio.create_task(line.connection.send(slow()))]
    await settled()
    tasks += [
        asyncio.create_task(line.connection.send("whole")),
        asyncio.create_task(line.connection.send(["d", "e"])),
    ]
    await settled()
    line.transport.feed(frame(PING, "between"))
    assert payloads(line.transport.take_frames()) == [b"a", b"between"]
    gate.set()
    await asyncio.gather(*tasks)
    assert line.transport.take_frames() == [
        (CONTINUATION, b"b", False, 0),
        (CONTINUATION, b"c", True, 0),
        (TEXT, b"whole", True, 0),
        (TEXT, b"d", False, 0),
        (CONTINUATION, b"e", True, 0),
    ]


@in_virtual_time
async def test_sending_inside_a_message_in_fragments_is_told() -> None:
    line = Line()
    async with line.connection.fragmenting():
        await line.connection.send_fragment("a", final=False)
        for inside in ("b", ["b", "c"]):
            with pytest.raises(RuntimeError, match="finish it first"):
                await line.connection.send(inside)
        await line.connection.send_fragment("d", final=True)
    await line.connection.send("e")
    assert payloads(line.transport.take_frames()) == [b"a", b"d", b"e"]


@in_virtual_time
async def test_sender_waits_for_room() -> None:
    line = Line(write_high_water=100)
    line.transport.stuck = True
    await line.connection.send("x" * 200)
    sends = [asyncio.create_task(line.connection.send(f"{i}" * 200)) for i in range(3)]
    for left in (3, 2, 1):
        await settled()
        assert sum(not send.done() for send in sends) == left
        line.transport.drain()
    await asyncio.gather(*sends)
    line.transport.drain()
    assert [payload[:1] for payload in payloads(line.transport.take_frames())] == [
        b"x",
        b"0",
        b"1",
        b"2",
    ]


@in_virtual_time
async def test_sender_that_comes_when_there_is_room_goes_behind_those_that_waited() -> None:
    line = Line(write_high_water=100)
    line.transport.stuck = True
    await line.connection.send(f"{0:200}")
    sends = [asyncio.create_task(line.connection.send(f"{number:200}")) for number in (1, 2)]
    await settled()
    line.transport.drain()
    line.transport.stuck = False
    await line.connection.send(f"{3:200}")  # before any of those that were woken has gone on
    await asyncio.gather(*sends)
    assert numbers_sent(line) == [0, 1, 2, 3]


STUCK_CALLS: dict[str, Callable[[AsyncConnection], Awaitable[object]]] = {
    "send": lambda connection: connection.send("given up"),
    "pieces": lambda connection: connection.send(["given", "up"]),
    "frame": lambda connection: connection.send_frame(Frame(Opcode.TEXT, b"given up")),
    "ping": lambda connection: connection.ping(),
}


@pytest.mark.parametrize("call", STUCK_CALLS)
@in_virtual_time
async def test_sender_that_is_cancelled_while_it_waits_sends_nothing(call: str) -> None:
    line = Line(write_high_water=100)
    line.transport.stuck = True
    await line.connection.send("x" * 200)
    sending = asyncio.ensure_future(STUCK_CALLS[call](line.connection))
    await settled()
    sending.cancel()
    await asyncio.wait([sending])
    assert sending.cancelled()
    line.transport.drain()
    await line.connection.send("next")
    assert payloads(line.transport.take_frames()) == [b"x" * 200, b"next"]


@in_virtual_time
async def test_message_in_fragments_ends_as_ever_on_a_loop_that_ends() -> None:
    line = Line()
    right = line.connection.fragmenting()
    await right.__aenter__()
    await line.connection.send_fragment("a", final=False)
    await asyncio.get_running_loop().shutdown_asyncgens()
    error = LookupError("on purpose")
    assert not await right.__aexit__(LookupError, error, None)
    assert line.transport.take_frames()[-1].payload == b"\x03\xf3message not completed"
    async with line.connection.fragmenting():
        pass  # the right was given back


@in_virtual_time
async def test_sender_that_is_cancelled_between_fragments_fails_the_connection() -> None:
    line = Line()

    async def endless() -> AsyncIterator[str]:
        while True:
            yield "more"
            await asyncio.sleep(1)

    sending = asyncio.create_task(line.connection.send(endless()))
    await asyncio.sleep(2.5)
    sending.cancel()
    await asyncio.wait([sending])
    *_, last = line.transport.take_frames()
    assert last.payload == b"\x03\xf3message not completed"


@in_virtual_time
async def test_waiting_again_and_again_takes_no_memory() -> None:
    line = Line()
    line.transport.stuck = True

    async def give_up(wait: Awaitable[object]) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await wait

    def count_futures() -> int:
        gc.collect()
        # Not `isinstance`: that wakes what other libraries only pretend to have.
        return sum(issubclass(type(one), asyncio.Future) for one in gc.get_objects())

    for number in range(100):
        if number == 10:
            before = count_futures()
        await give_up(line.connection.wait_closed())
        await give_up(line.connection.ping(b"%d" % number))
    assert count_futures() <= before + 2


@pytest.mark.parametrize("message", ["late", ["too", "late"]])
@in_virtual_time
async def test_sending_late_raises_with_the_code(message: Any) -> None:
    line = Line()
    line.transport.feed(close(4000, "bye"))
    with pytest.raises(ConnectionClosed) as error:
        await line.connection.send(message)
    assert (error.value.code, error.value.reason) == (4000, "bye")


# --- sending without waiting ---


@in_virtual_time
async def test_message_that_can_leave_now_does() -> None:
    line = Line()
    assert line.connection.send_now("a")
    assert line.connection.send_now(b"b")
    assert payloads(line.transport.take_frames()) == [b"a", b"b"]


@in_virtual_time
async def test_message_after_message_is_sent_now_until_the_high_water() -> None:
    line = Line(write_high_water=100)
    line.transport.stuck = True
    assert [line.connection.send_now("x" * 60) for _ in range(4)] == [True, True, False, False]


@in_virtual_time
async def test_nothing_is_sent_now_to_a_peer_that_does_not_keep_up() -> None:
    line = Line(write_high_water=100)
    line.transport.stuck = True
    await line.connection.send("x" * 200)
    assert not line.connection.send_now("skipped")
    line.transport.drain()
    assert line.connection.send_now("next")
    await settled()
    assert payloads(line.transport.take_frames()) == [b"x" * 200, b"next"]


@in_virtual_time
async def test_nothing_is_sent_now_between_fragments() -> None:
    line = Line()
    async with line.connection.fragmenting():
        await line.connection.send_fragment("a", final=False)
        assert not line.connection.send_now("skipped")
        await line.connection.send_fragment("b", final=True)
        assert line.connection.send_now("c")
    await settled()
    assert payloads(line.transport.take_frames()) == [b"a", b"b", b"c"]


@in_virtual_time
async def test_broadcast_gives_those_that_do_not_keep_up() -> None:
    ready, full, closing, lost = lines = [Line(write_high_water=100) for _ in range(4)]
    full.transport.stuck = True
    await full.connection.send("x" * 200)
    closing.connection.start_closing()
    lost.transport.lose()
    skipped = broadcast({line.connection for line in lines}, "news")
    assert skipped == [full.connection]
    assert not lost.connection.send_now("late")
    await settled()
    assert payloads(ready.transport.take_frames()) == [b"news"]


@in_virtual_time
async def test_broadcast_compresses_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    make = zlib.compressobj

    def note(*how: int) -> object:
        made.append(make(*how))
        return made[-1]

    monkeypatch.setattr(zlib, "compressobj", note)
    extension = PermessageDeflate()
    agreed = extension.accept([])
    assert agreed is not None
    lines = [Line(active=[extension.activate(agreed[1], "server")]) for _ in range(3)]
    assert broadcast([line.connection for line in lines], "news " * 100) == []
    await settled()
    assert len(made) == 1
    frames = [line.transport.take_frames() for line in lines]
    assert frames[0] == frames[1] == frames[2] != []


@in_virtual_time
async def test_frame_is_sent_as_it_is() -> None:
    line = Line()
    await line.connection.send_frame(Frame(Opcode.BINARY, b"x", rsv2=True))
    assert line.transport.take_frames() == [(BINARY, b"x", True, 2)]


@in_virtual_time
async def test_those_who_gave_up_waiting_leave_nothing_behind() -> None:
    def count_cancelled() -> int:
        gc.collect()
        return sum(type(o) is asyncio.Future and o.cancelled() for o in gc.get_objects())

    line, before = Line(), count_cancelled()
    for _ in range(5):
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(line.connection.wait_closed(), 1)
    waiting = asyncio.ensure_future(line.connection.wait_closed())
    await settled()
    assert count_cancelled() <= before
    line.transport.lose()
    await waiting


# --- pings ---


@in_virtual_time
async def test_ping_tells_the_latency() -> None:
    line = Line()
    pinging = asyncio.create_task(line.connection.ping(b"?"))
    await asyncio.sleep(0.25)
    line.transport.feed(frame(PONG, "?"))
    assert await pinging == pytest.approx(0.25)
    assert line.connection.latency == pytest.approx(0.25)


@in_virtual_time
async def test_ping_without_a_payload_has_a_random_one() -> None:
    line = Line()
    pings = [asyncio.create_task(line.connection.ping()) for _ in range(2)]
    await settled()
    first, second = payloads(line.transport.take_frames())
    assert first != second
    line.transport.feed(frame(PONG, second))
    await asyncio.gather(*pings)


@in_virtual_time
async def test_pong_answers_all_earlier_pings() -> None:
    line = Line()
    pings = [asyncio.create_task(line.connection.ping(b"%d" % i)) for i in range(3)]
    await settled()
    line.transport.feed(frame(PONG, "1"))
    await settled()
    assert [ping.done() for ping in pings] == [True, True, False]
    line.transport.feed(frame(PONG, "nobody asked"))
    await settled()
    assert not pings[2].done()
    pings[2].cancel()


@in_virtual_time
async def test_pings_of_the_same_payload_are_answered_one_by_one() -> None:
    line = Line()
    pings = [asyncio.create_task(line.connection.ping(b"same")) for _ in range(2)]
    await settled()
    for done in (1, 2):
        line.transport.feed(frame(PONG, "same"))
        await settled()
        assert sum(ping.done() for ping in pings) == done
    await asyncio.gather(*pings)


@in_virtual_time
async def test_ping_that_is_given_up_disturbs_no_other() -> None:
    line = Line()
    with pytest.raises(TimeoutError, match=r"^no pong came within 1 s$"):
        await line.connection.ping(b"same", timeout=1)
    patient = asyncio.create_task(line.connection.ping(b"same"))
    with pytest.raises(TimeoutError):
        await line.connection.ping(b"same", timeout=1)
    assert not patient.done()
    line.transport.feed(*3 * [frame(PONG, "same")])
    await patient


@in_virtual_time
async def test_pings_that_nobody_answers_end_with_the_connection() -> None:
    line = Line()
    given_up, patient = (asyncio.create_task(line.connection.ping()) for _ in range(2))
    await settled()
    given_up.cancel()
    await settled()
    line.transport.lose()
    with pytest.raises(ConnectionClosed):
        await patient


@in_virtual_time
async def test_pong_is_sent_unasked() -> None:
    line = Line()
    await line.connection.pong(b"alive")
    await line.connection.pong()
    assert line.transport.take_frames() == [(PONG, b"alive", True, 0), (PONG, b"", True, 0)]


# --- closing ---


@in_virtual_time
async def test_close_waits_for_the_end() -> None:
    line = Line()
    closing = [
        asyncio.create_task(line.connection.close(4000, "bye")),
        asyncio.create_task(line.connection.close()),
    ]
    await settled()
    assert close_of(line.transport.sent) == (4000, "bye")
    line.transport.feed(close(4000))
    line.transport.feed_eof()
    await asyncio.gather(*closing)
    await line.connection.close()
    assert line.connection.state is State.CLOSED


@in_virtual_time
async def test_close_that_is_cancelled_goes_on() -> None:
    line = Line(close_timeout=3.0)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await line.connection.close(4000)
    assert line.connection.state is State.CLOSING
    await line.connection.wait_closed()
    assert "close_timeout=3 s" in str(line.endpoint.closed)


@pytest.mark.parametrize(("code", "reason"), [(1006, ""), (999, ""), (1000, "x" * 124)])
@in_virtual_time
async def test_what_no_close_frame_can_say_is_refused(code: int, reason: str) -> None:
    line = Line()
    with pytest.raises(ValueError, match=r"."):
        await line.connection.close(code, reason)
    assert line.connection.state is State.OPEN


@in_virtual_time
async def test_receiver_is_woken_by_our_own_close() -> None:
    line = Line()
    receiver = asyncio.create_task(line.connection.recv())
    await settled()
    line.connection.start_closing(4000)
    await settled()
    line.transport.feed(close(4000))
    with pytest.raises(ConnectionClosed, match="by this side which sent 4000"):
        await receiver


@pytest.mark.parametrize(("error", "code"), [(None, 1000), (LookupError, 1011)])
@in_virtual_time
async def test_context_closes_behind_it(error: type[Exception] | None, code: int) -> None:
    line = Line()

    async def work() -> None:
        async with line.connection as connection:
            assert connection is line.connection
            if error is not None:
                raise error

    working = asyncio.create_task(work())
    await settled()
    assert close_of(line.transport.sent) == (code, "")
    line.transport.feed(close(code))
    line.transport.feed_eof()
    await asyncio.wait([working])
    assert (working.exception() is None) == (error is None)


@in_virtual_time
async def test_abort_wakes_the_receiver() -> None:
    line = Line()
    receiver = asyncio.create_task(line.connection.recv())
    await settled()
    line.connection.abort()
    with pytest.raises(ConnectionClosed, match="aborted by this side"):
        await receiver


# --- credentials that expire ---


@in_virtual_time
async def test_connection_lives_until_its_credentials_expire() -> None:
    line = Line(ping_interval=None)
    line.connection.renew(time.time() + 60)
    begun = asyncio.get_running_loop().time()
    with pytest.raises(ConnectionClosed, match="4401"):
        await line.connection.recv()
    assert 30 < asyncio.get_running_loop().time() - begun <= 71
    await line.connection.wait_closed()


@in_virtual_time
async def test_credentials_are_renewed_in_time() -> None:
    line = Line(ping_interval=None)
    expires_at = time.time() + 60
    line.connection.renew(expires_at)
    assert line.connection.expires_at == expires_at
    line.connection.renew(None)
    await asyncio.sleep(3600)
    assert line.connection.state is State.OPEN


# --- what the system has no more of, and clocks ---


@pytest.mark.fault(102)
@in_virtual_time
async def test_connection_without_memory_is_dropped_and_told() -> None:
    line = Line()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Receiver, "feed", raise_memory_error)
        line.transport.feed(frame(TEXT, "hello")[:-1])
        with pytest.raises(ConnectionClosed, match="no memory"):
            await line.connection.recv()
    await line.connection.wait_closed()


def raise_memory_error(*arguments: object) -> None:
    raise MemoryError


@pytest.mark.fault(103)
@pytest.mark.parametrize("jump", [3600, -3600])
def test_jumps_of_the_wall_clock_move_no_deadline(
    monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    wall = time.time

    @in_virtual_time
    async def talk() -> None:
        line = Line(ping_interval=20, ping_timeout=5)
        line.connection.renew(wall() + 60)
        begun = asyncio.get_running_loop().time()
        monkeypatch.setattr(time, "time", lambda: wall() + jump)
        await asyncio.sleep(19)
        line.transport.feed(frame(PONG))
        await asyncio.sleep(19)
        line.transport.feed(frame(PONG))
        await asyncio.sleep(19)
        line.transport.feed(frame(PONG))
        with pytest.raises(ConnectionClosed, match="4401"):
            await line.connection.recv()
        assert 30 < asyncio.get_running_loop().time() - begun < 75
        await line.connection.wait_closed()

    talk()
