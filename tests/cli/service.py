"""What the tests of the command line serve."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable
from typing import Any

from ws_middleware import AsyncConnection, WebSockets
from ws_middleware.asgi.types import Receive, Scope, Send
from ws_middleware.wsgi.types import Environ, StartResponse

ws = WebSockets()
number = 42


@ws.route("/echo")
async def echo(connection: AsyncConnection) -> None:
    async for message in connection:
        await connection.send(message)


@ws.route("/hasty", ping_interval=0.1, ping_timeout=30)
async def hasty(connection: AsyncConnection) -> None:
    await echo(connection)


@ws.route("/patient", close_timeout=300)
async def patient(connection: AsyncConnection) -> None:
    await echo(connection)


@ws.route("/process")
async def process(connection: AsyncConnection) -> None:
    await connection.send(str(os.getpid()))
    await connection.wait_closed()


@ws.route("/path")
async def path(connection: AsyncConnection) -> None:
    await connection.send(connection.request.path)


@ws.route("/raises")
async def raises(connection: AsyncConnection) -> None:
    raise LookupError("on purpose")


class Holder:
    inner = WebSockets()
    inner.add("/echo", echo)


async def asgi_app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        await answer(send, f"asgi {scope['path']} {scope['root_path']}".encode())
    elif scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (event := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": event["text"]})
    else:
        await answer_lifespan(receive, send)


async def answer(send: Send, body: bytes) -> None:
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def answer_lifespan(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def app_with_more(settings: Any, scope: Scope, receive: Receive, send: Send) -> None:
    await asgi_app(scope, receive, send)


partial_app = functools.partial(app_with_more, None)
mounted_asgi_app = ws.asgi(asgi_app)


async def app_that_cannot_start(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "there is no database"})


def wsgi_app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    body = f"wsgi {environ['PATH_INFO']}".encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


class Framework:
    """Be an app as Flask's are: a part of it may be replaced."""

    def __init__(self) -> None:
        self.wsgi_app: Any = wsgi_app

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        result: Iterable[bytes] = self.wsgi_app(environ, start_response)
        return result


framework = Framework()
framework.wsgi_app = ws.wsgi(framework.wsgi_app)
mounted_wsgi_app = framework.wsgi_app
