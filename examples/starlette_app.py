"""Add our routes to a Starlette app that has pages, and a WebSocket endpoint, of its own.

uvicorn examples.starlette_app:app
"""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from ws_middleware import AsyncConnection, WebSockets

ws = WebSockets()


@ws.route("/shout")
async def shout(connection: AsyncConnection) -> None:
    async for message in connection:
        await connection.send(message.upper())


async def home(request: Request) -> Response:
    return PlainTextResponse("hello")


async def whisper(websocket: WebSocket) -> None:
    await websocket.accept()
    async for message in websocket.iter_text():
        await websocket.send_text(message.lower())


app = ws.asgi(Starlette(routes=[Route("/", home), WebSocketRoute("/whisper", whisper)]))
