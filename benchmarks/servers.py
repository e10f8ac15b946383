"""The servers that are compared: `python -m benchmarks.servers NAME [--compression]`.

Each one echoes every message, logs warnings at the most, has its defaults otherwise, and
prints the port that it listens on.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import sys
from collections.abc import Callable
from typing import Any

import uvicorn
import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_create_server
from picows.websockets import serve as serve_picows_websockets
from websockets.asyncio.server import broadcast as broadcast_with_websockets
from websockets.asyncio.server import serve as serve_websockets
from websockets.sync.server import serve as serve_sync_websockets

from ws_middleware import (
    SPEEDUPS,
    AsyncConnection,
    Connection,
    PermessageDeflate,
    WebSockets,
    broadcast,
)
from ws_middleware.listening import bind
from ws_middleware.server import ServerConfig, serve

__all__ = ["BROADCASTING", "SERVERS", "WITHOUT_COMPRESSION", "WITHOUT_CROWDS"]


async def echo(connection: AsyncConnection) -> None:
    async for message in connection:
        await connection.send(message)


def blocking_echo(connection: Connection) -> None:
    for message in connection:
        connection.send(message)


ZLIB, ISAL = PermessageDeflate(), PermessageDeflate(library="isal", level=1)


def ours(
    sock: socket.socket,
    compression: bool,
    loop: str = "uvloop",
    handler: Callable[..., Any] = echo,
    extension: PermessageDeflate = ZLIB,
) -> None:
    ws = WebSockets(extensions=[extension] if compression else ())
    ws.add("/", handler)
    app = ws.asgi(max_threads=10_000)
    serve(ServerConfig(app, options=ws.options, loop=loop, log_level="warning"), sock)


def ours_on_asyncio(sock: socket.socket, compression: bool) -> None:
    ours(sock, compression, "asyncio")


def ours_with_isal(sock: socket.socket, compression: bool) -> None:
    ours(sock, compression, extension=ISAL)


def ours_with_threads(sock: socket.socket, compression: bool) -> None:
    ours(sock, compression, handler=blocking_echo)


def passing_on(send_to_all: Callable[[set[Any], Any], object]) -> Callable[[Any], Any]:
    """Make a handler that sends what comes to all who are connected."""
    members: set[Any] = set()

    async def pass_on(connection: Any) -> None:
        members.add(connection)
        async for message in connection:
            send_to_all(members, message)
        members.remove(connection)

    return pass_on


def ours_to_all(sock: socket.socket, compression: bool) -> None:
    ours(sock, compression, handler=passing_on(broadcast))


def ours_in_python(sock: socket.socket, compression: bool) -> None:
    if SPEEDUPS:  # once more, without them
        environment = {**os.environ, "WS_MIDDLEWARE_PURE": "1"}
        options = ["--fd", str(sock.fileno()), *(["--compression"] if compression else [])]
        command = [sys.executable, "-m", "benchmarks.servers", "ws_middleware-python", *options]
        os.execve(sys.executable, command, environment)
    ours(sock, compression)


async def _websockets(
    sock: socket.socket, compression: bool, handler: Callable[..., Any] = echo
) -> None:
    method = "deflate" if compression else None
    async with serve_websockets(handler, sock=sock, compression=method) as server:
        await server.serve_forever()


def websockets_to_all(sock: socket.socket, compression: bool) -> None:
    uvloop.run(_websockets(sock, compression, passing_on(broadcast_with_websockets)))


def websockets(sock: socket.socket, compression: bool) -> None:
    uvloop.run(_websockets(sock, compression))


def websockets_on_asyncio(sock: socket.socket, compression: bool) -> None:
    asyncio.run(_websockets(sock, compression))


class _PicowsEcho(WSListener):
    """Echo from the callback for frames, which is the fastest way picows has."""

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            # What it gives as text would have to be checked and encoded again.
            transport.send(WSMsgType.TEXT, frame.get_payload_as_memoryview())
        elif frame.msg_type == WSMsgType.BINARY:
            transport.send(WSMsgType.BINARY, frame.get_payload_as_memoryview())
        elif frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()


async def _picows(sock: socket.socket) -> None:
    server = await ws_create_server(lambda _: _PicowsEcho(), sock=sock)
    await server.serve_forever()


def picows(sock: socket.socket, compression: bool) -> None:
    uvloop.run(_picows(sock))


def websockets_with_threads(sock: socket.socket, compression: bool) -> None:
    method = "deflate" if compression else None
    with serve_sync_websockets(blocking_echo, sock=sock, compression=method) as server:
        server.serve_forever()


async def _picows_websockets(sock: socket.socket, compression: bool) -> None:
    method = "deflate" if compression else None
    async with serve_picows_websockets(echo, sock=sock, compression=method) as server:
        await server.serve_forever()


def picows_websockets(sock: socket.socket, compression: bool) -> None:
    uvloop.run(_picows_websockets(sock, compression))


async def asgi_echo(scope: Any, receive: Any, send: Any) -> None:
    """Be a plain ASGI app."""
    while (event := await receive())["type"] != "websocket.disconnect":
        if event["type"] == "websocket.connect":
            await send({"type": "websocket.accept"})
        elif event.get("text") is not None:
            await send({"type": "websocket.send", "text": event["text"]})
        else:
            await send({"type": "websocket.send", "bytes": event["bytes"]})


def uvicorn_with(sock: socket.socket, compression: bool, protocol: str = "auto") -> None:
    config = uvicorn.Config(
        asgi_echo,
        loop="uvloop",
        ws=protocol,
        ws_per_message_deflate=compression,
        lifespan="off",
        log_level="warning",
    )
    uvicorn.Server(config).run(sockets=[sock])


def uvicorn_with_ours(sock: socket.socket, compression: bool) -> None:
    uvicorn_with(sock, compression, "ws_middleware.asgi.uvicorn:WebSocketProtocol")


def gunicorn_with(app: str) -> Callable[[socket.socket, bool], None]:
    """Serve an app of `benchmarks.wsgi_apps` with one worker and a hundred threads."""

    def run(sock: socket.socket, compression: bool) -> None:
        options = ["-k", "gthread", "--threads", "100", "-b", f"fd://{sock.fileno()}"]
        command = [sys.executable, "-m", "gunicorn", "-w", "1", "--log-level", "warning", *options]
        environment = {**os.environ, "COMPRESSION": "1" if compression else ""}
        os.execve(sys.executable, [*command, f"benchmarks.wsgi_apps:{app}"], environment)

    return run


SERVERS: dict[str, Callable[[socket.socket, bool], None]] = {
    "ws_middleware": ours,
    "ws_middleware-asyncio": ours_on_asyncio,
    "ws_middleware-python": ours_in_python,
    "ws_middleware-isal": ours_with_isal,
    "ws_middleware-threads": ours_with_threads,
    "ws_middleware-broadcast": ours_to_all,
    "websockets": websockets,
    "websockets-asyncio": websockets_on_asyncio,
    "websockets-threads": websockets_with_threads,
    "websockets-broadcast": websockets_to_all,
    "picows": picows,
    "picows.websockets": picows_websockets,
    "uvicorn": uvicorn_with,
    "uvicorn-ws_middleware": uvicorn_with_ours,
    "gunicorn-parked": gunicorn_with("parked"),
    "gunicorn-in-place": gunicorn_with("in_place"),
    "gunicorn-async": gunicorn_with("on_loop"),
    "gunicorn-flask-sock": gunicorn_with("flask_sock"),
}


#: These send what comes to all, the others send it back.
BROADCASTING = ("ws_middleware-broadcast", "websockets-broadcast")

#: These know no extension.
WITHOUT_COMPRESSION = ("picows",)

#: These hold as many connections as their server has threads.
WITHOUT_CROWDS = ("gunicorn-in-place", "gunicorn-flask-sock")


def main() -> None:
    """Run the server that is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=SERVERS)
    parser.add_argument("--compression", action="store_true")
    parser.add_argument("--fd", type=int, help="listens already, and was told of")
    parsed = parser.parse_args()
    if parsed.fd is None:
        sock = bind(port=0)
        print(sock.getsockname()[1], flush=True)
    else:
        sock = socket.socket(fileno=parsed.fd)
    SERVERS[parsed.name](sock, parsed.compression)


if __name__ == "__main__":
    main()
