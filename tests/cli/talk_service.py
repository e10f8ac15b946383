"""What the tests of `connect` talk with."""

from __future__ import annotations

import asyncio

from ws_middleware import AsyncConnection, WebSockets, broadcast

ws = WebSockets(max_message_size=2**25, subprotocols=["chat"])
rooms: dict[str, set[AsyncConnection]] = {}


@ws.route("/echo")
async def echo(connection: AsyncConnection) -> None:
    async for message in connection:
        await connection.send(message)


@ws.route("/room/<name>")
async def room(connection: AsyncConnection, name: str) -> None:
    """Pass everything on to everybody else."""
    members = rooms.setdefault(name, set())
    members.add(connection)
    await connection.send("welcome")
    try:
        async for message in connection:
            broadcast(members - {connection}, message)
    finally:
        members.discard(connection)


@ws.route("/headers")
async def headers(connection: AsyncConnection) -> None:
    for name, value in connection.request.headers:
        await connection.send(f"{name.lower()}: {value}")


@ws.route("/close/<int:code>")
async def close(connection: AsyncConnection, code: int) -> None:
    await connection.send("last words")
    await connection.close(code, "as you wish")


@ws.route("/drop")
async def drop(connection: AsyncConnection) -> None:
    connection.abort()


@ws.route("/late")
async def late(connection: AsyncConnection) -> None:
    """Answer only after a while."""
    async for message in connection:
        await asyncio.sleep(0.5)
        await connection.send(message)


@ws.route("/harmful")
async def harmful(connection: AsyncConnection) -> None:
    await connection.send("\x1b[2Jcleared\r\nnext \u202etxet \x9b31m")
    await connection.send(b"\x1b[2J")
    await connection.wait_closed()


@ws.route("/json")
async def json(connection: AsyncConnection) -> None:
    await connection.send('{"b":1,"a":["\u00e9"]}')
    await connection.send("no JSON")
    await connection.close()
