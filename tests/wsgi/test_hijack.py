"""Taking a socket from a server that keeps its object: who reads and writes what then."""

from __future__ import annotations

import importlib
import io
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ws_middleware.errors import HandshakeError
from ws_middleware.wsgi.hijack import (
    SELECT_LIMIT,
    Hijacker,
    Taken,
    ask_thread,
    can_park,
    read_ahead,
    swap,
)
from ws_middleware.wsgi.servers import Buffered, find_hijacker
from ws_middleware.wsgi.types import Environ

Ends = tuple[socket.socket, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    """Give the two ends of a TCP connection: a server's and its peer's."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname(), timeout=30) as peer,
    ):
        server, _ = listener.accept()
        with server:
            yield server, peer


# --- swapping ---


def test_swapped_socket_carries_the_connection(ends: Ends) -> None:
    server, peer = ends
    with swap(server) as living:
        assert living.getpeername() == peer.getsockname()
        living.sendall(b"ours")
        assert peer.recv(4) == b"ours"
        peer.sendall(b"theirs")
        assert living.recv(6) == b"theirs"


def test_server_finds_its_peer_gone(ends: Ends) -> None:
    server, peer = ends
    number = server.fileno()
    with swap(server) as living:
        assert server.fileno() == number
        assert server.recv(1) == b""
        with pytest.raises(BrokenPipeError):
            server.sendall(b"HTTP/1.1 101 Switching Protocols")
        server.close()
        living.sendall(b"only this")
        living.shutdown(socket.SHUT_WR)
        assert peer.recv(100) == b"only this"


def test_swap_leaves_no_descriptor_open(ends: Ends) -> None:
    server, _ = ends
    before = len(os.listdir("/proc/self/fd"))
    swap(server).close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_parked_connection_is_out_of_the_way_of_select(ends: Ends) -> None:
    server, _ = ends
    with swap(server) as living:
        assert living.fileno() >= SELECT_LIMIT
        assert not living.get_inheritable()


def test_parked_connection_takes_what_number_there_is(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ws_middleware.wsgi.hijack.SELECT_LIMIT", 2**31 - 1)
    server, peer = ends
    with swap(server) as living:
        assert living.getpeername() == peer.getsockname()
        assert not living.get_inheritable()


@pytest.mark.parametrize("timeout", [None, 0.0, 5.0])
def test_swap_keeps_the_way_of_blocking(ends: Ends, timeout: float | None) -> None:
    server, _ = ends
    server.settimeout(timeout)
    with swap(server):
        assert os.get_blocking(server.fileno()) is (timeout is None)
        assert not os.get_inheritable(server.fileno())


def test_taken_connection_is_parked_with_its_leftover(ends: Ends) -> None:
    server, peer = ends
    taken = Taken(server, b"early").parked()
    with taken.sock as living:
        assert (living.getpeername(), taken.leftover) == (peer.getsockname(), b"early")


def test_only_plain_sockets_can_be_parked(ends: Ends) -> None:
    server, _ = ends
    assert can_park(server)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    with context.wrap_socket(server, server_side=True, do_handshake_on_connect=False) as secure:
        assert not can_park(secure)
    green = importlib.import_module("gevent.socket").socket()
    with green:
        assert not can_park(green)
    assert not can_park(object())


# --- reading ahead ---


@pytest.mark.parametrize("timeout", [None, 0.0, 5.0])
@pytest.mark.parametrize("behind", [b"", b"frames", b"x" * 6000])
def test_bytes_behind_the_request_are_taken(
    ends: Ends, behind: bytes, timeout: float | None
) -> None:
    server, peer = ends
    reader = server.makefile("rb")
    peer.sendall(b"request\n" + behind)
    assert reader.readline() == b"request\n"
    server.settimeout(timeout)
    leftover = read_ahead(reader, server)
    assert server.gettimeout() == timeout
    server.settimeout(30)
    while len(leftover) < len(behind):  # what has not been read ahead is still in the socket
        leftover += server.recv(len(behind))
    assert leftover == behind
    reader.close()


def test_end_of_the_stream_is_nothing_to_take(ends: Ends) -> None:
    server, peer = ends
    peer.shutdown(socket.SHUT_WR)
    with server.makefile("rb") as reader:
        assert read_ahead(reader, server) == b""


# --- finding who can take it ---


class Wrapped:
    """Be a stream in a stream, as servers and middlewares make them."""

    def __init__(self, name: str, stream: Any) -> None:
        setattr(self, name, stream)


class Limited:
    """Keep the method of a stream only."""

    def __init__(self, stream: Any) -> None:
        self._read = stream.read


WRAPPERS: list[Callable[[Any], Any]] = [
    lambda stream: stream,
    lambda stream: Wrapped("rfile", stream),
    lambda stream: Wrapped("_stream", Wrapped("input", stream)),
    Limited,
]


@pytest.mark.parametrize("wrap", WRAPPERS)
def test_reader_is_found_inside_its_wrappers(ends: Ends, wrap: Callable[[Any], Any]) -> None:
    server, _ = ends
    with server.makefile("rb") as reader:
        environ = {"wsgi.input": wrap(reader)}
        assert isinstance(find_hijacker(environ), Buffered)
        assert find_hijacker(environ).take(environ).sock is server


class Own(Hijacker):
    """Be somebody's own way."""

    name = "own"

    def detect(self, environ: Environ) -> bool:
        return "own.socket" in environ

    def take(self, environ: Environ) -> Taken:
        return Taken(environ["own.socket"], b"")


def test_own_hijacker_comes_first(ends: Ends) -> None:
    server, _ = ends
    own = Own()
    environ = {"own.socket": server, "gunicorn.socket": server}
    assert find_hijacker(environ, [own]) is own
    assert find_hijacker(environ).name == "gunicorn"


@pytest.mark.parametrize("stream", [None, io.BytesIO(), io.BufferedReader(io.BytesIO())])
def test_stream_of_no_socket_is_not_taken_for_one(stream: Any) -> None:
    with pytest.raises(HandshakeError, match="keeps its sockets to itself"):
        find_hijacker({"wsgi.input": stream})


def test_wrapper_without_end_is_given_up() -> None:
    endless = Wrapped("rfile", None)
    endless.rfile = endless  # type: ignore[attr-defined]
    with pytest.raises(HandshakeError, match="keeps its sockets to itself"):
        find_hijacker({"wsgi.input": endless})


def test_finish_answers_an_empty_101() -> None:
    answers: list[Any] = []
    body = Own().finish({}, lambda status, fields: answers.append((status, fields)))
    assert answers == [("101 Switching Protocols", [])]
    assert list(body) == []


# --- asking the server's main thread ---


def test_main_thread_answers() -> None:
    assert ask_thread(lambda call: threading.Thread(target=call).start(), lambda: 42) == 42


def test_mistakes_of_the_main_thread_come_back() -> None:
    with pytest.raises(ZeroDivisionError):
        ask_thread(lambda call: threading.Thread(target=call).start(), lambda: 1 / 0)


def test_main_thread_that_is_busy_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ws_middleware.wsgi.hijack.PATIENCE", 0.01)
    calls: list[Callable[[], None]] = []
    done: list[int] = []
    with pytest.raises(HandshakeError, match=r"busy for 0\.01 s") as caught:
        ask_thread(calls.append, lambda: done.append(42))
    assert caught.value.status == 503
    calls[0]()  # too late: nothing is taken that nobody waits for
    assert done == []
