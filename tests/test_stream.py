"""Sending without waiting: the same in Python and, where it was built, in C."""

from __future__ import annotations

import errno
import importlib
import socket
from collections.abc import Callable, Iterator

import pytest

from tests.core.implementations import IMPLEMENTATIONS

Send = Callable[..., int]


def send_in_python(sock: socket.socket, data: bytes | memoryview, /) -> int:
    return sock.send(data, socket.MSG_DONTWAIT)


@pytest.fixture(params=["python", "c"][: len(IMPLEMENTATIONS)])
def send(request: pytest.FixtureRequest) -> Send:
    if request.param == "python":
        return send_in_python
    found: Send = importlib.import_module("ws_middleware._sending").send_at_once
    return found


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


Sockets = tuple[socket.socket, socket.socket]


def test_bytes_arrive(send: Send, pair: Sockets) -> None:
    ours, theirs = pair
    assert [send(ours, b"ab"), send(ours, memoryview(b"cde")[1:]), send(ours, b"")] == [2, 2, 0]
    assert theirs.recv(10) == b"abde"


def fill(send: Send, sock: socket.socket) -> int:
    sent = 0
    try:
        while True:
            sent += send(sock, bytes(100_000))
    except BlockingIOError:
        return sent


def test_nothing_is_waited_for(send: Send, pair: Sockets) -> None:
    ours, theirs = pair
    ours.setblocking(True)
    sent = fill(send, ours)
    ours.close()
    received = 0
    while data := theirs.recv(100_000):
        received += len(data)
    assert received == sent


def test_peer_that_has_gone(send: Send, pair: Sockets) -> None:
    ours, theirs = pair
    theirs.close()
    with pytest.raises(BrokenPipeError):
        send(ours, b"a")


def test_socket_that_is_closed(send: Send, pair: Sockets) -> None:
    pair[0].close()
    with pytest.raises(OSError, match="Bad file descriptor") as caught:
        send(pair[0], b"a")
    assert caught.value.errno == errno.EBADF


@pytest.mark.parametrize("arguments", [(), (1,), (1, b"", b""), ("socket", b"a")])
def test_misuse_is_told(send: Send, arguments: tuple[object, ...]) -> None:
    with pytest.raises((TypeError, AttributeError)):
        send(*arguments)


def test_text_is_no_bytes(send: Send, pair: Sockets) -> None:
    with pytest.raises(TypeError):
        send(pair[0], "text")
