"""The routes that the clients talk to."""

from __future__ import annotations

import asyncio
from collections import defaultdict

from ws_middleware import AsyncConnection, ConnectionClosed, WebSockets

ws = WebSockets()

_ends: defaultdict[str, asyncio.Queue[list[object]]] = defaultdict(asyncio.Queue)


@ws.route("/echo")
async def echo(connection: AsyncConnection) -> None:
    async for message in connection:
        await connection.send(message)


@ws.route("/about/<name>", subprotocols=["two", "one"])
async def about(connection: AsyncConnection, name: str) -> None:
    request = connection.request
    await connection.send_json(
        {
            "name": name,
            "query": dict(request.query),
            "headers": {key.lower(): value for key, value in request.headers},
            "cookies": dict(request.cookies),
            "secure": request.secure,
            "subprotocol": connection.subprotocol,
            "extensions": list(connection.extensions),
        }
    )
    await connection.wait_closed()


@ws.route("/pieces")
async def pieces(connection: AsyncConnection) -> None:
    """Send in two fragments what comes in as one message, with a ping between them."""
    async for message in connection:
        middle = len(message) // 2
        async with connection.fragmenting():
            await connection.send_fragment(message[:middle], final=False)
            await connection.ping()
            await connection.send_fragment(message[middle:], final=True)


@ws.route("/pings")
async def pings(connection: AsyncConnection) -> None:
    """Ping with every payload that comes in, and say so when the pong is there."""
    async for message in connection:
        await connection.ping(bytes(message, "utf-8") if isinstance(message, str) else message)
        await connection.send("pong")


@ws.route("/closes/<int:code>")
async def closes(connection: AsyncConnection, code: int) -> None:
    """Close with the code of the path and the reason of the first message."""
    await connection.close(code, await connection.recv_text())


@ws.route("/watched/<name>")
async def watched(connection: AsyncConnection, name: str) -> None:
    """Note for `/ends/<name>` how the connection ends."""
    try:
        await connection.recv()
    except ConnectionClosed:
        _ends[name].put_nowait([connection.close_code, connection.close_reason])


@ws.route("/ends/<name>")
async def ends(connection: AsyncConnection, name: str) -> None:
    await connection.send_json(await _ends[name].get())
