"""The echo of `echo_app` inside a Starlette app, beside an endpoint of Starlette's own.

A path names who answers. What is Starlette's own has uvicorn's limits.
"""

from __future__ import annotations

from typing import Any

from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from tests.autobahn.echo_app import OPTIONS, echo
from ws_middleware import WebSockets

ws = WebSockets(**OPTIONS)
ws.add("/", echo)


async def starlette_echo(websocket: WebSocket) -> None:
    await websocket.accept()
    while (event := await websocket.receive())["type"] == "websocket.receive":
        await websocket.send({**event, "type": "websocket.send"})


inner: Any = Starlette(routes=[WebSocketRoute("/starlette", starlette_echo)])
app = ws.asgi(inner)
