"""A process that has no descriptor or no thread left: it refuses, forgets nothing, and recovers."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.peer import Peer
from tests.running import PATIENCE, eventually
from ws_middleware import AsyncConnection, Connection, WebSockets
from ws_middleware.wsgi import Hijacker, Taken, WSGIMiddleware, hijack
from ws_middleware.wsgi.types import Environ

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def sockets() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


class Waiting(Peer):
    """Be the raw other end of a socket."""

    def __init__(self, sock: socket.socket) -> None:
        self.key = "dGhlIHNhbXBsZSBub25jZQ=="
        self.host = "test"
        self.socket = sock
        self.socket.settimeout(PATIENCE)
        self.buffer = b""


class Giving(Hijacker):
    """Give one socket."""

    name = "the test"

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    def detect(self, environ: Environ) -> bool:
        return True

    def take(self, environ: Environ) -> Taken:
        return Taken(self.sock, b"")


ws = WebSockets()


@ws.route("/async")
async def greet_later(connection: AsyncConnection) -> None:
    await connection.send("hello")


@ws.route("/def")
def greet(connection: Connection) -> None:
    connection.send("hello")


def status_of(app: WSGIMiddleware, path: str) -> str:
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "GET",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "PATH_INFO": path,
        "HTTP_HOST": "test",
        "HTTP_UPGRADE": "websocket",
        "HTTP_CONNECTION": "Upgrade",
        "HTTP_SEC_WEBSOCKET_KEY": "dGhlIHNhbXBsZSBub25jZQ==",
        "HTTP_SEC_WEBSOCKET_VERSION": "13",
    }
    statuses: list[str] = []
    app(environ, lambda status, fields: statuses.append(status))
    return statuses[0].partition(" ")[0]


def check_recovered(app: WSGIMiddleware, path: str, sock: socket.socket) -> None:
    assert status_of(app, path) == "101"
    peer = Waiting(sock)
    assert peer.reply().status == 101
    assert peer.read_message() == "hello"
    assert peer.read_close() == (1000, "")
    sock.close()
    eventually(lambda: len(ws.gate) == 0)


@pytest.mark.fault(100)
@pytest.mark.parametrize("path", ["/async", "/def"])
@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
def test_no_descriptor_is_left(
    monkeypatch: pytest.MonkeyPatch, sockets: Pair, path: str, number: int
) -> None:
    ours, theirs = sockets
    app = ws.wsgi(hijackers=[Giving(ours)], max_threads=1, max_waiting=0, signals=False)

    def refuse(descriptor: int) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(hijack, "duplicate", refuse)
        for _ in range(3):
            assert status_of(app, path) == "503"
    assert len(ws.gate) == 0
    check_recovered(app, path, theirs)


def test_other_errors_are_told(monkeypatch: pytest.MonkeyPatch, sockets: Pair) -> None:
    def refuse(descriptor: int) -> int:
        raise OSError(errno.EBADF, "on purpose")

    monkeypatch.setattr(hijack, "duplicate", refuse)
    app = ws.wsgi(hijackers=[Giving(sockets[0])], signals=False)
    with pytest.raises(OSError, match="on purpose"):
        status_of(app, "/def")
    assert len(ws.gate) == 0


@pytest.mark.fault(99)
def test_no_thread_is_left(monkeypatch: pytest.MonkeyPatch, sockets: Pair) -> None:
    ours, theirs = sockets
    first, other = socket.socketpair()
    giving = Giving(first)
    app = ws.wsgi(hijackers=[giving], max_threads=1, max_waiting=0, signals=False)

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        assert status_of(app, "/def") == "503"
    first.close()
    assert other.recv(1) == b""  # nobody keeps the connection that could not be served
    other.close()
    assert len(ws.gate) == 0
    giving.sock = ours
    check_recovered(app, "/def", theirs)
