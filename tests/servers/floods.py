"""Handlers that are flooded, that flood, and that are disturbed while they send."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from tests.servers.app import Callbacks, deaf, echo, returns, threaded
from ws_middleware import (
    AsyncConnection,
    Connection,
    ConnectionClosed,
    DeflateFrame,
    Handler,
    PermessageDeflate,
    WebSockets,
)

MEBIBYTE = 2**20

ws = WebSockets(max_message_size=MEBIBYTE, close_timeout=2.0)
ws.add("/echo", echo)
ws.add("/returns", returns, close_timeout=60)
ws.add("/deaf", deaf, ping_interval=0.5, ping_timeout=0.5)

SHAPES: dict[str, Callable[..., Any]] = {
    "async": echo,
    "threaded": threaded,
    "callbacks": Callbacks,
}
for _shape, _handler in SHAPES.items():
    ws.add(f"/{_shape}", _handler)
    ws.add(f"/{_shape}/impatient", _handler, ping_interval=0.5, ping_timeout=0.5)
ws.add("/any-fragments", echo, max_fragments=None)
ws.add("/wide", echo, extensions=[PermessageDeflate(server_max_window_bits=15)])
ws.add("/by-frame", echo, extensions=[DeflateFrame()])


@ws.route("/observing")
class Observing(Handler):
    """See pings and pongs, which wait in the queue of messages then."""

    async def on_message(self, message: str | bytes) -> None:
        await self.connection.send(message)

    async def on_ping(self, payload: bytes) -> None:
        pass

    async def on_pong(self, payload: bytes) -> None:
        pass


# --- senders that find no end ---

_IMPATIENT = {"ping_interval": 0.5, "ping_timeout": 0.5}


@ws.route("/pours/async", **_IMPATIENT)
async def pour(connection: AsyncConnection) -> None:
    while True:
        await connection.send(bytes(65_536))


@ws.route("/pours/threaded", **_IMPATIENT)
def pour_in_thread(connection: Connection) -> None:
    while True:
        connection.send(bytes(65_536))


@ws.route("/pours/callbacks", **_IMPATIENT)
class Pour(Handler):
    def on_open(self) -> None:
        while True:
            self.connection.send(bytes(65_536))


# --- broadcasting ---

members: set[AsyncConnection] = set()


@ws.route("/member")
async def member(connection: AsyncConnection) -> None:
    with _membership(connection):
        await connection.wait_closed()


@ws.route("/member/stuffed")
async def stuffed(connection: AsyncConnection) -> None:
    """Send so much at first that a peer that does not read is blocked."""
    await connection.send(bytes(8 * MEBIBYTE))
    with _membership(connection):
        await connection.wait_closed()


@contextlib.contextmanager
def _membership(connection: AsyncConnection) -> Iterator[None]:
    members.add(connection)
    try:
        yield
    finally:
        members.discard(connection)


@ws.route("/broadcast")
async def broadcast(connection: AsyncConnection) -> None:
    async for message in connection:
        await asyncio.gather(*(_deliver(member, message) for member in members))
        await connection.send(f"{len(members)} members")


async def _deliver(member: AsyncConnection, message: str | bytes) -> None:
    try:
        async with asyncio.timeout(1.0):
            await member.send(message)
    except TimeoutError:
        member.abort()
        await member.wait_closed()
        members.discard(member)


# --- sending is disturbed ---


@ws.route("/disturbed/cancelled")
async def cancelled(connection: AsyncConnection) -> None:
    """Cancel sends at every point of theirs, and more than the connection can take."""
    noise = random.Random(75)
    for number in range(300):
        text = f"{number} {noise.randbytes(8000).hex()} {number}"
        task = asyncio.create_task(connection.send(text))
        for _ in range(noise.randrange(4)):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
    await connection.send("end " * 100)
    await connection.wait_closed()


@ws.route("/disturbed/cancelled-fragments")
async def cancelled_fragments(connection: AsyncConnection) -> None:
    begun = asyncio.Event()

    async def pieces() -> AsyncIterator[str]:
        yield "begun " * 100
        yield "begun " * 100
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(connection.send(pieces()))
    await begun.wait()
    task.cancel()
    await asyncio.wait([task])
    await connection.send("behind the end")


def _breaking_off() -> Iterator[str]:
    yield "begun " * 100
    yield "begun " * 100
    raise LookupError("on purpose")


#: What cannot be sent, and whether a part of it leaves before that is known.
UNSENDABLE: dict[str, tuple[Callable[[], Any], bool]] = {
    "surrogate": (lambda: "begun \ud800" * 100, False),
    "number": (lambda: 75, False),
    "empty": (list, False),
    "numbers": (lambda: [75, 75], False),
    "iterator": (_breaking_off, True),
    "kinds": (lambda: ["begun " * 100, "begun " * 100, b"bytes" * 100], True),
    "surrogates": (lambda: ["begun " * 100, "begun " * 100, "\ud800" * 100], True),
    "later-number": (lambda: ["begun " * 100, "begun " * 100, 75], True),
}


@ws.route("/disturbed/async/<what>")
async def disturb(connection: AsyncConnection, what: str) -> None:
    """Send a message, what cannot be sent, and a message that repeats the first one."""
    await connection.send("whole " * 100)
    with contextlib.suppress(LookupError, TypeError, ValueError):
        await connection.send(UNSENDABLE[what][0]())
        raise AssertionError("it was sent")
    await connection.send("whole " * 100)
    await connection.wait_closed()


@ws.route("/disturbed/threaded/<what>")
def disturb_thread(connection: Connection, what: str) -> None:
    connection.send("whole " * 100)
    with contextlib.suppress(LookupError, TypeError, ValueError):
        connection.send(UNSENDABLE[what][0]())
        raise AssertionError("it was sent")
    connection.send("whole " * 100)
    with contextlib.suppress(ConnectionClosed):
        connection.recv()
