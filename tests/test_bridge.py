"""Blocking connections over one on a loop, in real threads: order, batches, limits, the end."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from tests.core.wire import close, close_of
from tests.inprocess import Line, in_real_time, in_thread, until
from tests.peer import BINARY, CONTINUATION, PING, PONG, TEXT, frame
from tests.running import PATIENCE
from ws_middleware.bridge import MAX_QUEUED, BridgedConnection
from ws_middleware.core.endpoint import State
from ws_middleware.core.extensions import ActiveExtension
from ws_middleware.core.frames import Frame, Opcode
from ws_middleware.core.messages import BinaryMessage, Message, Ping, Pong, TextMessage
from ws_middleware.errors import ConcurrencyError, ConnectionClosed, UnexpectedMessageError


def bridge(line: Line) -> BridgedConnection:
    return BridgedConnection(line.connection, asyncio.get_running_loop())


def send_all(connection: BridgedConnection, messages: Iterable[str | bytes]) -> None:
    for message in messages:
        connection.send(message)


def texts(line: Line) -> list[str]:
    return [received.payload.decode() for received in line.transport.take_frames()]


# --- receiving ---


@in_real_time
async def test_kinds_of_messages() -> None:
    line = Line()
    connection = bridge(line)
    line.transport.feed(frame(TEXT, "1"), frame(BINARY, b"2"), frame(TEXT, "[3]"))
    line.transport.feed(frame(TEXT, "4"), frame(TEXT, "5"), frame(BINARY, b"6"))

    def receive() -> list[Any]:
        return [
            connection.recv(),
            connection.recv_message(),
            connection.recv_json(),
            connection.recv_message(),
            connection.recv_text(),
            connection.recv_bytes(),
        ]

    expected = ["1", BinaryMessage(b"2"), [3], TextMessage("4"), "5", b"6"]
    assert await in_thread(receive) == expected


@in_real_time
async def test_unexpected_kind_of_message_is_not_lost() -> None:
    line = Line()
    connection = bridge(line)
    line.transport.feed(frame(BINARY, b"1"), frame(TEXT, "2"))
    with pytest.raises(UnexpectedMessageError) as error:
        await in_thread(connection.recv_text)
    assert error.value.message == b"1"
    with pytest.raises(UnexpectedMessageError) as error:
        await in_thread(connection.recv_bytes)
    assert error.value.message == "2"


@in_real_time
async def test_messages_that_have_come_are_fetched_at_once() -> None:
    line = Line()
    connection = bridge(line)
    line.transport.feed(*[frame(TEXT, f"{i}") for i in range(10)])
    with counted_calls() as calls:
        received = await in_thread(lambda: [connection.recv() for _ in range(10)])
    assert received == [f"{i}" for i in range(10)]
    assert len(calls) == 2, "one to fetch, one to tell that the thread is done"


@in_real_time
async def test_time_out_loses_nothing() -> None:
    line = Line()
    connection = bridge(line)
    for _ in range(3):
        with pytest.raises(TimeoutError, match=r"no message came within 0\.01 s"):
            await in_thread(lambda: connection.recv(0.01))
    line.transport.feed(frame(TEXT, "1"), frame(TEXT, "2"))
    assert await in_thread(lambda: [connection.recv(), connection.recv()]) == ["1", "2"]


@pytest.mark.parametrize("code", [1000, 1001])
@in_real_time
async def test_iteration_ends_where_the_peer_has_finished(code: int) -> None:
    line = Line()
    connection = bridge(line)
    line.transport.feed(frame(TEXT, "1"), frame(TEXT, "2"), close(code))
    assert await in_thread(lambda: list(connection)) == ["1", "2"]
    assert await in_thread(lambda: list(connection)) == []


@pytest.mark.parametrize("code", [1002, 4000])
@in_real_time
async def test_iteration_raises_at_any_other_end(code: int) -> None:
    line = Line()
    connection = bridge(line)
    line.transport.feed(close(code))
    for _ in range(2):
        with pytest.raises(ConnectionClosed, match=f"closed with {code}"):
            await in_thread(lambda: list(connection))


@in_real_time
async def test_observed_pings_and_pongs_come_in_their_order() -> None:
    line = Line(observe_control=True)
    connection = bridge(line)
    line.transport.feed(frame(PING, "a"), frame(TEXT, "b"), frame(PONG, "c"), frame(TEXT, "d"))
    items = await in_thread(lambda: [connection.recv_item() for _ in range(3)])
    assert items == [Ping(b"a"), "b", Pong(b"c")]
    line.transport.feed(frame(PING, "e"))
    assert await in_thread(connection.recv) == "d"


@in_real_time
async def test_second_receiver_is_told_and_disturbs_nobody() -> None:
    line = Line()
    connection = bridge(line)
    first = in_thread(connection.recv)
    await until(lambda: connection._fetching)
    for second in (connection.recv, lambda: next(connection.recv_fragments())):
        with pytest.raises(ConcurrencyError, match="another thread is receiving"):
            await in_thread(second)
    line.transport.feed(frame(TEXT, "for the first"))
    assert await first == "for the first"


@in_real_time
async def test_thread_and_task_do_not_receive_at_once() -> None:
    line = Line()
    connection = bridge(line)
    task = asyncio.create_task(line.connection.recv())
    await asyncio.sleep(0)
    with pytest.raises(ConcurrencyError, match="another task is receiving"):
        await in_thread(connection.recv)
    line.transport.feed(frame(TEXT, "for the task"))
    assert await task == "for the task"


@in_real_time
async def test_pieces_come_as_they_arrive() -> None:
    line = Line()
    pieces = bridge(line).recv_fragments()
    line.transport.feed(frame(TEXT, "a", fin=False))
    assert await in_thread(lambda: next(pieces)) == "a"
    line.transport.feed(frame(CONTINUATION, "b"))
    assert await in_thread(lambda: list(pieces)) == ["b"]


@in_real_time
async def test_pieces_come_behind_what_was_fetched() -> None:
    line = Line(observe_control=True)
    connection = bridge(line)
    with pytest.raises(TimeoutError):
        await in_thread(lambda: connection.recv(0.01))
    line.transport.feed(frame(PING, "passed over"), frame(TEXT, "whole"))
    assert await in_thread(lambda: list(connection.recv_fragments())) == ["whole"]


@in_real_time
async def test_who_waits_for_a_piece_holds_up_no_sender() -> None:
    line = Line(ping_interval=None)
    connection = bridge(line)
    pieces = connection.recv_fragments()
    receiving = in_thread(lambda: next(pieces))
    await until(lambda: line.driver._waiter is not None)
    await in_thread(lambda: connection.send("asked for meanwhile"))
    await until(lambda: line.transport.writes)
    assert not receiving.done()
    line.transport.feed(frame(TEXT, "piece"))
    assert await receiving == "piece"


@in_real_time
async def test_pieces_that_are_given_up_let_others_receive() -> None:
    line = Line()
    connection = bridge(line)
    line.transport.feed(frame(TEXT, "a", fin=False))

    def take_one() -> str | bytes:
        for piece in connection.recv_fragments():
            return piece
        return ""

    assert await in_thread(take_one) == "a"
    line.transport.feed(frame(CONTINUATION, "b"), frame(TEXT, "next"))
    assert await in_thread(connection.recv) == "next"


# --- sending ---


@contextlib.contextmanager
def counted_calls() -> Iterator[list[object]]:
    """Count how often other threads wake the loop."""
    loop = asyncio.get_running_loop()
    calls: list[object] = []
    original = loop.call_soon_threadsafe

    def count(callback: Callable[..., object], *arguments: Any, **named: Any) -> Any:
        calls.append(callback)
        return original(callback, *arguments, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "call_soon_threadsafe", count)
        yield calls


@in_real_time
async def test_many_messages_wake_the_loop_once() -> None:
    line = Line()
    connection = bridge(line)
    with counted_calls() as calls:
        thread = threading.Thread(target=lambda: send_all(connection, map(str, range(100))))
        thread.start()
        thread.join()  # on the loop, which therefore stands still
    assert len(calls) == 1
    await until(lambda: not connection._outbox)
    assert texts(line) == [f"{i}" for i in range(100)]


@in_real_time
async def test_each_threads_messages_keep_their_order() -> None:
    line = Line()
    connection = bridge(line)

    def send_some(name: int) -> None:
        for i in range(100):
            connection.send(f"{name} {i}")

    await asyncio.gather(*[in_thread(lambda name=name: send_some(name)) for name in range(8)])  # type: ignore[misc]
    await until(lambda: not connection._outbox)
    sent = [tuple(map(int, text.split())) for text in texts(line)]
    assert sorted(sent) == list(itertools.product(range(8), range(100)))
    for name in range(8):
        assert [i for sender, i in sent if sender == name] == list(range(100))


@pytest.mark.parametrize(
    ("message", "opcode", "payload"),
    [
        ("tëxt", TEXT, "tëxt".encode()),
        (b"bytes", BINARY, b"bytes"),
        (bytearray(b"array"), BINARY, b"array"),
        (memoryview(b"view"), BINARY, b"view"),
        (TextMessage("text"), TEXT, b"text"),
    ],
)
@in_real_time
async def test_what_can_be_sent(message: Any, opcode: int, payload: bytes) -> None:
    line = Line()
    connection = bridge(line)
    await in_thread(lambda: connection.send(message))
    await until(lambda: line.transport.writes)
    assert line.transport.take_frames() == [(opcode, payload, True, 0)]


@in_real_time
async def test_buffer_may_be_changed_once_it_was_sent() -> None:
    line = Line()
    connection = bridge(line)
    buffer = bytearray(b"before")

    def work() -> None:
        connection.send(buffer)
        buffer[:] = b"behind"

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()  # on the loop, which therefore stands still
    await until(lambda: line.transport.writes)
    assert texts(line) == ["before"]


@pytest.mark.parametrize(
    ("message", "error"),
    [
        (7, TypeError),
        (None, TypeError),
        ({"an": "object"}, TypeError),
        ("\ud800", UnicodeEncodeError),
        ([], ValueError),
        ([7], TypeError),
    ],
)
@in_real_time
async def test_what_cannot_be_sent_is_told_at_the_call(message: Any, error: type) -> None:
    line = Line()
    connection = bridge(line)
    with pytest.raises(error):
        await in_thread(lambda: connection.send(message))
    await in_thread(lambda: connection.send("go on"))
    await until(lambda: line.transport.writes)
    assert texts(line) == ["go on"]


class Failing(ActiveExtension):
    """Fail where a message is encoded."""

    def encode_message(self, message: Message) -> Message:
        raise LookupError("on purpose")


@in_real_time
async def test_message_that_fails_on_the_loop_fails_the_connection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    line = Line(active=[Failing()])
    connection = bridge(line)
    await in_thread(lambda: connection.send("too late to be told at the call"))
    await until(lambda: line.transport.writes)
    assert close_of(line.transport.sent) == (1011, "message not sent")
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert record.exc_info[0] is LookupError
    with pytest.raises(ConnectionClosed):
        await in_thread(lambda: connection.send("behind it"))


@in_real_time
async def test_senders_wait_where_too_much_is_queued() -> None:
    line = Line(write_high_water=100)
    line.transport.stuck = True
    connection = bridge(line)
    sent: list[int] = []

    def work() -> None:
        for i in range(100):
            connection.send(bytes(MAX_QUEUED // 10))
            sent.append(i)

    working = in_thread(work)
    # One message is in the transport, one on its way; then the queue fills up and a bit more.
    await until(lambda: connection._outbox_size > MAX_QUEUED)
    assert len(sent) < 15
    while not working.done():
        line.transport.drain()
        await asyncio.sleep(0.001)
    line.transport.stuck = False
    line.transport.drain()
    await until(lambda: not connection._outbox)
    assert len(line.transport.take_frames()) == 100


@pytest.mark.parametrize("end", ["loss", "abort", "silence"])
@in_real_time
async def test_senders_that_wait_are_released_at_the_end(end: str) -> None:
    line = Line(
        write_high_water=100,
        ping_interval=0.2 if end == "silence" else None,
        ping_timeout=0.2,
    )
    line.transport.stuck = True
    connection = bridge(line)

    def work() -> None:
        while True:
            connection.send(bytes(MAX_QUEUED // 10))

    working = [in_thread(work) for _ in range(3)]
    await until(lambda: connection._outbox_size > MAX_QUEUED)
    if end == "loss":
        line.transport.lose()
    elif end == "abort":
        await in_thread(connection.abort)
    for sender in working:
        with pytest.raises(ConnectionClosed):
            await sender
    assert not connection._outbox


@in_real_time
async def test_sending_late_raises_with_the_code() -> None:
    line = Line()
    connection = bridge(line)
    line.transport.feed(close(4000, "bye"))
    calls: list[Callable[[], object]] = [
        lambda: connection.send("late"),
        lambda: connection.send(["too", "late"]),
        lambda: connection.send_frame(Frame(Opcode.TEXT, b"late")),
        lambda: connection.ping(),
        lambda: connection.pong(),
    ]
    for call in calls:
        with pytest.raises(ConnectionClosed) as error:
            await in_thread(call)
        assert (error.value.code, error.value.reason) == (4000, "bye")


@in_real_time
async def test_fragments_of_different_messages_never_interleave() -> None:
    line = Line()
    connection = bridge(line)

    def send_pieces(name: str) -> None:
        for _ in range(20):
            connection.send(name for _ in range(5))

    def send_whole() -> None:
        for _ in range(100):
            connection.send("whole")

    async def send_from_the_loop() -> None:
        for _ in range(20):
            await line.connection.send(["l"] * 5)

    await asyncio.gather(
        in_thread(lambda: send_pieces("a")),
        in_thread(lambda: send_pieces("b")),
        in_thread(send_whole),
        send_from_the_loop(),
    )
    await until(lambda: not connection._outbox)
    messages: list[str] = []
    under_way = ""
    for received in line.transport.take_frames():
        assert (received.opcode == CONTINUATION) == bool(under_way)
        under_way += received.payload.decode()
        if received.fin:
            messages.append(under_way)
            under_way = ""
    expected = 20 * ["aaaaa", "bbbbb", "lllll"] + 100 * ["whole"]
    assert sorted(messages) == sorted(expected)


def failing(pieces: list[Any]) -> Iterator[Any]:
    yield from pieces
    raise LookupError("half-way")


@pytest.mark.parametrize(
    ("pieces", "error"),
    [
        (failing(["a", "b", "c"]), LookupError),
        (["a", "b", b"c"], TypeError),
        (["a", "b", 7], TypeError),
        (["a", "b", "\ud800"], UnicodeEncodeError),
    ],
)
@in_real_time
async def test_message_that_breaks_off_fails_the_connection(pieces: Any, error: type) -> None:
    line = Line()
    connection = bridge(line)
    with pytest.raises(error):
        await in_thread(lambda: connection.send(pieces))
    *_, last = line.transport.take_frames()
    assert last.payload == b"\x03\xf3message not completed"


@in_real_time
async def test_message_that_breaks_off_before_a_piece_has_left_harms_nothing() -> None:
    line = Line()
    connection = bridge(line)
    for pieces in (failing([]), failing(["held back"]), ["a", b"b"]):
        with pytest.raises((LookupError, TypeError)):
            await in_thread(lambda pieces=pieces: connection.send(pieces))  # type: ignore[misc]
    await in_thread(lambda: connection.send("go on"))
    await until(lambda: line.transport.writes)
    assert texts(line) == ["go on"]


@in_real_time
async def test_sending_inside_a_message_in_fragments_is_told() -> None:
    line = Line()
    connection = bridge(line)

    def pieces() -> Iterator[str]:
        for inside in ("b", ["b", "c"]):
            with pytest.raises(RuntimeError, match="finish it first"):
                connection.send(inside)
            yield "a"

    await in_thread(lambda: connection.send(pieces()))
    assert texts(line) == ["a", "a"]


@in_real_time
async def test_frame_is_sent_as_it_is_and_in_its_turn() -> None:
    line = Line()
    connection = bridge(line)

    def work() -> None:
        connection.send("first")
        connection.send_frame(Frame(Opcode.BINARY, b"x", rsv2=True))
        connection.pong(b"unasked")
        connection.send_json({"a": 1})

    await in_thread(work)
    await until(lambda: len(line.transport.writes) == 4)
    assert line.transport.take_frames() == [
        (TEXT, b"first", True, 0),
        (BINARY, b"x", True, 2),
        (PONG, b"unasked", True, 0),
        (TEXT, b'{"a": 1}', True, 0),
    ]


# --- pings ---


@in_real_time
async def test_ping_tells_the_latency_and_holds_up_no_sender() -> None:
    line = Line()
    connection = bridge(line)
    pinging = in_thread(lambda: connection.ping(b"?"))
    await until(lambda: line.transport.writes)
    await in_thread(lambda: connection.send("meanwhile"))
    await until(lambda: len(line.transport.writes) == 2)
    assert not pinging.done()
    line.transport.feed(frame(PONG, "?"))
    assert await pinging == line.connection.latency


@in_real_time
async def test_ping_that_nobody_answers() -> None:
    line = Line()
    connection = bridge(line)
    with pytest.raises(TimeoutError):
        await in_thread(lambda: connection.ping(timeout=0.01))
    pinging = in_thread(connection.ping)
    await until(lambda: len(line.transport.writes) == 2)
    line.transport.lose()
    with pytest.raises(ConnectionClosed):
        await pinging


# --- closing ---


@in_real_time
async def test_close_goes_behind_what_was_sent_and_waits_for_the_end() -> None:
    line = Line()
    connection = bridge(line)

    def work() -> None:
        for i in range(10):
            connection.send(f"{i}")
        connection.close(4000, "bye")

    working = in_thread(work)
    await until(lambda: line.connection.state is State.CLOSING)
    *messages, last = line.transport.take_frames()
    assert [received.payload for received in messages] == [b"%d" % i for i in range(10)]
    assert last.payload == b"\x0f\xa0bye"
    assert not working.done()
    line.transport.feed(close(4000))
    line.transport.feed_eof()
    await working
    await in_thread(connection.close)


@in_real_time
async def test_what_no_close_frame_can_say_is_told_at_the_call() -> None:
    line = Line()
    connection = bridge(line)
    with pytest.raises(ValueError, match="1006"):
        await in_thread(lambda: connection.close(1006))
    assert connection.state is State.OPEN


@pytest.mark.parametrize(("error", "code"), [(None, 1000), (LookupError, 1011)])
@in_real_time
async def test_context_closes_behind_it(error: type[Exception] | None, code: int) -> None:
    line = Line()

    def work() -> None:
        with bridged as connection:
            assert connection is bridged
            if error is not None:
                raise error

    bridged = bridge(line)
    working = in_thread(work)
    await until(lambda: line.transport.writes)
    assert close_of(line.transport.sent) == (code, "")
    line.transport.feed(close(code))
    line.transport.feed_eof()
    await asyncio.wait([working])
    assert (working.exception() is None) == (error is None)


@in_real_time
async def test_abort_wakes_the_receiver() -> None:
    line = Line()
    connection = bridge(line)
    receiving = in_thread(connection.recv)
    await until(lambda: connection._fetching)
    await in_thread(connection.abort)
    with pytest.raises(ConnectionClosed, match="aborted by this side"):
        await receiving


# --- the loop ---


@in_real_time
async def test_loop_is_not_blocked_by_its_own_connection() -> None:
    connection = bridge(Line())
    calls: list[Callable[[], object]] = [
        connection.recv,
        connection.ping,
        connection.close,
        lambda: connection.send(["a", "b"]),
    ]
    for call in calls:
        with pytest.raises(RuntimeError, match="would stop the event loop that carries it"):
            call()


CALLS: dict[str, Callable[[BridgedConnection], object]] = {
    "recv": lambda connection: connection.recv(),
    "recv_fragments": lambda connection: list(connection.recv_fragments()),
    "send": lambda connection: send_all(connection, [bytes(10_000)] * 100),
    "pieces": lambda connection: connection.send(bytes(10_000) for _ in range(100)),
    "ping": lambda connection: connection.ping(),
    "close": lambda connection: connection.close(),
}


@pytest.mark.parametrize("call", CALLS)
def test_loop_that_ends_ends_the_waiting(call: str) -> None:
    outcomes: list[BaseException] = []

    def work() -> None:
        try:
            CALLS[call](connection)
        except BaseException as error:
            outcomes.append(error)

    async def scene() -> BridgedConnection:
        line = Line(write_high_water=100)
        line.transport.stuck = True
        line.endpoint.send_message(bytes(200))
        line.driver.settle()
        return bridge(line)

    with asyncio.Runner() as runner:
        connection = runner.run(scene())
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        runner.run(asyncio.sleep(0.1))
    thread.join(PATIENCE)
    (outcome,) = outcomes
    assert isinstance(outcome, ConnectionClosed)


@pytest.mark.parametrize("call", CALLS)
def test_loop_that_takes_a_call_and_is_closed_ends_the_waiting(
    call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene() -> BridgedConnection:
        return bridge(Line())

    def work() -> None:
        with contextlib.suppress(ConnectionClosed):
            CALLS[call](connection)
        ended.set()

    loop, called, ended = asyncio.new_event_loop(), threading.Event(), threading.Event()
    connection = loop.run_until_complete(scene())
    monkeypatch.setattr(loop, "call_soon_threadsafe", lambda *_: called.set())
    threading.Thread(target=work, daemon=True).start()
    assert called.wait(PATIENCE)
    loop.close()
    assert ended.wait(PATIENCE)


@pytest.mark.parametrize("call", CALLS)
def test_loop_that_is_closed_carries_nothing(call: str) -> None:
    async def scene() -> BridgedConnection:
        return bridge(Line())

    with asyncio.Runner() as runner:
        connection = runner.run(scene())
    for _ in range(2):
        with pytest.raises(ConnectionClosed):
            CALLS[call](connection)
    connection.abort()


@in_real_time
async def test_thread_renews_the_credentials() -> None:
    line = Line()
    connection = bridge(line)
    expires_at = time.time() + 3600
    await in_thread(lambda: connection.renew(expires_at))
    await until(lambda: connection.expires_at == expires_at)
    assert line.connection.expires_at == expires_at
