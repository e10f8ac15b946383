"""A WSGI app with an echo in each shape: `python -m tests.load.parked_app SERVER PORT`."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from ws_middleware import AsyncConnection, Connection, Handler, WebSockets
from ws_middleware.wsgi.types import Environ, StartResponse

ws = WebSockets(extensions=())


@ws.route("/")
async def echo(connection: AsyncConnection) -> None:
    async for message in connection:
        await connection.send(message)


@ws.route("/def")
def echo_in_thread(connection: Connection) -> None:
    for message in connection:
        connection.send(message)


@ws.route("/callbacks")
class Echo(Handler):
    def on_message(self, message: str | bytes) -> None:
        self.connection.send(message)


def page(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Length", "5")])
    return [b"hello"]


app = ws.wsgi(page)


def werkzeug(port: int) -> None:
    from werkzeug.serving import run_simple

    run_simple("127.0.0.1", port, app, threaded=False)


def waitress(port: int) -> None:
    import waitress

    waitress.serve(app, host="127.0.0.1", port=port, connection_limit=20_000)


def cheroot(port: int) -> None:
    from cheroot.wsgi import Server

    Server(("127.0.0.1", port), app, numthreads=4).start()


if __name__ == "__main__":
    SERVERS = {"werkzeug": werkzeug, "waitress": waitress, "cheroot": cheroot}
    SERVERS[sys.argv[1]](int(sys.argv[2]))
