"""The connection inside another framework's handler: nothing is lost, nothing comes twice."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.asgi.handshaking import App, Handshake
from tests.inprocess import in_virtual_time, settled
from tests.peer import CLOSE, TEXT, frame
from ws_middleware import AsyncConnection, ConnectionClosed, UnsupportedError, direct

Handler = Callable[[AsyncConnection, Any, Any], Awaitable[None]]
ACCEPT = {"type": "websocket.accept"}


def app_of(handler: Handler, *, before: bool) -> App:
    """Make an app that goes direct before or after it accepts."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["type"] == "websocket.connect"
        if before:
            connection = direct(scope)
            await send(ACCEPT)
        else:
            await send(ACCEPT)
            connection = direct(scope)
        await handler(connection, receive, send)

    return app


both = pytest.mark.parametrize("before", [True, False])


async def echo(connection: AsyncConnection, receive: Any, send: Any) -> None:
    async for message in connection:
        await connection.send(message)


@both
@in_virtual_time
async def test_messages_go_past_the_events(before: bool) -> None:
    handshake = Handshake(app_of(echo, before=before), leftover=frame(TEXT, "early"))
    await settled()
    handshake.transport.feed(frame(TEXT, "later"))
    await settled()
    assert [one.payload for one in handshake.take_frames()] == [b"early", b"later"]
    handshake.transport.lose()


@both
@in_virtual_time
async def test_events_tell_of_the_end_alone(before: bool) -> None:
    told: list[Any] = []

    async def handler(connection: AsyncConnection, receive: Any, send: Any) -> None:
        listening = asyncio.create_task(receive())
        assert await connection.recv() == "one"
        await send({"type": "websocket.send", "text": "by event"})
        with pytest.raises(ConnectionClosed):
            await connection.recv()
        told.append(await listening)

    handshake = Handshake(app_of(handler, before=before))
    await settled()
    handshake.transport.feed(frame(TEXT, "one"), frame(CLOSE, b"\x10\x92bye"))
    await settled()
    assert [one.payload for one in handshake.take_frames()] == [b"by event", b"\x10\x92"]
    handshake.transport.feed_eof()
    await settled()
    assert told == [{"type": "websocket.disconnect", "code": 4242, "reason": "bye"}]


@in_virtual_time
async def test_framework_that_was_receiving_gets_no_message_any_more() -> None:
    taken: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def read_ahead() -> None:
            while not taken or taken[-1]["type"] != "websocket.disconnect":
                taken.append(await receive())

        await receive()
        await send(ACCEPT)
        reading = asyncio.create_task(read_ahead())
        await asyncio.sleep(1)
        connection = direct(scope)
        await connection.send(await connection.recv())
        await reading

    handshake = Handshake(app)
    await settled()
    handshake.transport.feed(frame(TEXT, "the framework's"))
    await asyncio.sleep(2)
    handshake.transport.feed(frame(TEXT, "ours"))
    await settled()
    assert [one.payload for one in handshake.take_frames()] == [b"ours"]
    handshake.transport.lose()
    await settled()
    assert [event.get("text") for event in taken] == ["the framework's", None]


@in_virtual_time
async def test_nothing_is_sent_before_the_handshake_is_accepted() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        connection = direct(scope)
        assert direct(scope) is connection
        sending = asyncio.create_task(connection.send("soon"))
        assert not connection.send_now("not yet")
        await asyncio.sleep(1)
        await send({**ACCEPT, "subprotocol": "chat"})
        await sending
        assert connection.subprotocol == "chat"
        assert direct(scope) is connection
        await connection.close()

    handshake = Handshake(app, fields={"Sec-WebSocket-Protocol": "chat"})
    await settled()
    assert handshake.transport.sent == b""
    await asyncio.sleep(2)
    assert handshake.response.status == 101
    assert handshake.take_frames()[0].payload == b"soon"
    handshake.transport.lose()


@pytest.mark.parametrize("refuse", [True, False])
@in_virtual_time
async def test_connection_that_never_opens_ends(refuse: bool) -> None:
    ended: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        connection = direct(scope)
        if refuse:
            await send({"type": "websocket.close"})
        with pytest.raises(ConnectionClosed) as caught:
            await connection.recv()
        ended.append(str(caught.value))

    handshake = Handshake(app)
    await settled()
    if refuse:
        assert handshake.response.status == 403
        handshake.transport.feed_eof()
    else:
        handshake.transport.lose()
    await settled()
    assert len(ended) == 1
    assert not handshake.state.tasks


@in_virtual_time
async def test_copied_scope_has_the_same_connection() -> None:
    connections: list[AsyncConnection] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        connections.extend([direct(copy.deepcopy(scope)), direct(copy.copy(scope))])
        await send(ACCEPT)

    handshake = Handshake(app)
    await settled()
    handshake.transport.lose()
    assert connections[0] is connections[1]


@in_virtual_time
async def test_peer_that_leaves_is_no_failure_of_the_app() -> None:
    async def handler(connection: AsyncConnection, receive: Any, send: Any) -> None:
        while True:
            await connection.recv()

    handshake = Handshake(app_of(handler, before=True))
    await settled()
    handshake.transport.lose()
    await settled()
    assert not handshake.state.tasks


def test_its_end_is_not_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    test_peer_that_leaves_is_no_failure_of_the_app()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.parametrize("scope", [{}, {"extensions": {}}, {"extensions": {"ws_middleware": {}}}])
def test_other_servers_say_so(scope: Any) -> None:
    with pytest.raises(UnsupportedError, match=r"direct\(\) needs frames"):
        direct(scope)
