"""ASGI's WebSocket events 2.5 in virtual time: their order, the denial response, every end."""

from __future__ import annotations

import asyncio
import copy
import logging
from collections.abc import Callable
from typing import Any

import pytest
import uvicorn

from tests.asgi.handshaking import App, Handshake, request_bytes
from tests.core.wire import close
from tests.inprocess import in_virtual_time, settled
from tests.peer import BINARY, CLOSE, TEXT, frame
from ws_middleware.asgi.handshake import EXTENSION
from ws_middleware.asgi.session import ClientDisconnected
from ws_middleware.options import Options

Event = dict[str, Any]

CONNECT: Event = {"type": "websocket.connect"}
ACCEPT: Event = {"type": "websocket.accept"}
CLOSING: Event = {"type": "websocket.close"}
SEND: Event = {"type": "websocket.send", "text": "hello"}
START: Event = {"type": "websocket.http.response.start", "status": 401}
BODY: Event = {"type": "websocket.http.response.body", "body": b"no"}
PART: Event = {**BODY, "more_body": True}


def script(*events: Event, then: Callable[[Any], Any] | None = None) -> App:
    """Make an application that sends events and then does something with `receive`."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert await receive() == CONNECT
        for event in events:
            await send(event)
        if then is not None:
            await then(receive)

    return app


async def until_disconnect(receive: Any) -> None:
    while (await receive())["type"] != "websocket.disconnect":
        pass


@pytest.fixture
def errors(caplog: pytest.LogCaptureFixture) -> Callable[[], list[BaseException]]:
    """Give the exceptions that applications left in the log."""

    def find() -> list[BaseException]:
        return [
            record.exc_info[1]
            for record in caplog.records
            if record.levelno == logging.ERROR and record.exc_info and record.exc_info[1]
        ]

    return find


# --- an open connection ---


@in_virtual_time
async def test_messages_become_events_and_events_become_messages() -> None:
    received: list[Event] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        received.append(await receive())
        await send(ACCEPT)
        for answer in (
            {"type": "websocket.send", "text": "text"},
            {"type": "websocket.send", "bytes": b"bytes", "text": None},
            {"type": "websocket.send", "bytes": None, "text": ""},
        ):
            received.append(await receive())
            await send(answer)

    handshake = Handshake(app)
    await settled()
    assert handshake.take_frames() == []
    handshake.transport.feed(frame(TEXT, "a"), frame(BINARY, b"b"), frame(TEXT, ""))
    await settled()
    assert received == [
        CONNECT,
        {"type": "websocket.receive", "text": "a"},
        {"type": "websocket.receive", "bytes": b"b"},
        {"type": "websocket.receive", "text": ""},
    ]
    assert handshake.take_frames() == [
        (TEXT, b"text", True, 0),
        (BINARY, b"bytes", True, 0),
        (TEXT, b"", True, 0),
        (CLOSE, b"\x03\xe8", True, 0),
    ]


@in_virtual_time
async def test_accept_with_headers_and_subprotocol() -> None:
    accept = {
        **ACCEPT,
        "subprotocol": "b",
        "headers": [(b"set-cookie", b"a=1"), [b"x-name", b"\xe9"]],
    }
    handshake = Handshake(
        script(accept, then=until_disconnect), fields={"Sec-WebSocket-Protocol": "a, b"}
    )
    await settled()
    response = handshake.response
    assert response.status == 101
    assert response.fields["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert response.fields["sec-websocket-protocol"] == "b"
    assert response.fields["set-cookie"] == "a=1"
    assert response.fields["x-name"] == "\xe9"
    handshake.transport.lose()


@pytest.mark.parametrize("accept", [ACCEPT, {**ACCEPT, "subprotocol": None, "headers": None}])
@in_virtual_time
async def test_accept_with_nothing(accept: Event) -> None:
    handshake = Handshake(script(accept), fields={"Sec-WebSocket-Protocol": "a, b"})
    await settled()
    assert handshake.response.status == 101
    assert "sec-websocket-protocol" not in handshake.response.fields


@in_virtual_time
async def test_accept_with_fields_that_are_the_servers() -> None:
    headers = [
        (b"connection", b"close"),
        (b"upgrade", b"h2c"),
        (b"Content-Length", b"5"),
        (b"transfer-encoding", b"chunked"),
    ]
    handshake = Handshake(script({**ACCEPT, "headers": headers}, then=until_disconnect))
    await settled()
    fields = handshake.response.fields
    assert (fields["connection"], fields["upgrade"]) == ("Upgrade", "websocket")
    assert fields.keys().isdisjoint({"content-length", "transfer-encoding"})
    handshake.transport.lose()


@pytest.mark.parametrize("agreed", [True, False])
@in_virtual_time
async def test_extensions_are_the_servers(agreed: bool) -> None:
    handshake = Handshake(
        script(ACCEPT, then=until_disconnect),
        options=Options() if agreed else Options(extensions=()),
        fields={"Sec-WebSocket-Extensions": "permessage-deflate"},
    )
    await settled()
    assert ("sec-websocket-extensions" in handshake.response.fields) == agreed
    handshake.transport.lose()


@pytest.mark.parametrize(
    "accept",
    [
        {**ACCEPT, "subprotocol": "c"},
        {**ACCEPT, "subprotocol": ""},
        {**ACCEPT, "headers": [(b"Sec-WebSocket-Protocol", b"a")]},
        {**ACCEPT, "headers": [(b"sec-websocket-extensions", b"x")]},
        {**ACCEPT, "headers": [(b"x", b"a\r\nb: c")]},
        {**ACCEPT, "headers": [(b"x y", b"a")]},
    ],
)
@in_virtual_time
async def test_accept_that_makes_no_handshake_is_told_to_the_app(
    accept: Event, errors: Callable[[], list[BaseException]]
) -> None:
    handshake = Handshake(script(accept), fields={"Sec-WebSocket-Protocol": "a, b"})
    await settled()
    assert [type(error) for error in errors()] == [ValueError]
    assert handshake.response.status == 500


@in_virtual_time
async def test_accept_may_be_tried_again() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        with pytest.raises(ValueError, match="did not offer the subprotocol 'c'"):
            await send({**ACCEPT, "subprotocol": "c"})
        await send(ACCEPT)

    handshake = Handshake(app)
    await settled()
    assert handshake.response.status == 101


@pytest.mark.parametrize(
    ("event", "error"),
    [
        ({"type": "websocket.send"}, KeyError),
        ({"type": "websocket.send", "bytes": None}, TypeError),
        ({"type": "websocket.close", "code": 1006}, ValueError),
        ({"type": "websocket.close", "code": 5000}, ValueError),
    ],
)
@in_virtual_time
async def test_event_that_makes_no_sense_is_told_to_the_app(
    event: Event, error: type, errors: Callable[[], list[BaseException]]
) -> None:
    handshake = Handshake(script(ACCEPT, event))
    await settled()
    assert [type(one) for one in errors()] == [error]
    assert handshake.take_frames()[-1].payload == b"\x03\xf3internal error"


# --- the order ---


@pytest.mark.parametrize(
    ("before", "event"),
    [
        ([], SEND),
        ([], BODY),
        ([], {"type": "websocket.receive"}),
        ([], {"type": "http.response.start", "status": 200}),
        ([], {"type": "unheard-of"}),
        ([ACCEPT], ACCEPT),
        ([ACCEPT], START),
        ([ACCEPT], BODY),
        ([ACCEPT], {"type": "unheard-of"}),
        ([START], ACCEPT),
        ([START], START),
        ([START], SEND),
        ([START], CLOSING),
        ([START, PART], ACCEPT),
        ([START, PART], CLOSING),
        ([START, BODY], BODY),
        ([START, BODY], ACCEPT),
    ],
)
@in_virtual_time
async def test_event_out_of_order_is_told_to_the_app(
    before: list[Event], event: Event, errors: Callable[[], list[BaseException]]
) -> None:
    handshake = Handshake(script(*before, event))
    await settled()
    (error,) = errors()
    assert isinstance(error, RuntimeError)
    assert event["type"] in str(error)
    handshake.transport.lose()


# --- the end ---


@pytest.mark.parametrize(
    ("event", "payload"),
    [
        (CLOSING, b"\x03\xe8"),
        ({**CLOSING, "code": 4000}, b"\x0f\xa0"),
        ({**CLOSING, "code": 4000, "reason": "bye"}, b"\x0f\xa0bye"),
        ({**CLOSING, "code": 4000, "reason": None}, b"\x0f\xa0"),
        ({**CLOSING, "reason": "é" * 100}, b"\x03\xe8" + "é".encode() * 61),
    ],
)
@in_virtual_time
async def test_app_closes(event: Event, payload: bytes) -> None:
    handshake = Handshake(script(ACCEPT, event, then=until_disconnect))
    await settled()
    assert handshake.take_frames() == [(CLOSE, payload, True, 0)]
    handshake.transport.feed(close(1000))
    handshake.transport.feed_eof()


@pytest.mark.parametrize(
    ("last", "code", "reason"),
    [
        (close(4000, "bye"), 4000, "bye"),
        (close(None), 1005, ""),
        (None, 1006, ""),
    ],
)
@in_virtual_time
async def test_disconnect_is_told_again_and_again(
    last: bytes | None, code: int, reason: str
) -> None:
    told: list[Event] = []

    async def receive_on(receive: Any) -> None:
        told.extend([await receive() for _ in range(3)])

    handshake = Handshake(script(ACCEPT, then=receive_on))
    await settled()
    if last is None:
        handshake.transport.lose()
    else:
        handshake.transport.feed(last)
        handshake.transport.feed_eof()
    await settled()
    assert told == 3 * [{"type": "websocket.disconnect", "code": code, "reason": reason}]


@pytest.mark.parametrize(
    ("data", "code", "reason"),
    [
        (frame(TEXT, "a" * 200), 1009, "message of more than max_message_size=100 bytes"),
        (frame(TEXT, b"\xff"), 1007, "text is not valid UTF-8: invalid start byte"),
        (frame(TEXT, "a", rsv=4), 1002, "reserved bit set that no extension claimed"),
    ],
)
@in_virtual_time
async def test_app_is_told_why_we_failed_the_connection(
    data: bytes, code: int, reason: str
) -> None:
    told: list[Event] = []

    async def receive_on(receive: Any) -> None:
        told.extend([await receive() for _ in range(2)])

    limited = Options(max_message_size=100, extensions=(), ping_interval=None)
    handshake = Handshake(script(ACCEPT, then=receive_on), options=limited)
    await settled()
    handshake.transport.feed(data)
    await settled()  # it does not wait for the peer's answer
    assert [(event["code"], event["reason"].split(" (")[0]) for event in told] == 2 * [
        (code, reason)
    ]


@pytest.mark.parametrize(
    ("answer", "code", "reason"), [(close(4001, "bye"), 4001, "bye"), (None, 4321, "enough")]
)
@in_virtual_time
async def test_app_that_closed_is_told_the_peers_code_or_its_own(
    answer: bytes | None, code: int, reason: str
) -> None:
    told: list[Event] = []

    async def receive_on(receive: Any) -> None:
        told.append(await receive())

    event = {**CLOSING, "code": 4321, "reason": "enough"}
    handshake = Handshake(script(ACCEPT, event, then=receive_on))
    await settled()
    if answer is not None:
        handshake.transport.feed(answer)
    handshake.transport.lose()
    await settled()
    assert told == [{"type": "websocket.disconnect", "code": code, "reason": reason}]


@in_virtual_time
async def test_app_is_told_of_a_stopping_server_also_where_the_peer_does_not_answer() -> None:
    told: list[Event] = []

    async def receive_on(receive: Any) -> None:
        told.append(await receive())

    handshake = Handshake(script(ACCEPT, then=receive_on))
    await settled()
    handshake.protocol.shutdown()
    handshake.transport.lose()
    await settled()
    assert told[0]["code"] == 1012


@in_virtual_time
async def test_sending_behind_the_disconnect_raises_an_oserror() -> None:
    raised: list[BaseException] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(ACCEPT)
        await until_disconnect(receive)
        for _ in range(2):
            with pytest.raises(OSError, match="closed with 4000") as error:
                await send(SEND)
            raised.append(error.value)
        await send(CLOSING)

    handshake = Handshake(app)
    await settled()
    handshake.transport.feed(close(4000))
    await settled()
    assert [type(error) for error in raised] == [ClientDisconnected] * 2
    assert [one.opcode for one in handshake.take_frames()] == [CLOSE]


@in_virtual_time
async def test_sending_behind_our_own_close_raises_an_oserror() -> None:
    raised: list[BaseException] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(ACCEPT)
        await send(CLOSING)
        with pytest.raises(OSError, match="closed") as error:
            await send(SEND)
        raised.append(error.value)

    Handshake(app)
    await settled()
    assert len(raised) == 1


@in_virtual_time
async def test_app_that_returns_closes_with_1000() -> None:
    handshake = Handshake(script(ACCEPT, SEND))
    await settled()
    assert handshake.take_frames() == [(TEXT, b"hello", True, 0), (CLOSE, b"\x03\xe8", True, 0)]
    assert not handshake.state.tasks


@in_virtual_time
async def test_app_that_raises_closes_with_1011_and_one_traceback(
    errors: Callable[[], list[BaseException]],
) -> None:
    async def fail(receive: Any) -> None:
        raise LookupError("on purpose")

    handshake = Handshake(script(ACCEPT, then=fail))
    await settled()
    assert handshake.take_frames() == [(CLOSE, b"\x03\xf3internal error", True, 0)]
    assert [type(error) for error in errors()] == [LookupError]


@in_virtual_time
async def test_app_that_is_cancelled_closes_with_1001(
    errors: Callable[[], list[BaseException]],
) -> None:
    handshake = Handshake(script(ACCEPT, then=until_disconnect))
    await settled()
    (task,) = handshake.state.tasks
    task.cancel()
    await settled()
    assert handshake.take_frames() == [(CLOSE, b"\x03\xe9", True, 0)]
    assert errors() == []


@pytest.mark.parametrize("error", [asyncio.CancelledError(), SystemExit(7)], ids=repr)
@pytest.mark.parametrize("events", [[ACCEPT], []])
@in_virtual_time
async def test_what_an_app_raises_by_itself_ends_nothing_but_its_connection(
    error: BaseException, events: list[Event], errors: Callable[[], list[BaseException]]
) -> None:
    async def fail(receive: Any) -> None:
        raise error

    handshake = Handshake(script(*events, then=fail))
    await settled()
    if events:
        assert handshake.take_frames() == [(CLOSE, b"\x03\xf3internal error", True, 0)]
    else:
        assert handshake.response.status == 500
    assert [type(one) for one in errors()] == [type(error)]


@in_virtual_time
async def test_peer_that_leaves_is_no_error_of_a_group_of_tasks(
    errors: Callable[[], list[BaseException]],
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def send_on() -> None:
            while True:
                await send(SEND)
                await asyncio.sleep(1)

        await send(ACCEPT)
        async with asyncio.TaskGroup() as group:
            group.create_task(send_on())
            group.create_task(send_on())

    handshake = Handshake(app)
    await settled()
    handshake.transport.feed(close(1001))
    handshake.transport.feed_eof()
    await asyncio.sleep(2)
    assert not handshake.state.tasks
    assert errors() == []


async def ask_at_once(receive: Any, into: list[Event], times: int = 2) -> None:
    """Ask with two tasks, each so many times."""

    async def ask() -> None:
        for _ in range(times):
            event = await receive()
            into.append(event)

    await asyncio.gather(ask(), ask())


@in_virtual_time
async def test_tasks_that_ask_at_once_get_an_event_each_and_the_end() -> None:
    received: list[Event] = []
    handshake = Handshake(script(ACCEPT, then=lambda receive: ask_at_once(receive, received)))
    await settled()
    handshake.transport.feed(frame(TEXT, "a"))
    await settled()
    assert [event["text"] for event in received] == ["a"]
    handshake.transport.feed(frame(TEXT, "b"))
    await settled()
    assert [event["text"] for event in received] == ["a", "b"]
    handshake.transport.feed(close(4000))
    await settled()
    assert [event["code"] for event in received[2:]] == [4000, 4000]
    assert not handshake.state.tasks


@in_virtual_time
async def test_tasks_that_ask_at_once_share_a_flood() -> None:
    received: list[Event] = []
    app = script(ACCEPT, then=lambda receive: ask_at_once(receive, received, 200))
    handshake = Handshake(app, options=Options(extensions=(), max_queue=500))
    await settled()
    texts = [str(number) * 1000 for number in range(400)]
    handshake.transport.feed(*(frame(TEXT, text) for text in texts))
    await settled()
    assert [event["text"] for event in received] == texts
    assert not handshake.state.tasks


@in_virtual_time
async def test_task_that_asks_goes_on_where_another_one_is_cancelled() -> None:
    received: list[Event] = []

    async def cancel_the_first(receive: Any) -> None:
        first = asyncio.create_task(receive())
        second = asyncio.create_task(receive())
        await settled()
        first.cancel()
        received.append(await second)

    handshake = Handshake(script(ACCEPT, then=cancel_the_first))
    await settled()
    handshake.transport.feed(frame(TEXT, "a"))
    await settled()
    assert received == [{"type": "websocket.receive", "text": "a"}]


@in_virtual_time
async def test_app_that_asks_late_gets_everything_in_order() -> None:
    received: list[Event] = []

    async def receive_late(receive: Any) -> None:
        await asyncio.sleep(0.5)
        received.extend([await receive() for _ in range(2)])

    handshake = Handshake(script(ACCEPT, then=receive_late))
    await settled()
    handshake.transport.feed(frame(TEXT, "a"), close(1000))
    await asyncio.sleep(0.6)
    assert received == [
        {"type": "websocket.receive", "text": "a"},
        {"type": "websocket.disconnect", "code": 1000, "reason": ""},
    ]


# --- no connection ---


@in_virtual_time
async def test_close_before_accept_is_403() -> None:
    handshake = Handshake(script(CLOSING, then=until_disconnect))
    await settled()
    assert handshake.response.status == 403
    assert handshake.transport.calls[-1] == "eof"


@in_virtual_time
async def test_app_that_decides_nothing_is_500() -> None:
    handshake = Handshake(script())
    await settled()
    assert handshake.response.status == 500


@in_virtual_time
async def test_app_that_raises_before_it_decides_is_500_and_one_traceback(
    errors: Callable[[], list[BaseException]],
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise LookupError("secret")

    handshake = Handshake(app)
    await settled()
    assert handshake.response.status == 500
    assert b"secret" not in handshake.transport.sent
    assert [type(error) for error in errors()] == [LookupError]


@in_virtual_time
async def test_app_that_does_not_decide_in_time_is_503_and_cancelled() -> None:
    was_cancelled = False

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal was_cancelled
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            was_cancelled = True
            raise

    handshake = Handshake(app, options=Options(open_timeout=3.0))
    await asyncio.sleep(2.9)
    assert handshake.transport.writes == []
    await asyncio.sleep(0.2)
    assert handshake.response.status == 503
    assert b"open_timeout=3.0 s" in handshake.response.body
    assert was_cancelled
    assert not handshake.state.tasks


@pytest.mark.parametrize("deadline", [1001.0, None])
@in_virtual_time
async def test_app_has_what_is_left_of_the_time(deadline: float | None) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(20)
        await send(ACCEPT)

    options = Options(open_timeout=None, extensions=())
    handshake = Handshake(app, options=options, deadline=deadline)
    await asyncio.sleep(21)
    assert handshake.response.status == (101 if deadline is None else 503)


@in_virtual_time
async def test_open_connection_has_no_deadline() -> None:
    handshake = Handshake(
        script(ACCEPT, then=until_disconnect), options=Options(ping_interval=None, open_timeout=1.0)
    )
    await asyncio.sleep(100)
    assert not handshake.transport.is_lost()
    handshake.transport.lose()


@in_virtual_time
async def test_peer_that_leaves_before_the_decision() -> None:
    told: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert await receive() == CONNECT
        told.extend([await receive() for _ in range(2)])
        for event in (ACCEPT, CLOSING, START, SEND):
            with pytest.raises(OSError, match="the handshake is over"):
                await send(event)
            told.append(event["type"])

    handshake = Handshake(app)
    await settled()
    handshake.transport.feed_eof()
    await settled()
    gone = {"type": "websocket.disconnect", "code": 1006, "reason": ""}
    assert told == [gone, gone, *(event["type"] for event in (ACCEPT, CLOSING, START, SEND))]
    assert handshake.transport.writes == []
    assert not handshake.state.connections
    assert not handshake.state.tasks


@in_virtual_time
async def test_peer_that_leaves_before_the_decision_is_no_error_of_the_app(
    errors: Callable[[], list[BaseException]],
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(1)
        await send(ACCEPT)

    handshake = Handshake(app)
    await settled()
    handshake.transport.lose()
    await asyncio.sleep(2)
    assert not handshake.state.tasks
    assert errors() == []


@in_virtual_time
async def test_app_that_does_not_notice_that_the_peer_left_is_cancelled_in_time() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(100)

    handshake = Handshake(app, options=Options(open_timeout=3.0))
    await settled()
    handshake.transport.lose()
    await asyncio.sleep(2.9)
    assert handshake.state.tasks
    await asyncio.sleep(0.2)
    assert not handshake.state.tasks
    assert handshake.transport.writes == []


@in_virtual_time
async def test_receiver_may_wait_while_another_task_accepts() -> None:
    received: list[Event] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def receive_two() -> None:
            received.extend([await receive() for _ in range(2)])

        receiving = asyncio.create_task(receive_two())
        await asyncio.sleep(0.5)
        await send(ACCEPT)
        await receiving

    handshake = Handshake(app)
    await asyncio.sleep(0.6)
    handshake.transport.feed(frame(TEXT, "a"))
    await settled()
    assert received == [CONNECT, {"type": "websocket.receive", "text": "a"}]


# --- the denial response ---


@in_virtual_time
async def test_denial_is_a_whole_response() -> None:
    start = {
        **START,
        "headers": [
            (b"www-authenticate", b"Basic"),
            (b"content-length", b"999"),
            (b"Connection", b"keep-alive"),
            (b"transfer-encoding", b"chunked"),
            (b"upgrade", b"h2c"),
        ],
    }
    handshake = Handshake(script(start, BODY, then=until_disconnect))
    await settled()
    status, fields, body = handshake.response
    assert (status, body) == (401, b"no")
    assert fields == {
        "www-authenticate": "Basic",
        "content-length": "2",
        "connection": "close",
    }
    assert handshake.transport.calls[-1] == "eof"
    assert not handshake.state.tasks


@in_virtual_time
async def test_denial_without_a_body() -> None:
    body = {"type": "websocket.http.response.body"}
    handshake = Handshake(script({**START, "headers": None}, body))
    await settled()
    assert handshake.response == (401, {"content-length": "0", "connection": "close"}, b"")


@pytest.mark.parametrize("status", [100, 101, 199, 600, 999])
@in_virtual_time
async def test_denial_that_is_no_final_response_is_told_to_the_app(
    status: int, errors: Callable[[], list[BaseException]]
) -> None:
    handshake = Handshake(script({**START, "status": status}, BODY))
    await settled()
    assert [str(error) for error in errors()] == [
        f"the status of a denial is 200 to 599, not {status}"
    ]
    assert handshake.response.status == 500


@in_virtual_time
async def test_denial_is_streamed() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        for event in (PART, PART, BODY):
            await send(event)
            await asyncio.sleep(1)

    handshake = Handshake(app)
    await settled()
    assert handshake.response == (401, {"connection": "close"}, b"no")
    assert "eof" not in handshake.transport.calls
    await asyncio.sleep(2.5)
    assert handshake.response.body == b"nonono"
    assert handshake.transport.calls[-1] == "eof"


@in_virtual_time
async def test_denial_that_is_streamed_may_end_with_nothing() -> None:
    last = {"type": "websocket.http.response.body", "body": b"", "more_body": False}
    handshake = Handshake(script(START, PART, last))
    await settled()
    assert handshake.response.body == b"no"
    assert handshake.transport.calls[-1] == "eof"


@in_virtual_time
async def test_denial_that_breaks_off_is_not_taken_for_a_whole_one() -> None:
    handshake = Handshake(script(START, PART), options=Options(close_timeout=3.0))
    await asyncio.sleep(2.9)
    assert "eof" not in handshake.transport.calls
    await asyncio.sleep(0.2)
    assert handshake.transport.calls[-1] == "abort"


@in_virtual_time
async def test_denial_that_never_begins_is_500() -> None:
    handshake = Handshake(script(START))
    await settled()
    assert handshake.response.status == 500


@pytest.mark.parametrize(
    "headers",
    [[(b"sec-websocket-accept", b"x")], [(b"x", b"a\r\nb: c")]],
)
@in_virtual_time
async def test_denial_that_makes_no_response_is_told_to_the_app(
    headers: Any, errors: Callable[[], list[BaseException]]
) -> None:
    handshake = Handshake(script({**START, "headers": headers}, BODY))
    await settled()
    assert [type(error) for error in errors()] == [ValueError]
    assert handshake.response.status == 500


@in_virtual_time
async def test_peer_that_leaves_before_a_denial_is_complete() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await asyncio.sleep(1)
        await send(BODY)

    handshake = Handshake(app)
    await settled()
    handshake.transport.lose()
    await asyncio.sleep(2)
    assert handshake.transport.writes == []


@in_virtual_time
async def test_peer_that_leaves_while_a_denial_is_streamed() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send(PART)
        await asyncio.sleep(1)
        await send(PART)

    handshake = Handshake(app)
    await settled()
    handshake.transport.lose()
    await asyncio.sleep(2)
    assert handshake.response.body == b"no"
    assert not handshake.state.connections


# --- the scope ---


@in_virtual_time
async def test_scope_is_what_asgi_wants() -> None:
    scopes: list[dict[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(dict(scope))

    Handshake(
        app,
        "/a%20b?c=%64",
        fields={"Sec-WebSocket-Protocol": "a, b", "X-Name": "\xe9"},
        root_path="/root",
    )
    await settled()
    (scope,) = scopes
    headers = dict(scope.pop("headers"))
    assert headers[b"x-name"] == b"\xe9"
    assert headers[b"host"] == b"test"
    assert set(scope.pop("extensions")) == {"websocket.http.response", EXTENSION}
    assert scope == {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.5"},
        "http_version": "1.1",
        "scheme": "ws",
        "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 9),
        "root_path": "/root",
        "path": "/root/a b",
        "raw_path": b"/root/a%20b",
        "query_string": b"c=%64",
        "subprotocols": ["a", "b"],
        "state": {"key": "value"},
    }


@in_virtual_time
async def test_scope_may_be_copied() -> None:
    scopes: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(copy.deepcopy(scope))
        scope["state"]["key"] = "changed"

    handshake = Handshake(app)
    await settled()
    assert scopes[0]["extensions"][EXTENSION]["handshake"] is handshake.protocol
    assert handshake.protocol._app_state == {"key": "value"}


# --- the server's side ---


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"Sec-WebSocket-Version": "8"}, 426),
        ({"Sec-WebSocket-Key": "short"}, 400),
        ({"Sec-WebSocket-Protocol": "a,a"}, 400),
    ],
)
@in_virtual_time
async def test_bad_handshake_does_not_reach_the_app(fields: dict[str, str], status: int) -> None:
    handshake = Handshake(script(ACCEPT), fields=fields)
    assert handshake.response.status == status
    assert not handshake.state.tasks


@in_virtual_time
async def test_more_than_limit_concurrency_is_503() -> None:
    app = script(ACCEPT, then=until_disconnect)
    first = Handshake(app, limit_concurrency=1)
    await settled()
    assert first.response.status == 101
    second = Handshake(app, limit_concurrency=1, begin=False)
    second.state.connections |= first.state.connections
    second.protocol.begin(first.protocol.request.head)
    assert second.response.status == 503
    assert second.response.fields["retry-after"] == "5"
    assert b"limit_concurrency=1" in second.response.body
    first.transport.lose()


@in_virtual_time
async def test_what_came_before_the_answer_is_not_lost() -> None:
    received: list[Event] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(1)
        await send(ACCEPT)
        await receive()
        received.extend([await receive() for _ in range(3)])

    handshake = Handshake(app, leftover=frame(TEXT, "a"))
    handshake.transport.feed(frame(TEXT, "b"))
    assert handshake.transport.is_reading()
    handshake.transport.feed(frame(BINARY, bytes(140_000)))
    assert not handshake.transport.is_reading()
    await asyncio.sleep(1.1)
    assert [event.get("text", "big") for event in received] == ["a", "b", "big"]
    assert handshake.transport.is_reading()


@in_virtual_time
async def test_stopping_server_says_1012_as_uvicorn_does() -> None:
    handshake = Handshake(script(ACCEPT, then=until_disconnect))
    await settled()
    handshake.protocol.shutdown()
    handshake.protocol.shutdown()
    expected = (CLOSE, b"\x03\xf4the server is shutting down", True, 0)
    assert handshake.take_frames() == [expected]
    handshake.transport.feed(close(1012))
    handshake.transport.feed_eof()
    handshake.protocol.shutdown()


@in_virtual_time
async def test_stopping_server_refuses_who_waits_for_an_answer() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await receive()

    handshake = Handshake(app)
    await settled()
    handshake.protocol.shutdown()
    assert handshake.response.status == 503
    await settled()
    assert not handshake.state.tasks


@in_virtual_time
async def test_stopping_server_waits_for_nobody_who_was_refused() -> None:
    handshake = Handshake(script(CLOSING))
    await settled()
    assert "close" not in handshake.transport.calls
    handshake.protocol.shutdown()
    await settled()
    assert handshake.transport.is_lost()


@in_virtual_time
async def test_stopping_server_may_come_before_the_request_is_looked_at() -> None:
    handshake = Handshake(script(ACCEPT, then=until_disconnect), begin=False)
    handshake.protocol.data_received(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
    handshake.protocol.shutdown()
    await settled()
    assert handshake.response.status == 503
    handshake.protocol.shutdown()


@in_virtual_time
async def test_stopping_server_does_not_wait_for_a_peer_that_is_gone() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(1)

    handshake = Handshake(app)
    await settled()
    handshake.transport.lose()
    handshake.protocol.shutdown()
    assert handshake.transport.writes == []


# --- under plain uvicorn ---


@in_virtual_time
async def test_request_that_uvicorn_rebuilt_is_answered() -> None:
    handshake = Handshake(script(ACCEPT, then=until_disconnect), begin=False)
    handshake.protocol.data_received(request_bytes("/"))
    assert handshake.transport.writes == []
    handshake.protocol.data_received(frame(TEXT, "early"))
    await settled()
    assert handshake.response.status == 101
    handshake.transport.lose()


@in_virtual_time
async def test_request_that_uvicorn_would_let_pass_is_refused() -> None:
    handshake = Handshake(script(ACCEPT), begin=False)
    handshake.protocol.data_received(request_bytes("/", "X: a\rb"))
    await settled()
    assert handshake.response.status == 400


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("::1", 80, 0, 0), ("::1", 80)),
        ("/run/ws.sock", ("/run/ws.sock", None)),
        ("", None),
        (None, None),
    ],
)
@in_virtual_time
async def test_addresses_are_as_asgi_wants_them(given: Any, told: Any) -> None:
    scopes: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope)

    Handshake(app, peername=given, sockname=given)
    await settled()
    assert (scopes[0]["client"], scopes[0]["server"]) == (told, told)


@in_virtual_time
async def test_uvicorns_settings_are_heeded() -> None:
    config = uvicorn.Config(
        script(ACCEPT),
        ws_max_size=1000,
        ws_ping_interval=7.0,
        ws_ping_timeout=8.0,
        log_config=None,
    )
    options = Handshake(script(), config=config, begin=False).protocol._options
    assert options.max_message_size == 1000
    assert (options.ping_interval, options.ping_timeout) == (7.0, 8.0)
    assert options.origins == "*"
    assert len(options.extensions) == 1


@in_virtual_time
async def test_uvicorns_ways_to_switch_things_off() -> None:
    config = uvicorn.Config(
        script(ACCEPT),
        ws_ping_interval=0,
        ws_ping_timeout=None,
        ws_per_message_deflate=False,
        log_config=None,
    )
    options = Handshake(script(), config=config, begin=False).protocol._options
    assert (options.ping_interval, options.ping_timeout) == (None, None)
    assert options.extensions == ()
