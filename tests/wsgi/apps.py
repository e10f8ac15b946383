"""The routes and the plain pages that every WSGI server is tested with, in three frameworks.

A handler of each shape echoes, and obeys: "return", "raise", "close", "tell", "stream 9".
"""

from __future__ import annotations

import contextvars
import functools
import json
import logging
import threading
from collections.abc import Callable, Iterable
from typing import Any, Final

from tests.admission.doors import add_doors
from ws_middleware import AsyncConnection, Connection, Handler, HandshakeError, WebSockets
from ws_middleware.wsgi.hijack import Hijacker, Taken
from ws_middleware.wsgi.types import Environ, StartResponse, WSGIApp

__all__ = ["CLOSE_CODE", "PIECE", "make", "make_bottle", "make_flask", "mounted", "ws"]

#: What handlers that are told to close close with.
CLOSE_CODE: Final = 4321
#: What "stream" sends again and again.
PIECE: Final = b"0123456789abcdef" * 4096

#: Set by a middleware of the app, to be seen by handlers.
visitor: contextvars.ContextVar[str] = contextvars.ContextVar("visitor", default="nobody")

logging.basicConfig(level=logging.INFO, format="[%(levelname)s] %(message)s")
logging.getLogger("werkzeug").setLevel(logging.INFO)

ws = WebSockets(max_message_size=2**25)

Answer = str | bytes | Iterable[str | bytes]


def answer(connection: AsyncConnection | Connection, message: str | bytes) -> Answer:
    """Give what is sent back for a message."""
    order, _, rest = message.partition(" ") if isinstance(message, str) else ("", "", "")
    if order == "raise":
        raise LookupError("on purpose")
    if order == "tell":
        return json.dumps(_facts(connection))
    if order == "stream":
        return (PIECE for _ in range(int(rest)))
    return message


def _facts(connection: AsyncConnection | Connection) -> dict[str, Any]:
    environ = connection.request.environ
    assert environ is not None
    return {
        "visitor": visitor.get(),
        "thread": threading.current_thread().name,
        "address": connection.remote_address,
        "target": connection.request.target,
        "path_info": environ["PATH_INFO"],
        "cookie": environ.get("HTTP_COOKIE"),
        "input": environ["wsgi.input"].read(1).decode(),
        "secure": connection.request.secure,
    }


@ws.route("/async")
@ws.route("/async/<path:rest>")
async def serve_async(connection: AsyncConnection, rest: str = "") -> None:
    async for message in connection:
        if message == "return":
            return
        if message == "close":
            await connection.close(CLOSE_CODE, "enough")
            return
        await connection.send(answer(connection, message))


@ws.route("/def")
@ws.route("/def/<path:rest>")
def serve(connection: Connection, rest: str = "") -> None:
    for message in connection:
        if message == "return":
            return
        if message == "close":
            connection.close(CLOSE_CODE, "enough")
            return
        connection.send(answer(connection, message))


@ws.route("/callbacks")
@ws.route("/callbacks/<path:rest>")
class Serve(Handler):
    def on_message(self, message: str | bytes) -> None:
        if message == "return":
            self.connection.close()
        elif message == "close":
            self.connection.close(CLOSE_CODE, "enough")
        else:
            self.connection.send(answer(self.connection, message))


@ws.route("/async-callbacks")
@ws.route("/async-callbacks/<path:rest>")
class ServeAsync(Handler):
    async def on_message(self, message: str | bytes) -> None:
        if message == "return":
            await self.connection.close()
        elif message == "close":
            await self.connection.close(CLOSE_CODE, "enough")
        else:
            await self.connection.send(answer(self.connection, message))


@ws.route("/writers/<int:count>/<int:size>")
def write_from_four(connection: Connection, count: int, size: int) -> None:
    """Send from four threads, or greenlets where the server has greenlets, at once."""

    def write(number: int) -> None:
        message = bytes([number]) * size
        for _ in range(count):
            connection.send(message)

    together([functools.partial(write, number) for number in range(4)])


def run_in_threads(works: Iterable[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


#: Does several things at once; a launcher of a server with greenlets puts its own way here.
together: Callable[[Iterable[Callable[[], None]]], None] = run_in_threads


@ws.route("/deaf", ping_interval=0.5, ping_timeout=0.5)
async def be_deaf(connection: AsyncConnection) -> None:
    """Never receive; pings find out that the peer has gone, since nothing is read."""
    await connection.wait_closed()


@ws.route("/blocked")
def block(connection: Connection) -> None:
    """Wait for something that never comes."""
    threading.Event().wait()


ws.add("/watched", serve_async, ping_interval=1.0)
ws.add("/guarded", serve_async, hosts=["good.example"], origins=["https://good.example"])
ws.add("/private", serve_async)
add_doors(ws)
ws.add("/plain", serve_async)  # a page of the app's, too


class Doorkeeper(Hijacker):
    """Be a user's own way to sockets, which gives none without a password."""

    name = "the doorkeeper"

    def detect(self, environ: Environ) -> bool:
        return str(environ["PATH_INFO"]) == "/private"

    def take(self, environ: Environ) -> Taken:
        raise HandshakeError(401, "who are you?", [("WWW-Authenticate", 'Basic realm="test"')])


def mounted(app: WSGIApp, **settings: Any) -> WSGIApp:
    """Mount the routes on an app, behind a middleware that sets a context variable."""
    inner = ws.wsgi(app, hijackers=[Doorkeeper()], **settings)

    def outer(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        token = visitor.set(str(environ["REMOTE_ADDR"]))
        try:
            return inner(environ, start_response)
        finally:
            visitor.reset(token)

    return outer


# --- plain pages: the same two in each framework ---


def make_flask(**settings: Any) -> Any:
    from flask import Flask, request

    app = Flask(__name__)
    app.add_url_rule("/plain", view_func=lambda: "plain page", endpoint="plain")

    @app.post("/posted")
    def posted() -> bytes:
        return request.get_data()[::-1]

    app.wsgi_app = mounted(app.wsgi_app, **settings)  # type: ignore[assignment,method-assign]
    return app


def make_bottle(**settings: Any) -> WSGIApp:
    import bottle

    app = bottle.Bottle()
    app.get("/plain", callback=lambda: "plain page")
    app.post("/posted", callback=lambda: bottle.request.body.read()[::-1])
    return mounted(app, **settings)


def make_django(**settings: Any) -> WSGIApp:
    from tests.wsgi.django_project import make_app

    return mounted(make_app(), **settings)


_MAKERS = {"flask": make_flask, "bottle": make_bottle, "django": make_django}


def make(framework: str, **settings: Any) -> WSGIApp:
    """Make an app, as a server's command line asks for it."""
    app: WSGIApp = _MAKERS[framework](**settings)
    return app
