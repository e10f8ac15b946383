"""The routes that the tests of running servers talk to."""

from __future__ import annotations

import asyncio
import threading

from ws_middleware import AsyncConnection, Connection, Handler, WebSockets

ws = WebSockets(max_message_size=2**20, close_timeout=2.0)


@ws.route("/")
@ws.route("/echo")
async def echo(connection: AsyncConnection) -> None:
    async for message in connection:
        await connection.send(message)


@ws.route("/threaded")
def threaded(connection: Connection) -> None:
    for message in connection:
        connection.send(message)


@ws.route("/callbacks")
class Callbacks(Handler):
    def on_message(self, message: str | bytes) -> None:
        self.connection.send(message)


@ws.route("/raises")
async def raises(connection: AsyncConnection) -> None:
    await connection.recv()
    raise LookupError("on purpose")


@ws.route("/returns")
async def returns(connection: AsyncConnection) -> None:
    await connection.recv()


@ws.route("/deaf")
async def deaf(connection: AsyncConnection) -> None:
    """Never receive."""
    await connection.wait_closed()


@ws.route("/blocked")
def blocked(connection: Connection) -> None:
    """Block a thread for as long as the server lives."""
    threading.Event().wait()


@ws.route("/silent", ping_interval=0.5, ping_timeout=0.5)
async def silent(connection: AsyncConnection) -> None:
    await asyncio.Event().wait()
