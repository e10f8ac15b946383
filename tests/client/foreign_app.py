"""What servers of others serve: `/echo` sends back, `/leave` closes, anything else is refused.

It is one ASGI app, and the same thing in the words of two libraries: `python -m
tests.client.foreign_app LIBRARY PORT`. Nothing of ours is in it.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

LEAVE = (4001, "bye")


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "websocket":
        return
    await receive()
    if scope["path"] not in ("/echo", "/leave"):
        await send({"type": "websocket.close", "code": 1000, "reason": ""})
        return
    chosen = "b" if "b" in scope["subprotocols"] else None
    await send({"type": "websocket.accept", "subprotocol": chosen})
    if scope["path"] == "/leave":
        await send({"type": "websocket.close", "code": LEAVE[0], "reason": LEAVE[1]})
        return
    while (event := await receive())["type"] == "websocket.receive":
        if event.get("text") is not None:
            await send({"type": "websocket.send", "text": event["text"]})
        else:
            await send({"type": "websocket.send", "bytes": event["bytes"]})


async def websockets(port: int) -> None:
    from websockets.asyncio.server import ServerConnection, serve
    from websockets.typing import Subprotocol

    async def handle(connection: ServerConnection) -> None:
        assert connection.request is not None
        if connection.request.path == "/leave":
            await connection.close(*LEAVE)
            return
        async for message in connection:
            await connection.send(message)

    def refuse(connection: ServerConnection, request: Any) -> Any:
        known = request.path in ("/echo", "/leave")
        return None if known else connection.respond(403, "no")

    terms: Any = {"subprotocols": [Subprotocol("b")], "process_request": refuse, "max_size": 2**23}
    async with serve(handle, "127.0.0.1", port, **terms):
        await asyncio.get_running_loop().create_future()


async def aiohttp(port: int) -> None:
    from aiohttp import WSMsgType, web

    async def handle(request: web.Request) -> web.StreamResponse:
        if request.path not in ("/echo", "/leave"):
            raise web.HTTPForbidden
        connection = web.WebSocketResponse(protocols=["b"], max_msg_size=2**23)
        await connection.prepare(request)
        if request.path == "/leave":
            await connection.close(code=LEAVE[0], message=LEAVE[1].encode())
            return connection
        async for message in connection:
            if message.type == WSMsgType.TEXT:
                await connection.send_str(message.data)
            else:
                await connection.send_bytes(message.data)
        return connection

    application = web.Application()
    application.router.add_get("/{path}", handle)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    asyncio.run({"websockets": websockets, "aiohttp": aiohttp}[sys.argv[1]](int(sys.argv[2])))
