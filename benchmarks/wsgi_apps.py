"""The same echo under gunicorn: ours in three ways, and flask-sock's."""

from __future__ import annotations

import os

from flask import Flask
from flask_sock import Sock

from ws_middleware import AsyncConnection, Connection, WebSockets

_OPTIONS = {} if os.environ.get("COMPRESSION") else {"extensions": ()}
ws = WebSockets(**_OPTIONS)
asynchronous = WebSockets(**_OPTIONS)


@ws.route("/")
def echo(connection: Connection) -> None:
    for message in connection:
        connection.send(message)


@asynchronous.route("/")
async def echo_on_loop(connection: AsyncConnection) -> None:
    async for message in connection:
        await connection.send(message)


parked = ws.wsgi(max_threads=2_000)  # twice as many as are opened at once
in_place = ws.wsgi(park=False)
on_loop = asynchronous.wsgi()

flask_sock = Flask(__name__)


@Sock(flask_sock).route("/")  # type: ignore[untyped-decorator, unused-ignore]
def echo_of_flask_sock(connection: object) -> None:
    while True:
        connection.send(connection.receive())  # type: ignore[attr-defined]
