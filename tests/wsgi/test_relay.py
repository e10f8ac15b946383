"""Carrying bytes between two sockets: everything arrives, and every end is passed on."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from tests.running import PATIENCE
from ws_middleware.stream import Stream
from ws_middleware.wsgi.relay import relay

#: A peer, the socket that is relayed to a loop, and the loop's end.
Line = tuple[socket.socket, socket.socket, socket.socket]


@pytest.fixture
def line() -> Iterator[Line]:
    """Relay between a borrowed TCP socket and a socket pair, until both have ended."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname(), timeout=PATIENCE) as peer,
    ):
        borrowed, _ = listener.accept()
        loop, given = socket.socketpair()
        borrowed.settimeout(12.5)
        loop.settimeout(PATIENCE)
        with borrowed, loop, given:
            arguments = Stream(borrowed, borrowed=True), Stream(given)
            worker = threading.Thread(target=relay, args=arguments)
            worker.start()
            yield peer, borrowed, loop
            for sock in (peer, loop):
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
            worker.join(PATIENCE)
            assert not worker.is_alive()
            assert given.fileno() == -1
            assert borrowed.fileno() != -1
            assert borrowed.gettimeout() == 12.5


def read_all(sock: socket.socket) -> bytes:
    return b"".join(iter(lambda: sock.recv(65536), b""))


def test_bytes_go_both_ways(line: Line) -> None:
    peer, _, loop = line
    for turn in range(3):
        peer.sendall(b"there%d" % turn)
        assert loop.recv(100) == b"there%d" % turn
        loop.sendall(b"back%d" % turn)
        assert peer.recv(100) == b"back%d" % turn


def test_more_than_any_buffer_holds_goes_both_ways_at_once(line: Line) -> None:
    peer, _, loop = line
    data = [bytes([number]) * 10_000_000 for number in range(2)]

    def send(sock: socket.socket, what: bytes) -> None:
        sock.sendall(what)
        sock.shutdown(socket.SHUT_WR)

    senders = [
        threading.Thread(target=send, args=arguments)
        for arguments in ((peer, data[0]), (loop, data[1]))
    ]
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(read_all(peer)))
    for thread in (*senders, reader):
        thread.start()
    assert read_all(loop) == data[0]
    for thread in (*senders, reader):
        thread.join(PATIENCE)
    assert received == [data[1]]


@pytest.mark.parametrize("first", [0, 1], ids=["peer", "loop"])
def test_end_of_one_stream_leaves_the_other_open(line: Line, first: int) -> None:
    ends = line[0], line[2]
    ending, other = ends[first], ends[1 - first]
    ending.sendall(b"last")
    ending.shutdown(socket.SHUT_WR)
    assert read_all(other) == b"last"
    other.sendall(b"answer")
    assert ending.recv(100) == b"answer"
    other.shutdown(socket.SHUT_WR)
    assert ending.recv(100) == b""


def test_lost_peer_is_the_end_for_the_loop(line: Line) -> None:
    peer, _, loop = line
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()
    assert loop.recv(100) == b""


def test_lost_loop_is_the_end_for_the_peer(line: Line) -> None:
    peer, _, loop = line
    loop.close()
    assert read_all(peer) == b""
