"""The routes, the pages and the sockets of its own that every ASGI server is tested with.

A handler of each shape echoes, and obeys "return", "raise" and "close"; see `tests.wsgi.apps`.
"""

from __future__ import annotations

import importlib.metadata
import logging

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from tests.admission.doors import add_doors
from tests.wsgi import apps as shapes
from ws_middleware import AsyncConnection, Connection, Unauthorized, UnsupportedError, WebSockets
from ws_middleware import Request as Handshake

logging.basicConfig(level=logging.INFO, format="[%(levelname)s] %(message)s")

for server in ("uvicorn", "hypercorn", "gunicorn", "granian", "daphne"):
    logging.info("[%s %s]", server, importlib.metadata.version(server))

ws = WebSockets(max_message_size=2**20)
ws.add("/async", shapes.serve_async)
ws.add("/def", shapes.serve)
ws.add("/callbacks", shapes.Serve)
ws.add("/async-callbacks", shapes.ServeAsync)
ws.add("/plain", shapes.serve_async)  # a page of the app's, too
ws.add("/guarded", shapes.serve_async, origins=["https://good.example"])
ws.add("/spoken", shapes.serve_async, subprotocols=["chat.v2", "chat.v1"])


@ws.route("/told/<name>")
async def tell(connection: AsyncConnection, name: str) -> None:
    """Tell what is known of the request."""
    request = connection.request
    await connection.send_json(
        {
            "name": name,
            "target": request.target,
            "query": request.query.get("x"),
            "cookie": request.cookies.get("taste"),
            "host": request.host,
            "secure": request.secure,
            "version": request.head.version,
            "address": (connection.remote_address or [None])[0],
            "subprotocol": connection.subprotocol,
        }
    )


def authenticate(request: Handshake) -> str:
    """Let in whoever says so."""
    if request.headers.get("authorization") != "Bearer good":
        raise Unauthorized(['Bearer realm="test"'], "who are you?")
    return "ann"


@ws.route("/known", authenticate=authenticate)
async def tell_identity(connection: AsyncConnection) -> None:
    await connection.send(f"you are {connection.identity}")


add_doors(ws)


@ws.route("/telling")
async def tell_extensions(connection: AsyncConnection) -> None:
    """Tell the log, since what is sent may be compressed."""
    logging.info("[extensions: %s]", ", ".join(connection.extensions))


@ws.route("/pinging")
async def ping_peer(connection: AsyncConnection) -> None:
    """Ping, and tell what came of it."""
    try:
        latency = await connection.ping(timeout=30)
    except UnsupportedError as error:
        await connection.send(f"unsupported: {error}")
    else:
        await connection.send(f"latency: {latency}")


@ws.route("/blocking-ping")
def ping_from_thread(connection: Connection) -> None:
    """Ping from a thread, and tell what came of it."""
    try:
        connection.ping(timeout=30)
    except UnsupportedError as error:
        connection.send(f"unsupported: {error}")
    else:
        connection.send("latency")


@ws.route("/sending")
async def send_only(connection: AsyncConnection) -> None:
    """Send without ever receiving, until the peer has left."""
    async with connection:
        while True:
            await connection.send(bytes(10_000))


async def plain(request: Request) -> Response:
    return PlainTextResponse("plain page")


async def posted(request: Request) -> Response:
    return Response((await request.body())[::-1])


async def echo(websocket: WebSocket) -> None:
    """Be a socket of the app's own, with a subprotocol and fields of its choice."""
    offered = websocket.scope["subprotocols"]
    await websocket.accept(offered[-1] if offered else None, [(b"x-own", b"yes")])
    async for text in websocket.iter_text():
        if text == "close":
            await websocket.close(4321, "enough")
            return
        await websocket.send_text(text)


async def listen(websocket: WebSocket) -> None:
    """Tell the log how a socket of the app's own has ended."""
    await websocket.accept()
    while (event := await websocket.receive())["type"] != "websocket.disconnect":
        pass
    logging.info("[own: %d %s]", event["code"], event["reason"])


async def deny(websocket: WebSocket) -> None:
    response = PlainTextResponse("not you", 401, {"WWW-Authenticate": 'Basic realm="own"'})
    await websocket.send_denial_response(response)


inner = Starlette(
    routes=[
        Route("/plain", plain),
        Route("/posted", posted, methods=["POST"]),
        WebSocketRoute("/own/echo", echo),
        WebSocketRoute("/own/listen", listen),
        WebSocketRoute("/own/deny", deny),
    ]
)
app = ws.asgi(inner)
