"""The three shapes of a handler in one process: what is called, in which order, and the end."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, ClassVar

import pytest

from tests.core.wire import close
from tests.inprocess import Line, in_real_time, in_virtual_time, settled, until
from tests.peer import CLOSE, PING, PONG, TEXT, Received, frame
from ws_middleware.aio import AsyncConnection
from ws_middleware.asking import is_async
from ws_middleware.bridge import MAX_QUEUED, BridgedConnection
from ws_middleware.callbacks import Handler
from ws_middleware.connection import Connection
from ws_middleware.core.endpoint import State
from ws_middleware.core.messages import Data
from ws_middleware.errors import ConnectionClosed
from ws_middleware.handlers import (
    check_handler,
    is_blocking,
    observes_control,
    run_handler,
)

# --- the shapes ---


async def answer(connection: AsyncConnection, word: str) -> None:
    await connection.send(f"{word} {await connection.recv_text()}")


def answer_blocking(connection: Connection, word: str) -> None:
    connection.send(f"{word} {connection.recv_text()}")


class Answering:
    def __init__(self, word: str = "") -> None:
        self.word = word

    async def __call__(self, connection: AsyncConnection, word: str) -> None:
        await answer(connection, word)

    async def method(self, connection: AsyncConnection, word: str) -> None:
        await answer(connection, word)

    def blocking(self, connection: Connection, word: str) -> None:
        answer_blocking(connection, word)

    static = staticmethod(answer)
    static_blocking = staticmethod(answer_blocking)

    @classmethod
    async def of_class(cls, connection: AsyncConnection, word: str) -> None:
        await answer(connection, word)


class BlockingObject:
    def __call__(self, connection: Connection, word: str) -> None:
        answer_blocking(connection, word)


class AnswerOnce(Handler):
    def on_message(self, message: Data) -> None:
        self.connection.send(f"{self.path_params['word']} {message!s}")
        self.connection.close()


class AnswerOnceOnTheLoop(Handler):
    async def on_message(self, message: Data) -> None:
        await self.connection.send(f"{self.path_params['word']} {message!s}")
        await self.connection.close()


class AnswerOnceInBoth(Handler):
    def on_open(self) -> None:
        self.thread = threading.current_thread()

    async def on_message(self, message: Data) -> None:
        assert self.thread is not threading.current_thread()
        await self.connection.send(f"{self.path_params['word']} {message!s}")
        await self.connection.close()


async def answer_with(connection: AsyncConnection, *, word: str, mark: str) -> None:
    await answer(connection, word + mark)


ASYNC: dict[str, Callable[..., Any]] = {
    "function": answer,
    "partial": functools.partial(answer),
    "partial of a partial": functools.partial(functools.partial(answer_with), mark=""),
    "object": Answering(),
    "partial of an object": functools.partial(Answering()),
    "method": Answering().method,
    "static method": Answering.static,
    "class method": Answering.of_class,
}
BLOCKING: dict[str, Callable[..., Any]] = {
    "function": answer_blocking,
    "partial": functools.partial(answer_blocking),
    "object": BlockingObject(),
    "method": Answering().blocking,
    "static method": Answering.static_blocking,
    "lambda": lambda connection, word: answer_blocking(connection, word),
}
CALLBACKS: dict[str, Callable[..., Any]] = {
    "def": AnswerOnce,
    "async def": AnswerOnceOnTheLoop,
    "both": AnswerOnceInBoth,
}
SHAPES = [
    *(pytest.param(handler, id=f"async {name}") for name, handler in ASYNC.items()),
    *(pytest.param(handler, id=f"blocking {name}") for name, handler in BLOCKING.items()),
    *(pytest.param(handler, id=f"callbacks {name}") for name, handler in CALLBACKS.items()),
]


def start(handler: Callable[..., Any], line: Line, **path_params: Any) -> asyncio.Task[None]:
    return asyncio.create_task(run_handler(handler, line.connection, path_params))


def leave(line: Line, code: int = 1000, reason: str = "") -> None:
    """Close as a peer does, and end the stream."""
    line.transport.feed(close(code, reason))
    line.transport.feed_eof()


@pytest.mark.parametrize("handler", SHAPES)
@in_real_time
async def test_every_shape_gets_the_path_parameters_and_closes_with_1000(
    handler: Callable[..., Any],
) -> None:
    line = Line()
    check_handler(handler)
    running = start(handler, line, word="hello")
    line.transport.feed(frame(TEXT, "world"))
    await until(lambda: line.connection.state is not State.OPEN)
    answered, closed = line.transport.take_frames()
    assert answered == (TEXT, b"hello world", True, 0)
    assert closed == (CLOSE, b"\x03\xe8", True, 0)
    leave(line)
    await running


@pytest.mark.parametrize("handler", ASYNC.values(), ids=ASYNC)
def test_what_runs_on_the_loop(handler: Callable[..., Any]) -> None:
    assert is_async(handler)
    assert not is_blocking(handler)


@pytest.mark.parametrize("handler", BLOCKING.values(), ids=BLOCKING)
def test_what_runs_in_a_thread(handler: Callable[..., Any]) -> None:
    assert not is_async(handler)
    assert is_blocking(handler)


@pytest.mark.parametrize("handler", CALLBACKS.values(), ids=CALLBACKS)
def test_callbacks_take_no_thread_for_themselves(handler: Callable[..., Any]) -> None:
    assert not is_blocking(handler)


@pytest.mark.parametrize("handler", [None, 7, "name", Handler(None)])
def test_what_is_no_handler(handler: Any) -> None:
    with pytest.raises(TypeError, match="a handler is a function or a Handler class"):
        check_handler(handler)


def yields(connection: Any) -> Iterator[str]:
    yield "hello"


async def yields_later(connection: Any) -> AsyncIterator[str]:
    yield "hello"


@pytest.mark.parametrize("handler", [yields, yields_later])
def test_generator_is_no_handler(handler: Any) -> None:
    with pytest.raises(TypeError, match=r"^yields.*\(\) yields, so nothing of it would run"):
        check_handler(handler)


@pytest.mark.parametrize("kind", [Answering, BlockingObject, int])
def test_class_that_is_no_handler(kind: type) -> None:
    with pytest.raises(TypeError, match=f"^{kind.__name__} is a class but not a subclass"):
        check_handler(kind)


@pytest.mark.parametrize(
    ("name", "meant"),
    [("on_mesage", "on_message"), ("on_messages", "on_message"), ("on_disconnect", "on_close")],
)
def test_callback_with_a_wrong_name_is_told(name: str, meant: str) -> None:
    kind = type("Chat", (Handler,), {name: lambda self, *arguments: None})
    with pytest.raises(TypeError, match=rf"^Chat\.{name} is never called: write {meant}, or"):
        check_handler(kind)


def test_callback_with_wrong_parameters_is_told() -> None:
    class Chat(Handler):
        def on_close(self, code: int) -> None:  # type: ignore[override]
            ...

    with pytest.raises(TypeError, match=r"^the call Chat\.on_close\(code, reason\): too many"):
        check_handler(Chat)


def test_callback_that_yields_is_told() -> None:
    class Chat(Handler):
        async def on_message(self, message: Data) -> AsyncIterator[Data]:
            yield message

    with pytest.raises(
        TypeError, match=r"^Chat\.on_message\(\) yields, so nothing of it would run"
    ):
        check_handler(Chat)


def test_handler_may_have_methods_of_its_own_and_callbacks_of_any_kind() -> None:
    class Chat(Handler):
        def on_typing(self) -> None: ...
        def on_chat_message(self, message: str) -> None: ...

        @staticmethod
        def on_message(message: Data) -> None: ...

        @classmethod
        def on_open(cls, *arguments: Any) -> None: ...

    check_handler(Chat)


def test_pings_and_pongs_are_observed_where_there_is_a_callback() -> None:
    class Pinged(Handler):
        def on_ping(self, payload: bytes) -> None: ...

    class Ponged(Handler):
        async def on_pong(self, payload: bytes) -> None: ...

    class Inherits(Pinged): ...

    assert [observes_control(one) for one in (Pinged, Ponged, Inherits)] == [True] * 3
    assert not any(observes_control(one) for one in (Handler, AnswerOnce, answer, answer_blocking))


@in_real_time
async def test_connection_fits_the_callbacks() -> None:
    kinds: dict[str, type] = {}

    class Blocking(Handler):
        def on_open(self) -> None:
            kinds["def"] = type(self.connection)

    class Mixed(Blocking):
        def on_open(self) -> None:
            kinds["both"] = type(self.connection)

        async def on_pong(self, payload: bytes) -> None: ...

    for kind in (Blocking, Mixed):
        line = Line()
        running = start(kind, line)
        leave(line)
        await running
    assert kinds == {"def": BridgedConnection, "both": AsyncConnection}


# --- contexts ---

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="nothing")


async def tell_variable(connection: AsyncConnection) -> None:
    await connection.send(variable.get())


def tell_variable_blocking(connection: Connection) -> None:
    connection.send(variable.get())


class TellVariable(Handler):
    def on_open(self) -> None:
        assert variable.get() == "of the request"
        variable.set("of the connection")

    def on_message(self, message: Data) -> None:
        self.connection.send(variable.get())


@pytest.mark.parametrize(
    ("handler", "value"),
    [
        (tell_variable, b"of the request"),
        (tell_variable_blocking, b"of the request"),
        (TellVariable, b"of the connection"),
    ],
)
@in_real_time
async def test_context_of_the_request_is_seen(handler: Callable[..., Any], value: bytes) -> None:
    line = Line()
    variable.set("of the request")
    running = start(handler, line)
    line.transport.feed(frame(TEXT, "?"))
    await until(lambda: line.transport.writes)
    assert line.transport.take_frames()[0].payload == value
    leave(line)
    await running
    assert variable.get() == "of the request"


# --- how a function ends ---


@in_real_time
async def test_everything_that_a_thread_sent_leaves_before_the_close() -> None:
    line = Line(write_high_water=100, ping_interval=None)
    line.transport.stuck = True
    size = MAX_QUEUED // 8

    def send_some(connection: Connection) -> None:
        for i in range(8):
            connection.send(bytes([i]) * size)

    running = start(send_some, line)
    await until(lambda: len(line.transport.writes) == 1)
    for _ in range(20):
        await asyncio.sleep(0.001)
        line.transport.drain()
    await until(lambda: line.connection.state is not State.OPEN)
    line.transport.drain()
    *messages, closed = line.transport.take_frames()
    assert [received.payload[0] for received in messages] == list(range(8))
    assert closed.payload == b"\x03\xe8"
    leave(line)
    await running


def closes_of(frames: list[Received]) -> list[tuple[int, str]]:
    return [
        (int.from_bytes(received.payload[:2], "big"), received.payload[2:].decode())
        for received in frames
        if received.opcode == CLOSE
    ]


def fail_with(error: BaseException) -> Callable[..., Any]:
    async def fail(connection: AsyncConnection) -> None:
        raise error

    return fail


def fail_in_thread_with(error: BaseException) -> Callable[..., Any]:
    def fail(connection: Connection) -> None:
        raise error

    return fail


@pytest.fixture
def errors(caplog: pytest.LogCaptureFixture) -> Callable[[], list[BaseException]]:
    """Give the exceptions that were logged so far."""

    def find() -> list[BaseException]:
        return [
            record.exc_info[1]
            for record in caplog.records
            if record.levelno == logging.ERROR and record.exc_info and record.exc_info[1]
        ]

    return find


ERRORS = [LookupError("on purpose"), StopIteration(7), ConnectionClosed(1000, "somebody else's")]
SPECIAL = [SystemExit(7), KeyboardInterrupt(), asyncio.CancelledError()]


@pytest.mark.parametrize("error", [*ERRORS, asyncio.CancelledError()], ids=repr)
@in_virtual_time
async def test_function_that_raises_closes_with_1011_and_one_traceback(
    error: BaseException, errors: Callable[[], list[BaseException]]
) -> None:
    line = Line()
    running = start(fail_with(error), line)
    await settled()
    assert closes_of(line.transport.take_frames()) == [(1011, "internal error")]
    leave(line, 1011)
    await running
    (logged,) = errors()
    assert error in (logged, logged.__cause__)


@pytest.mark.parametrize("error", [*ERRORS, *SPECIAL], ids=repr)
@in_real_time
async def test_function_that_raises_in_its_thread_closes_with_1011_and_one_traceback(
    error: BaseException, errors: Callable[[], list[BaseException]]
) -> None:
    line = Line()
    running = start(fail_in_thread_with(error), line)
    await until(lambda: line.transport.writes)
    assert closes_of(line.transport.take_frames()) == [(1011, "internal error")]
    leave(line, 1011)
    await running
    (logged,) = errors()
    assert logged is error or repr(error) in str(logged)


@in_real_time
async def test_coroutine_that_nobody_awaits_is_told_of(
    errors: Callable[[], list[BaseException]],
) -> None:
    def wrapper(connection: AsyncConnection, word: str) -> Any:
        return answer(connection, word)

    line = Line()
    running = asyncio.create_task(run_handler(wrapper, line.connection, {"word": "hello"}))
    await until(lambda: line.transport.writes)
    leave(line, 1011)
    await running
    assert "has to be `async def` itself" in str(errors())


@pytest.mark.parametrize("error", [SystemExit(7), KeyboardInterrupt()], ids=repr)
@in_virtual_time
async def test_what_is_to_end_the_program_drops_the_connection(error: BaseException) -> None:
    line = Line()
    with pytest.raises(type(error)):
        await run_handler(fail_with(error), line.connection, {})
    assert line.transport.calls[-1] == "abort"
    assert line.transport.writes == []


@pytest.mark.parametrize("handler", [answer, AnswerOnceOnTheLoop])
@in_virtual_time
async def test_handler_that_is_cancelled_says_goodbye(
    handler: Callable[..., Any], errors: Callable[[], list[BaseException]]
) -> None:
    line = Line()
    running = start(handler, line, word="")
    await settled()
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled()
    expected = [(1001, "the server is shutting down")]
    assert closes_of(line.transport.take_frames()) == expected
    assert errors() == []


@pytest.mark.parametrize("handler", [answer, answer_blocking, AnswerOnce, AnswerOnceOnTheLoop])
@pytest.mark.parametrize("code", [1000, 1002, 4000, None])
@in_real_time
async def test_peer_that_leaves_is_no_error(
    handler: Callable[..., Any], code: int | None, errors: Callable[[], list[BaseException]]
) -> None:
    line = Line()
    running = start(handler, line, word="")
    if code is None:
        line.transport.lose()
    else:
        leave(line, code)
    await running
    assert errors() == []


async def ask_with_tasks(connection: AsyncConnection) -> None:
    """Be a handler with a task that sends and one that receives."""

    async def send_on() -> None:
        while True:
            await connection.send("tick")
            await asyncio.sleep(1)

    async with asyncio.TaskGroup() as group:
        group.create_task(send_on())
        group.create_task(connection.wait_closed())


async def ask_with_tasks_and_fail(connection: AsyncConnection) -> None:
    """Be one of which another task fails while it ends."""

    async def fail() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            raise LookupError("on purpose")

    async with asyncio.TaskGroup() as group:
        group.create_task(fail())
        group.create_task(ask_with_tasks(connection))


@pytest.mark.parametrize(("handler", "told"), [(ask_with_tasks, 0), (ask_with_tasks_and_fail, 1)])
@in_virtual_time
async def test_peer_that_leaves_is_no_error_of_a_group_of_tasks(
    handler: Callable[..., Any], told: int, errors: Callable[[], list[BaseException]]
) -> None:
    line = Line()
    running = start(handler, line)
    await settled()
    leave(line, 1000)
    await running
    assert len(errors()) == told


@in_virtual_time
async def test_function_that_closed_by_itself_keeps_its_code() -> None:
    async def close_it(connection: AsyncConnection) -> None:
        connection.start_closing(4000, "as I wish")
        raise LookupError("on purpose")

    line = Line()
    running = start(close_it, line)
    await settled()
    assert closes_of(line.transport.take_frames()) == [(4000, "as I wish")]
    leave(line, 4000)
    await running


# --- callbacks ---


class Recording(Handler):
    """Keep what every callback was told."""

    calls: ClassVar[list[tuple[object, ...]]]

    def on_open(self) -> Any:
        self.calls.append(("open",))

    def on_message(self, message: Data) -> Any:
        self.calls.append(("message", message))

    def on_ping(self, payload: bytes) -> Any:
        self.calls.append(("ping", payload))

    def on_pong(self, payload: bytes) -> Any:
        self.calls.append(("pong", payload))

    def on_close(self, code: int, reason: str) -> Any:
        self.calls.append(("close", code, reason, self.connection.state))


class RecordingOnTheLoop(Recording):
    async def on_open(self) -> None:
        await asyncio.sleep(0)
        super().on_open()

    async def on_message(self, message: Data) -> None:
        await asyncio.sleep(0)
        super().on_message(message)

    async def on_ping(self, payload: bytes) -> None:
        await asyncio.sleep(0)
        super().on_ping(payload)

    async def on_pong(self, payload: bytes) -> None:
        await asyncio.sleep(0)
        super().on_pong(payload)

    async def on_close(self, code: int, reason: str) -> None:
        await asyncio.sleep(0)
        super().on_close(code, reason)


class RecordingInBoth(Recording):
    async def on_ping(self, payload: bytes) -> None:
        await asyncio.sleep(0)
        super().on_ping(payload)


@pytest.fixture(params=[Recording, RecordingOnTheLoop, RecordingInBoth])
def recording(request: pytest.FixtureRequest) -> type[Recording]:
    """Give a handler that keeps its calls, in each of its shapes."""
    kind: type[Recording] = request.param
    Recording.calls = []
    return kind


@in_real_time
async def test_callbacks_come_in_order_and_on_close_comes_last(
    recording: type[Recording],
) -> None:
    line = Line(observe_control=observes_control(recording))
    running = start(recording, line)
    line.transport.feed(
        frame(TEXT, "a"), frame(PING, "b"), frame(PONG, "c"), frame(TEXT, "d"), close(4000, "bye")
    )
    line.transport.feed_eof()
    await running
    assert recording.calls == [
        ("open",),
        ("message", "a"),
        ("ping", b"b"),
        ("pong", b"c"),
        ("message", "d"),
        ("close", 4000, "bye", State.CLOSED),
    ]


@in_real_time
async def test_on_close_is_told_of_a_loss(recording: type[Recording]) -> None:
    line = Line()
    running = start(recording, line)
    await until(lambda: recording.calls)
    line.transport.lose()
    await running
    assert recording.calls[1:] == [("close", 1006, "", State.CLOSED)]


@pytest.mark.parametrize("kind", [Recording, RecordingOnTheLoop])
@pytest.mark.parametrize("callback", ["on_open", "on_message", "on_ping", "on_pong"])
@in_real_time
async def test_callback_that_raises_closes_with_1011_and_one_traceback(
    kind: type[Recording], callback: str, errors: Callable[[], list[BaseException]]
) -> None:
    def fail(self: Handler, *arguments: object) -> None:
        raise LookupError("on purpose")

    async def fail_on_the_loop(self: Handler, *arguments: object) -> None:
        raise LookupError("on purpose")

    failing = fail if kind is Recording else fail_on_the_loop
    failing_kind: type[Recording] = type("Failing", (kind,), {callback: failing})
    Recording.calls = []
    line = Line(observe_control=True)
    running = start(failing_kind, line)
    line.transport.feed(frame(TEXT, "a"), frame(PING, "b"), frame(PONG, "c"), frame(TEXT, "d"))
    await until(lambda: line.connection.state is State.CLOSING)
    assert closes_of(line.transport.take_frames()) == [(1011, "internal error")]
    leave(line, 1011)
    await running
    assert [type(error) for error in errors()] == [LookupError]
    assert Recording.calls[-1] == ("close", 1011, "", State.CLOSED)
    assert [call[0] for call in Recording.calls].count("close") == 1
    assert ("message", "d") not in Recording.calls, "nothing is called behind the failure"


class Mending(Recording):
    def on_message(self, message: Data) -> Any:
        raise LookupError(message)

    def on_error(self, error: Exception) -> Any:
        self.calls.append(("error", repr(error)))


class MendingOnTheLoop(Mending):
    async def on_message(self, message: Data) -> None:
        raise LookupError(message)

    async def on_error(self, error: Exception) -> None:
        await asyncio.sleep(0)
        super().on_error(error)


@pytest.mark.parametrize("kind", [Mending, MendingOnTheLoop])
@in_real_time
async def test_on_error_may_go_on(
    kind: type[Recording], errors: Callable[[], list[BaseException]]
) -> None:
    Recording.calls = []
    line = Line()
    running = start(kind, line)
    line.transport.feed(frame(TEXT, "a"), frame(TEXT, "b"))
    leave(line)
    await running
    assert [call[:2] for call in kind.calls] == [
        ("open",),
        ("error", "LookupError('a')"),
        ("error", "LookupError('b')"),
        ("close", 1000),
    ]
    assert errors() == []


@in_real_time
async def test_on_error_may_raise_something_else(
    errors: Callable[[], list[BaseException]],
) -> None:
    class Translating(Mending):
        def on_error(self, error: Exception) -> None:
            raise ArithmeticError("instead") from error

    Recording.calls = []
    line = Line()
    running = start(Translating, line)
    line.transport.feed(frame(TEXT, "a"))
    await until(lambda: line.connection.state is State.CLOSING)
    leave(line, 1011)
    await running
    (logged,) = errors()
    assert isinstance(logged, ArithmeticError)
    assert isinstance(logged.__cause__, LookupError)


class SendingLate(Recording):
    def on_message(self, message: Data) -> Any:
        self.connection.abort()
        self.connection.send("into the void")

    def on_error(self, error: Exception) -> None:
        self.calls.append(("error", error))


class SendingLateOnTheLoop(SendingLate):
    async def on_message(self, message: Data) -> None:
        self.connection.abort()
        await self.connection.send("into the void")


@pytest.mark.parametrize("kind", [SendingLate, SendingLateOnTheLoop])
@in_real_time
async def test_end_of_the_connection_is_no_error_of_a_callback(
    kind: type[Recording], errors: Callable[[], list[BaseException]]
) -> None:
    Recording.calls = []
    line = Line()
    running = start(kind, line)
    line.transport.feed(frame(TEXT, "a"))
    await running
    assert [call[:2] for call in kind.calls] == [("open",), ("close", 1006)]
    assert errors() == []


@in_real_time
async def test_on_close_that_raises_leaves_one_traceback(
    errors: Callable[[], list[BaseException]],
) -> None:
    class Failing(Handler):
        def on_close(self, code: int, reason: str) -> None:
            raise LookupError("on purpose")

    line = Line()
    running = start(Failing, line)
    leave(line)
    await running
    assert [type(error) for error in errors()] == [LookupError]


@in_virtual_time
async def test_handler_that_cannot_be_made_closes_with_1011(
    errors: Callable[[], list[BaseException]],
) -> None:
    class Failing(Handler):
        def __init__(self, connection: Any, **path_params: Any) -> None:
            raise LookupError("on purpose")

    line = Line()
    running = start(Failing, line)
    await settled()
    assert closes_of(line.transport.take_frames()) == [(1011, "internal error")]
    leave(line, 1011)
    await running
    assert [type(error) for error in errors()] == [LookupError]


@in_virtual_time
async def test_handler_without_callbacks_drops_what_comes() -> None:
    line = Line(observe_control=True)
    running = start(Handler, line)
    line.transport.feed(*20 * [frame(TEXT, "a"), frame(PING, "b"), frame(PONG, "c")])
    await settled()
    assert line.transport.is_reading()
    leave(line)
    await running


# --- no threads ---


@pytest.mark.fault(99)
@in_virtual_time
async def test_handler_without_a_thread_is_refused_and_the_next_one_runs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    line = Line()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        running = asyncio.ensure_future(run_handler(answer_blocking, line.connection, {}))
        await settled()
    (closing,) = line.transport.take_frames()
    assert closing == Received(CLOSE, b"\x03\xf5no thread is free", True, 0)
    assert "can't start new thread" in caplog.text
    assert "Traceback" not in caplog.text
    line.transport.feed(close(1013))
    await running
