"""Sockets in the idioms of five frameworks, beside our routes: each under a path of its name."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import django
import litestar
import quart
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from channels.routing import URLRouter
from django.conf import settings
from django.urls import path
from fastapi import Depends, FastAPI, WebSocketException
from fastapi import WebSocket as FastAPISocket
from litestar.exceptions import NotAuthorizedException
from starlette.applications import Starlette
from starlette.endpoints import WebSocketEndpoint
from starlette.routing import Mount, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from ws_middleware import AsyncConnection, WebSockets, direct

ws = WebSockets()


@ws.route("/ours")
async def ours(connection: AsyncConnection) -> None:
    async for message in connection:
        await connection.send(message)


async def tell_latency(connection: AsyncConnection) -> None:
    """Do what events cannot: ping, and send in fragments; then echo."""
    await connection.ping(b"direct")
    await connection.send(iter(["in ", "pieces"]))
    async for message in connection:
        await connection.send(message)


# --- Starlette ---


class Shouting(WebSocketEndpoint):
    encoding = "text"

    async def on_receive(self, websocket: WebSocket, data: Any) -> None:
        await websocket.send_text(data.upper())


async def iterating(websocket: WebSocket) -> None:
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(text)


async def direct_before(websocket: WebSocket) -> None:
    connection = direct(websocket.scope)
    await websocket.accept()
    await tell_latency(connection)


async def direct_after(websocket: WebSocket) -> None:
    await websocket.accept()
    await tell_latency(direct(websocket.scope))


starlette = Starlette(
    routes=[
        WebSocketRoute("/starlette/shout", Shouting),
        WebSocketRoute("/starlette/echo", iterating),
        WebSocketRoute("/starlette/direct", direct_before),
        WebSocketRoute("/starlette/direct-after", direct_after),
        Mount("/starlette/mounted", app=ws.asgi()),
    ]
)

# --- FastAPI ---

fastapi = FastAPI()


async def whom(name: str = "") -> str:
    if not name:
        raise WebSocketException(1008, "a name is needed")
    return name


@fastapi.websocket("/fastapi/echo")
async def fastapi_echo(websocket: FastAPISocket) -> None:
    await websocket.accept()
    try:
        while True:
            await websocket.send_text(await websocket.receive_text())
    except WebSocketDisconnect:
        return


@fastapi.websocket("/fastapi/items/{item}")
async def fastapi_item(
    websocket: FastAPISocket, item: int, name: Annotated[str, Depends(whom)]
) -> None:
    await websocket.accept()
    await websocket.send_json({"item": item, "name": name})
    await websocket.close(4000, "told")


@fastapi.websocket("/fastapi/direct")
async def fastapi_direct(websocket: FastAPISocket) -> None:
    connection = direct(websocket.scope)
    await websocket.accept()
    await tell_latency(connection)


# --- Quart ---

flask_like = quart.Quart(__name__)


@flask_like.websocket("/quart/echo")
async def quart_echo() -> None:
    while True:
        await quart.websocket.send(await quart.websocket.receive())


@flask_like.websocket("/quart/guarded")
async def quart_guarded() -> None:
    quart.abort(401)


@flask_like.websocket("/quart/direct")
async def quart_direct() -> None:
    connection = direct(quart.websocket.scope)  # Quart reads ahead as soon as it has accepted
    await quart.websocket.accept()
    await tell_latency(connection)


# --- Litestar ---


@litestar.websocket_listener("/litestar/echo")
async def litestar_echo(data: str) -> str:
    return data


def guard(*_: object) -> None:
    raise NotAuthorizedException


@litestar.websocket("/litestar/guarded", guards=[guard])
async def litestar_guarded(socket: litestar.WebSocket[Any, Any, Any]) -> None:
    await socket.accept()


@litestar.websocket("/litestar/direct")
async def litestar_direct(socket: litestar.WebSocket[Any, Any, Any]) -> None:
    connection = direct(socket.scope)
    await socket.accept()
    await tell_latency(connection)


listening = litestar.Litestar([litestar_echo, litestar_guarded, litestar_direct])

# --- Channels ---

settings.configure(SECRET_KEY="for tests", ALLOWED_HOSTS=["*"], INSTALLED_APPS=[])
django.setup()


class Echo(WebsocketConsumer):
    def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        self.send(text_data=text_data, bytes_data=bytes_data)


class AsyncEcho(AsyncWebsocketConsumer):
    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if text_data == "close":
            await self.close(4001, "asked")
        else:
            await self.send(text_data=text_data, bytes_data=bytes_data)


class Guarded(AsyncWebsocketConsumer):
    async def connect(self) -> None:
        await self.close()


class Direct(AsyncWebsocketConsumer):
    async def connect(self) -> None:
        connection = direct(self.scope)
        await self.accept()
        self.talk = asyncio.create_task(tell_latency(connection))


channels = URLRouter(
    [
        path("channels/sync", Echo.as_asgi()),
        path("channels/echo", AsyncEcho.as_asgi()),
        path("channels/guarded", Guarded.as_asgi()),
        path("channels/direct", Direct.as_asgi()),
    ]
)

APPS: dict[str, Any] = {
    "starlette": starlette,
    "fastapi": fastapi,
    "quart": flask_like,
    "litestar": listening,
    "channels": channels,
}


async def dispatch(scope: Any, receive: Any, send: Any) -> None:
    """Give each request to the framework that its path names."""
    if scope["type"] != "lifespan":
        await APPS[scope["path"].split("/")[1]](scope, receive, send)


app = ws.asgi(dispatch)
