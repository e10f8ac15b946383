"""Single frames over a socket."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from tests.peer import BINARY, CONTINUATION, PATIENCE, PING, TEXT, frame
from ws_middleware import Frame, FrameSocket, ProtocolError


@pytest.fixture
def sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    theirs.settimeout(PATIENCE)
    with ours, theirs:
        yield ours, theirs


Sockets = tuple[socket.socket, socket.socket]


def test_server_sends_frames_as_they_are(sockets: Sockets) -> None:
    server = FrameSocket(sockets[0], "server")
    server.send(Frame(TEXT, b"a", fin=False, rsv1=True))
    server.send(Frame(CONTINUATION, b"b"))
    assert sockets[1].recv(100) == b"\x41\x01a\x80\x01b"


@pytest.mark.row(93, 103)
def test_client_masks_with_a_key_of_its_own_or_one_given(sockets: Sockets) -> None:
    client = FrameSocket(sockets[0], "client", random=lambda size: b"\x01" * size)
    client.send(Frame(TEXT, b"aaaa"))
    client.send(Frame(TEXT, b"aaaa"), b"\0\0\0\0")
    assert sockets[1].recv(100) == b"\x81\x84\x01\x01\x01\x01````\x81\x84\0\0\0\0aaaa"


@pytest.mark.parametrize(("role", "key"), [("client", b"abc"), ("server", b"abcd")])
def test_key_that_cannot_be_is_refused(sockets: Sockets, role: str, key: bytes) -> None:
    with pytest.raises(ValueError, match="masking key"):
        FrameSocket(sockets[0], role).send(Frame(TEXT, b""), key)  # type: ignore[arg-type]


def test_frames_are_received_one_by_one_however_they_come(sockets: Sockets) -> None:
    server = FrameSocket(sockets[0], "server", leftover=frame(TEXT, "a")[:3])
    data = frame(TEXT, "a")[3:] + frame(BINARY, b"b", fin=False) + frame(PING, b"c")
    for byte in data:
        sockets[1].sendall(bytes([byte]))
    received = [server.recv() for _ in range(3)]
    assert [(one.opcode, one.payload, one.fin) for one in received] == [
        (TEXT, b"a", True),
        (BINARY, b"b", False),
        (PING, b"c", True),
    ]


def test_large_frame_passes_both_ways(sockets: Sockets) -> None:
    client, server = FrameSocket(sockets[0], "client"), FrameSocket(sockets[1], "server")
    payload = bytes(900_000)
    thread = threading.Thread(target=client.send, args=(Frame(BINARY, payload),), daemon=True)
    thread.start()
    assert server.recv(PATIENCE).payload == payload
    thread.join(PATIENCE)


def test_time_out_loses_nothing(sockets: Sockets) -> None:
    server = FrameSocket(sockets[0], "server")
    data = frame(TEXT, "hello")
    sockets[1].sendall(data[:4])
    with pytest.raises(TimeoutError, match=r"within 0\.01 s"):
        server.recv(0.01)
    sockets[1].sendall(data[4:])
    assert server.recv(PATIENCE).payload == b"hello"


def test_end_of_the_stream_is_told(sockets: Sockets) -> None:
    sockets[1].close()
    with pytest.raises(EOFError):
        FrameSocket(sockets[0], "server").recv()


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(TEXT, "a", key=None), 1002),
        (frame(TEXT, "a", rsv=4), 1002),
        (frame(3, "a"), 1002),
        (frame(PING, "a" * 126), 1002),
        (frame(TEXT, "", length=2**20 + 1), 1009),
        (frame(TEXT, "", length=2**63), 1002),
    ],
)
def test_frame_that_breaks_the_rules_is_refused(sockets: Sockets, data: bytes, code: int) -> None:
    sockets[1].sendall(data)
    with pytest.raises(ProtocolError) as caught:
        FrameSocket(sockets[0], "server").recv()
    assert caught.value.code == code


def test_other_bits_are_legal_where_they_are_marked(sockets: Sockets) -> None:
    sockets[1].sendall(frame(TEXT, "a", rsv=4))
    assert FrameSocket(sockets[0], "server", marks=[0x41]).recv().rsv1
